"""The shapes of version 2's messages: JSON objects <-> frozen dataclasses (v2-handshake.md, sections 5.1, 6.1, 7.1, 8.4).

Shape only: what a blob holds and whether it opens is decided elsewhere. A message has exactly the routing members that its
kind names; other members, which nothing protects, are ignored and never reach anybody.
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from handfast.crypto.aead import TAG_BYTES
from handfast.errors import PeerError, Reason
from handfast.wire import limits
from handfast.wire.text import EncodingError, Json, b64url_decode, b64url_encode
from handfast.wire.v1 import is_agent_id
from handfast.wire.v2.header import Header, length_prefixed
from handfast.wire.v2.offers import SELECTION_BYTES, VERSION

TICKET_BYTES = 16
PACKET_HEAD_BYTES = 18

_GENERATIONS = range(1, 2**32)

# B(16 bytes): 22 characters, of which the last one holds two bits
_TOKEN = re.compile(r"u[A-Za-z0-9_-]{21}[AQgw]")


class _Message:
    """What all messages share."""

    __slots__ = ()
    header: Header

    @property
    def sender(self) -> str:
        """Who claims to have sent it."""
        return self.header.sender


@dataclass(frozen=True, slots=True)
class Offered(_Message):
    """`register` with an offer."""

    intent: ClassVar = "register"
    header: Header
    offer: bytes


@dataclass(frozen=True, slots=True)
class N1(_Message):
    """`confirm`: the responder's first message of XX."""

    intent: ClassVar = "n1"
    header: Header
    offer: bytes
    selection: bytes
    message: bytes


@dataclass(frozen=True, slots=True)
class N2(_Message):
    """The first `request`: the initiator's answer, with all that a responder without memory needs."""

    intent: ClassVar = "n2"
    header: Header
    offer: bytes
    selection: bytes
    message: bytes


@dataclass(frozen=True, slots=True)
class N3(_Message):
    """The first `respond`: the last message of XX."""

    intent: ClassVar = "n3"
    header: Header
    message: bytes


@dataclass(frozen=True, slots=True)
class K1(_Message):
    """`reconnect`: the initiator's message of KK, under a ticket (16 bytes) of a generation (from 1)."""

    intent: ClassVar = "k1"
    header: Header
    offer: bytes
    ticket: bytes
    generation: int
    message: bytes


@dataclass(frozen=True, slots=True)
class K2(_Message):
    """`confirm`: the responder's answer to K1."""

    intent: ClassVar = "k2"
    header: Header
    message: bytes


@dataclass(frozen=True, slots=True)
class Packet(_Message):
    """`request`, `respond`, `conclude`, `finish` or `close` of an established session."""

    header: Header
    packet: bytes

    @property
    def intent(self) -> str:
        """As on the wire."""
        return self.header.intent


Message = Offered | N1 | N2 | N3 | K1 | K2 | Packet


@dataclass(frozen=True, slots=True)
class _Shape:
    """A kind of message.

    Attributes:
        kind: its class.
        intent: its intent on the wire.
        members: the routing members that it has, and no others.
        blobs: what its block holds, named as in `_BLOBS`.
        type: its `t` in `hs`; empty for packets.
    """

    kind: Callable[..., Message]
    intent: str
    members: tuple[str, ...]
    blobs: tuple[str, ...]
    type: str = ""


@dataclass(frozen=True, slots=True)
class _Blob:
    """A text B(x) in a block: the member's name, and between how many bytes it holds."""

    member: str
    fewest: int
    most: int


_BLOBS = {
    "offer": _Blob("o", 24, 4 + limits.OFFER_VERSIONS + 2 * limits.OFFER_SUITES + 17),
    "selection": _Blob("s", SELECTION_BYTES, SELECTION_BYTES),
    "ticket": _Blob("i", TICKET_BYTES, TICKET_BYTES),
    "message": _Blob("m", 32, limits.HANDSHAKE_BYTES),
    "packet": _Blob(
        "b", PACKET_HEAD_BYTES + TAG_BYTES, PACKET_HEAD_BYTES + limits.PLAINTEXT_BYTES + TAG_BYTES
    ),
}

_EXCHANGE = ("my_nonce", "your_nonce")
_REFERENCES = ("my_ref", "your_ref")
_HANDSHAKES: dict[type[Message], _Shape] = {
    Offered: _Shape(Offered, "register", (), ("offer",), "offer"),
    N1: _Shape(N1, "confirm", ("my_nonce",), ("offer", "selection", "message"), "n1"),
    N2: _Shape(N2, "request", _EXCHANGE, ("offer", "selection", "message"), "n2"),
    N3: _Shape(N3, "respond", _EXCHANGE, ("message",), "n3"),
    K1: _Shape(K1, "reconnect", ("your_ref",), ("offer", "ticket", "message"), "k1"),
    K2: _Shape(K2, "confirm", ("my_nonce",), ("message",), "k2"),
}
_BY_TYPE = {shape.type: shape for shape in _HANDSHAKES.values()}
_PACKETS = {
    shape.intent: shape
    for shape in (
        _Shape(Packet, "request", _EXCHANGE, ("packet",)),
        _Shape(Packet, "respond", _EXCHANGE, ("packet",)),
        _Shape(Packet, "conclude", ("your_nonce", "my_ref"), ("packet",)),
        _Shape(Packet, "finish", _REFERENCES, ("packet",)),
        _Shape(Packet, "close", _REFERENCES, ("packet",)),
    )
}
_MEMBERS = _EXCHANGE + _REFERENCES

FOR_RESPONDER = frozenset({"register", "n2", "k1", "request", "conclude", "close"})
FOR_INITIATOR = frozenset({"n1", "n3", "k2", "respond", "finish"})


def is_v2(content: Json) -> bool:
    """Whether a payload claims to be of version 2, by an `hs` or a `sec` that says so."""
    return isinstance(content, dict) and any(
        isinstance(block, dict) and type(block.get("v")) is int and block["v"] == VERSION
        for block in (content.get("hs"), content.get("sec"))
    )


def is_token(value: Json) -> bool:
    """Whether `value` is a nonce or a reference as version 2 writes them: B(16 bytes)."""
    return isinstance(value, str) and _TOKEN.fullmatch(value) is not None


def parse_message(content: Json, own_id: str) -> Message | None:
    """The message that a relayed payload carries for us.

    Args:
        content: the `content` of a relayed payload, any JSON value.
        own_id: our agent id.

    Returns:
        The message, or None where it is for somebody else or came from ourselves.

    Raises:
        PeerError: with FORMAT, ENCODING, VERSION or TOO_LARGE; it is no message of version 2.
    """
    if not isinstance(content, dict):
        raise PeerError(Reason.FORMAT)
    sender, to = content.get("from"), content.get("to")
    if not is_agent_id(sender) or not isinstance(sender, str):
        raise PeerError(Reason.FORMAT, "from")
    if sender == own_id or (to is not None and to != own_id):
        return None
    hs, sec = content.get("hs"), content.get("sec")
    block = hs if sec is None else sec
    if not isinstance(block, dict) or (hs is not None and sec is not None):
        raise PeerError(Reason.FORMAT, "one of hs and sec")
    if type(block.get("v")) is not int or block["v"] != VERSION:
        raise PeerError(Reason.VERSION)
    shape = _BY_TYPE.get(_text(block, "t")) if sec is None else _PACKETS.get(_text(content, "intent"))
    if shape is None or content.get("intent") != shape.intent or (to is None) != (shape.kind is Offered):
        raise PeerError(Reason.FORMAT, "intent")
    header = Header(sender, to, shape.intent, **_routing(content, shape))
    values: dict[str, Any] = {name: _blob(block, _BLOBS[name]) for name in shape.blobs}
    if shape.kind is K1:
        values["generation"] = _generation(block.get("g"))
    return shape.kind(header, **values)


def encode_message(message: Message) -> dict[str, Json]:
    """A message as it is handed to the sender, which stamps `from`."""
    header, is_packet = message.header, isinstance(message, Packet)
    shape = _PACKETS[header.intent] if is_packet else _HANDSHAKES[type(message)]
    payload: dict[str, Json] = {"to": header.to, "intent": header.intent}
    for name in shape.members:
        payload[name] = getattr(header, name)
    block: dict[str, Json] = {"v": VERSION} if is_packet else {"v": VERSION, "t": shape.type}
    for name in shape.blobs:
        block[_BLOBS[name].member] = b64url_encode(getattr(message, name))
    if isinstance(message, K1):
        block["g"] = message.generation
    payload["sec" if is_packet else "hs"] = block
    return payload


def packet_counter(packet: bytes) -> int:
    """The counter of a packet, any bytes; proven only once the packet opens."""
    return int.from_bytes(packet[10:18], "big")


def digest_of(message: N1 | N2 | K1) -> bytes:
    """Names a message by everything in it that is protected: 32 bytes, by which an exact repetition is recognised."""
    named = message.ticket if isinstance(message, K1) else message.selection
    parts = (message.header.encoded(), message.offer, named, message.message)
    return hashlib.sha256(b"".join(length_prefixed(part) for part in parts)).digest()


def _text(block: dict[str, Json], name: str) -> str:
    value = block.get(name)
    return value if isinstance(value, str) else ""


def _routing(content: dict[str, Json], shape: _Shape) -> dict[str, str]:
    values: dict[str, str] = {}
    for name in _MEMBERS:
        if (name in shape.members) != (name in content):
            raise PeerError(Reason.FORMAT, name)
        if name in content:
            value = content[name]
            if not isinstance(value, str) or not is_token(value):
                raise PeerError(Reason.ENCODING, name)
            values[name] = value
    return values


def _blob(block: dict[str, Json], blob: _Blob) -> bytes:
    text = block.get(blob.member)
    if not isinstance(text, str):
        raise PeerError(Reason.FORMAT, blob.member)
    try:
        raw = b64url_decode(text)
    except EncodingError:
        raise PeerError(Reason.ENCODING, blob.member) from None
    if not blob.fewest <= len(raw) <= blob.most:
        raise PeerError(Reason.TOO_LARGE if len(raw) > blob.most else Reason.FORMAT, blob.member)
    return raw


def _generation(value: Json) -> int:
    if type(value) is not int or value not in _GENERATIONS:
        raise PeerError(Reason.FORMAT, "g")
    return value
