"""The canonical header: the members of a message that stand outside of what is sealed (v2-handshake.md, section 4.3)."""

import hashlib
from dataclasses import dataclass
from struct import Struct

from handfast.crypto import labels


def length_prefixed(value: bytes) -> bytes:
    """LP(x): a 4-byte length, then x."""
    return len(value).to_bytes(4, "big") + value


_PREFIX = length_prefixed(labels.V2_HEADER)
_TO = 2  # its tag
_ABSENT = [bytes([tag, 0]) for tag in range(8)]
_NULL_TO = bytes([_TO, 1])
_TEXT = 2
_text_head = Struct(">BBL").pack  # tag, _TEXT, length


@dataclass(frozen=True, slots=True)
class Header:
    """The members that a message is routed by; None means that the member is absent, for `to` that it is null.

    Attributes:
        sender: `from`.
        to: the receiver; None for everybody.
        intent: as it stands.
        my_nonce, your_nonce, my_ref, your_ref: B(16 bytes) each.
    """

    sender: str
    to: str | None
    intent: str
    my_nonce: str | None = None
    your_nonce: str | None = None
    my_ref: str | None = None
    your_ref: str | None = None

    def encoded(self) -> bytes:
        """HDR: one text for one header, whatever JSON it came in."""
        parts = [_PREFIX]
        optional = (self.my_nonce, self.your_nonce, self.my_ref, self.your_ref)
        for tag, value in enumerate((self.sender, self.to, self.intent, *optional), start=1):
            if value is None:
                parts.append(_NULL_TO if tag == _TO else _ABSENT[tag])
            else:
                text = value.encode()
                parts += _text_head(tag, _TEXT, len(text)), text
        return b"".join(parts)

    def digest(self) -> bytes:
        """SHA-256(HDR), 32 bytes, as handshake payloads carry it."""
        return hashlib.sha256(self.encoded()).digest()
