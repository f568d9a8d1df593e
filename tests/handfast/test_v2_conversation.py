"""Two real ends that speak version 2 over a fake link, with a clock that moves."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from ends_of_2 import End2, world_of_2
from fake_world import End, Link

from handfast.conversation.effects import Rekeyed
from handfast.conversation.model import Role, State
from handfast.crypto import kem
from handfast.crypto.keys import Secret
from handfast.trust.decision import Mode, Policy
from handfast.wire.text import Json
from handfast.wire.v2.messages import is_v2

INIT, RESP = Role.INITIATOR, Role.RESPONDER
BOTH = (INIT, RESP)


def closed(*ends: End) -> list[int]:
    return [end.closed(role) for end in ends for role in BOTH]


def assert_delivered_once(*ends: End) -> None:
    for end in ends:
        said = [str(message) for message in end.delivered()]
        assert len(said) == len(set(said))


async def test_two_agents_hold_one_conversation_in_each_direction_and_nothing_is_readable() -> None:
    _, (alice, bob), link = world_of_2()
    await link.register()
    assert closed(alice, bob) == [1, 1, 1, 1]
    assert len(alice.delivered(INIT)) == len(bob.delivered(RESP)) == 4
    assert [session.security for session in alice.sessions()] == ["v2-selfcert"] * 2
    assert not any("message" in line for line in link.recorded)
    assert all(is_v2(line) for line in link.recorded)
    assert alice.refusals() == bob.refusals() == []


@pytest.mark.skipif(not kem.available(), reason="the installed cryptography has no ML-KEM-768")
@pytest.mark.parametrize(
    ("choice", "suites"), [("prefer", {"Noise_XXpsk3_25519_ChaChaPoly_SHA256 + ML-KEM-768"}), ("off", None)]
)
async def test_the_post_quantum_suite_is_used_where_both_offer_it(
    choice: str, suites: set[str] | None
) -> None:
    parties = {"bob": {"post_quantum": choice}}
    _, (alice, _), link = world_of_2("alice", "bob", parties=parties)
    await link.register()
    assert {session.suite for session in alice.sessions()} == (suites or {"Noise_XX_25519_ChaChaPoly_SHA256"})


async def test_who_requires_post_quantum_keys_does_not_talk_to_who_has_none() -> None:
    parties = {"alice": {"post_quantum": "require"}, "bob": {"post_quantum": "off"}}
    clock, (alice, bob), link = world_of_2("alice", "bob", parties=parties)
    await link.advance(clock, 10)
    assert closed(alice, bob) == [0] * 4


async def test_the_next_conversations_resume_and_each_ticket_is_used_once() -> None:
    clock, (alice, bob), link = world_of_2(reconnect_every=5.0)
    await link.advance(clock, 40)
    assert min(closed(alice, bob)) >= 5
    assert [session.resumed for session in alice.sessions(INIT)][:3] == [False, True, True]
    tickets = [line["hs"]["i"] for line in link.recorded if line["intent"] == "reconnect"]  # type: ignore[index]
    assert len(tickets) == len(set(tickets)) > 5
    assert_delivered_once(alice, bob)


async def test_after_kill_9_of_both_in_the_middle_the_next_conversation_resumes() -> None:
    clock, (alice, bob), link = world_of_2(reconnect_every=5.0)
    link.fate = lambda line: 0 if line["intent"] == "respond" and "sec" in line else 1
    await link.register()
    assert (await alice.state(INIT, bob), await bob.state(RESP, alice)) == (
        State.INIT_EXCHANGE,
        State.RESP_EXCHANGE,
    )
    link.fate = lambda line: 1
    for end in (alice, bob):
        await end.restart()
        assert (await end.driver.state(INIT, (bob if end is alice else alice).id)).is_ready
    await link.advance(clock, 10)
    assert alice.sessions(INIT)[1].resumed
    assert min(closed(alice, bob)) >= 1


@pytest.mark.parametrize("who", ["alice", "bob"])
async def test_a_peer_that_restarts_while_the_other_waits_is_found_within_seconds(who: str) -> None:
    clock, (alice, bob), link = world_of_2(reconnect_every=600.0)
    link.fate = lambda line: 0 if line["intent"] in ("respond", "conclude") and "sec" in line else 1
    await link.register()
    link.fate = lambda line: 1
    await (alice if who == "alice" else bob).restart()
    await link.advance(clock, 12)
    assert min(closed(alice, bob)) >= 1, "nobody waits for half a minute"


@pytest.mark.parametrize("seed", range(12))
async def test_with_loss_repetition_and_disorder_conversations_close_and_nothing_comes_twice(
    seed: int,
) -> None:
    chance = random.Random(seed)
    clock, (alice, bob), link = world_of_2(reconnect_every=20.0)

    def fate(_line: dict[str, Json]) -> int:
        return chance.choices([0, 1, 2], [0.3, 0.5, 0.2])[0]

    link.fate = fate
    await link.advance(clock, 240)
    link.fate = lambda line: 1
    await link.advance(clock, 60)
    assert min(closed(alice, bob)) >= 2
    assert_delivered_once(alice, bob)
    assert {*alice.refusals(), *bob.refusals()} <= {"nonce_used", "aead", "no_session", "replay"}


async def test_everything_ever_said_is_repeated_and_changes_nothing() -> None:
    clock, (alice, bob), link = world_of_2(reconnect_every=1000.0)
    await link.register()
    clock.seconds += 5
    before = closed(alice, bob), alice.delivered(), bob.delivered()
    for line in list(link.recorded) * 2:
        await link.put(None, line)
        clock.seconds += 1
    await link.advance(clock, 60, register_every=None)
    assert (closed(alice, bob), alice.delivered(), bob.delivered()) == before
    for role in BOTH:
        assert (await alice.driver.state(role, bob.id)).is_ready
        assert (await bob.driver.state(role, alice.id)).is_ready


async def test_keys_are_renewed_in_a_long_conversation_and_it_closes_in_agreement() -> None:
    clock, (alice, bob), link = world_of_2(exchanges=40, reconnect_every=1e6)

    def fate(line: dict[str, Json]) -> int:
        if line["intent"] == "respond":
            clock.seconds += 60  # sixteen minutes are a generation
        return 1

    link.fate = fate
    await link.register()
    assert closed(alice, bob) == [1] * 4
    generations = [
        effect.generation
        for outcome in alice.outcomes
        for effect in outcome.effects
        if isinstance(effect, Rekeyed)
    ]
    assert max(generations) >= 2
    assert len(bob.delivered(RESP)) == 40


def two(**of_alice: Any) -> dict[str, dict[str, Any]]:
    return {"alice": of_alice}


@pytest.mark.parametrize(
    ("parties", "talk"),
    [
        ({"alice": {"network": "a"}, "bob": {"network": "a"}}, True),
        ({"alice": {"network": "a"}, "bob": {"network": "b"}}, False),
        ({name: {"psk": Secret(b"k" * 32)} for name in ("alice", "bob")}, True),
        ({"alice": {"psk": Secret(b"k" * 32)}, "bob": {"psk": Secret(b"q" * 32)}}, False),
        ({"alice": {"psk": Secret(b"k" * 32)}}, False),
        ({"alice": {"policy": Policy(Mode.STRICT)}}, True),
        ({"alice": {"policy": Policy(require_certificate=True)}}, False),
    ],
    ids=["same network", "other network", "same key", "other key", "no key", "strict", "no certificate"],
)
async def test_who_must_share_something_talks_to_nobody_else(
    parties: dict[str, dict[str, Any]], talk: bool
) -> None:
    clock, (alice, bob), link = world_of_2("alice", "bob", parties=parties)
    await link.advance(clock, 15)
    assert closed(alice, bob) == ([1, 1, 1, 1] if talk else [0] * 4) or (talk and min(closed(alice, bob)) > 0)
    assert not any("message" in line for line in link.recorded)


@pytest.mark.parametrize(
    ("mode", "own_id", "version"),
    [
        (Mode.PREFER, False, 2),
        (
            Mode.STRICT,
            False,
            None,
        ),  # ids of the first generation are taken at their word, which `strict` does not do
        (Mode.COMPAT, False, 1),
        (Mode.COMPAT, True, 2),
    ],
)
async def test_the_policy_says_which_version_is_spoken(mode: Mode, own_id: bool, version: int | None) -> None:
    party = {"policy": Policy(mode), "own_id": own_id}
    clock, (alice, bob), link = world_of_2("alice", "bob", parties={"alice": party, "bob": party})
    await link.advance(clock, 8)
    assert {session.version for session in alice.sessions()} == ({version} if version else set())
    assert (min(closed(alice, bob)) > 0) is (version is not None)


def stripped(line: dict[str, Json]) -> dict[str, Json]:
    return {name: value for name, value in line.items() if name != "hs"}


@pytest.mark.parametrize("own_id", [True, False])
async def test_who_takes_an_offer_away_brings_about_no_version_1(own_id: bool) -> None:
    party = {"own_id": own_id}
    _, (alice, bob), link = world_of_2("alice", "bob", parties={"alice": party, "bob": party})
    await bob.receive(stripped(alice.driver.register() | {"from": alice.id}))
    await link.settle()
    assert alice.sessions() == bob.sessions() == []
    if own_id:
        assert link.recorded == [], "an id that is made of its key never speaks version 1"
    else:
        assert [line["intent"] for line in link.recorded] == ["confirm"]
        assert alice.refusals() == ["downgrade"]


async def test_a_peer_known_in_version_2_is_never_spoken_to_in_version_1() -> None:
    party = {"own_id": False}
    clock, (alice, bob), link = world_of_2("alice", "bob", parties={"alice": party, "bob": party})
    await link.register()
    assert closed(alice, bob) == [1] * 4
    said = len(link.recorded)
    await link.put(None, {"to": None, "intent": "register", "from": bob.id})
    await link.advance(clock, 3, register_every=None)
    assert [line for line in link.recorded[said:] if not is_v2(line)] == []


def between(link: Link, ends: list[End2], forge: Callable[[dict[str, Json]], dict[str, Json]]) -> None:
    """Before each genuine line somebody says a forged one, and repeats the genuine one of before."""
    original = link.put

    async def put(author: End | None, line: Json) -> None:
        if author is not None and isinstance(line, dict):
            await original(None, forge(dict(line)))
            if link.recorded[:-1]:
                await original(None, link.recorded[0])
        await original(author, line)

    link.put = put  # type: ignore[method-assign]


def altered(line: dict[str, Json]) -> dict[str, Json]:
    for block in ("hs", "sec"):
        inside = line.get(block)
        if isinstance(inside, dict):
            name = "m" if "m" in inside else "b" if "b" in inside else "o"
            text = str(inside[name])
            swapped = "A" if text[-20] != "A" else "B"
            return line | {block: inside | {name: text[:-20] + swapped + text[-19:]}}
    return line


async def test_a_forged_message_before_each_genuine_one_costs_nothing() -> None:
    clock, ends, link = world_of_2()
    between(link, ends, altered)
    await link.register()
    await link.advance(clock, 5)
    assert min(closed(*ends)) >= 1
    assert_delivered_once(*ends)


async def test_who_is_turned_away_for_want_of_room_is_heard_again_with_the_next_register() -> None:
    clock, (alice, *others), link = world_of_2("alice", "bob", "carol", "dave")

    async def who_has_closed() -> list[str]:
        await link.put(alice, alice.driver.register() | {"from": alice.id})
        await link.settle()
        return [end.name for end in others if end.closed(RESP)]

    assert await who_has_closed() == ["bob", "carol"]
    await link.advance(clock, 1, register_every=None)
    assert await who_has_closed() == ["bob", "carol", "dave"]


async def test_a_handshake_that_is_given_up_does_not_make_the_next_one_fail() -> None:
    clock, (alice, bob), link = world_of_2()
    link.fate = lambda line: 0 if isinstance(hs := line.get("hs"), dict) and hs["t"] == "n3" else 1
    await link.put(alice, alice.driver.register() | {"from": alice.id})
    await link.advance(clock, 40, register_every=None)
    assert (await alice.driver.state(INIT, bob.id)).is_ready
    link.fate = lambda line: 1
    await link.put(alice, alice.driver.register() | {"from": alice.id})
    await link.settle()
    assert alice.closed(INIT) == bob.closed(RESP) == 1
    assert bob.refusals() == []
