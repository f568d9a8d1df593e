"""The full handshake at the responder, which remembers nothing until the peer is proven (v2-handshake.md, section 6.4).

Its nonce and its ephemeral keys follow from a secret and from what the initiator sent, so that they can be made again
when the answer comes. That is sound as long as one nonce is accepted once: the caller keeps a table of consumed ones.
"""

import hmac
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from handfast.crypto import labels
from handfast.crypto.kem import DecapsulationKey
from handfast.crypto.keys import ExchangeKey, Secret
from handfast.errors import PeerError, Reason, UsageError
from handfast.noise.handshakestate import HandshakeState
from handfast.session.v2.negotiation import Agreement, make_selection, select
from handfast.session.v2.parties import Myself, Peer, check_credentials
from handfast.session.v2.schedule import mixed_psk
from handfast.session.v2.session import Session
from handfast.session.v2.suites import SUITES, Suite
from handfast.wire.text import b64url_encode
from handfast.wire.v2.header import Header, length_prefixed
from handfast.wire.v2.messages import N1, N2, N3
from handfast.wire.v2.offers import NONCE_BYTES, VERSION, Offer, Selection
from handfast.wire.v2.payloads import Credentials, encode_kem_public

SECRET_BYTES = 32
# An n2 comes within moments, if it comes; what a flood pushes out is made again. Up to 10 KiB each, with ML-KEM.
RECENT = 64

_BegunName = tuple[Agreement, ExchangeKey, Secret | None]


@dataclass(frozen=True, slots=True)
class ConfirmSecret:
    """What answers to strangers are made from, and later recognised by; kept in memory only, for a minute or two.

    Attributes:
        key: 32 random bytes.
        offer: ours, the same in all answers made from it.
        made_at: seconds since 1970 UTC.
        recent: the handshakes that were begun with it last, so that a quick answer need not have them made again.
    """

    key: Secret
    offer: bytes
    made_at: float
    recent: "OrderedDict[_BegunName, Begun]" = field(default_factory=OrderedDict, repr=False, compare=False)

    @classmethod
    def make(
        cls, me: Myself, random: bytes, now: float, versions: tuple[int, ...] = (VERSION,)
    ) -> "ConfirmSecret":
        """A new one.

        Args:
            me: ourselves, for the offer.
            random: 48 random bytes.
            now: seconds since 1970 UTC.
            versions: as in an offer.

        Raises:
            UsageError: `random` has another length.
        """
        if len(random) != SECRET_BYTES + NONCE_BYTES:
            raise UsageError(f"a confirm secret is made from {SECRET_BYTES + NONCE_BYTES} bytes")
        return cls(Secret(random[:SECRET_BYTES]), me.offer(random[SECRET_BYTES:], versions), now)


@dataclass(frozen=True, slots=True)
class Begun:
    """A handshake after n1.

    Attributes:
        noise: to be copied before use.
        kem_key: the ML-KEM key in n1, if the suite has one.
        message: n1.
    """

    noise: HandshakeState = field(repr=False)
    kem_key: DecapsulationKey | None = field(repr=False)
    message: bytes


@dataclass(frozen=True, slots=True)
class Derived:
    """What takes the place of chance in n1, beside its nonce.

    Attributes:
        ephemeral: 32 bytes.
        kem_seed: 64 bytes where the suite has ML-KEM.
    """

    ephemeral: Secret
    kem_seed: Secret


@dataclass(frozen=True, slots=True)
class Accepted:
    """A peer that has proven its identity key, and what to answer once trust has agreed.

    Attributes:
        session: half until the first packet opens.
        peer: what was proven of it.
        reply: the last message of the handshake.
    """

    session: Session
    peer: Peer
    reply: N3


def make_n1(secret: ConfirmSecret, me: Myself, peer_id: str, offer: bytes) -> N1:
    """The answer to an offer: always the same for the same peer, offer and secret.

    Raises:
        PeerError: with OFFER or VERSION; with PSK, the suite needs a key that is not configured.
    """
    suite = select(Offer.parse(offer), Offer.parse(secret.offer))
    selection = make_selection(suite, offer)
    nonce = _nonce(secret, _origin(peer_id, offer, selection))
    begun = _begin_once(secret, me, _agreement(secret, me, peer_id, offer, selection, nonce), suite)
    return N1(Header(me.agent_id, peer_id, "confirm", my_nonce=nonce), secret.offer, selection, begun.message)


def nonce_matches(secrets: Sequence[ConfirmSecret], n2: N2) -> bool:
    """Whether `n2` answers an n1 of ours; costs a hash for each secret and no curve operation."""
    return _secret_of(secrets, n2) is not None


def read_n2(secrets: Sequence[ConfirmSecret], me: Myself, n2: N2, *, nonce: str, now: float) -> Accepted:
    """The proven peer behind `n2`.

    The caller then asks trust, and notes `n2.header.your_nonce` as consumed by this very message (`digest_of`) before
    the reply leaves.

    Args:
        secrets: the present one and the one before.
        me: ourselves.
        n2: of any sender.
        nonce: `my_nonce` of the reply: B(16 random bytes).
        now: seconds since 1970 UTC.

    Raises:
        PeerError: with NO_SESSION, it answers nothing of ours; or with whatever else is wrong with it.
    """
    secret = _secret_of(secrets, n2)
    if secret is None:
        raise PeerError(Reason.NO_SESSION, "an answer to nothing of ours")
    # the nonce was made from the selection: this is what we selected
    suite = SUITES[Selection.parse(n2.selection).suite]
    agreement = _agreement(secret, me, n2.sender, n2.offer, n2.selection, n2.header.your_nonce or "")
    begun = _begin_once(secret, me, agreement, suite)
    return accept(me, suite, begun, n2, nonce=nonce, now=now)


def derive(secret: ConfirmSecret, agreement: Agreement, suite: Suite) -> Derived:
    """What takes the place of chance in the answer to the offer that was agreed on."""
    key = secret.key.reveal()
    origin = _origin(agreement.initiator, agreement.initiator_offer, agreement.selection)
    origin += agreement.nonce.encode()

    def draw(label: bytes) -> bytes:
        return hmac.digest(key, label + origin, "sha256")

    seed = b"".join(draw(label) for label in labels.V2_CONFIRM_KEM) if suite.kem else b""
    return Derived(Secret(draw(labels.V2_CONFIRM_EPHEMERAL)), Secret(seed))


def begin(me: Myself, agreement: Agreement, suite: Suite, derived: Derived) -> Begun:
    """The handshake after n1.

    Raises:
        PeerError: with PSK; the suite needs a key that is not configured.
    """
    if suite.psk and me.psk is None:
        raise PeerError(Reason.PSK)
    noise = HandshakeState(suite.full, initiator=True, prologue=agreement.prologue(), static=me.static.key)
    kem_key = DecapsulationKey(derived.kem_seed.reveal()) if suite.kem else None
    payload = encode_kem_public(None if kem_key is None else kem_key.public)
    message = noise.write_message(payload, ephemeral=ExchangeKey(derived.ephemeral.reveal()))
    return Begun(noise, kem_key, message)


def accept(me: Myself, suite: Suite, begun: Begun, n2: N2, *, nonce: str, now: float) -> Accepted:
    """As `read_n2`, with the handshake that `n2` answers given."""
    noise, kem_key = begun.noise.copy(), begun.kem_key
    credentials = Credentials.parse(noise.read_message(n2.message))
    static_key = noise.remote_static
    if static_key is None:
        raise UsageError("the pattern has no static key")
    peer = check_credentials(credentials, n2.header, static_key, me, n2.offer, now)
    psk = _psk(suite, me, kem_key, credentials.kem_ciphertext)
    header = Header(me.agent_id, n2.sender, "respond", my_nonce=nonce, your_nonce=n2.header.my_nonce)
    message = noise.write_message(me.credentials(header), psk=psk)
    session = Session.found(
        noise.finish(),
        suite=suite,
        is_initiator=False,
        wrote_first=True,
        own_static=me.static.key,
        peer=peer,
        now=now,
        full_at=now,
    )
    return Accepted(session, peer, N3(header, message))


def _begin_once(secret: ConfirmSecret, me: Myself, agreement: Agreement, suite: Suite) -> Begun:
    # All that `begin` depends on: the suite stands in the selection, and what is derived follows from agreement and secret.
    # We may have changed since n1: another static key, no pre-shared key any more.
    name = agreement, me.static.key, me.psk
    begun = secret.recent.get(name)
    if begun is None:
        begun = secret.recent[name] = begin(me, agreement, suite, derive(secret, agreement, suite))
        if len(secret.recent) > RECENT:
            secret.recent.popitem(last=False)
    return begun


def _origin(peer_id: str, offer: bytes, selection: bytes) -> bytes:
    return length_prefixed(peer_id.encode()) + offer + selection


def _nonce(secret: ConfirmSecret, origin: bytes) -> str:
    digest = hmac.digest(secret.key.reveal(), labels.V2_CONFIRM_NONCE + origin, "sha256")
    return b64url_encode(digest[:NONCE_BYTES])


def _secret_of(secrets: Sequence[ConfirmSecret], n2: N2) -> ConfirmSecret | None:
    """The secret from which the nonce that `n2` answers was made."""
    origin = _origin(n2.sender, n2.offer, n2.selection)
    for secret in secrets:
        if hmac.compare_digest(_nonce(secret, origin), n2.header.your_nonce or ""):
            return secret
    return None


def _agreement(
    secret: ConfirmSecret, me: Myself, peer_id: str, offer: bytes, selection: bytes, nonce: str
) -> Agreement:
    return Agreement(peer_id, me.agent_id, offer, secret.offer, selection, nonce, me.network)


def _psk(
    suite: Suite, me: Myself, kem_key: DecapsulationKey | None, ciphertext: bytes | None
) -> Secret | None:
    if (kem_key is None) != (ciphertext is None):
        raise PeerError(Reason.KEM, "a ciphertext, if and only if the suite has ML-KEM")
    if kem_key is None or ciphertext is None:
        return mixed_psk(suite.number, me.psk) if suite.psk else None
    psk = me.psk if suite.psk else None
    return mixed_psk(suite.number, psk, kem_key.decapsulate(ciphertext), kem_key.public, ciphertext)
