"""What is remembered of pairs between their turns, so that a line of the relay need not ask the database. Pure."""

from collections import OrderedDict
from dataclasses import replace

from handfast.conversation.live import Announcements
from handfast.conversation.model import PeerState, is_of_version_2
from handfast.schedule import Pair
from handfast.wire.messages import Message
from handfast.wire.v2.messages import Offered

# States are read for every line of the relay; this many pairs are answered without asking the database.
CACHED_PAIRS = 16_384

# Sessions of version 2, and what keeps an old handshake from being used again, are kept in memory only: so many pairs, of a
# few kilobytes each. What nothing depends on any more makes room; then the pairs that are there are served first.
PAIRS_LIVE = 16_384


class Pairs:
    """The states that the last commits left.

    Attributes:
        live: those with a part that is kept in memory only; none of them is forgotten before it is spent.
        stored: those that are in the database as well; who was asked for last is at the end.
    """

    def __init__(self) -> None:
        self.live: dict[Pair, PeerState] = {}
        self.stored: OrderedDict[Pair, PeerState] = OrderedDict()

    def get(self, pair: Pair) -> PeerState | None:
        """The pair's state, if it is remembered."""
        state = self.live.get(pair)
        if state is None and (state := self.stored.get(pair)) is not None:
            self.stored.move_to_end(pair)
        return state

    def put(self, state: PeerState) -> None:
        """Remember this state of its pair."""
        pair = state.role, state.peer_id
        if state.live is not None:
            self.live[pair] = state
            return
        self.live.pop(pair, None)
        self.stored[pair] = state
        self.stored.move_to_end(pair)
        if len(self.stored) > CACHED_PAIRS:
            self.stored.popitem(last=False)

    def has_room_for(self, known: PeerState, message: Message, ours: Announcements | None) -> bool:
        """Whether what a message leads to can be kept, if need be after pairs were let go that nothing depends on.

        Args:
            known: the state of the message's pair.
            message: which is about to be served.
            ours: what is announced now, which says what could still be used again.
        """
        # of version 1 nothing is kept in memory only, and nothing at all of a greeting
        if known.live is not None or not is_of_version_2(message) or isinstance(message, Offered):
            return True
        if len(self.live) < PAIRS_LIVE:
            return True
        spent = [state for state in self.live.values() if state.live and state.live.is_spent(ours)]
        for state in spent:
            self.put(replace(state, live=None))
        return spent != []
