"""What an attacker without keys can say, made of what he has seen, and what of it v1 lets through by design."""

from collections.abc import Callable, Iterator
from datetime import UTC
from itertools import chain, product

from modelled_agent import NOW
from snapshots import Snapshot

from handfast.crypto.keys import SigningKey
from handfast.session.v1 import make_hs
from handfast.wire.text import Json
from handfast.wire.v1 import (
    Close,
    Conclude,
    Confirm,
    Finish,
    HsType,
    Message,
    Reconnect,
    Request,
    Respond,
    claimed_sign_pub,
)

# as many as he needs to get past the check for repeated nonces twice
OWN_NONCES = tuple("e" * 31 + digit for digit in "01")
OWN_REFERENCE = "ref-e"
_CONTROL = (Reconnect, Conclude, Finish, Close)
_KINDS: tuple[HsType, ...] = ("response", "init")


def is_control(message: Message) -> bool:
    """Whether v1 gives the message no proof at all, so that forging it may cut a conversation short."""
    return isinstance(message, _CONTROL)


def _is_of_unpinned_key(message: Message, before: Snapshot) -> bool:
    pins = dict(before.pins)
    key = claimed_sign_pub(message)
    return isinstance(message, Confirm) and before.row.peer_id not in pins and key not in pins.values()


# What a forged message may change, because nothing in v1 proves the values it must show, and all of them are visible. None
# of it delivers anything but what the peer said, in its order, once; timers lead back to ready.
EXCEPTIONS: dict[str, Callable[[Message, Snapshot], bool]] = {
    "a reconnect with the visible reference": lambda message, before: (
        isinstance(message, Reconnect) and message.your_ref == before.row.local_reference
    ),
    "a conclude that echoes the visible nonce": lambda message, before: (
        isinstance(message, Conclude) and message.your_nonce == before.row.local_nonce
    ),
    "a finish with the visible reference": lambda message, before: (
        isinstance(message, Finish) and message.your_ref == before.row.local_reference
    ),
    "a close with both visible references": lambda message, before: (
        isinstance(message, Close)
        and message.your_ref == before.row.local_reference
        and message.my_ref == before.row.peer_reference
    ),
    "a confirm of another key, before the peer's is pinned": _is_of_unpinned_key,
    "a genuine envelope that echoes the visible nonce, under another nonce of its own": lambda message, before: (
        isinstance(message, Request | Respond) and message.your_nonce == before.row.local_nonce
    ),
}


def asks_for_the_last_answer(message: Message, before: Snapshot) -> bool:
    """Whether a message that changes nothing may at least have the answer to the last one sent again."""
    row = before.row
    if isinstance(message, Request | Respond):
        return message.my_nonce == row.peer_nonce
    if isinstance(message, Finish):
        return message.your_ref == row.local_reference and message.my_ref == row.peer_reference
    return isinstance(message, Conclude) and message.my_ref == row.peer_reference


class Forger:
    """Makes messages of parts seen.

    Args:
        ids: of the initiator and the responder, who appear as the senders.
        keys: signing keys of which the attacker has a handshake: his own, an honest third agent's.

    Attributes:
        messages: everything forged so far, numbered.
    """

    def __init__(self, ids: tuple[str, ...], keys: tuple[SigningKey, ...]) -> None:
        self.messages: list[Message] = []
        self._initiator, self._responder = ids
        self._numbers: dict[str, int] = {}
        self._known: dict[int, tuple[int, int]] = {}
        self._handshakes: list[dict[str, Json]] = [
            make_hs(kind, OWN_NONCES[0], bytes(31) + b"e", key, NOW, UTC) for key in keys for kind in _KINDS
        ]

    def candidates(self, sent: int, letters: dict[int, Message]) -> tuple[int, int]:
        """What can be said to the initiator and to the responder, as bits over `messages`.

        Args:
            sent: the bits of `letters`.
            letters: everything that was sent, by number.
        """
        if sent not in self._known:
            to_initiator = to_responder = 0
            for message in self._forge(list(letters.values())):
                if isinstance(message, Confirm | Respond | Finish):
                    to_initiator |= 1 << self._number(message)
                else:
                    to_responder |= 1 << self._number(message)
            self._known[sent] = to_initiator, to_responder
        return self._known[sent]

    def _number(self, message: Message) -> int:
        number = self._numbers.setdefault(repr(message), len(self.messages))
        if number == len(self.messages):
            self.messages.append(message)
        return number

    def _forge(self, letters: list[Message]) -> Iterator[Message]:
        nonces = [*OWN_NONCES, *(m.my_nonce for m in letters if isinstance(m, Confirm | Request | Respond))]
        references = [OWN_REFERENCE, *(m.my_ref for m in letters if isinstance(m, Conclude | Finish))]
        handshakes = [
            *self._handshakes,
            *(m.hs for m in letters if isinstance(m, Confirm | Request) and isinstance(m.hs, dict)),
        ]
        forged = chain(
            self._control(nonces, references),
            self._confirms(handshakes),
            self._wrapped(nonces, handshakes, [m for m in letters if isinstance(m, Request | Respond)]),
        )
        return (message for message in forged if message not in letters)

    def _control(self, nonces: list[str], references: list[str]) -> Iterator[Message]:
        for nonce, reference in product(nonces, references):
            yield Conclude(self._initiator, nonce, reference)
        for reference in references:
            yield Reconnect(self._initiator, reference)
        for yours, mine in product(references, references):
            yield Finish(self._responder, yours, mine)
            yield Close(self._initiator, yours, mine)

    def _confirms(self, handshakes: list[dict[str, Json]]) -> Iterator[Message]:
        for hs in handshakes:
            for nonce in (OWN_NONCES[1], str(hs["nonce"])):
                yield Confirm(self._responder, nonce, hs)
        yield Confirm(self._responder, OWN_NONCES[1], None)

    def _wrapped(
        self, nonces: list[str], handshakes: list[dict[str, Json]], sealed: list[Request | Respond]
    ) -> Iterator[Message]:
        """Everything that a genuine `sec` can be put into."""
        for echo, letter in product(nonces, sealed):
            for own in nonces:
                yield Respond(self._responder, echo, own, letter.sec)
                yield Request(self._initiator, echo, own, None, letter.sec)
            for hs in handshakes:
                yield Request(self._initiator, echo, str(hs["nonce"]), hs, letter.sec)
