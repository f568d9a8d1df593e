"""The relay's policies towards authors: who may send how much, and who may come back (section 3.4).

Pure: the time is an argument, in seconds of any monotonic clock. What follows from an answer is done elsewhere.
"""

RATE_WINDOW_SECONDS = 60.0


class RateLimiter:
    """Counts one client's lines in fixed windows of a minute, the first beginning when the client connects."""

    def __init__(self, lines_per_minute: int, now: float) -> None:
        self._limit = lines_per_minute
        self._window_start = now
        self._count = 0

    def admit(self, lines: int, now: float) -> int:
        """How many of so many lines arriving together may pass. Refused lines count as well."""
        if now - self._window_start >= RATE_WINDOW_SECONDS:
            self._window_start = now
            self._count = 0
        admitted = max(0, min(lines, self._limit - self._count))
        self._count += lines
        return admitted


class Quarantine:
    """Addresses that were forced out and are not let in again for a while.

    An address is `ip:port` (S7): agents that share a machine or a router must not pay for one among them, at the
    price that a client coming back from a new port is let in.
    """

    def __init__(self, cooldown: float, cleanup_interval: float) -> None:
        self._cooldown = cooldown
        self._cleanup_interval = cleanup_interval
        self._last_cleanup = float("-inf")
        self._until: dict[str, float] = {}

    def add(self, address: str, now: float) -> None:
        """Refuse this address from now on for the cooldown."""
        if now - self._last_cleanup >= self._cleanup_interval:
            self._until = {held: until for held, until in self._until.items() if until > now}
            self._last_cleanup = now
        self._until[address] = now + self._cooldown

    def refuses(self, address: str, now: float) -> bool:
        """Whether this address is still in quarantine."""
        return self._until.get(address, now) > now
