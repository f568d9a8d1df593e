"""The identity of an agent: its id and its long-term keys."""

from dataclasses import dataclass, replace

from handfast.crypto import labels
from handfast.crypto.kdf import hkdf
from handfast.crypto.keys import ExchangeKey, Secret, SigningKey
from handfast.errors import UsageError
from handfast.identity.binding import CLOCK_SKEW, Binding, bind

# A static key serves 30 days and is renewed when fewer than three of them are left; the one before it still resumes
# sessions for a day (v2-handshake.md, sections 2 and 8.4). Seconds.
STATIC_KEY_LIFE = 30 * 86_400
STATIC_KEY_RENEWED_BEFORE = 3 * 86_400
PREVIOUS_STATIC_KEY_LIFE = 86_400


@dataclass(frozen=True, slots=True)
class StaticKey:
    """A Noise static key, and the signed statement whose it is."""

    key: ExchangeKey
    binding: Binding


@dataclass(frozen=True, slots=True)
class Identity:
    """An agent's id and keys; its `repr` shows the id only.

    What version 2 needs has defaults: a file of the first generation holds none of it, and `static_key` is refused until
    `with_static_key` has made one.

    Attributes:
        agent_id: UUID text; of version 8 where it was made from the first identity key.
        created_at: ISO 8601 text, UTC.
        exchange_key: the long-term X25519 key of version 1. Agents of the first generation used it in every handshake;
            ours keeps it for them to load and takes a fresh key for each conversation.
        signing_key: the Ed25519 key that v1 peers have pinned; it stays when the identity key is rotated.
        rotated_key: the identity key since the first rotation; ask `identity_key`.
        static_keys: the Noise static keys, the present one first; at most two.
        rotations: the statements that lead from the first identity key to the present one, as they are sent.
        certificate: what a controller signed about the id and the present identity key, as it is sent.
        stored_database_key: ask `database_key`.
    """

    agent_id: str
    created_at: str
    exchange_key: ExchangeKey
    signing_key: SigningKey
    rotated_key: SigningKey | None = None
    static_keys: tuple[StaticKey, ...] = ()
    rotations: bytes = b""
    certificate: bytes | None = None
    stored_database_key: Secret | None = None

    @property
    def identity_key(self) -> SigningKey:
        """The Ed25519 key that proves who we are in version 2."""
        return self.rotated_key or self.signing_key

    @property
    def static_key(self) -> StaticKey:
        """The Noise static key for new sessions.

        Raises:
            UsageError: the identity comes from a file of the first generation and has none yet.
        """
        if not self.static_keys:
            raise UsageError("this identity has no static key yet: handfast identity migrate makes one")
        return self.static_keys[0]

    def usable_static_keys(self, now: float) -> tuple[StaticKey, ...]:
        """The keys under which a session may be resumed: the present one and, for a day, the one before it."""
        if not self.static_keys or now < self.static_keys[0].binding.not_before + PREVIOUS_STATIC_KEY_LIFE:
            return self.static_keys
        return self.static_keys[:1]

    def is_current(self, now: float) -> bool:
        """Whether there is a static key that needs no renewal yet; `now` in seconds since 1970 UTC."""
        if not self.static_keys:
            return False
        binding = self.static_keys[0].binding
        # a key from the future was made before the clock was set back; peers would refuse it
        return binding.not_before - CLOCK_SKEW <= now <= binding.not_after - STATIC_KEY_RENEWED_BEFORE

    def with_static_key(self, private: bytes, now: float) -> "Identity":
        """The same identity with a new static key; the present one becomes the previous one.

        Args:
            private: 32 fresh random bytes.
            now: seconds since 1970 UTC.
        """
        key, start = ExchangeKey(private), int(now)
        binding = bind(self.identity_key, self.agent_id, key.public, start, start + STATIC_KEY_LIFE)
        return replace(self, static_keys=(StaticKey(key, binding), *self.static_keys[:1]))

    def with_database_key(self) -> "Identity":
        """The same identity with its database key written down, so that it stays whatever becomes of other keys."""
        return replace(self, stored_database_key=self.database_key())

    def database_key(self) -> Secret:
        """The 32-byte key under which secrets are sealed in this agent's database.

        An identity of the first generation has none of its own; what is sealed in its database was sealed under a key
        derived from its two v1 keys, and goes on opening.
        """
        if self.stored_database_key is not None:
            return self.stored_database_key
        material = self.signing_key.private_bytes() + self.exchange_key.private_bytes()
        return Secret(hkdf(material, labels.DATABASE_KEY_INFO))

    def __repr__(self) -> str:
        return f"Identity({self.agent_id})"
