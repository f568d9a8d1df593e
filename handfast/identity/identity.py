"""The identity of an agent: its id and its two long-term keys."""

import hashlib
from dataclasses import dataclass

from handfast.crypto import labels
from handfast.crypto.kdf import hkdf
from handfast.crypto.keys import ExchangeKey, Secret, SigningKey


@dataclass(frozen=True, slots=True)
class Identity:
    """An agent's id and keys; its `repr` shows the id only.

    Attributes:
        agent_id: UUID text.
        created_at: ISO 8601 text, UTC.
        exchange_key: the long-term X25519 key of the identity file. v1 agents of the first generation used it in every
            handshake; ours keeps it for them to load and takes a fresh key for each conversation.
        signing_key: the Ed25519 key that proves who we are.
    """

    agent_id: str
    created_at: str
    exchange_key: ExchangeKey
    signing_key: SigningKey

    def database_key(self) -> Secret:
        """The 32-byte key under which secrets of conversations under way are sealed in this agent's database."""
        material = self.signing_key.private_bytes() + self.exchange_key.private_bytes()
        return Secret(hkdf(material, labels.DATABASE_KEY_INFO))

    def __repr__(self) -> str:
        return f"Identity({self.agent_id})"


def fingerprint(public: bytes) -> str:
    """A public key (32 raw bytes) as people compare it: SHA-256 in hex, the first 128 bits in groups of four."""
    digest = hashlib.sha256(public).hexdigest()[:32]
    return " ".join(digest[start : start + 4] for start in range(0, 32, 4))
