"""Whether a peer of version 2 is believed, and as whom: one decision over what it has proven and what is known of it.

v2-handshake.md, sections 6.6, 10 and 13. Nothing is believed that is not proven, and a pin is replaced only by what the
pinned key itself, a trusted controller where that is allowed, or a person has said.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import StrEnum

from handfast.errors import PeerError, Reason
from handfast.identity.agent_ids import is_self_certifying, require_self_certified
from handfast.trust.certificate import Certificate, Controller, check_certificate, read_certificate
from handfast.trust.revocation import is_stale
from handfast.trust.rotation import verify_chain


class Mode(StrEnum):
    """Which versions are spoken (section 13)."""

    STRICT = "strict"
    PREFER = "prefer"
    COMPAT = "compat"


class FirstContact(StrEnum):
    """Who may be met for the first time without a certificate; each admits what those before it admit."""

    REFUSE = "refuse"
    SELFCERT = "selfcert"
    TOFU = "tofu"


class Source(StrEnum):
    """Why a pin is believed, strongest first."""

    MANUAL = "manual"  # a person said so
    CERT = "cert"  # a trusted controller said so
    SELFCERT = "selfcert"  # the id is made of the key
    TOFU = "tofu"  # it was the first key to claim the id


class Security(StrEnum):
    """What an application is told about the peer of a session."""

    CERT = "v2-cert"
    SELFCERT = "v2-selfcert"
    PIN = "v2-pin"
    TOFU = "v2-tofu"


class Change(StrEnum):
    """What becomes of the pin."""

    NEW = "new"
    KNOWN = "known"
    ROTATED = "rotated"
    REPLACED = "replaced"


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator of an agent demands (section 10.2).

    Attributes:
        mode: which versions are spoken.
        first_contact: who may be met for the first time; None: everybody, under `strict` only self-certifying ids.
        require_certificate: whether every peer must show a certificate of a trusted controller, and the controller's
            revocation list, where there is one, must be current.
        certificate_replaces_pin: whether a certificate may put another key in the place of a pinned one; never of one
            that a person pinned.
        allow: ids that may be met for the first time whatever `first_contact` says.
        deny: ids that are never spoken to.
    """

    mode: Mode = Mode.PREFER
    first_contact: FirstContact | None = None
    require_certificate: bool = False
    certificate_replaces_pin: bool = False
    allow: frozenset[str] = frozenset()
    deny: frozenset[str] = frozenset()

    def admits(self, agent_id: str) -> bool:
        """Whether an unknown peer without a certificate may be met for the first time."""
        if agent_id in self.allow:
            return True
        everybody = FirstContact.SELFCERT if self.mode is Mode.STRICT else FirstContact.TOFU
        limit = self.first_contact or everybody
        return limit is FirstContact.TOFU or (limit is FirstContact.SELFCERT and is_self_certifying(agent_id))


@dataclass(frozen=True, slots=True)
class Pin:
    """The identity key that alone may speak for a peer. Who has one has been met in version 2 and never speaks v1 again.

    Attributes:
        peer_id: the peer's id.
        identity_public: its Ed25519 key, 32 raw bytes.
        source: why it is believed.
        first_seen, last_seen: seconds since 1970 UTC.
        rotation_sequence: how many rotations had led to the key.
        certificate_issuer, certificate_serial: of the certificate that was shown last, if any ever was.
    """

    peer_id: str
    identity_public: bytes
    source: Source
    first_seen: float
    last_seen: float
    rotation_sequence: int = 0
    certificate_issuer: str | None = None
    certificate_serial: str | None = None


@dataclass(frozen=True, slots=True)
class Proven:
    """What a peer has proven or signed, before anything that we know of it is asked.

    Attributes:
        agent_id: the peer's id.
        keys: its identity keys, the first one first and the present one last; 32 raw bytes each.
        certificate: what it showed; about this id and the present key, its signature not checked.
    """

    agent_id: str
    keys: tuple[bytes, ...]
    certificate: Certificate | None = None

    @property
    def identity_public(self) -> bytes:
        """The present identity key."""
        return self.keys[-1]


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known that bears on the decision.

    Attributes:
        pin: the peer's pin.
        v1_key: the signing key that version 1 pinned for the peer, 32 raw bytes.
        held_by_another: whether the peer's present key is pinned for another id.
        dead_keys: which of the peer's keys are revoked or declared dead.
        revoked_serials: which of the certificates that are at stake, as (issuer, serial), are revoked.
        controllers: all that are trusted.
    """

    pin: Pin | None = None
    v1_key: bytes | None = None
    held_by_another: bool = False
    dead_keys: frozenset[bytes] = frozenset()
    revoked_serials: frozenset[tuple[str, str]] = frozenset()
    controllers: tuple[Controller, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """The peer is believed.

    Attributes:
        security: what the application is told.
        change: what becomes of the pin.
        pin: the pin to be kept once the session is confirmed.
        crl_is_stale: whether the controller's revocation list should have been followed by another one.
    """

    security: Security
    change: Change
    pin: Pin
    crl_is_stale: bool = False


def examine(agent_id: str, identity_public: bytes, rotations: bytes, certificate: bytes | None) -> Proven:
    """What a peer's credentials say by themselves.

    Args:
        agent_id: the peer's id, which the handshake has authenticated.
        identity_public: its identity key, which has signed the handshake's static key; 32 raw bytes.
        rotations: its rotation chain as it came; b"" for none.
        certificate: its certificate as it came.

    Raises:
        PeerError: `ROTATION`, `WEAK_KEY`, `ID_NOT_SELF_CERTIFIED` or `CERT`.
    """
    keys = verify_chain(rotations, agent_id, identity_public)
    require_self_certified(agent_id, keys[0])
    if certificate is None:
        return Proven(agent_id, keys)
    shown = read_certificate(certificate)
    if (shown.agent_id, shown.identity_public) != (agent_id, identity_public):
        raise PeerError(Reason.CERT, "the certificate is somebody else's")
    return Proven(agent_id, keys, shown)


def decide(
    proven: Proven, facts: Facts, policy: Policy, *, own_keys: Collection[bytes], now: float
) -> Decision:
    """Whether this peer is believed.

    Args:
        proven: from `examine`.
        facts: what is known of the peer and of its keys.
        policy: what the operator demands.
        own_keys: our own Ed25519 keys; 32 raw bytes each.
        now: seconds since 1970 UTC.

    Raises:
        PeerError: `OWN_KEY_REFLECTED`, `REVOKED`, `POLICY`, `CERT`, `PIN_CONFLICT` or `KEY_UNDER_TWO_IDS`.
    """
    if any(key in own_keys for key in proven.keys):
        raise PeerError(Reason.OWN_KEY_REFLECTED)
    if proven.agent_id in policy.deny:
        raise PeerError(Reason.POLICY, "the peer is on the list of those not spoken to")
    controller = _controller_of(proven, facts, now)
    _refuse_revoked(proven, facts, certified_by=controller)
    stale = controller is not None and is_stale(controller, now)
    if policy.require_certificate and (controller is None or stale):
        raise PeerError(Reason.CERT, "the revocation list is stale" if stale else "a certificate is demanded")
    change = _change(proven, facts, policy, is_certified=controller is not None)
    if facts.held_by_another:
        raise PeerError(Reason.KEY_UNDER_TWO_IDS)
    pin = _pin_after(proven, facts.pin, change, is_certified=controller is not None, now=now)
    was_known = change is not Change.NEW or facts.v1_key is not None
    return Decision(_security(proven.agent_id, controller, was_known=was_known), change, pin, stale)


def decide_again(
    agent_id: str, identity_public: bytes, pin: Pin | None, *, is_revoked: bool, policy: Policy, now: float
) -> Decision:
    """Whether a peer that was believed before, and resumes a session now, still is.

    Its certificate is not shown again; a day at most after it was, the next full handshake looks at it.

    Args:
        agent_id: the peer's id.
        identity_public: its identity key when the session was first agreed on; 32 raw bytes.
        pin: what is pinned for it now.
        is_revoked: whether the pinned key or certificate has been revoked since.
        policy: what the operator demands.
        now: seconds since 1970 UTC.

    Raises:
        PeerError: `POLICY`, `REVOKED`, `PIN_CONFLICT` or `CERT`.
    """
    if agent_id in policy.deny:
        raise PeerError(Reason.POLICY, "the peer is on the list of those not spoken to")
    if is_revoked:
        raise PeerError(Reason.REVOKED)
    if pin is None:
        raise PeerError(Reason.POLICY, "the pin was removed meanwhile")
    if pin.identity_public != identity_public:
        raise PeerError(Reason.PIN_CONFLICT)
    if policy.require_certificate and pin.certificate_serial is None:
        raise PeerError(Reason.CERT, "a certificate is demanded")
    security = Security.SELFCERT if is_self_certifying(agent_id) else Security.PIN
    if pin.source is Source.CERT:
        security = Security.CERT
    return Decision(security, Change.KNOWN, replace(pin, last_seen=now))


def v1_is_allowed(agent_id: str, *, has_pin: bool, mode: Mode) -> bool:
    """Whether version 1 may be spoken with this peer (section 13).

    Args:
        agent_id: the peer's id.
        has_pin: whether it has a `Pin`, that is, has been met in version 2.
        mode: which versions we speak.
    """
    return mode is not Mode.STRICT and not has_pin and not is_self_certifying(agent_id)


def _controller_of(proven: Proven, facts: Facts, now: float) -> Controller | None:
    """The trusted controller that certified the peer; a certificate of anybody else counts as none at all."""
    certificate = proven.certificate
    if certificate is None:
        return None
    for controller in facts.controllers:
        if controller.issuer == certificate.issuer:
            check_certificate(certificate, controller, now)
            return controller
    return None


def _refuse_revoked(proven: Proven, facts: Facts, certified_by: Controller | None) -> None:
    pin, certificate = facts.pin, proven.certificate
    # keys before the pinned one were left behind already; from there on, a dead key's word for the next one is no good
    known = proven.keys.index(pin.identity_public) if pin and pin.identity_public in proven.keys else 0
    if not facts.dead_keys.isdisjoint(proven.keys[known:]):
        raise PeerError(Reason.REVOKED, "the key")
    if certificate is not None and (certificate.issuer, certificate.serial) in facts.revoked_serials:
        raise PeerError(Reason.REVOKED, "the certificate")
    # who was known by a certificate does not get past its revocation by showing none
    former = (None, None) if pin is None else (pin.certificate_issuer, pin.certificate_serial)
    if former in facts.revoked_serials and (certified_by is None or certified_by.issuer != former[0]):
        raise PeerError(Reason.REVOKED, "the certificate shown before")


def _change(proven: Proven, facts: Facts, policy: Policy, *, is_certified: bool) -> Change:
    pin = facts.pin
    if pin is None:
        if facts.v1_key is None:
            if not is_certified and not policy.admits(proven.agent_id):
                raise PeerError(Reason.POLICY, "nobody vouches for this first contact")
            return Change.NEW
        if facts.v1_key in proven.keys:
            return Change.NEW
    elif pin.identity_public == proven.identity_public:
        return Change.KNOWN
    elif pin.identity_public in proven.keys:
        return Change.ROTATED
    by_a_person = pin is not None and pin.source is Source.MANUAL
    if not is_certified or not policy.certificate_replaces_pin or by_a_person:
        raise PeerError(Reason.PIN_CONFLICT)
    return Change.REPLACED


def _pin_after(proven: Proven, pin: Pin | None, change: Change, *, is_certified: bool, now: float) -> Pin:
    source = Source.SELFCERT if is_self_certifying(proven.agent_id) else Source.TOFU
    if pin is None or change is Change.REPLACED:
        pin = Pin(proven.agent_id, proven.identity_public, source, now, now)
    pin = replace(
        pin,
        identity_public=proven.identity_public,
        last_seen=now,
        rotation_sequence=len(proven.keys) - 1,
    )
    if not is_certified or proven.certificate is None:
        return pin
    return replace(
        pin,
        source=pin.source if pin.source is Source.MANUAL else Source.CERT,
        certificate_issuer=proven.certificate.issuer,
        certificate_serial=proven.certificate.serial,
    )


def _security(agent_id: str, controller: Controller | None, *, was_known: bool) -> Security:
    if controller is not None:
        return Security.CERT
    if is_self_certifying(agent_id):
        return Security.SELFCERT
    return Security.PIN if was_known else Security.TOFU
