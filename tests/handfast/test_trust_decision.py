"""Who is believed in version 2: laws over all that can be known of a peer, and one case for each way to be refused."""

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from fake_world import START, make_identity
from hypothesis import given
from hypothesis import strategies as st

from handfast.crypto.keys import SigningKey
from handfast.errors import PeerError, Reason
from handfast.identity import Identity
from handfast.identity.agent_ids import self_certifying_id
from handfast.trust.certificate import (
    Controller,
    issue_certificate,
    issuer_of,
    read_certificate,
    read_request,
    request_certificate,
)
from handfast.trust.decision import (
    Change,
    Decision,
    Facts,
    FirstContact,
    Mode,
    Pin,
    Policy,
    Proven,
    Security,
    Source,
    decide,
    decide_again,
    examine,
    v1_is_allowed,
)
from handfast.trust.revocation import STALE_AFTER
from handfast.trust.rotation import rotated_identity

NOW = START
ALICE, BOB = make_identity("alice"), make_identity("bob")  # ids of version 4
CERTIFIED = replace(BOB, agent_id=self_certifying_id(BOB.signing_key.public))
OWN = {ALICE.identity_key.public}
KEY = SigningKey(b"c" * 32)
CONTROLLER = Controller(KEY.public)
SERIAL = "ab" * 16


def shown(identity: Identity, certificate: bytes | None = None) -> Proven:
    return examine(identity.agent_id, identity.identity_key.public, identity.rotations, certificate)


def certificate(identity: Identity, key: SigningKey = KEY, now: float = NOW, serial: str = SERIAL) -> bytes:
    asked = read_request(request_certificate(identity, "", bytes(16), now))
    return issue_certificate(asked, key, serial=serial, now=now)


def rotated(identity: Identity, times: int = 1) -> Identity:
    for number in range(times):
        identity = rotated_identity(identity, bytes([number + 1]) * 32, bytes([number + 101]) * 32, NOW)
    return identity


def pin(identity: Identity = BOB, source: Source = Source.TOFU, **more: Any) -> Pin:
    return Pin(identity.agent_id, identity.identity_key.public, source, NOW - 100, NOW - 50, **more)


def judge(proven: Proven, policy: Policy | None = None, now: float = NOW, **facts: Any) -> Decision:
    return decide(proven, Facts(**facts), policy or Policy(), own_keys=OWN, now=now)


def reason_of(work: Callable[[], object]) -> Reason:
    with pytest.raises(PeerError) as caught:
        work()
    return caught.value.reason


# ---- what the credentials say by themselves -----------------------------------------------------------------------


def test_a_self_certifying_id_belongs_to_the_first_key_of_the_chain() -> None:
    assert shown(rotated(CERTIFIED, 2)).keys[0] == CERTIFIED.signing_key.public
    thief = replace(CERTIFIED, signing_key=ALICE.signing_key)
    assert reason_of(lambda: shown(thief)) is Reason.ID_NOT_SELF_CERTIFIED
    assert reason_of(lambda: shown(rotated(thief))) is Reason.ID_NOT_SELF_CERTIFIED


def test_a_chain_to_another_key_is_refused() -> None:
    rotations = rotated(BOB).rotations
    assert (
        reason_of(lambda: examine(BOB.agent_id, BOB.signing_key.public, rotations, None)) is Reason.ROTATION
    )


def test_a_certificate_of_somebody_else_is_refused() -> None:
    for other in (replace(BOB, agent_id=ALICE.agent_id), replace(BOB, signing_key=ALICE.signing_key)):
        assert reason_of(lambda other=other: shown(BOB, certificate(other))) is Reason.CERT  # type: ignore[misc]
    assert reason_of(lambda: shown(BOB, b"no certificate")) is Reason.CERT


# ---- first contact ------------------------------------------------------------------------------------------------

_LIMITS: list[FirstContact | None] = [None, *FirstContact]


@pytest.mark.parametrize(("mode", "limit"), list(product(Mode, _LIMITS)))
def test_who_may_be_met_for_the_first_time(mode: Mode, limit: FirstContact | None) -> None:
    policy = Policy(mode=mode, first_contact=limit)
    standard = FirstContact.SELFCERT if mode is Mode.STRICT else FirstContact.TOFU
    admitted = {
        FirstContact.REFUSE: set(),
        FirstContact.SELFCERT: {CERTIFIED.agent_id},
        FirstContact.TOFU: {CERTIFIED.agent_id, BOB.agent_id},
    }[limit or standard]
    for identity in (BOB, CERTIFIED):
        if identity.agent_id in admitted:
            assert judge(shown(identity), policy).change is Change.NEW
        else:
            assert reason_of(lambda i=identity: judge(shown(i), policy)) is Reason.POLICY  # type: ignore[misc]
        # a trusted controller's word, a pin, or the list of exceptions, is as good as it is under any policy
        proven = shown(identity, certificate(identity))
        assert judge(proven, policy, controllers=(CONTROLLER,)).security is Security.CERT
        assert judge(shown(identity), policy, pin=pin(identity)).change is Change.KNOWN
        judge(shown(identity), replace(policy, allow=frozenset({identity.agent_id})))


@pytest.mark.parametrize(
    ("identity", "source", "security"),
    [(BOB, Source.TOFU, Security.TOFU), (CERTIFIED, Source.SELFCERT, Security.SELFCERT)],
    ids=["any id", "self-certifying id"],
)
def test_a_first_contact_is_pinned_for_what_it_is(
    identity: Identity, source: Source, security: Security
) -> None:
    decision = judge(shown(identity))
    assert (decision.security, decision.change) == (security, Change.NEW)
    assert decision.pin == Pin(identity.agent_id, identity.identity_key.public, source, NOW, NOW)


def test_a_first_contact_with_a_certificate_is_pinned_with_its_serial() -> None:
    decision = judge(shown(BOB, certificate(BOB)), controllers=(CONTROLLER,))
    assert decision.security is Security.CERT
    assert decision.pin.source is Source.CERT
    assert decision.pin.certificate_issuer == issuer_of(KEY.public)
    assert decision.pin.certificate_serial == SERIAL


def test_who_is_on_the_list_is_never_spoken_to() -> None:
    policy = Policy(deny=frozenset({BOB.agent_id}), allow=frozenset({BOB.agent_id}))
    for facts in ({}, {"pin": pin(source=Source.MANUAL)}):
        assert reason_of(lambda facts=facts: judge(shown(BOB), policy, **facts)) is Reason.POLICY  # type: ignore[misc]


# ---- pins ---------------------------------------------------------------------------------------------------------


def test_a_pinned_key_is_known_and_its_pin_keeps_what_it_had() -> None:
    for source in Source:
        before = pin(source=source, certificate_issuer="u", certificate_serial=SERIAL)
        decision = judge(shown(BOB), pin=before)
        assert (decision.change, decision.security) == (Change.KNOWN, Security.PIN)
        assert decision.pin == replace(before, last_seen=NOW)


def test_another_key_never_takes_the_place_of_a_pinned_one() -> None:
    thief = replace(BOB, signing_key=SigningKey(b"t" * 32))
    for source in Source:
        assert (
            reason_of(lambda source=source: judge(shown(thief), pin=pin(source=source)))
            is Reason.PIN_CONFLICT
        )  # type: ignore[misc]
    assert reason_of(lambda: judge(shown(thief), v1_key=BOB.signing_key.public)) is Reason.PIN_CONFLICT


def test_a_key_that_version_1_pinned_goes_on_in_version_2() -> None:
    for identity in (BOB, rotated(BOB, 2)):
        decision = judge(shown(identity), v1_key=BOB.signing_key.public, policy=Policy(mode=Mode.STRICT))
        assert (decision.change, decision.security) == (Change.NEW, Security.PIN)
        assert decision.pin.source is Source.TOFU


@pytest.mark.parametrize("source", Source)
@pytest.mark.parametrize(("known", "now_at"), [(0, 1), (0, 3), (1, 2), (2, 8)])
def test_a_rotation_from_the_pinned_key_moves_the_pin(source: Source, known: int, now_at: int) -> None:
    before = pin(rotated(BOB, known), source, rotation_sequence=known)
    after = rotated(BOB, now_at)
    decision = judge(shown(after), pin=before)
    assert decision.change is Change.ROTATED
    assert decision.pin == replace(
        before,
        identity_public=after.identity_key.public,
        rotation_sequence=now_at,
        last_seen=NOW,
    )


def test_a_key_that_was_left_behind_is_refused_whatever_it_signs() -> None:
    before = pin(rotated(CERTIFIED), Source.SELFCERT, rotation_sequence=1)
    assert reason_of(lambda: judge(shown(CERTIFIED), pin=before)) is Reason.PIN_CONFLICT
    branch = rotated_identity(CERTIFIED, b"t" * 32, b"u" * 32, NOW)
    assert reason_of(lambda: judge(shown(branch), pin=before)) is Reason.PIN_CONFLICT


@pytest.mark.parametrize("source", Source)
def test_a_certificate_replaces_a_pin_where_that_is_allowed_and_no_person_made_it(source: Source) -> None:
    other = replace(BOB, signing_key=SigningKey(b"t" * 32))
    proven = shown(other, certificate(other))
    facts: dict[str, Any] = {"pin": pin(source=source), "controllers": (CONTROLLER,)}
    assert reason_of(lambda: judge(proven, **facts)) is Reason.PIN_CONFLICT
    policy = Policy(certificate_replaces_pin=True)
    assert reason_of(lambda: judge(proven, policy, pin=pin(source=source))) is Reason.PIN_CONFLICT
    if source is Source.MANUAL:
        assert reason_of(lambda: judge(proven, policy, **facts)) is Reason.PIN_CONFLICT
        return
    decision = judge(proven, policy, **facts)
    assert decision.change is Change.REPLACED
    assert (decision.pin.identity_public, decision.pin.source) == (other.identity_key.public, Source.CERT)
    assert decision.pin.first_seen == NOW


def test_a_certificate_makes_a_pin_better_but_not_one_that_a_person_made() -> None:
    for source in Source:
        decision = judge(shown(BOB, certificate(BOB)), pin=pin(source=source), controllers=(CONTROLLER,))
        assert decision.pin.source is (Source.MANUAL if source is Source.MANUAL else Source.CERT)
        assert decision.pin.certificate_serial == SERIAL


def test_a_key_speaks_for_one_id_only() -> None:
    for facts in ({}, {"pin": pin()}):
        assert (
            reason_of(lambda facts=facts: judge(shown(BOB), held_by_another=True, **facts))  # type: ignore[misc]
            is Reason.KEY_UNDER_TWO_IDS
        )


def test_our_own_key_is_nobody_else_s() -> None:
    mirror = replace(BOB, signing_key=ALICE.signing_key)
    for identity in (mirror, rotated(mirror)):
        assert reason_of(lambda i=identity: judge(shown(i), pin=pin(i))) is Reason.OWN_KEY_REFLECTED  # type: ignore[misc]


# ---- certificates and revocation ----------------------------------------------------------------------------------


def test_where_a_certificate_is_demanded_nothing_else_will_do() -> None:
    policy = Policy(require_certificate=True)
    for proven, facts in (
        (shown(BOB), {"pin": pin(source=Source.MANUAL)}),
        (shown(CERTIFIED), {}),
        (shown(BOB, certificate(BOB)), {}),  # of a controller that is not trusted
        (shown(BOB, certificate(BOB, SigningKey(b"x" * 32))), {"controllers": (CONTROLLER,)}),
    ):
        assert reason_of(lambda p=proven, f=facts: judge(p, policy, **f)) is Reason.CERT  # type: ignore[misc]
    assert judge(shown(BOB, certificate(BOB)), policy, controllers=(CONTROLLER,)).security is Security.CERT


def test_a_certificate_of_a_trusted_controller_that_does_not_hold_is_refused_even_where_none_is_needed() -> (
    None
):
    proven = shown(BOB, certificate(BOB, now=NOW - 40 * 86_400))
    assert reason_of(lambda: judge(proven, pin=pin(), controllers=(CONTROLLER,))) is Reason.CERT
    signed_by_another = read_certificate(certificate(BOB, SigningKey(b"x" * 32)))
    claiming = replace(proven, certificate=replace(signed_by_another, issuer=CONTROLLER.issuer))
    assert reason_of(lambda: judge(claiming, controllers=(CONTROLLER,))) is Reason.CERT


def test_a_certificate_of_a_stranger_counts_as_none() -> None:
    proven = shown(BOB, certificate(BOB, SigningKey(b"x" * 32)))
    decision = judge(proven, controllers=(CONTROLLER,))
    assert decision.security is Security.TOFU
    assert decision.pin.certificate_serial is None


def test_a_stale_revocation_list_is_told_and_where_certificates_are_demanded_refused() -> None:
    late = replace(CONTROLLER, crl_next=int(NOW - STALE_AFTER - 1))
    proven = shown(BOB, certificate(BOB))
    assert judge(proven, controllers=(late,)).crl_is_stale
    assert not judge(proven, controllers=(replace(late, crl_next=int(NOW)),)).crl_is_stale
    policy = Policy(require_certificate=True)
    with pytest.raises(PeerError, match="the revocation list is stale") as caught:
        judge(proven, policy, controllers=(late,))
    assert caught.value.reason is Reason.CERT


def test_a_dead_key_is_refused_from_the_pinned_one_on() -> None:
    first, second, third = (rotated(BOB, times).identity_key.public for times in (0, 1, 2))
    proven = shown(rotated(BOB, 2))
    for dead in (first, second, third):
        assert reason_of(lambda dead=dead: judge(proven, dead_keys=frozenset({dead}))) is Reason.REVOKED  # type: ignore[misc]
    known = pin(rotated(BOB), Source.MANUAL, rotation_sequence=1)
    assert judge(proven, pin=known, dead_keys=frozenset({first})).change is Change.ROTATED
    for dead in (second, third):
        assert (
            reason_of(lambda dead=dead: judge(proven, pin=known, dead_keys=frozenset({dead})))  # type: ignore[misc]
            is Reason.REVOKED
        )


def test_a_revoked_certificate_is_refused_whether_it_is_shown_or_not() -> None:
    issuer = CONTROLLER.issuer
    revoked = {"revoked_serials": frozenset({(issuer, SERIAL)}), "controllers": (CONTROLLER,)}
    known = pin(source=Source.CERT, certificate_issuer=issuer, certificate_serial=SERIAL)
    assert reason_of(lambda: judge(shown(BOB, certificate(BOB)), **revoked)) is Reason.REVOKED
    assert reason_of(lambda: judge(shown(BOB), pin=known, **revoked)) is Reason.REVOKED
    elsewhere = shown(BOB, certificate(BOB, SigningKey(b"x" * 32)))
    assert reason_of(lambda: judge(elsewhere, pin=known, **revoked)) is Reason.REVOKED
    other = Controller(SigningKey(b"x" * 32).public)
    both = revoked | {"controllers": (CONTROLLER, other)}
    assert reason_of(lambda: judge(elsewhere, pin=known, **both)) is Reason.REVOKED
    # a new certificate of the same controller is newer word than the revocation of the old one
    renewed = judge(shown(BOB, certificate(BOB, serial="cd" * 16)), pin=known, **revoked)
    assert renewed.pin.certificate_serial == "cd" * 16


# ---- laws ---------------------------------------------------------------------------------------------------------

_IDENTITIES = [
    BOB,
    CERTIFIED,
    rotated(BOB),
    rotated(CERTIFIED, 2),
    replace(BOB, signing_key=SigningKey(b"t" * 32)),
]
_PROVEN = [
    shown(identity, one)
    for identity in _IDENTITIES
    for one in (None, certificate(identity), certificate(identity, SigningKey(b"x" * 32)))
]


@st.composite
def situations(draw: st.DrawFn) -> tuple[Proven, Facts, Policy]:
    proven = draw(st.sampled_from(_PROVEN))
    keys = sorted({key for one in _PROVEN for key in one.keys})
    known = st.builds(
        Pin,
        st.just(proven.agent_id),
        st.sampled_from(keys),
        st.sampled_from(Source),
        st.just(0.0),
        st.just(0.0),
        st.integers(0, 3),
        st.sampled_from([None, CONTROLLER.issuer]),
        st.sampled_from([None, SERIAL]),
    )
    facts = Facts(
        pin=draw(st.none() | known),
        v1_key=draw(st.none() | st.sampled_from(keys)),
        held_by_another=draw(st.booleans()),
        dead_keys=frozenset(draw(st.sets(st.sampled_from(proven.keys), max_size=1))),
        revoked_serials=frozenset(draw(st.sets(st.just((CONTROLLER.issuer, SERIAL))))),
        controllers=draw(st.sampled_from([(), (CONTROLLER,)])),
    )
    policy = Policy(
        mode=draw(st.sampled_from(Mode)),
        first_contact=draw(st.none() | st.sampled_from(FirstContact)),
        require_certificate=draw(st.booleans()),
        certificate_replaces_pin=draw(st.booleans()),
        allow=draw(st.sampled_from([frozenset(), frozenset({proven.agent_id})])),
        deny=draw(st.sampled_from([frozenset(), frozenset({proven.agent_id})])),
    )
    return proven, facts, policy


@given(situations())
def test_whoever_is_believed_has_earned_it(situation: tuple[Proven, Facts, Policy]) -> None:
    proven, facts, policy = situation
    try:
        decision = decide(proven, facts, policy, own_keys=OWN, now=NOW)
    except PeerError as error:
        assert error.reason in {  # noqa: PT017
            Reason.REVOKED,
            Reason.POLICY,
            Reason.PIN_CONFLICT,
            Reason.KEY_UNDER_TWO_IDS,
            Reason.CERT,
        }
        return
    certified = proven.certificate is not None and CONTROLLER in facts.controllers
    certified = certified and proven.certificate.issuer == CONTROLLER.issuer  # type: ignore[union-attr]
    assert proven.agent_id not in policy.deny
    assert not facts.held_by_another
    assert proven.identity_public not in facts.dead_keys
    assert certified or not policy.require_certificate
    assert (decision.security is Security.CERT) == certified
    assert (decision.pin.peer_id, decision.pin.identity_public) == (proven.agent_id, proven.identity_public)
    assert decision.pin.rotation_sequence == len(proven.keys) - 1
    if facts.pin is not None:
        continued = facts.pin.identity_public in proven.keys
        assert continued or (certified and policy.certificate_replaces_pin)
        if facts.pin.source is Source.MANUAL:
            assert continued
            assert decision.pin.source is Source.MANUAL
        assert decision.change is not Change.NEW
    elif facts.v1_key is None:
        assert certified or policy.admits(proven.agent_id)
    # and who was believed once is so again, with the pin that was just made
    again = decide(proven, replace(facts, pin=decision.pin), policy, own_keys=OWN, now=NOW)
    assert (again.change, again.pin) == (Change.KNOWN, decision.pin)


# ---- resumption, and version 1 ------------------------------------------------------------------------------------


def again(known: Pin | None = None, *, is_revoked: bool = False, policy: Policy | None = None) -> Decision:
    return decide_again(
        BOB.agent_id,
        BOB.identity_key.public,
        known,
        is_revoked=is_revoked,
        policy=policy or Policy(),
        now=NOW,
    )


@pytest.mark.parametrize(
    ("known", "security"),
    [
        (pin(), Security.PIN),
        (pin(source=Source.MANUAL), Security.PIN),
        (pin(source=Source.CERT, certificate_serial=SERIAL), Security.CERT),
    ],
)
def test_who_resumes_is_believed_as_before(known: Pin, security: Security) -> None:
    decision = again(known)
    assert (decision.security, decision.change) == (security, Change.KNOWN)
    assert decision.pin == replace(known, last_seen=NOW)


def test_who_resumes_is_asked_again_for_everything_that_may_have_changed() -> None:
    assert reason_of(lambda: again(None)) is Reason.POLICY
    assert reason_of(lambda: again(pin(), is_revoked=True)) is Reason.REVOKED
    assert reason_of(lambda: again(pin(rotated(BOB)))) is Reason.PIN_CONFLICT
    assert reason_of(lambda: again(pin(), policy=Policy(deny=frozenset({BOB.agent_id})))) is Reason.POLICY
    assert reason_of(lambda: again(pin(), policy=Policy(require_certificate=True))) is Reason.CERT
    again(pin(certificate_serial=SERIAL), policy=Policy(require_certificate=True))


def test_a_self_certified_peer_resumes_as_one() -> None:
    known = pin(CERTIFIED, Source.SELFCERT)
    public = CERTIFIED.identity_key.public
    decision = decide_again(CERTIFIED.agent_id, public, known, is_revoked=False, policy=Policy(), now=NOW)
    assert decision.security is Security.SELFCERT


@pytest.mark.parametrize("mode", Mode)
def test_version_1_is_spoken_only_with_those_who_may_know_no_other(mode: Mode) -> None:
    assert v1_is_allowed(BOB.agent_id, has_pin=False, mode=mode) is (mode is not Mode.STRICT)
    assert not v1_is_allowed(BOB.agent_id, has_pin=True, mode=mode)
    assert not v1_is_allowed(CERTIFIED.agent_id, has_pin=False, mode=mode)
