"""Which counters were seen (RFC 6479; v2-handshake.md, section 7.2)."""

SIZE = 1024
_MASK = (1 << SIZE) - 1


class Window:
    """The highest counter seen and, as bits of one number, which of the `SIZE` up to it were seen.

    The ring of words of RFC 6479 spares a shift of many words; here the shift is one operation on one immutable number,
    which a copy shares.
    """

    __slots__ = ("_bits", "top")

    def __init__(self, top: int = -1, bits: int = 0) -> None:
        self.top = top
        self._bits = bits  # bit n: counter top - n

    def copy(self) -> "Window":
        """Another window in the same state."""
        return Window(self.top, self._bits)

    def has(self, counter: int) -> bool:
        """Whether this counter was seen, or is so old that it must be taken for seen."""
        age = self.top - counter
        return age >= SIZE or (age >= 0 and self._bits >> age & 1 == 1)

    def mark(self, counter: int) -> None:
        """Count this counter, which `has` does not have, as seen."""
        ahead = counter - self.top
        if ahead > 0:
            self._bits = (self._bits << min(ahead, SIZE) | 1) & _MASK
            self.top = counter
        else:
            self._bits |= 1 << -ahead
