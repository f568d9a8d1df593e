"""Who may speak for an id, and that refusals name stable reasons."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handfast.errors import HandfastError, PeerError, Reason
from handfast.trust import v1 as trust

law = settings(deadline=None, max_examples=60)

OWN, PEER, OTHER = b"o" * 32, b"p" * 32, b"x" * 32

# ---- trust --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sign_pub", "pinned", "held_by_another", "verdict"),
    [
        (PEER, None, False, True),
        (PEER, PEER, False, False),
        (PEER, OTHER, False, Reason.KEY_CHANGED),
        (PEER, None, True, Reason.KEY_UNDER_TWO_IDS),
        (PEER, PEER, True, Reason.KEY_UNDER_TWO_IDS),
        (PEER, OTHER, True, Reason.KEY_CHANGED),
        (OWN, None, False, Reason.OWN_KEY_REFLECTED),
        (OWN, OWN, False, Reason.OWN_KEY_REFLECTED),
        (OWN, PEER, False, Reason.OWN_KEY_REFLECTED),
        (OWN, None, True, Reason.OWN_KEY_REFLECTED),
        (OWN, OWN, True, Reason.OWN_KEY_REFLECTED),
        (PEER, b"", False, Reason.KEY_CHANGED),  # an empty pin is a pin, and not the absence of one
    ],
)
def test_a_key_is_pinned_at_first_sight_and_no_other_speaks_for_the_id(
    sign_pub: bytes, pinned: bytes | None, held_by_another: bool, verdict: bool | Reason
) -> None:
    if isinstance(verdict, bool):
        assert trust.decide(sign_pub, own=OWN, pinned=pinned, held_by_another=held_by_another) is verdict
        return
    with pytest.raises(PeerError) as caught:
        trust.decide(sign_pub, own=OWN, pinned=pinned, held_by_another=held_by_another)
    assert caught.value.reason is verdict


@given(st.binary(max_size=3), st.binary(max_size=3), st.none() | st.binary(max_size=3), st.booleans())
@law
def test_a_key_that_may_speak_is_new_or_the_pinned_one_and_nobody_elses(
    sign_pub: bytes, own: bytes, pinned: bytes | None, held_by_another: bool
) -> None:
    try:
        is_new = trust.decide(sign_pub, own=own, pinned=pinned, held_by_another=held_by_another)
    except PeerError:
        assert sign_pub == own or held_by_another or pinned not in (None, sign_pub)
    else:
        assert sign_pub != own
        assert not held_by_another
        assert pinned == (None if is_new else sign_pub)


# ---- reasons ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", Reason)
def test_a_refusal_names_its_reason_as_a_stable_word(reason: Reason) -> None:
    assert reason.value == reason.name.lower()
    assert str(PeerError(reason)) == reason.value
    assert str(PeerError(reason, "my_nonce")) == f"{reason.value}: my_nonce"
    assert PeerError(reason).reason is reason
    assert isinstance(PeerError(reason), HandfastError)
