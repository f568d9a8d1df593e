"""How often proofs may fail: what forged input can make us compute. Pure; time is an argument.

A proof that fails has cost a transaction and a signature to verify, perhaps a key agreement, some tenths of a millisecond in
all. Whoever can write to the relay can cause that, also under the id of somebody we know. Proofs that hold cost nothing here.
"""

from collections import OrderedDict
from collections.abc import Hashable
from enum import Enum, auto

from handfast.budget import Budget

# Each is a burst, then so many a second. Strangers share one allowance: a crowd of honest newcomers fails hardly ever.
FAILED_BY_STRANGERS = (100, 20.0)
# Under the ids of those who have proven a key. Generous, because what fails here stands beside what the peer really says,
# and both look alike until they are verified: some hundredths of a core.
FAILED_BY_KNOWN = (200, 100.0)
# What is left to each known peer when others, or forgers under their ids, have used that up: far more than the handful of
# messages that fail when one of two honest agents was restarted.
FAILED_BY_EACH = (20, 2.0)
# Of messages that open under a session's keys, and are refused for what they say. Nobody but the peer can make them, and the
# same one is not counted again: others can repeat it.
FAILED_IN_SESSION = (10, 1.0)
# Shares of so many peers are remembered; who is pushed out by more has a full share again.
SHARES = 4_096


class Standing(Enum):
    """What is known of whoever sent a message, before the message is looked at."""

    STRANGER = auto()  # uses an id that has proven no key yet
    KNOWN = auto()  # uses an id that has, and may be anybody
    IN_SESSION = auto()  # has proven one, and has the keys of a session: is the peer


class FailedProofs:
    """Whether a message that must prove something is still looked at.

    Args:
        now: the present moment on a clock that never jumps, in seconds.
    """

    __slots__ = ("_in_session", "_known", "_shares", "_strangers")

    def __init__(self, now: float) -> None:
        self._strangers = Budget(*FAILED_BY_STRANGERS, now)
        self._known = Budget(*FAILED_BY_KNOWN, now)
        self._shares = _Shares(*FAILED_BY_EACH)
        self._in_session = _Shares(*FAILED_IN_SESSION)

    def are_too_many(self, peer: Hashable, standing: Standing, now: float) -> bool:
        """Whether a message of this peer is to be passed over unseen."""
        match standing:
            case Standing.STRANGER:
                return self._strangers.is_spent(now)
            case Standing.KNOWN:
                return self._known.is_spent(now) and self._shares.is_spent(peer, now)
            case Standing.IN_SESSION:
                return self._in_session.is_spent(peer, now)

    def count(self, peer: Hashable, standing: Standing, now: float) -> None:
        """A proof of this peer, or of somebody who uses its id, has failed."""
        match standing:
            case Standing.STRANGER:
                self._strangers.take(now)
            case Standing.KNOWN:
                if self._known.take(now) is None:
                    self._shares.take(peer, now)
            case Standing.IN_SESSION:
                self._in_session.take(peer, now)


class _Shares:
    """A budget for each peer; those of the peers that used theirs last are remembered."""

    __slots__ = ("_burst", "_of", "_per_second")

    def __init__(self, burst: float, per_second: float) -> None:
        self._burst = burst
        self._per_second = per_second
        self._of: OrderedDict[Hashable, Budget] = OrderedDict()

    def is_spent(self, peer: Hashable, now: float) -> bool:
        share = self._of.get(peer)
        return share is not None and share.is_spent(now)

    def take(self, peer: Hashable, now: float) -> None:
        share = self._of.pop(peer, None) or Budget(self._burst, self._per_second, now)
        share.take(now)
        self._of[peer] = share
        if len(self._of) > SHARES:
            self._of.popitem(last=False)
