"""`LineSplitter`: chunks of a byte stream into lines of bounded length (section 2.7)."""

from collections.abc import Callable


class LineSplitter:
    """Cuts a stream at its newlines and skips lines longer than `max_bytes`, newline included (W3).

    Holds at most `max_bytes` between chunks. `on_too_long` is called once for each line skipped.
    """

    def __init__(self, max_bytes: int, on_too_long: Callable[[], None]) -> None:
        self._max_text = max_bytes - 1
        self._on_too_long = on_too_long
        self._partial = bytearray()
        self._skipping = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that `chunk` completes, without their newlines."""
        lines = chunk.split(b"\n")
        rest = lines.pop()
        if lines:
            if self._skipping:
                self._skipping = False
                del lines[0]
            elif self._partial:
                lines[0] = bytes(self._partial) + lines[0]
                self._partial.clear()
            if lines and max(map(len, lines)) > self._max_text:
                lines = [line for line in lines if self._fits(line)]
        if rest and not self._skipping:
            self._hold(rest)
        return lines

    def finish(self) -> bytes | None:
        """What stands after the last newline, if anything."""
        return bytes(self._partial) or None

    def _fits(self, line: bytes) -> bool:
        if len(line) <= self._max_text:
            return True
        self._on_too_long()
        return False

    def _hold(self, rest: bytes) -> None:
        if len(self._partial) + len(rest) <= self._max_text:
            self._partial += rest
        else:
            self._partial.clear()
            self._skipping = True
            self._on_too_long()
