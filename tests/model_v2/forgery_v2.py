"""What an attacker without the two agents' keys can say in version 2's conversations, made of what he has seen."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC

from book import IDS, A, B
from modelled_agent import NOW, symbolic_identity
from snapshots import Snapshot

from handfast.conversation.live import Live
from handfast.conversation.model import State
from handfast.errors import PeerError
from handfast.session.v1 import make_hs
from handfast.session.v2 import initiator, responder
from handfast.session.v2.parties import Myself
from handfast.wire import v1
from handfast.wire.messages import Message
from handfast.wire.text import b64url_encode
from handfast.wire.v2.header import Header
from handfast.wire.v2.messages import FOR_RESPONDER, K1, K2, N1, N2, N3, Offered, Packet, is_token

ATTACKERS_KEY = symbolic_identity("e", IDS[A], version=2).identity_key.public
OWN_TOKENS = tuple(b64url_encode(f"attacker-{digit}".encode().ljust(16, b".")) for digit in "01")
_OWN_V1_NONCE = "e" * 32
_OWN_REFERENCE = "ref-e"
_GARBAGE = b"?" * 96

# the members that each kind of packet has, and to whom it goes
_PACKETS = {
    "request": (A, ("my_nonce", "your_nonce")),
    "respond": (B, ("my_nonce", "your_nonce")),
    "conclude": (A, ("your_nonce", "my_ref")),
    "finish": (B, ("your_ref", "my_ref")),
    "close": (A, ("your_ref", "my_ref")),
}


def _answers_an_offer(message: Message, before: Snapshot) -> bool:
    is_for_first_contact = before.row.state in (State.INIT_READY, State.INIT_HS) or before.row.version == 1
    return isinstance(message, N1) and (is_for_first_contact or _goes_unanswered(before))


def _goes_unanswered(before: Snapshot) -> bool:
    return before.row.outgoing is not None and before.row.outgoing.sends > 1


def _was_never_met(before: Snapshot) -> bool:
    return before.row.version == 1 and not before.identity_pins


# What a forged message may change. None of it touches a session, a ticket or a pin: `is_harmless` is asked besides.
EXCEPTIONS: dict[str, Callable[[Message, Snapshot], bool]] = {
    "an n1 to whoever would rather resume, who shows its ticket": lambda message, before: (
        isinstance(message, N1) and before.row.state is State.INIT_READY and before.row.ticket is not None
    ),
    "an n1 that answers an offer, one attempt more": _answers_an_offer,
    "a register of version 1, of whom was never met in version 2": lambda message, before: (
        isinstance(message, v1.Register) and before.row.version == 1
    ),
    "a confirm of version 1 of another key, of whom was never met in version 2": lambda message, before: (
        isinstance(message, v1.Confirm) and _was_never_met(before)
    ),
}


def is_harmless(before: Snapshot, after: Snapshot) -> bool:
    """Whether everything that has been proven is still there, and nothing new is taken for proven."""
    old, new = before.row, after.row
    old_live, new_live = old.live or Live(), new.live or Live()
    return (
        (old_live.session, old_live.halves) == (new_live.session, new_live.halves)
        and old_live.consumed == new_live.consumed
        and (old.ticket, old.ticket_used, old.version) == (new.ticket, new.ticket_used, new.version)
        and before.identity_pins == after.identity_pins
        and before.pins == after.pins
        and before.used_up == after.used_up
    )


class Forger:
    """As `book.Forger`, for version 2; each forgery is made of at most two messages seen.

    The attacker has keys of his own, which nobody knows, and uses them under both agents' ids.

    Attributes:
        messages: everything forged so far, numbered.
        proven_by_another: those that prove the attacker's key, to be refused by whoever knows the right one.

    Args:
        suite: what the agents speak.
    """

    def __init__(self, suite: int) -> None:
        self.messages: list[Message] = []
        self.proven_by_another: set[int] = set()
        self._numbers: dict[str, int] = {}
        self._made_of: dict[tuple[int, ...], tuple[int, int]] = {}
        self._known: dict[int, tuple[int, int]] = {}
        identities = [symbolic_identity("e", agent_id, version=2) for agent_id in IDS]
        self._posing = [Myself.from_identity(identity, (suite,), NOW) for identity in identities]
        self._offer = self._posing[A].offer(b"attacker".ljust(16, b"."))
        self._secret = responder.ConfirmSecret.make(self._posing[B], b"attacker".ljust(48, b"."), NOW)

    def candidates(self, sent: int, letters: dict[int, Message]) -> tuple[int, int]:
        """See `book.Forger`."""
        if sent not in self._known:
            parts = [self._once((), self._from_nothing())]
            for number, letter in letters.items():
                parts.append(self._once((number,), self._from_one(letter)))
                for other, source in letters.items():
                    parts.append(self._once((number, other), self._from_two(letter, source)))
            genuine = self._bits(self._numbers.get(repr(letter)) for letter in letters.values())
            to_a = to_b = 0
            for for_a, for_b in parts:
                to_a, to_b = to_a | for_a, to_b | for_b
            self._known[sent] = to_a & ~genuine, to_b & ~genuine
        return self._known[sent]

    def _once(self, made_of: tuple[int, ...], messages: Iterator[Message]) -> tuple[int, int]:
        if made_of not in self._made_of:
            to: list[set[int]] = [set(), set()]
            for message in messages:
                to[_reader(message)].add(self._number(message))
            self._made_of[made_of] = self._bits(to[A]), self._bits(to[B])
        return self._made_of[made_of]

    @staticmethod
    def _bits(numbers: Iterator[int | None] | set[int]) -> int:
        return sum(1 << number for number in set(numbers) if number is not None)

    def _number(self, message: Message) -> int:
        number = self._numbers.setdefault(repr(message), len(self.messages))
        if number == len(self.messages):
            self.messages.append(message)
            if isinstance(message, N2 | N3) and message.message != _GARBAGE:
                self.proven_by_another.add(number)
        return number

    # ---- what is made of what ------------------------------------------------------------------------------------

    def _from_nothing(self) -> Iterator[Message]:
        yield Offered(Header(IDS[A], None, "register"), self._offer)
        yield K1(
            Header(IDS[A], IDS[B], "reconnect", your_ref=OWN_TOKENS[0]), self._offer, b"t" * 16, 1, _GARBAGE
        )
        yield K2(Header(IDS[B], IDS[A], "confirm", my_nonce=OWN_TOKENS[0]), _GARBAGE)
        signing_key = symbolic_identity("e", IDS[B]).signing_key
        for side in (A, B):
            yield v1.Register(IDS[side])
        hs = make_hs("response", _OWN_V1_NONCE, bytes(31) + b"e", signing_key, NOW, UTC)
        yield v1.Confirm(IDS[B], _OWN_V1_NONCE, hs)

    def _from_one(self, letter: Message) -> Iterator[Message]:
        """His own handshakes with what was seen, and what was seen with other bytes in it."""
        match letter:
            case Offered() if letter.sender == IDS[A]:
                yield responder.make_n1(self._secret, self._posing[B], IDS[A], letter.offer)
            case N1():
                yield replace(letter, offer=self._offer)
                yield replace(letter, message=_GARBAGE)
            case N2():
                yield from self._finish(letter)
            case N3() | K2():
                yield replace(letter, message=_GARBAGE)
            case K1():
                yield replace(letter, message=_GARBAGE)
                yield replace(letter, offer=self._offer)
                yield replace(letter, generation=letter.generation + 1)
            case Packet():
                yield replace(letter, packet=letter.packet[:-1] + b"?")
        if isinstance(letter, N2):
            yield replace(letter, message=_GARBAGE)
        for token in OWN_TOKENS:
            yield from _with_token(letter, token)

    def _from_two(self, letter: Message, source: Message) -> Iterator[Message]:
        if isinstance(letter, N1) and isinstance(source, Offered):
            yield from self._answer(letter, source.offer)
        if isinstance(letter, N2) and isinstance(source, N2 | Offered) and source.offer != letter.offer:
            yield replace(letter, offer=source.offer)
        for token in _tokens(source):
            yield from _with_token(letter, token)
        if isinstance(letter, Packet) and isinstance(source, Packet):
            # what was said in one place, moved to another: intent, direction, session
            author, members = _PACKETS[source.intent]
            header = Header(IDS[author], IDS[1 - author], source.intent)
            values = {name: getattr(source.header, name) for name in members}
            yield Packet(replace(header, **values), letter.packet)

    # ---- handshakes under his own key ----------------------------------------------------------------------------

    def _finish(self, n2: N2) -> Iterator[Message]:
        """An n3 in the responder's name, where the initiator has answered an n1 of his; and one that cannot open."""
        header = Header(IDS[B], IDS[A], "respond", my_nonce=OWN_TOKENS[1], your_nonce=n2.header.my_nonce)
        yield N3(header, _GARBAGE)
        if responder.nonce_matches([self._secret], n2):
            yield responder.read_n2([self._secret], self._posing[B], n2, nonce=OWN_TOKENS[1], now=NOW).reply

    def _answer(self, n1: N1, offer: bytes) -> Iterator[Message]:
        """An n2 in the initiator's name."""
        try:
            _, n2 = initiator.read_n1(self._posing[A], [offer], n1, ephemeral=b"f" * 32, nonce=OWN_TOKENS[0])
        except PeerError:
            return
        yield n2


def _reader(message: Message) -> int:
    if isinstance(message, v1.Register | Offered):
        return B if message.sender == IDS[A] else A
    is_for_responder = message.intent in FOR_RESPONDER | v1.FOR_RESPONDER
    return B if is_for_responder else A


def _tokens(source: Message) -> Iterator[str]:
    header = getattr(source, "header", None)
    for name in ("my_nonce", "my_ref"):
        token = getattr(header or source, name, None)
        if isinstance(token, str):
            yield token


def _with_token(letter: Message, token: str) -> Iterator[Message]:
    """`letter` with another nonce or reference; and whatever version 1 could say with it."""
    header = getattr(letter, "header", None)
    for name in ("my_nonce", "your_nonce", "my_ref", "your_ref"):
        if header is not None and is_token(token) and getattr(header, name) is not None:
            yield replace(letter, header=replace(header, **{name: token}))  # type: ignore[call-arg, type-var]
    for other in (*_tokens(letter), _OWN_REFERENCE):
        yield v1.Conclude(IDS[A], other, token)
        yield v1.Finish(IDS[B], other, token)
        yield v1.Close(IDS[A], other, token)
        yield v1.Respond(IDS[B], other, token, {})
    yield v1.Reconnect(IDS[A], token)
