"""What a node hands out: peers, and their messages; and what it takes in."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from handfast.api.letters import Receipt
from handfast.errors import UsageError
from handfast.mail import LETTERS_BYTES
from handfast.trust.decision import Security
from handfast.wire.text import EncodingError, Json, canonical_json, strict_json

if TYPE_CHECKING:
    from handfast.api.node import Node

_WEAKEST_FIRST = (Security.TOFU, Security.PIN, Security.SELFCERT, Security.CERT)


@dataclass(frozen=True, slots=True)
class Peer:
    """An agent that has proven who it is.

    Attributes:
        id: its agent id.
        security: how sure that is; see docs/trust.md.
        fingerprint: of its identity key, as people compare it.
    """

    id: str
    security: Security
    fingerprint: str
    _node: "Node" = field(repr=False, compare=False)

    async def send(self, data: Json, *, expires_in: float | None = None) -> Receipt:
        """Have a message delivered; returns once it is in the database, from where nothing but its delivery takes it.

        Waits while 256 messages for this peer wait already. Cancelled, it may have been too late to cancel.

        Args:
            data: any JSON value of at most 30 KiB.
            expires_in: after how many seconds to give up; None: never.

        Raises:
            UsageError: the value is not JSON, or too large; or the node is closed.
            StorageError: the database failed, and keeps no message.
        """
        return await self._node.post(self.id, data, expires_in)

    async def receipts(self) -> list[Receipt]:
        """Of all messages for this peer that wait, in this process or since an earlier one, and the latest others."""
        return await self._node.receipts(self.id)


@dataclass(frozen=True, slots=True)
class Message:
    """What a peer has sent.

    Attributes:
        peer: who; its `security` is what it was when the message came.
        data: a JSON value. The peer is authenticated, not trusted.
    """

    peer: Peer
    data: Json


def strength_of(security: Security | str) -> int:
    """How much a security is worth: the more, the surer.

    Raises:
        UsageError: there is no such security.
    """
    try:
        return _WEAKEST_FIRST.index(Security(security))
    except ValueError:
        raise UsageError(f"{security!r} is no security") from None


def letter_of(data: Json) -> bytes:
    """A message as it is kept and sent.

    Raises:
        UsageError: it is no JSON value, or too large.
    """
    try:
        body = canonical_json(data)
        strict_json(
            b'{"message":' + body + b"}"
        )  # as the peer reads it: what it refuses would be sent for ever
    except EncodingError as error:
        raise UsageError(f"the message is no JSON value: {error}") from None
    if len(body) > LETTERS_BYTES:
        raise UsageError(f"the message is too large: {len(body)} bytes, at most {LETTERS_BYTES} fit")
    return body
