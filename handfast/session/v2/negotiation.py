"""From two offers to one suite, by a rule that both sides can follow (v2-handshake.md, section 5.3)."""

from collections.abc import Sequence
from dataclasses import dataclass

from handfast.crypto import labels
from handfast.errors import PeerError, Reason
from handfast.session.v2.suites import SUITES, Suite
from handfast.wire.v2.header import length_prefixed
from handfast.wire.v2.offers import DEMANDS_PSK, VERSION, Offer, Selection, offer_digest


@dataclass(frozen=True, slots=True)
class Agreement:
    """All that both sides of a full handshake must have seen alike.

    Attributes:
        initiator, responder: agent ids.
        initiator_offer, responder_offer, selection: as they were sent.
        nonce: `my_nonce` of n1.
        network: the configured name of the deployment.
    """

    initiator: str
    responder: str
    initiator_offer: bytes
    responder_offer: bytes
    selection: bytes
    nonce: str
    network: str

    def prologue(self) -> bytes:
        """What Noise takes into its first hash (section 6.2)."""
        return prologue_of(
            labels.V2_PROLOGUE,
            *role_names(self.initiator, self.responder),
            self.initiator_offer,
            self.responder_offer,
            self.selection,
            self.nonce.encode(),
            self.network.encode(),
        )


def prologue_of(*parts: bytes) -> bytes:
    """A prologue: its parts, each with its length."""
    return b"".join(map(length_prefixed, parts))


def role_names(initiator: str, responder: str) -> tuple[bytes, bytes, bytes, bytes]:
    """Who is who, as it stands in prologues."""
    return b"initiator", initiator.encode(), b"responder", responder.encode()


def select(initiator: Offer, responder: Offer) -> Suite:
    """The suite of a new session.

    Raises:
        PeerError: with OFFER, the two share no suite; with VERSION, the best version that both know is not this one.
    """
    if max(set(initiator.versions) & set(responder.versions), default=None) != VERSION:
        raise PeerError(Reason.VERSION)
    shared = [
        SUITES[number] for number in initiator.suites if number in responder.suites and number in SUITES
    ]
    if initiator.flags & responder.flags & DEMANDS_PSK:
        shared = [suite for suite in shared if suite.psk]
    if not shared:
        raise PeerError(Reason.OFFER, "no suite in common")
    return shared[0]


def make_selection(suite: Suite, initiator_offer: bytes) -> bytes:
    """How the responder tells what it selected."""
    return Selection(VERSION, suite.number, offer_digest(initiator_offer)).encode()


def check_selection(initiator_offer: bytes, responder_offer: bytes, selection: bytes) -> Suite:
    """The suite that the responder selected, which must be what follows from our own offer and its.

    Args:
        initiator_offer: ours, as we sent it.
        responder_offer, selection: as received.

    Raises:
        PeerError: with OFFER, what cannot be read; with DOWNGRADE, any other selection than the rule's.
    """
    ours, theirs = Offer.parse(initiator_offer), Offer.parse(responder_offer)
    try:
        suite = select(ours, theirs)
    except PeerError:
        raise PeerError(Reason.DOWNGRADE) from None
    if selection != make_selection(suite, initiator_offer):
        raise PeerError(Reason.DOWNGRADE)
    return suite


def own_offer_of(offers: Sequence[bytes], selection: bytes) -> bytes:
    """The one of our offers that a selection answers.

    Raises:
        PeerError: with OFFER; none of them.
    """
    digest = Selection.parse(selection).offer_digest
    for offer in offers:
        if offer_digest(offer) == digest:
            return offer
    raise PeerError(Reason.OFFER, "none of ours was answered")
