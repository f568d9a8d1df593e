"""What a review of version 2 found: each was possible once."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from ends_of_2 import End2
from fake_world import End, FakeClock, Link
from v2_world import World2

from handfast.adapters.memory import MemoryTransaction
from handfast.conversation.effects import GaveUp
from handfast.conversation.live import CONSUMED
from handfast.conversation.model import PeerState, Role, Settings, State, Verdict
from handfast.crypto.keys import Secret
from handfast.errors import PeerError, Reason
from handfast.ports import Transaction
from handfast.session.v2.session import Session
from handfast.trust.decision import FirstContact, Mode, Policy
from handfast.wire.messages import parse_message
from handfast.wire.text import Json, b64url_encode
from handfast.wire.v2.header import Header
from handfast.wire.v2.messages import K1, encode_message

Line = dict[str, Any]


class EndOf1(End):
    """One agent of the first generation, which passes over what it does not know."""

    async def receive(self, content: Json) -> None:
        if isinstance(content, dict):
            hs = content.get("hs")
            if isinstance(hs, dict) and hs.get("v") == 2:
                if content["intent"] != "register":
                    return
                content = {name: value for name, value in content.items() if name != "hs"}
        await super().receive(content)


def register_of(end: End) -> Line:
    return end.driver.register() | {"from": end.id}


async def meet(initiator: End, responder: End, fate: Callable[[Line], int] = lambda line: 1) -> Link:
    """One conversation, in one direction only."""
    link = Link(initiator, responder, fate=fate)
    await responder.receive(register_of(initiator))
    await link.settle()
    return link


def kind(line: Line) -> str:
    hs = line.get("hs")
    return str(hs["t"]) if isinstance(hs, dict) and "t" in hs else str(line["intent"])


async def row(end: End, role: Role, peer: End) -> PeerState:
    return await end.driver.state(role, peer.id)


def pose_as(forger: End2, victim: End) -> None:
    """A forger under another's id, with a key of its own."""
    identity = replace(forger.made, agent_id=victim.id)
    forger.made = identity.with_static_key(b"m" * 32, forger.clock.now())
    forger.driver = forger.new_driver()


@pytest.mark.parametrize("jump", ["silence", "suspend"])
async def test_no_clock_makes_a_used_nonce_good_again(jump: str) -> None:
    clock = FakeClock()
    alice, bob = End2("alice", clock), End2("bob", clock)
    link = await meet(alice, bob)
    n2 = next(line for line in link.recorded if kind(line) == "n2")
    n3 = next(line for line in link.recorded if kind(line) == "n3")
    if jump == "silence":  # nothing is heard, so nothing is renewed
        clock.seconds += 500.0
    else:
        clock.offset += 500.0
    await bob.receive(n2)
    assert bob.take() == [n3]
    assert await bob.state(Role.RESPONDER, alice) is State.RESP_READY


async def test_used_nonces_are_forgotten_with_the_secrets_they_were_made_from() -> None:
    clock = FakeClock()
    alice, bob = End2("alice", clock), End2("bob", clock)
    link = await meet(alice, bob)
    n2 = next(line for line in link.recorded if kind(line) == "n2")
    before = (await row(bob, Role.RESPONDER, alice)).live
    assert before is not None
    assert len(before.consumed) == 1
    for _ in range(3):
        clock.seconds += 61.0
        bob.driver.register()
    announced = bob.driver._announcer.present(clock.now(), clock.monotonic())
    assert before.fresh_consumed(announced) == ()
    assert before.is_spent(announced)
    bob.take()
    bob.driver._pairs.put(replace(await row(bob, Role.RESPONDER, alice), live=None))
    await bob.receive(n2)
    assert bob.take() == []
    assert await bob.state(Role.RESPONDER, alice) is State.RESP_READY


async def test_a_peer_uses_up_a_bounded_number_of_nonces() -> None:
    clock = FakeClock()
    alice, bob = End2("alice", clock), End2("bob", clock)
    for _ in range(CONSUMED + 3):
        # each time with another offer, as after a restart
        alice.driver = alice.new_driver()
        alice.store = type(alice.store)(alice.id)  # type: ignore[call-arg]
        alice.driver = alice.new_driver()
        await bob.receive(register_of(alice))
        for _ in range(2):
            for line in bob.take():
                await alice.receive(line)
            for line in alice.take():
                if kind(line) != "request":
                    await bob.receive(line)
        clock.seconds += 0.5
    live = (await row(bob, Role.RESPONDER, alice)).live
    assert live is not None
    assert len(live.consumed) == CONSUMED
    assert "quota" in bob.refusals()


async def test_a_half_open_session_does_not_overwrite_a_pin_that_was_made_meanwhile() -> None:
    clock = FakeClock()
    alice, xenia = End2("alice", clock), End2("xenia", clock, own_id=False)
    mallory = End2("mallory", clock, own_id=False)
    pose_as(mallory, xenia)
    await alice.receive(register_of(mallory))
    for author, other in ((alice, mallory), (mallory, alice), (alice, mallory)):
        for line in author.take():
            await other.receive(line)
    held_back = mallory.take()
    assert [kind(line) for line in held_back] == ["request"]
    await meet(alice, xenia)
    key = alice.store.identity_pins[xenia.id].identity_public  # type: ignore[attr-defined]
    assert key == xenia.identity.identity_key.public
    await alice.receive(held_back[0])
    assert alice.store.identity_pins[xenia.id].identity_public == key  # type: ignore[attr-defined]
    assert alice.refusals() == ["pin_conflict"]


async def test_an_initiator_ends_a_session_whose_peer_never_answers_a_rekeying(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> bytes:
        raise PeerError(Reason.STATE)

    monkeypatch.setattr(Session, "answer_rekey", refuse)
    clock = FakeClock()
    alice, bob = End2("alice", clock, Settings(exchanges=2_000)), End2("bob", clock)
    await meet(alice, bob)
    assert (alice.closed(Role.INITIATOR), bob.closed(Role.RESPONDER)) == (1, 1)
    assert alice.refusals() == bob.refusals() == []


async def test_a_responder_serves_no_session_beyond_its_time() -> None:
    clock = FakeClock()
    alice, bob = End2("alice", clock), End2("bob", clock)
    link = Link(alice, bob)
    await bob.receive(register_of(alice))
    for _ in range(5):  # n1, n2, n3, the first request, its respond
        link.collect()
        author, line = link._lines.popleft()
        await link.put(author, line)
    link.collect()
    _, second = link._lines.popleft()
    assert kind(second) == "request"
    clock.seconds += 31 * 60.0
    delivered = len(bob.delivered())
    await bob.receive(second)
    assert len(bob.delivered()) == delivered
    assert bob.refusals() == ["expired"]


async def test_both_sides_hold_the_same_ticket_when_keys_changed_in_the_last_turn() -> None:
    clock = FakeClock()
    alice, bob = End2("alice", clock, Settings(exchanges=2)), End2("bob", clock)

    link = Link(alice, bob)
    await bob.receive(register_of(alice))
    responds = 0
    for _ in range(50):
        link.collect()
        if not link._lines:
            break
        author, line = link._lines.popleft()
        responds += kind(line) == "respond"
        if kind(line) == "respond" and responds == 1:
            clock.seconds += 901.0  # the second request asks for new keys, and the next message is `conclude`
        await link.put(author, line)
    ours, theirs = (
        (await row(alice, Role.INITIATOR, bob)).ticket,
        (await row(bob, Role.RESPONDER, alice)).ticket,
    )
    assert ours is not None
    assert theirs is not None
    assert ours.generation == theirs.generation == 2
    assert ours.ticket_id == theirs.ticket_id


async def test_a_forged_k1_does_not_keep_an_answer_from_being_repeated() -> None:
    clock = FakeClock()
    alice, bob = End2("alice", clock), End2("bob", clock)
    is_lossy = True

    def fate(line: Line) -> int:
        return 0 if is_lossy and kind(line) == "respond" else 1

    link = await meet(alice, bob, fate)
    is_lossy = False
    announced = alice.driver._announcer.present(clock.now(), clock.monotonic())
    assert announced is not None
    header = Header(alice.id, bob.id, "reconnect", your_ref=b64url_encode(bytes(16)))
    forged = encode_message(K1(header, announced.offers[0], bytes(16), 1, bytes(64))) | {"from": alice.id}
    for _ in range(40):
        clock.seconds += 1.0
        await alice.driver.tick()
        await bob.receive(forged)
        bob.driver.outgoing.clear()  # the answers to forgeries, lest they help
        await link.settle()
    assert (alice.closed(Role.INITIATOR), bob.closed(Role.RESPONDER)) == (1, 1)


async def test_a_ticket_is_shown_where_no_offers_are_made() -> None:
    clock = FakeClock()
    alice, bob = End2("alice", clock, own_id=False), End2("bob", clock, own_id=False)
    await meet(alice, bob)
    clock.seconds += 60.0
    alice.party["policy"] = Policy(mode=Mode.COMPAT)
    await alice.restart()
    link = Link(alice, bob)
    await alice.receive(register_of(bob))
    await link.settle()
    assert alice.closed(Role.INITIATOR) == 2
    assert "k1" in [kind(line) for line in link.recorded]


async def test_a_forged_n1_costs_no_reference_of_a_version_1_peer() -> None:
    clock = FakeClock()
    alice, bob = End2("alice", clock, own_id=False), EndOf1("bob", clock)
    mallory = End2("mallory", clock, own_id=False)
    pose_as(mallory, bob)
    await meet(alice, bob)
    await Link(alice).advance(clock, 20.0, register_every=None)  # nothing answers its `close`
    reference = (await row(alice, Role.INITIATOR, bob)).peer_reference
    assert reference is not None
    await mallory.receive(register_of(alice))
    for line in mallory.take():
        await alice.receive(line)
    assert await alice.state(Role.INITIATOR, bob) is State.INIT_HS
    alice.take()
    await Link(alice).advance(clock, 60.0)
    assert await alice.state(Role.INITIATOR, bob) is State.INIT_READY
    assert (await row(alice, Role.INITIATOR, bob)).peer_reference == reference
    assert (await alice.store.load(Role.INITIATOR, bob.id)).peer_reference == reference


async def test_a_state_read_late_does_not_replace_what_a_step_has_left_in_memory() -> None:
    clock = FakeClock()
    alice, bob = End2("alice", clock), End2("bob", clock)
    await bob.receive(register_of(alice))
    n1 = parse_message(bob.take()[0], alice.id)
    assert n1 is not None
    load, gate = alice.store.load, asyncio.Event()

    async def load_late(role: Role, peer_id: str) -> PeerState:
        known = await load(role, peer_id)
        if asyncio.current_task() is late:
            await gate.wait()
        return known

    alice.store.load = load_late  # type: ignore[method-assign]
    late = asyncio.create_task(alice.driver.state(Role.INITIATOR, bob.id))
    await asyncio.sleep(0)
    await alice.driver.receive(Role.INITIATOR, n1)
    gate.set()
    assert (await late).state is State.INIT_HS
    assert await alice.state(Role.INITIATOR, bob) is State.INIT_HS


async def test_a_forged_n1_leaves_nothing_in_memory_after_a_conversation_of_version_1() -> None:
    clock = FakeClock()
    alice, bob = End2("alice", clock, own_id=False), EndOf1("bob", clock)
    mallory = End2("mallory", clock, own_id=False)
    pose_as(mallory, bob)
    await mallory.receive(register_of(alice))
    for line in mallory.take():
        await alice.receive(line)
    assert await alice.state(Role.INITIATOR, bob) is State.INIT_HS
    await meet(alice, bob)
    assert bob.closed(Role.RESPONDER) == 1
    await Link(alice).advance(clock, 20.0, register_every=None)  # nothing answers its `close`
    assert await alice.state(Role.INITIATOR, bob) is State.INIT_READY
    assert (await row(alice, Role.INITIATOR, bob)).live is None


async def test_a_handshake_beside_a_conversation_of_version_1_is_forgotten_with_its_secrets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = FakeClock()
    bob, alice = End2("bob", clock, own_id=False), EndOf1("alice", clock)
    renewed = End2("alice", clock, own_id=False)  # the same keys
    await bob.receive(register_of(renewed))
    [n1] = bob.take()
    await renewed.receive(n1)
    [n2] = renewed.take()

    async def shake_hands(line: Line) -> None:
        if kind(line) == "respond" and not (await row(bob, Role.RESPONDER, alice)).live:
            await bob.receive(n2)

    await alice_meets(alice, bob, shake_hands)
    assert bob.closed(Role.RESPONDER) == 1
    live = (await row(bob, Role.RESPONDER, alice)).live
    assert live is not None
    assert live.halves == ()
    for _ in range(3):
        clock.seconds += 61.0
        bob.driver.register()
    monkeypatch.setattr("handfast.pairs.PAIRS_LIVE", 1)
    await meet(End2("carol", clock), bob)
    assert bob.closed(Role.RESPONDER) == 2


async def alice_meets(alice: End, bob: End, before: Callable[[Line], Awaitable[None]]) -> None:
    """One conversation that Alice begins, in version 1; `before` is called ahead of each line."""
    link = Link(alice, bob)
    original = link.put

    async def put(author: End | None, line: Any) -> None:
        await before(line)
        await original(author, line)

    link.put = put  # type: ignore[method-assign]
    await bob.receive(register_of(alice))
    await link.settle()


async def test_a_peer_whose_pin_is_removed_while_it_talks_is_left_at_its_next_message() -> None:
    clock = FakeClock()
    alice, bob = End2("alice", clock), End2("bob", clock)
    heard = 0

    async def remove_the_pin(line: Line) -> None:
        nonlocal heard
        if kind(line) == "request" and len(bob.delivered()) == 2:
            heard = len(bob.delivered())
            bob.store.identity_pins.pop(alice.id, None)  # type: ignore[attr-defined]

    await alice_meets(alice, bob, remove_the_pin)
    assert len(bob.delivered()) == heard == 2
    state = await row(bob, Role.RESPONDER, alice)
    assert state.is_ready
    assert state.ticket is None
    whys = [effect.why for o in bob.outcomes for effect in o.effects if isinstance(effect, GaveUp)]
    assert whys == ["revoked"]


async def test_who_does_not_wait_for_the_end_of_a_step_does_not_cut_it_off() -> None:
    world = World2()
    line = await world.begin_and_stop_before(lambda line: "sec" in line)
    run, committed, goes_on = world.bob.store.run, asyncio.Event(), asyncio.Event()

    async def slow(work: Callable[[Transaction], Any]) -> Any:
        found = await run(work)
        committed.set()
        await goes_on.wait()
        return found

    world.bob.store.run = slow  # type: ignore[method-assign]
    handler = asyncio.create_task(world.bob.receive(line))
    await committed.wait()
    leaving = asyncio.create_task(world.bob.driver.settle())
    await asyncio.sleep(0)  # it waits now
    leaving.cancel()
    goes_on.set()
    await asyncio.wait_for(handler, 5)
    assert world.bob.delivered()
    told = len(world.bob.outcomes)
    await world.bob.receive(line)
    await world.pass_time(60)
    assert all(outcome.verdict is Verdict.ACCEPTED for outcome in world.bob.outcomes[:told])
    assert len(world.bob.outcomes) == told, "nothing is begun any more"


async def test_the_last_word_is_said_again_to_whoever_asks_again() -> None:
    clock = FakeClock()
    alice, bob = End2("alice", clock), End2("bob", clock)
    link = await meet(
        alice, bob, lambda line: 0 if kind(line) == "finish" and bob.closed(Role.RESPONDER) else 1
    )
    assert await alice.state(Role.INITIATOR, bob) is State.INIT_FINALIZE_CLOSE
    link.fate = lambda line: 1
    await link.advance(clock, 3.0, register_every=None)
    assert await alice.state(Role.INITIATOR, bob) is State.INIT_READY
    assert [kind(line) for line in link.recorded[-4:]] == ["close", "finish"] * 2


async def test_who_is_killed_after_a_close_that_overtook_a_handshake_says_nothing_of_it_any_more() -> None:
    clock = FakeClock()
    alice, bob = End2("alice", clock, Settings(reconnect_every=0.0)), End2("bob", clock)
    link = await meet(alice, bob, lambda line: kind(line) != "close")
    assert await bob.state(Role.RESPONDER, alice) is State.RESP_FINALIZE
    [close] = [line for line in link.recorded if kind(line) == "close"]
    await Link(alice).advance(clock, 40.0, register_every=None)
    await alice.receive(register_of(bob))
    await bob.receive(next(line for line in alice.take() if kind(line) == "k1"))
    await bob.receive(close)
    assert await bob.state(Role.RESPONDER, alice) is State.RESP_HALF
    assert bob.closed(Role.RESPONDER) == 1
    assert await bob.store.unfinished() == []
    assert (await bob.store.load(Role.RESPONDER, alice.id)).outgoing is None
    before = [entry.event for entry in bob.store.audit_rows]  # type: ignore[attr-defined]
    await bob.restart()
    after = [entry.event for entry in bob.store.audit_rows[len(before) :]]  # type: ignore[attr-defined]
    assert before[-1] == "closed"
    assert after == ["started"]
    ticket = (await row(bob, Role.RESPONDER, alice)).ticket_used
    assert ticket is not None, "a used ticket stays used"


@pytest.mark.parametrize("demand", ["deny", "certificate", "psk", "first contact"])
async def test_version_1_is_no_way_round_what_the_operator_demands(demand: str) -> None:
    clock = FakeClock()
    bob = EndOf1("bob", clock)
    party: dict[str, Any] = {
        "deny": {"policy": Policy(deny=frozenset({bob.id}))},
        "certificate": {"policy": Policy(require_certificate=True)},
        "psk": {"psk": Secret(bytes(range(32)))},
        "first contact": {"policy": Policy(first_contact=FirstContact.SELFCERT)},
    }[demand]
    alice = End2("alice", clock, own_id=False, **party)
    await Link(alice, bob).advance(clock, 5.0)
    assert alice.delivered() == []
    assert alice.closed(Role.INITIATOR) == alice.closed(Role.RESPONDER) == 0


async def test_a_dead_key_that_is_shown_in_the_name_of_a_peer_costs_that_peer_no_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = FakeClock()
    bob, alice = End2("bob", clock), End2("alice", clock, own_id=False)
    mallory = End2("mallory", clock, own_id=False)
    pose_as(mallory, alice)
    shipped, dead = MemoryTransaction.about, frozenset({mallory.made.identity_key.public})
    monkeypatch.setattr(
        MemoryTransaction, "about", lambda book, proven: replace(shipped(book, proven), dead_keys=dead)
    )
    await bob.receive(register_of(mallory))
    for line in bob.take():
        await mallory.receive(line)
    held_back = mallory.take()
    assert [kind(line) for line in held_back] == ["n2"]

    async def show_the_dead_key(line: Line) -> None:
        if kind(line) == "request" and len(bob.delivered()) == 2:
            await bob.receive(held_back[0])

    await alice_meets(alice, bob, show_the_dead_key)
    assert set(bob.refusals()) == {"revoked"}
    assert bob.closed(Role.RESPONDER) == 1
    assert (await row(bob, Role.RESPONDER, alice)).ticket is not None
