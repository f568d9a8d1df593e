"""The eight messages of the v1 conversation and the `hs` and `sec` blocks: JSON objects <-> frozen dataclasses.

Shape only (hsagent-v1.md, sections 1, 3 and 4): whether a nonce was seen, a signature holds or a state fits is decided
elsewhere. Members that v1 does not name are ignored, as v1 agents do.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

from handfast.errors import PeerError, Reason
from handfast.wire import limits
from handfast.wire.text import EncodingError, Json, b64decode, b64encode

# Ends the nonces of agents that speak version 2, too: an `hs` of theirs that reaches us although we have offered version 2
# was brought about by somebody who took our offer away. Its d's keep a nonce from being read as a JSON number.
SENTINEL = "5e2d0d53"

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_NONCE = re.compile(r"[0-9a-f]{32}")
_REFERENCE = re.compile(rf"[A-Za-z0-9._:@-]{{1,{limits.REFERENCE_CHARACTERS}}}")
_TIMESTAMP = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})?"
)

HsType = Literal["init", "response"]


@dataclass(frozen=True, slots=True)
class Register:
    """`register`: a broadcast "I am here"."""

    intent: ClassVar = "register"
    sender: str


@dataclass(frozen=True, slots=True)
class Reconnect:
    """`reconnect`: the initiator asks for the next conversation, showing the responder's last reference."""

    intent: ClassVar = "reconnect"
    sender: str
    your_ref: str


@dataclass(frozen=True, slots=True)
class Confirm:
    """`confirm`: the responder opens a conversation; `hs` is unchecked."""

    intent: ClassVar = "confirm"
    sender: str
    my_nonce: str
    hs: Json


@dataclass(frozen=True, slots=True)
class Request:
    """`request`: one turn of the initiator; `hs`, `sec` and `message` are unchecked."""

    intent: ClassVar = "request"
    sender: str
    your_nonce: str
    my_nonce: str
    hs: Json
    sec: Json


@dataclass(frozen=True, slots=True)
class Respond:
    """`respond`: one turn of the responder; `sec` is unchecked."""

    intent: ClassVar = "respond"
    sender: str
    your_nonce: str
    my_nonce: str
    sec: Json


@dataclass(frozen=True, slots=True)
class Conclude:
    """`conclude`: the initiator wishes to end the conversation and names its reference."""

    intent: ClassVar = "conclude"
    sender: str
    your_nonce: str
    my_ref: str


@dataclass(frozen=True, slots=True)
class Finish:
    """`finish`: the responder agrees and names its reference."""

    intent: ClassVar = "finish"
    sender: str
    your_ref: str
    my_ref: str


@dataclass(frozen=True, slots=True)
class Close:
    """`close`: the initiator confirms both references."""

    intent: ClassVar = "close"
    sender: str
    your_ref: str
    my_ref: str


Message = Register | Reconnect | Confirm | Request | Respond | Conclude | Finish | Close

FOR_RESPONDER = frozenset({"register", "reconnect", "request", "conclude", "close"})
FOR_INITIATOR = frozenset({"confirm", "respond", "finish"})


@dataclass(frozen=True, slots=True)
class HsBlock:
    """An `hs` block of the right shape.

    Attributes:
        type, nonce, timestamp: texts as they stand.
        kx_pub_text: base64 as it stands, because it is what the signature covers.
        kx_pub, sign_pub: 32 raw bytes each.
        sig: 64 raw bytes.
    """

    type: str
    nonce: str
    timestamp: str
    kx_pub_text: str
    kx_pub: bytes
    sign_pub: bytes
    sig: bytes


@dataclass(frozen=True, slots=True)
class SecBlock:
    """A `sec` block of the right shape.

    Attributes:
        envelope: the `envelope` object as it came: the signature covers every member, also unknown ones.
        nonce_text, ciphertext_text, hash_text: base64 as it stands; the first names the envelope.
        timestamp: `ts`, any text.
        nonce, ciphertext, hash, sig: raw bytes (12, at least 16, 32, 64).
    """

    envelope: dict[str, Json]
    nonce_text: str
    ciphertext_text: str
    hash_text: str
    timestamp: str
    nonce: bytes
    ciphertext: bytes
    hash: bytes
    sig: bytes


def is_agent_id(value: Json) -> bool:
    """Whether `value` is the text of a UUID in its one canonical form."""
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def is_from_version_2(nonce: str) -> bool:
    """Whether the author of a nonce says that it speaks version 2 as well (protocol-v2.md, "Version 1 peers")."""
    return nonce.endswith(SENTINEL)


def parse_message(content: Json, own_id: str) -> Message | None:
    """The message that a relayed payload carries for us.

    Args:
        content: the `content` of a relayed payload, any JSON value.
        own_id: our agent id.

    Returns:
        The message, or None where it is for somebody else or came from ourselves.

    Raises:
        PeerError: it is no message of this conversation.
    """
    if not isinstance(content, dict) or not is_agent_id(content.get("from")) or "to" not in content:
        raise PeerError(Reason.MALFORMED)
    sender, to, intent = content["from"], content["to"], content.get("intent")
    if sender == own_id or (to is not None and to != own_id):
        return None
    parse = _PARSERS.get(intent) if isinstance(intent, str) else None
    if parse is None or (to is None) != (intent == "register"):
        raise PeerError(Reason.MALFORMED)
    return parse(sender, content)


def encode_message(to: str | None, intent: str, **fields: Json) -> dict[str, Json]:
    """A message as it is handed to the sender; members that are None are left out, `from` is stamped later."""
    return {"to": to, "intent": intent} | {name: value for name, value in fields.items() if value is not None}


def parse_hs(block: Json) -> HsBlock:
    """The `hs` block in its shape (hsagent-v1.md, section 3: "object with the six text fields").

    Raises:
        PeerError: `hs_malformed`.
    """
    if not isinstance(block, dict):
        raise PeerError(Reason.HS_MALFORMED)
    texts = [block.get(name) for name in ("type", "nonce", "timestamp", "kx_pub", "sign_pub", "sig")]
    if not all(isinstance(text, str) for text in texts):
        raise PeerError(Reason.HS_MALFORMED)
    try:
        return HsBlock(
            type=block["type"],
            nonce=block["nonce"],
            timestamp=block["timestamp"],
            kx_pub_text=block["kx_pub"],
            kx_pub=b64decode(block["kx_pub"], 32),
            sign_pub=b64decode(block["sign_pub"], 32),
            sig=b64decode(block["sig"], 64),
        )
    except EncodingError:
        raise PeerError(Reason.HS_MALFORMED) from None


def encode_hs(block: HsBlock) -> dict[str, Json]:
    """The inverse of `parse_hs`, members in the order in which v1 agents write them."""
    return {
        "type": block.type,
        "nonce": block.nonce,
        "kx_pub": block.kx_pub_text,
        "sign_pub": b64encode(block.sign_pub),
        "timestamp": block.timestamp,
        "sig": b64encode(block.sig),
    }


def is_timestamp(text: str) -> bool:
    """Whether `text` has the shape of an ISO 8601 time as v1 knows it, with or without fractions and zone."""
    return len(text) <= limits.TIMESTAMP_CHARACTERS and _TIMESTAMP.fullmatch(text) is not None


def parse_sec(block: Json) -> SecBlock:
    """The `sec` block in its shape (hsagent-v1.md, section 4).

    Raises:
        PeerError: `sec_malformed`.
    """
    envelope = block.get("envelope") if isinstance(block, dict) else None
    if not isinstance(block, dict) or not isinstance(envelope, dict):
        raise PeerError(Reason.SEC_MALFORMED)
    nonce, ciphertext, digest, time = (envelope.get(name) for name in ("nonce", "ciphertext", "hash", "ts"))
    sig = block.get("sig")
    if not (
        isinstance(nonce, str)
        and isinstance(ciphertext, str)
        and isinstance(digest, str)
        and isinstance(time, str)
        and isinstance(sig, str)
    ):
        raise PeerError(Reason.SEC_MALFORMED)
    try:
        return SecBlock(
            envelope=envelope,
            nonce_text=nonce,
            ciphertext_text=ciphertext,
            hash_text=digest,
            timestamp=time,
            nonce=b64decode(nonce, 12),
            ciphertext=b64decode(ciphertext),
            hash=b64decode(digest, 32),
            sig=b64decode(sig, 64),
        )
    except EncodingError:
        raise PeerError(Reason.SEC_MALFORMED) from None


def claimed_nonce(message: object) -> str | None:
    """The `my_nonce` of a message that has one."""
    return message.my_nonce if isinstance(message, Confirm | Request | Respond) else None


def claimed_sign_pub(message: object) -> bytes | None:
    """The signing key that a message's `hs` claims, unproven; None where it has none that can be read."""
    hs = message.hs if isinstance(message, Confirm | Request) else None
    sign_pub = hs.get("sign_pub") if isinstance(hs, dict) else None
    try:
        return b64decode(sign_pub, 32) if isinstance(sign_pub, str) else None
    except EncodingError:
        return None


def _nonce(content: dict[str, Json], name: str) -> str:
    value = content.get(name)
    if not isinstance(value, str) or _NONCE.fullmatch(value) is None:
        raise PeerError(Reason.MALFORMED, name)
    return value


def _reference(content: dict[str, Json], name: str) -> str:
    value = content.get(name)
    if not isinstance(value, str) or _REFERENCE.fullmatch(value) is None:
        raise PeerError(Reason.MALFORMED, name)
    return value


def _sealed(content: dict[str, Json]) -> Json:
    # a plain `message` beside a `sec` is never looked at; alone it is never accepted (hsagent-v1.md, section 2)
    if "sec" not in content:
        raise PeerError(Reason.PLAINTEXT if "message" in content else Reason.SEC_MISSING)
    return content["sec"]


_PARSERS: dict[str, Callable[[str, dict[str, Json]], Message]] = {
    "register": lambda sender, _: Register(sender),
    "reconnect": lambda sender, c: Reconnect(sender, _reference(c, "your_ref")),
    "confirm": lambda sender, c: Confirm(sender, _nonce(c, "my_nonce"), c.get("hs")),
    "request": lambda sender, c: Request(
        sender, _nonce(c, "your_nonce"), _nonce(c, "my_nonce"), c.get("hs"), _sealed(c)
    ),
    "respond": lambda sender, c: Respond(sender, _nonce(c, "your_nonce"), _nonce(c, "my_nonce"), _sealed(c)),
    "conclude": lambda sender, c: Conclude(sender, _nonce(c, "your_nonce"), _reference(c, "my_ref")),
    "finish": lambda sender, c: Finish(sender, _reference(c, "your_ref"), _reference(c, "my_ref")),
    "close": lambda sender, c: Close(sender, _reference(c, "your_ref"), _reference(c, "my_ref")),
}
