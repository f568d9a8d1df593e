"""A token bucket: how often something that strangers can cause may happen. Time is an argument."""


class Budget:
    """Allows a burst, then so many a second, and counts what it holds back.

    Args:
        burst: how many may happen at once.
        per_second: how many may happen each second for ever.
        now: the present moment on a clock that never jumps, in seconds.
    """

    __slots__ = ("_at", "_burst", "_held_back", "_per_second", "_tokens")

    def __init__(self, burst: float, per_second: float, now: float) -> None:
        self._burst = self._tokens = float(burst)
        self._per_second = per_second
        self._at = now
        self._held_back = 0

    def is_spent(self, now: float) -> bool:
        """Whether the next one would be held back."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._per_second)
        self._at = now
        return self._tokens < 1

    def take(self, now: float) -> int | None:
        """How many were held back since the last that was allowed; None where this one is held back, too."""
        if self.is_spent(now):
            self._held_back += 1
            return None
        self._tokens -= 1
        held_back, self._held_back = self._held_back, 0
        return held_back
