"""What one recipient has yet to be sent: a first-in first-out queue bounded in bytes (S5, S10). Pure."""

from collections import deque


class Outbox:
    """Whole frames waiting for one recipient. The bytes are shared with the queues of all other recipients."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._pieces: deque[bytes] = deque()
        self.queued_bytes = 0

    def __bool__(self) -> bool:
        return bool(self._pieces)

    def push(self, frames: bytes) -> bool:
        """Queue one or more joined frames; `False`, and nothing changes, if they do not fit."""
        queued = self.queued_bytes + len(frames)
        if queued > self._max_bytes:
            return False
        self.queued_bytes = queued
        self._pieces.append(frames)
        return True

    def push_last(self, notice: bytes) -> None:
        """Queue a closing notice, which is short and always fits."""
        self._pieces.append(notice)
        self.queued_bytes += len(notice)

    def take(self, about_bytes: int) -> bytes:
        """Remove and join queued pieces from the front until `about_bytes` are reached or none is left."""
        pieces = self._pieces
        if not pieces:
            return b""
        taken = [pieces.popleft()]
        size = len(taken[0])
        while pieces and size < about_bytes:
            taken.append(pieces.popleft())
            size += len(taken[-1])
        self.queued_bytes -= size
        return b"".join(taken)

    def clear(self) -> None:
        """Forget everything that was queued."""
        self._pieces.clear()
        self.queued_bytes = 0
