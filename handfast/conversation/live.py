"""What version 2 keeps of a pair in memory only, and what this process announces: nothing in here is ever written down.

No transport key, no counter and no handshake secret outlives the process (v2-handshake.md, section 8.4): a snapshot that
is restored must not repeat a nonce. The values are frozen; a step works on a copy of the session and puts it into the
next state.
"""

from dataclasses import dataclass

from handfast.ports import Entropy
from handfast.session.v2.initiator import InitiatorHandshake
from handfast.session.v2.parties import Myself, Peer
from handfast.session.v2.responder import ConfirmSecret
from handfast.session.v2.resumption import ResumptionAttempt
from handfast.session.v2.session import Session
from handfast.session.v2.transcript import Transcript
from handfast.trust.decision import Pin
from handfast.wire.text import Json

# Announced for so long each; an answer to one of the last offers is accepted (section 5.1), a confirm under the last two
# secrets (section 2). Forged answers can make us renew an offer every 3 s: what is remembered then still goes back a minute.
RENEWED_EVERY_SECONDS = 60.0
OFFERS_REMEMBERED = 24
_SECRETS_REMEMBERED = 2

# Anybody can send us an n1 in the peer's name: so many answers to a peer are waited for at once, and when there are more,
# one by chance makes room, so that a flood has to be lucky and a single forgery never costs the genuine one.
ATTEMPTS = 4

# A peer uses up a nonce with each handshake; one that does so more often within two minutes is not served.
CONSUMED = 64

# What is repeated from before, by anybody, can make two honest ends shake hands several times at once. Whichever of these
# handshakes the initiator goes on with, the responder must still know it: one for each attempt and one for a ticket.
HALVES = ATTEMPTS + 1


@dataclass(frozen=True, slots=True)
class Attempt:
    """The initiator's answer to one n1: the handshake, the digest of the n1, and the n2 that was sent."""

    handshake: InitiatorHandshake
    answers: bytes
    payload: dict[str, Json]


@dataclass(frozen=True, slots=True)
class Half:
    """The responder's session that no packet has confirmed yet; the one before it lives on until then.

    Attributes:
        session: the session.
        peer: what the handshake proved of it; trust is asked again when the session is confirmed.
        resumed: whether it came from a ticket.
        payload: the n3 or k2 that was sent for it.
    """

    session: Session
    peer: Peer
    resumed: bool
    payload: dict[str, Json]


@dataclass(frozen=True, slots=True)
class Consumed:
    """A nonce of ours that an n2 has used up (section 6.4), and the answer to that very n2.

    Attributes:
        nonce, digest: the nonce, and what names the n2.
        payload: the n3 that was sent for it.
        newest: our offer that belongs to the newest secret of that moment, which names it. No clock says when the nonce
            could not be tried again: wall time jumps, and a process that hears nothing does not renew its secrets.
    """

    nonce: str
    digest: bytes
    payload: dict[str, Json]
    newest: bytes


@dataclass(frozen=True, slots=True)
class Farewell:
    """The last packet of a closed conversation and our answer to it, for the peer who asks again."""

    digest: bytes
    payload: dict[str, Json]


@dataclass(frozen=True, slots=True)
class Live:
    """One pair's part.

    Attributes:
        session: the session of the conversation under way.
        pin: what its peer was pinned as.
        transcript: what was said in it so far; None where nothing was.
        attempts: the initiator's unanswered n2.
        resuming: the initiator's unanswered k1.
        nudge: when what is being sent was made, when it was last repeated because the peer was heard again, and how often.
        halves: the responder's sessions that wait for a first packet, the newest last; one of them gets it.
        consumed: the responder's used nonces, kept until the secret they were made from is gone.
        farewell: how the last conversation ended.
        security: how sure it is who the peer of the session is.
        carried: the numbers of the letters in the request that waits for an answer.
        refusals: how often in a row the peer had no room for a letter.
    """

    session: Session | None = None
    pin: Pin | None = None
    transcript: Transcript | None = None
    attempts: tuple[Attempt, ...] = ()
    resuming: ResumptionAttempt | None = None
    nudge: tuple[float, float, int] | None = None
    halves: tuple[Half, ...] = ()
    consumed: tuple[Consumed, ...] = ()
    farewell: Farewell | None = None
    security: str = ""
    carried: tuple[int, ...] = ()
    refusals: int = 0

    def rest(self) -> None:
        """Let go of what only makes sessions quicker, at the end of a step: most of the memory of ten thousand."""
        if self.session is not None:
            self.session.rest()
        for half in self.halves:
            half.session.rest()

    def at_rest(self) -> "Live | None":
        """What is left of it once no conversation is under way: nobody waits for the rest of a handshake then."""
        if not self.consumed and self.farewell is None:
            return None
        return Live(consumed=self.consumed, farewell=self.farewell)

    def is_spent(self, ours: "Announcements | None") -> bool:
        """Whether nothing would be lost with it, given what is announced now."""
        under_way = self.session or self.resuming or self.attempts or self.halves
        return not under_way and self.fresh_consumed(ours) == ()

    def fresh_consumed(self, ours: "Announcements | None") -> tuple[Consumed, ...]:
        """The used nonces that could still be tried again, given what is announced now: no secret is older than theirs."""
        kept = () if ours is None else tuple(secret.offer for secret in ours.secrets)
        return tuple(entry for entry in self.consumed if entry.newest in kept)


@dataclass(frozen=True, slots=True)
class Announcements:
    """What this process tells everybody, and the secrets behind it; renewed every minute, known to nobody after a restart.

    Attributes:
        myself: what a handshake needs of us.
        offers: ours as initiator, the newest first; none where we wait for those of others.
        secrets: the responder's, the newest first.
        renew_at: when the next ones are due, on the monotonic clock.
    """

    myself: Myself
    offers: tuple[bytes, ...]
    secrets: tuple[ConfirmSecret, ...]
    renew_at: float


def announce(
    before: Announcements | None,
    myself: Myself,
    entropy: Entropy,
    *,
    offering: bool,
    now: float,
    monotonic: float,
) -> Announcements:
    """A new offer and a new secret; the oldest are forgotten.

    Args:
        before: what was announced until now.
        myself: what a handshake needs of us from now on.
        entropy: where random values come from.
        offering: whether to make offers.
        now: seconds since 1970 UTC.
        monotonic: the same moment on a clock that never jumps.
    """
    offers, secrets = ((), ()) if before is None else (before.offers, before.secrets)
    secret = ConfirmSecret.make(myself, entropy.octets(48), now)
    return Announcements(
        myself=myself,
        offers=(myself.offer(entropy.octets(16)), *offers)[:OFFERS_REMEMBERED] if offering else (),
        secrets=(secret, *secrets)[:_SECRETS_REMEMBERED],
        renew_at=monotonic + RENEWED_EVERY_SECONDS,
    )
