"""What the core needs from outside, as interfaces: time, chance, and a place to keep things.

Nothing in here does anything; `handfast.adapters` holds what does.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from handfast.audit import SignedHead
    from handfast.conversation.effects import Effect
    from handfast.conversation.model import Facts, PeerState, Role
    from handfast.mail import Mailbox
    from handfast.trust.decision import Facts as TrustFacts
    from handfast.trust.decision import Pin, Proven
    from handfast.wire.messages import Message

T = TypeVar("T")

# How many conversations are kept with strangers who have proven nothing yet; the oldest makes room for the newest. Far
# more than honest newcomers leave open at once, and a few hundred kilobytes at most.
HALF_OPEN_LIMIT = 256


class Clock(Protocol):
    """Tells the time."""

    def now(self) -> float:
        """Seconds since 1970-01-01 UTC; may jump when the clock is set."""
        ...

    def monotonic(self) -> float:
        """Seconds since some moment; never jumps, and means nothing after a restart."""
        ...


class Entropy(Protocol):
    """Every random value that a conversation asks for, by what it is for, so that a test can say each one."""

    def nonce(self) -> str:
        """A message nonce of version 1: 32 lower-case hex digits, at least 96 random bits, never readable as a JSON number."""
        ...

    def reference(self) -> str:
        """A conversation reference: opaque text with at least 128 random bits, never readable as JSON."""
        ...

    def exchange_key(self) -> bytes:
        """The 32 private bytes of a new X25519 key pair."""
        ...

    def octets(self, size: int) -> bytes:
        """So many random bytes, for nonces, references and announcements of version 2."""
        ...

    def aead_nonce(self) -> bytes:
        """12 random bytes for AES-256-GCM."""
        ...

    def fraction(self) -> float:
        """A number in [0, 1), for jitter."""
        ...


class Transaction(Protocol):
    """One open database transaction; either all of what is done through it stays, or none of it."""

    @property
    def mail(self) -> "Mailbox":
        """The letters for peers and from them."""
        ...

    def load(self, role: "Role", peer_id: str) -> "PeerState":
        """The pair's state; the state of a stranger, ready and empty, where nothing is kept."""
        ...

    def about(self, proven: "Proven") -> "TrustFacts":
        """What bears on whether a peer that has proven these keys in version 2 is believed."""
        ...

    def pin_of(self, peer_id: str) -> "Pin | None":
        """The pin of a peer that was met in version 2."""
        ...

    def is_revoked(self, pin: "Pin") -> bool:
        """Whether a key or a certificate of this peer was revoked or declared dead, or this pin removed or replaced."""
        ...

    def newest_crl(self) -> "tuple[int, bytes] | None":
        """The revocation list to pass on to peers, with its sequence; None without one."""
        ...

    def facts(self, role: "Role", message: "Message | None") -> "Facts":
        """What else is known that bears on this message: nonces seen, handshakes accepted, keys pinned."""
        ...

    def commit(self, after: "PeerState", effects: "Iterable[Effect]", now: float) -> None:
        """Write the new state, its outbox row and every effect that leaves a row.

        Raises:
            PeerError: a nonce, a handshake, an envelope or a key turned out to be known already; nothing is kept.
        """
        ...

    def audit(
        self, event: str, role: "Role | None", peer_id: str, detail: "dict[str, object]", now: float
    ) -> None:
        """Append one entry to the audit log, and a checkpoint where one is due (`handfast.audit`)."""
        ...

    def signed_head(self) -> "SignedHead | None":
        """The end of the audit log as it was signed last; None where nothing was signed yet."""
        ...

    def keep_witness(self, peer_id: str, head: "SignedHead", now: float) -> bool:
        """Keep the end of a peer's audit log, whose signature was found to be the peer's.

        Returns:
            False where it contradicts the end that is kept: the peer's log was rewritten or cut off. What is kept stays.
        """
        ...


class Store(Protocol):
    """Where the state of every conversation lives."""

    async def run(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` in one transaction: it commits when `work` returns and rolls back when it raises.

        Raises:
            StorageError: the database refused; nothing of `work` was kept.
        """
        ...

    async def load(self, role: "Role", peer_id: str) -> "PeerState":
        """The committed state of a pair; the state of a stranger where nothing is kept.

        Raises:
            StorageError: the database cannot be read.
        """
        ...

    async def unfinished(self) -> "list[PeerState]":
        """Every pair that is not in its ready state, half-open conversations included."""
        ...

    async def close(self) -> None:
        """Close the store; a second call does nothing."""
        ...
