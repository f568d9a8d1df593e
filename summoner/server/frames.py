"""The bytes a relay sends: wrapped lines of peers, and its own notices (section 2.3).

Pure. A wrapped line is one JSON object per line, in the native relay's form:
`{"content":"hello","remote_addr":"127.0.0.1:51742"}`. `content` is the author's line as a JSON string, whatever it
says; it is never parsed.
"""

import json
from collections.abc import Sequence

TOO_FAST = b"Warning: You are sending messages too quickly. Please slow down.\n"
INACTIVE = b"Warning: You have been disconnected due to inactivity.\n"
SHUTTING_DOWN = b"Warning: Server is shutting down.\n"
SERVER_DISCONNECTED = b"Warning: Server disconnected."
"""The Python relay's last words on every connection; they end without a newline (S15)."""

# Ours. Agents recognise a notice by its prefix, and no peer can forge one: peers' text arrives inside a wrapper.
TOO_LONG = b"Warning: Your line is too long to be forwarded and was dropped.\n"
TOO_MANY_WAITING = b"Warning: You have been disconnected for sending far more than this room allows.\n"
NOT_READING = b"Warning: You have been disconnected for not reading what you are sent.\n"

_quote = json.JSONEncoder(ensure_ascii=False, check_circular=False).encode


class FrameEncoder:
    """Wraps the lines of one author, named by its address as the relay sees it."""

    def __init__(self, address: str, max_frame_bytes: int) -> None:
        self._rest = f',"remote_addr":{_quote(address)}}}\n'
        self._max_frame_bytes = max_frame_bytes
        # Lines of so many characters fit whatever they consist of: one becomes six bytes (`\u0000`) at most.
        self._always_fits = (max_frame_bytes - len(b'{"content":""') - len(self._rest.encode())) // 6

    def encode(self, lines: Sequence[str]) -> tuple[bytes, Sequence[str]]:
        """The frames of `lines`, joined, and the lines they hold.

        A line whose frame, newline included, is longer than `max_frame_bytes` is left out: official clients end
        when they meet one (S9, W3).
        """
        rest = self._rest
        frames = "".join([f'{{"content":{_quote(line)}{rest}' for line in lines]).encode()
        if max(map(len, lines), default=0) <= self._always_fits:
            return frames, lines
        fitting = [
            (frame, line)
            for frame, line in zip(split_frames(frames), lines, strict=True)
            if len(frame) <= self._max_frame_bytes
        ]
        return b"".join([frame for frame, _ in fitting]), [line for _, line in fitting]


def split_frames(frames: bytes) -> list[bytes]:
    """Joined frames one by one, each with its newline. JSON escapes every other line end."""
    return frames.splitlines(keepends=True)
