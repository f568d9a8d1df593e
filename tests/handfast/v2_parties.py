"""Two agents of version 2, and the handshakes between them, for tests: all chance comes from counted labels."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from handfast.crypto.keys import ExchangeKey, Secret, SigningKey
from handfast.errors import PeerError, Reason
from handfast.identity.agent_ids import self_certifying_id
from handfast.identity.binding import bind
from handfast.identity.identity import StaticKey
from handfast.session.v2.initiator import read_n1
from handfast.session.v2.parties import Myself
from handfast.session.v2.responder import ConfirmSecret, make_n1, read_n2
from handfast.session.v2.resumption import Ticket, make_k1, read_k1
from handfast.session.v2.session import Session
from handfast.session.v2.suites import CHACHA, SUITES
from handfast.wire.text import b64url_encode
from handfast.wire.v2.header import Header
from handfast.wire.v2.messages import K1, K2, N1, N2, N3

NOW = 1_800_000_000.0
AES = 0x0101


def noise(label: str, size: int = 32) -> bytes:
    """Bytes that look random and are the same in every run."""
    return hashlib.shake_256(label.encode()).digest(size)


def token(label: str) -> str:
    """A nonce or a reference."""
    return b64url_encode(noise(label, 16))


PSK = Secret(noise("psk"))


def signing_key(name: str) -> SigningKey:
    """The identity key of an agent."""
    return SigningKey(noise(f"identity of {name}"))


def static_key(name: str, agent_id: str, now: float = NOW, generation: str = "") -> StaticKey:
    """A static key of an agent, bound for 30 days."""
    key = ExchangeKey(noise(f"static {generation} of {name}"))
    return StaticKey(key, bind(signing_key(name), agent_id, key.public, int(now), int(now) + 30 * 86_400))


def agent(name: str, *suites: int, **members: Any) -> Myself:
    """An agent with a self-certifying id."""
    public = signing_key(name).public
    agent_id = self_certifying_id(public)
    return replace(
        Myself(agent_id, public, static_key(name, agent_id), suites or (CHACHA,)),
        **members,
    )


@dataclass
class Handshake:
    """A full handshake, message by message, each made when it is first asked for."""

    initiator: Myself
    responder: Myself
    label: str = ""

    def __post_init__(self) -> None:
        self.offer = self.initiator.offer(noise(f"{self.label} offer", 16))
        self.secrets = [ConfirmSecret.make(self.responder, noise(f"{self.label} secret", 48), NOW)]
        self.n1: N1 = make_n1(self.secrets[0], self.responder, self.initiator.agent_id, self.offer)

    def answer(self) -> N2:
        """n2; the initiator then waits for n3."""
        self.waiting, n2 = read_n1(
            self.initiator,
            [self.offer],
            self.n1,
            ephemeral=noise(f"{self.label} ephemeral"),
            nonce=token(f"{self.label} nonce of the initiator"),
        )
        return n2

    def accept(self, n2: N2) -> N3:
        """n3; the responder then has its half of the session."""
        self.accepted = read_n2(
            self.secrets, self.responder, n2, nonce=token(f"{self.label} nonce of the responder"), now=NOW
        )
        return self.accepted.reply

    def finish(self) -> tuple[Session, Session]:
        """The initiator's session and the responder's."""
        n3 = self.accept(self.answer())
        session, _ = self.waiting.read_n3(n3, NOW)
        return session, self.accepted.session


def sessions(*suites: int, label: str = "", **members: Any) -> tuple[Session, Session]:
    """Both sides of a new session: the initiator's, the responder's."""
    handshake = Handshake(agent("Hanna", *suites, **members), agent("Ralf", *suites, **members), label)
    return handshake.finish()


def resumed(
    initiator: Myself, responder: Myself, tickets: tuple[Ticket, Ticket], label: str = "", now: float = NOW
) -> tuple[K1, K2, Session, Session]:
    """A whole short handshake."""
    attempt, k1 = make_k1(
        initiator,
        tickets[0],
        initiator.offer(noise(f"{label} offer", 16)),
        ephemeral=noise(f"{label} k1"),
        now=now,
    )
    answered = read_k1(
        responder, tickets[1], k1, ephemeral=noise(f"{label} k2"), nonce=token(f"{label} k2 nonce"), now=now
    )
    session, _ = attempt.read_k2(answered.reply, now)
    return k1, answered.reply, session, answered.session


def header(session: Session, intent: str = "request", label: str = "") -> bytes:
    """HDR of a message that the holder of `session` sends; the other side needs this very one to open it."""
    nonces = {"my_nonce": token(f"{label} mine"), "your_nonce": token(f"{label} yours")}
    sender = "initiator" if session.is_initiator else "responder"
    return Header(sender, session.peer.agent_id, intent, **nonces).encoded()


def refused(call: Callable[[], object]) -> Reason:
    with pytest.raises(PeerError) as refusal:
        call()
    return refusal.value.reason


def altered(raw: bytes, every: int = 1) -> Iterator[bytes]:
    """`raw` with one bit of one byte changed, and cut, and longer."""
    for at in range(0, len(raw), every):
        yield raw[:at] + bytes([raw[at] ^ (1 << at % 8)]) + raw[at + 1 :]
    yield raw[:-1]
    yield raw + b"\0"


def every_altered(message: Any, every: int = 1) -> Iterator[Any]:
    """`message` with one byte of one of its blobs changed, or one member of its header."""
    for field in ("message", "offer", "selection", "ticket"):
        if hasattr(message, field):
            for raw in altered(getattr(message, field), every):
                yield replace(message, **{field: raw})
    for name in ("my_nonce", "your_nonce", "your_ref"):
        if getattr(message.header, name) is not None:
            yield replace(message, header=replace(message.header, **{name: token("another")}))
    yield replace(message, header=replace(message.header, sender="00000000-0000-4000-8000-000000000000"))


def parties(suite: int) -> tuple[Myself, Myself]:
    members: dict[str, Any] = {"psk": PSK} if SUITES[suite].psk else {}
    return agent("Hanna", suite, **members), agent("Ralf", suite, **members)
