"""What a node remembers of its letters: for whom they wait, and who waits to learn what became of them. No I/O."""

import asyncio
from collections import Counter
from collections.abc import Iterable

from handfast.conversation.effects import Effect, Paused
from handfast.mail import Fate, LettersDelivered, LettersGivenUp, StreamLost


class Receipt:
    """What becomes of one message.

    Attributes:
        peer_id: for whom it is.
        number: names it, together with the peer; `Peer.receipts` finds it again after a restart.
    """

    __slots__ = ("_done", "_failure", "_fate", "number", "peer_id")

    def __init__(self, peer_id: str, number: int, fate: Fate = Fate.WAITING) -> None:
        self.peer_id = peer_id
        self.number = number
        self._fate = fate
        self._failure: BaseException | None = None
        self._done = asyncio.Event()
        if fate is not Fate.WAITING:
            self._done.set()

    def __repr__(self) -> str:
        return f"<Receipt {self.number} for {self.peer_id}: {self._fate}>"

    @property
    def fate(self) -> Fate:
        """What is known now."""
        return self._fate

    async def wait(self) -> Fate:
        """What became of the message, once it is known; may be cancelled and called again.

        Raises:
            HandfastError: the node was closed, or failed, before that; the message is kept, and sent by the next node.
        """
        await self._done.wait()
        if self._failure is not None:
            raise self._failure
        return self._fate

    def settle(self, fate: Fate) -> None:
        """Tell whoever waits; the first word is the last."""
        if self._fate is Fate.WAITING:
            self._fate = fate
            self._done.set()

    def fail(self, failure: BaseException) -> None:
        """Tell whoever waits that nobody will know."""
        if self._fate is Fate.WAITING:
            self._failure = failure
            self._done.set()


class Letters:
    """Whom a node wants to talk to, and its open receipts.

    `wants` errs on the side of talking: what waits is looked up in the database when a message is made.
    """

    def __init__(self) -> None:
        self._newest: dict[str, int] = {}
        self._open: dict[str, dict[int, Receipt]] = {}
        self._wishes: Counter[str | None] = Counter()

    def wants(self, peer_id: str, *, is_known: bool) -> bool:
        """Whether letters wait for a peer, or somebody wishes to meet it who has not."""
        if peer_id in self._newest:
            return True
        return not is_known and (self._wishes[peer_id] > 0 or self._wishes[None] > 0)

    @property
    def is_idle(self) -> bool:
        """Whether nobody is wanted."""
        return not self._newest and not self._wishes

    def wish(self, peer_id: str | None) -> None:
        """Somebody wishes to meet a peer; None: anybody."""
        self._wishes[peer_id] += 1

    def unwish(self, peer_id: str | None) -> None:
        """Undo a `wish`."""
        self._wishes[peer_id] -= 1
        if not self._wishes[peer_id]:
            del self._wishes[peer_id]

    def wait_for(self, peer_id: str, numbers: Iterable[int]) -> list[Receipt]:
        """The receipts of letters that wait in the database."""
        receipts = self._open.setdefault(peer_id, {})
        found = [receipts.setdefault(number, Receipt(peer_id, number)) for number in numbers]
        if found:
            self.want(peer_id, max(receipt.number for receipt in found))
        return found

    def want(self, peer_id: str, number: int) -> None:
        """A letter with this number waits for a peer."""
        self._newest[peer_id] = max(number, self._newest.get(peer_id, 0))

    def note(self, peer_id: str, effect: Effect) -> bool:
        """Learn from what a step has led to; True where it made room for letters."""
        match effect:
            case LettersDelivered(numbers):
                return self._settle(peer_id, numbers, Fate.DELIVERED)
            case LettersGivenUp(expired, unknown):
                self._settle(peer_id, expired, Fate.EXPIRED)
                return self._settle(peer_id, unknown, Fate.UNKNOWN)
            case StreamLost(_, up_to):
                lost = [number for number in self._open.get(peer_id, {}) if number <= up_to]
                return self._settle(peer_id, lost, Fate.UNKNOWN)
            case Paused(posted) if self._newest.get(peer_id, posted + 1) <= posted:
                del self._newest[peer_id]
            case _:
                pass
        return False

    def settle(self, peer_id: str, number: int, fate: Fate) -> None:
        """One letter is waited for no more."""
        receipt = self._open.get(peer_id, {}).pop(number, None)
        if receipt is not None:
            receipt.settle(fate)

    def fail(self, failure: BaseException) -> None:
        """Nothing more will be known."""
        for receipts in self._open.values():
            for receipt in receipts.values():
                receipt.fail(failure)
        self._open.clear()

    def _settle(self, peer_id: str, numbers: Iterable[int], fate: Fate) -> bool:
        for number in numbers:
            self.settle(peer_id, number, fate)
        return True
