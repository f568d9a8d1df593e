"""Bytes of one client through the relay to another one: each line that fits arrives as it was sent, in order.

However the bytes are cut into chunks on either side; and neither side ever holds more than its limit.
"""

import json

from summoner.client._line_splitter import LineSplitter
from summoner.server.frames import FrameEncoder, split_frames
from summoner.server.framing import LineFramer

IS_JSON = False
WORDS = ("\n", "\r\n", "\x00", "\x7f", "\u2028", "\u00e9", '"', "\\", "x" * 60)

LINE_BYTES = 64
FRAME_BYTES = 256


def check(data: bytes) -> None:
    """The first byte is the size of the chunks; the rest is what the client sends."""
    if not data:
        return
    size, stream = data[0] + 1, data[1:]
    at_once, wrong = _lines(stream, len(stream) + 1)
    in_chunks, wrong_in_chunks = _lines(stream, size)
    # a line too long is skipped unseen where it comes in pieces; where its end is in sight it is handed out all the
    # same, or ends the connection because it is not UTF-8
    short, short_in_chunks = (list(filter(_fits, lines)) for lines in (at_once, in_chunks))
    assert short == short_in_chunks[: len(short)]
    if not wrong or max(map(len, stream.split(b"\n"))) < LINE_BYTES:
        assert (short, wrong) == (short_in_chunks, wrong_in_chunks)

    joined, forwarded = FrameEncoder("127.0.0.1:1", FRAME_BYTES).encode(at_once)
    frames = split_frames(joined)
    assert b"".join(frames) == joined
    assert all(len(frame) <= FRAME_BYTES and frame.endswith(b"\n") for frame in frames)
    too_long: list[None] = []
    splitter = LineSplitter(FRAME_BYTES, lambda: too_long.append(None))
    received = [line for chunk in _chunks(joined, size) for line in splitter.feed(chunk)]
    assert splitter.finish() is None
    assert not too_long
    assert [json.loads(line)["content"] for line in received] == list(forwarded)
    assert [line for line in at_once if len(line) * 6 <= FRAME_BYTES - 50] == [
        line for line in forwarded if len(line) * 6 <= FRAME_BYTES - 50
    ]


def _lines(stream: bytes, size: int) -> tuple[list[str], bool]:
    framer = LineFramer(LINE_BYTES)
    lines: list[str] = []
    for chunk in _chunks(stream, size):
        received = framer.feed(chunk)
        lines += received.lines
        if received.invalid:
            return lines, True
    received = framer.finish()
    return lines + received.lines, received.invalid


def _chunks(stream: bytes, size: int) -> list[bytes]:
    return [stream[start : start + size] for start in range(0, len(stream), size)]


def _fits(line: str) -> bool:
    # a carriage return counts while the end of its line is not in sight
    return len(line.encode()) < LINE_BYTES
