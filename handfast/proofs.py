"""How often proofs may fail: what forged input can make us compute. Pure; time is an argument.

A proof that fails has cost a transaction and a signature to verify, perhaps a key agreement, some tenths of a millisecond in
all. Whoever can write to the relay can cause that, also under the id of somebody we know. Proofs that hold cost nothing here.
"""

from collections import OrderedDict
from collections.abc import Hashable

from handfast.budget import Budget

# Each is a burst, then so many a second. Strangers share one allowance: a crowd of honest newcomers fails hardly ever.
FAILED_BY_STRANGERS = (100, 20.0)
# Under the ids of those who have proven a key. Generous, because what fails here stands beside what the peer really says,
# and both look alike until they are verified: some hundredths of a core.
FAILED_BY_KNOWN = (200, 100.0)
# What is left to each known peer when others, or forgers under their ids, have used that up: far more than the handful of
# messages that fail when one of two honest agents was restarted.
FAILED_BY_EACH = (20, 2.0)
# Shares of so many peers are remembered; who is pushed out by more has a full share again.
SHARES = 4_096


class FailedProofs:
    """Whether a message that must prove something is still looked at.

    Args:
        now: the present moment on a clock that never jumps, in seconds.
    """

    __slots__ = ("_known", "_shares", "_strangers")

    def __init__(self, now: float) -> None:
        self._strangers = Budget(*FAILED_BY_STRANGERS, now)
        self._known = Budget(*FAILED_BY_KNOWN, now)
        self._shares: OrderedDict[Hashable, Budget] = OrderedDict()

    def are_too_many(self, peer: Hashable, is_stranger: bool, now: float) -> bool:
        """Whether a message of this peer is to be passed over unseen."""
        if is_stranger:
            return self._strangers.is_spent(now)
        share = self._shares.get(peer)
        return self._known.is_spent(now) and share is not None and share.is_spent(now)

    def count(self, peer: Hashable, is_stranger: bool, now: float) -> None:
        """A proof of this peer, or of somebody who uses its id, has failed."""
        if is_stranger:
            self._strangers.take(now)
        elif self._known.take(now) is None:
            self._share(peer, now).take(now)

    def _share(self, peer: Hashable, now: float) -> Budget:
        share = self._shares.pop(peer, None) or Budget(*FAILED_BY_EACH, now)
        self._shares[peer] = share
        if len(self._shares) > SHARES:
            self._shares.popitem(last=False)
        return share
