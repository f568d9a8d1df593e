"""A controller's own books: its sealed key, and the ledger of what it gave out and took back.

The ledger is a list of JSON objects, one a line, only ever added to. What it says is written down before anything that
it speaks of leaves the house, so that no serial, challenge or list number is ever used twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from handfast.crypto import labels
from handfast.crypto.aead import DoesNotOpen
from handfast.crypto.keys import SigningKey
from handfast.errors import IdentityError
from handfast.identity.sealed import open_document, seal_document, text_member
from handfast.trust.certificate import Certificate
from handfast.trust.revocation import Revoked
from handfast.wire.text import EncodingError, Json, b64url_decode, b64url_encode, canonical_json, strict_json

AUTHORITY_BYTES = 4 * 1024
_VERSION = "authority.v1"


def seal_authority(key: SigningKey, passphrase: bytes, *, salt: bytes, nonce: bytes) -> bytes:
    """The bytes of an authority file; `salt` 16 and `nonce` 12 fresh random bytes."""
    body = canonical_json({"key": b64url_encode(key.private_bytes())})
    return seal_document(
        _VERSION, body, passphrase, salt=salt, nonce=nonce, label=labels.AUTHORITY_AAD_PREFIX
    )


def open_authority(raw: bytes, passphrase: bytes) -> SigningKey:
    """The key in an authority file.

    Raises:
        IdentityError: it is none, is damaged, or is sealed with another passphrase.
    """
    try:
        document = strict_json(raw)
        if not isinstance(document, dict) or document.get("v") != _VERSION:
            raise IdentityError("this is no authority file")
        body = strict_json(open_document(document, passphrase, label=labels.AUTHORITY_AAD_PREFIX))
        if not isinstance(body, dict):
            raise EncodingError("no object")
        return SigningKey(b64url_decode(text_member(body, "key"), 32))
    except EncodingError:
        raise IdentityError("this is no authority file, or a damaged one") from None
    except DoesNotOpen:
        raise IdentityError("wrong passphrase, or the authority file is damaged") from None


@dataclass(frozen=True, slots=True)
class Issued:
    """One certificate that was given out: the key in 32 raw bytes, times in whole seconds since 1970 UTC."""

    serial: str
    agent_id: str
    identity_public: bytes
    name: str
    not_before: int
    not_after: int


@dataclass(slots=True)
class Ledger:
    """What a ledger's lines come to.

    Attributes:
        challenges: given out and not used yet, with the moment.
        issued: by serial, in order.
        revoked: in order.
        sequence: of the last revocation list; 0 before the first.
    """

    challenges: dict[str, int] = field(default_factory=dict)
    issued: dict[str, Issued] = field(default_factory=dict)
    revoked: list[Revoked] = field(default_factory=list)
    sequence: int = 0

    @classmethod
    def read(cls, lines: Sequence[bytes]) -> "Ledger":
        """The state after all lines.

        Raises:
            IdentityError: a line is not one of a ledger; its number is named.
        """
        ledger = cls()
        for number, line in enumerate(lines, start=1):
            try:
                ledger._take(strict_json(line))
            except EncodingError:
                raise IdentityError(f"line {number} of the ledger is damaged") from None
        return ledger

    def _take(self, entry: Json) -> None:
        match entry:
            case {"event": "challenge", "nonce": str(nonce), "at": int(at)}:
                self.challenges[nonce] = at
            case {
                "event": "issued",
                "nonce": str(nonce),
                "ser": str(serial),
                "sub": str(agent_id),
                "ik": str(public),
                "name": str(name),
                "nbf": int(start),
                "exp": int(end),
            }:
                self.challenges.pop(nonce, None)
                self.issued[serial] = Issued(serial, agent_id, b64url_decode(public, 32), name, start, end)
            case {"event": "revoked", "ser": str(serial), "at": int(at), "why": str(why)}:
                self.revoked.append(Revoked(serial, None, at, why))
            case {"event": "revoked", "ik": str(public), "at": int(at), "why": str(why)}:
                self.revoked.append(Revoked(None, b64url_decode(public, 32), at, why))
            case {"event": "crl", "seq": int(sequence)}:
                self.sequence = sequence
            case _:
                raise EncodingError("no entry of a ledger")

    def is_revoked(self, issued: Issued) -> bool:
        """Whether a certificate, or the key in it, was taken back."""
        return any(
            issued.serial == entry.serial or issued.identity_public == entry.identity_public
            for entry in self.revoked
        )


def challenge_entry(challenge: bytes, now: float) -> dict[str, Json]:
    """The ledger's line about a challenge that is given out."""
    return {"event": "challenge", "nonce": b64url_encode(challenge), "at": int(now)}


def issued_entry(certificate: Certificate, challenge: bytes) -> dict[str, Json]:
    """The ledger's line about a certificate that is given out, which uses up its challenge."""
    return {
        "event": "issued",
        "nonce": b64url_encode(challenge),
        "ser": certificate.serial,
        "sub": certificate.agent_id,
        "ik": b64url_encode(certificate.identity_public),
        "name": certificate.name,
        "nbf": certificate.not_before,
        "exp": certificate.not_after,
    }


def revoked_entry(entry: Revoked) -> dict[str, Json]:
    """The ledger's line about a certificate or a key that is taken back."""
    which = (
        {"ser": entry.serial}
        if entry.identity_public is None
        else {"ik": b64url_encode(entry.identity_public)}
    )
    return {"event": "revoked", **which, "at": entry.at, "why": entry.why}


def crl_entry(sequence: int, now: float) -> dict[str, Json]:
    """The ledger's line about a revocation list that is signed."""
    return {"event": "crl", "seq": sequence, "at": int(now)}
