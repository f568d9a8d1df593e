"""From the bytes of one client to its lines (sections 2.1 and 2.3).

Pure: bytes in, lines out. What a line means, who may hear it and what it is wrapped in are decided elsewhere.
"""

from typing import NamedTuple


class Received(NamedTuple):
    """What a piece of a client's byte stream completed."""

    lines: list[str]
    """Complete lines in order, without line ends."""
    overlong: int
    """1 if a line outgrew the limit behind `lines`; what is left of it will be skipped silently. Otherwise 0."""
    invalid: bool
    """Whether the bytes after `lines` are not UTF-8. Nothing sensible can follow."""


class LineFramer:
    """Cuts a byte stream into lines of at most `max_line_bytes`, in memory bounded by that and one `feed`.

    Complete lines are handed out even when they exceed the limit, which costs nothing as they are in memory
    already; only a line whose end is not in sight is given up.
    """

    def __init__(self, max_line_bytes: int) -> None:
        self._max_line_bytes = max_line_bytes
        self._tail = bytearray()
        self._skipping = False

    def feed(self, data: bytes) -> Received:
        """Take the next bytes of the stream."""
        if self._skipping:
            data = self._after_skipped_line(data)
        end = data.rfind(b"\n") + 1
        if not end:
            self._tail += data
            return Received([], self._give_up_long_tail(), invalid=False)
        block = data[:end]
        if self._tail:
            block = bytes(self._tail) + block
            self._tail.clear()
        if end < len(data):
            self._tail += data[end:]
        lines, invalid = _decode(block)
        return Received(lines, self._give_up_long_tail(), invalid)

    def finish(self) -> Received:
        """End of the stream: an unterminated tail counts as a line."""
        if not self._tail:
            return Received([], 0, invalid=False)
        lines, invalid = _decode(bytes(self._tail) + b"\n")
        self._tail.clear()
        return Received(lines, 0, invalid)

    def _after_skipped_line(self, data: bytes) -> bytes:
        end = data.find(b"\n") + 1
        self._skipping = not end
        return data[end:] if end else b""

    def _give_up_long_tail(self) -> int:
        if len(self._tail) <= self._max_line_bytes:
            return 0
        self._tail.clear()
        self._skipping = True
        return 1


def _decode(block: bytes) -> tuple[list[str], bool]:
    """The lines of `block`, which ends in a newline, up to the first that is not UTF-8; whether there is one."""
    invalid = False
    try:
        text = block.decode()
    except UnicodeDecodeError as error:
        text = block[: block.rfind(b"\n", 0, error.start) + 1].decode()
        invalid = True
    if "\r" in text:
        text = text.replace(
            "\r\n", "\n"
        )  # S17: one carriage return before the newline belongs to the line end
    lines = text.split("\n")
    lines.pop()
    return lines, invalid
