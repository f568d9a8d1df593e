"""The full handshake at the initiator (v2-handshake.md, section 6.5)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from handfast.crypto import kem
from handfast.crypto.keys import ExchangeKey, Secret
from handfast.errors import PeerError, Reason, UsageError
from handfast.noise.handshakestate import HandshakeState
from handfast.session.v2.negotiation import Agreement, check_selection, own_offer_of
from handfast.session.v2.parties import Myself, Peer, check_credentials
from handfast.session.v2.schedule import mixed_psk
from handfast.session.v2.session import Session
from handfast.session.v2.suites import Suite
from handfast.wire.v2.header import Header
from handfast.wire.v2.messages import N1, N2, N3
from handfast.wire.v2.payloads import Credentials, parse_kem_public

Encapsulate = Callable[[bytes], tuple[bytes, Secret]]


@dataclass(frozen=True, slots=True)
class InitiatorHandshake:
    """A handshake that waits for n3. It never changes: whatever comes is tried on a copy.

    Attributes:
        peer_id: who is to answer.
        nonce: our `my_nonce`, which the answer repeats.
    """

    peer_id: str
    nonce: str
    _me: Myself = field(repr=False)
    _suite: Suite = field(repr=False)
    _noise: HandshakeState = field(repr=False)
    _psk: Secret | None = field(repr=False)
    _offer: bytes = field(repr=False)

    def read_n3(self, n3: N3, now: float) -> tuple[Session, Peer]:
        """The session, and the proven peer for trust to agree with.

        Args:
            n3: of any sender.
            now: seconds since 1970 UTC.

        Raises:
            PeerError: it is not the answer that is waited for.
        """
        if n3.sender != self.peer_id or n3.header.your_nonce != self.nonce:
            raise PeerError(Reason.NO_SESSION, "an answer to nothing of ours")
        noise, me = self._noise.copy(), self._me
        credentials = Credentials.parse(noise.read_message(n3.message, psk=self._psk))
        static_key = noise.remote_static
        if static_key is None:
            raise UsageError("the pattern has no static key")
        if credentials.kem_ciphertext is not None:
            raise PeerError(Reason.FORMAT, "an ML-KEM ciphertext in n3")
        peer = check_credentials(credentials, n3.header, static_key, me, self._offer, now)
        session = Session.found(
            noise.finish(),
            suite=self._suite,
            is_initiator=True,
            wrote_first=False,
            own_static=me.static.key,
            peer=peer,
            now=now,
            full_at=now,
        )
        return session, peer


def read_n1(
    me: Myself,
    offers: Sequence[bytes],
    n1: N1,
    *,
    ephemeral: bytes,
    nonce: str,
    encapsulate: Encapsulate = kem.encapsulate,
) -> tuple[InitiatorHandshake, N2]:
    """Answer the responder's first message.

    Args:
        me: ourselves.
        offers: those of ours that may still be answered.
        n1: of any sender.
        ephemeral: 32 random bytes.
        nonce: `my_nonce` of the answer: B(16 random bytes).
        encapsulate: for suites with ML-KEM; the library's own draws random bytes itself.

    Raises:
        PeerError: with OFFER, DOWNGRADE, PSK, KEM, or whatever else is wrong with it.
    """
    offer = own_offer_of(offers, n1.selection)
    suite = check_selection(offer, n1.offer, n1.selection)
    agreement = Agreement(
        me.agent_id, n1.sender, offer, n1.offer, n1.selection, n1.header.my_nonce or "", me.network
    )
    return answer(me, agreement, suite, n1, ephemeral=ephemeral, nonce=nonce, encapsulate=encapsulate)


def answer(
    me: Myself,
    agreement: Agreement,
    suite: Suite,
    n1: N1,
    *,
    ephemeral: bytes,
    nonce: str,
    encapsulate: Encapsulate = kem.encapsulate,
) -> tuple[InitiatorHandshake, N2]:
    """As `read_n1`, with all that was agreed on given."""
    if suite.psk and me.psk is None:
        raise PeerError(Reason.PSK)
    noise = HandshakeState(suite.full, initiator=False, prologue=agreement.prologue(), static=me.static.key)
    kem_public = parse_kem_public(noise.read_message(n1.message))
    if (kem_public is not None) != suite.kem:
        raise PeerError(Reason.KEM, "a key, if and only if the suite has ML-KEM")
    psk = mixed_psk(suite.number, me.psk) if suite.psk else None
    ciphertext = None
    if kem_public is not None:
        ciphertext, shared = encapsulate(kem_public)
        psk = mixed_psk(suite.number, me.psk if suite.psk else None, shared, kem_public, ciphertext)
    header = Header(me.agent_id, n1.sender, "request", my_nonce=nonce, your_nonce=agreement.nonce)
    message = noise.write_message(me.credentials(header, ciphertext), ephemeral=ExchangeKey(ephemeral))
    handshake = InitiatorHandshake(n1.sender, nonce, me, suite, noise, psk, n1.offer)
    return handshake, N2(header, agreement.initiator_offer, agreement.selection, message)
