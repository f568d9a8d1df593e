"""Two whole agents over a fake link: what happens when everything works, and when lines are lost, repeated or forged."""

import asyncio
import random
from dataclasses import asdict, replace
from typing import Any

import pytest
from fake_world import START, End, FakeClock, Link, make_identity

from handfast.audit import verify
from handfast.conversation.model import Role, Settings, State
from handfast.dialogue import Dialogue
from handfast.errors import StorageError
from handfast.session.v1 import make_hs, seal
from handfast.trust.decision import FirstContact, Policy
from handfast.wire.text import b64encode

INIT, RESP = Role.INITIATOR, Role.RESPONDER


def world(count: int = 2, **settings: Any) -> tuple[FakeClock, list[End], Link]:
    clock = FakeClock()
    ends = [End(name, clock, Settings(**settings)) for name in ("alice", "bob", "carol", "dave")[:count]]
    return clock, ends, Link(*ends)


async def test_two_agents_that_hear_each_other_hold_one_conversation_in_each_direction() -> None:
    _, (alice, bob), link = world()
    await link.register()
    assert (alice.closed(INIT), alice.closed(RESP), bob.closed(INIT), bob.closed(RESP)) == (1, 1, 1, 1)
    assert [m["turn"] for m in bob.delivered(RESP)] == [1, 2, 3, 4]
    assert [m["re"] for m in alice.delivered(INIT)] == bob.delivered(RESP)
    assert alice.refusals() == bob.refusals() == []


async def test_nothing_but_sealed_messages_is_ever_said() -> None:
    clock, _, link = world(3)
    await link.register()
    await link.advance(clock, 30)
    assert {line["intent"] for line in link.recorded} >= {
        "confirm",
        "request",
        "respond",
        "reconnect",
        "close",
    }
    assert not any("message" in line for line in link.recorded)
    assert all("sec" in line for line in link.recorded if line["intent"] in ("request", "respond"))


async def test_every_conversation_has_fresh_keys_on_both_sides() -> None:
    clock, (alice, bob), link = world()
    await link.register()
    await link.advance(clock, 60)
    assert alice.closed(INIT) >= 4
    keys = [line["hs"]["kx_pub"] for line in link.recorded if "hs" in line]
    assert len(keys) == len(set(keys)) >= 16
    long_term = {b64encode(end.identity.exchange_key.public) for end in (alice, bob)}
    assert not long_term & set(keys)


async def test_agents_reconnect_with_the_reference_of_the_last_conversation() -> None:
    clock, (alice, bob), link = world(reconnect_every=10.0)
    await link.register()
    first = alice.closed(INIT)
    await link.advance(clock, 25)
    assert alice.closed(INIT) == bob.closed(RESP) == first + 2
    reconnects = [
        line for line in link.recorded if line["intent"] == "reconnect" and line["from"] == alice.id
    ]
    finishes = [line for line in link.recorded if line["intent"] == "finish" and line["from"] == bob.id]
    assert [line["your_ref"] for line in reconnects] == [line["my_ref"] for line in finishes[:2]]


async def test_without_reconnects_the_agents_stay_ready() -> None:
    clock, (alice, bob), link = world(reconnect_every=None, lost_memory_after=1e9)
    await link.register()
    await link.advance(clock, 60)
    assert alice.closed(INIT) == bob.closed(RESP) == 1
    assert await alice.state(INIT, bob) is State.INIT_READY


async def test_a_responder_whose_peer_lost_its_memory_answers_register_after_a_minute() -> None:
    clock, (alice, bob), link = world(reconnect_every=1e9)
    await link.register()
    alice.store.rows.clear()  # type: ignore[attr-defined]
    alice.driver = alice.new_driver()
    await link.advance(clock, 55)
    assert bob.closed(RESP) == 1
    await link.advance(clock, 10)
    assert bob.closed(RESP) == 2


@pytest.mark.parametrize("intent", ["confirm", "request", "respond", "conclude", "finish", "close"])
@pytest.mark.parametrize("which", [1, 2])
async def test_a_lost_message_of_any_kind_never_wedges_the_pair(intent: str, which: int) -> None:
    clock, (alice, bob), link = world()
    seen = 0

    def lose(line: dict[str, Any]) -> int:
        nonlocal seen
        seen += line["intent"] == intent
        return 0 if line["intent"] == intent and seen == which else 1

    link.fate = lose
    await link.register()
    await link.advance(clock, 6)
    assert (alice.closed(INIT), alice.closed(RESP), bob.closed(INIT), bob.closed(RESP)) == (1, 1, 1, 1)
    assert len(bob.delivered(RESP)) == len(alice.delivered(RESP)) == 4


@pytest.mark.parametrize("seed", range(12))
async def test_under_heavy_loss_and_repetition_all_turns_arrive_once_and_in_order(seed: int) -> None:
    clock, (alice, bob), link = world()
    chance = random.Random(seed)
    link.fate = lambda line: chance.choice([0, 1, 1, 1, 1, 1, 1, 2, 3]) if line["intent"] != "register" else 1
    await link.register()
    await link.advance(clock, 120)
    for initiator, responder in ((alice, bob), (bob, alice)):
        assert initiator.closed(INIT) >= 2
        # two generals: one side may know of the last close before the other does
        assert abs(initiator.closed(INIT) - responder.closed(RESP)) <= 1
        heard = [(m["from"], m["n"]) for m in responder.delivered(RESP)]
        assert len(heard) == len(set(heard)), "delivered twice"
        assert heard == sorted(heard, key=lambda pair: pair[1]), "delivered out of order"
        assert [m["turn"] for m in responder.delivered(RESP)][:4] == [1, 2, 3, 4]


async def test_with_a_dead_peer_timers_alone_lead_home_from_every_state() -> None:
    for intent in ("confirm", "request", "respond", "conclude", "finish", "close"):
        clock, (alice, bob), link = world()
        link.fate = lambda line, intent=intent: 0 if line["intent"] == intent else 1  # type: ignore[misc]
        await link.register()
        link.fate = lambda line: 0
        await link.advance(clock, 60, register_every=None)
        for end, other in ((alice, bob), (bob, alice)):
            assert await end.state(INIT, other) is State.INIT_READY
            assert await end.state(RESP, other) is State.RESP_READY
            assert end.driver.under_way() == 0
        link.fate = lambda line: 1
        await link.advance(clock, 90)
        assert alice.closed(INIT) >= 1
        assert bob.closed(RESP) >= 1


async def test_a_message_is_sent_five_times_and_then_given_up() -> None:
    clock, (_, bob), link = world()
    link.fate = lambda line: 0 if line["intent"] == "respond" else 1
    await bob.receive({"to": None, "intent": "register", "from": link.ends[0].id})
    await link.settle()
    await link.advance(clock, 60, register_every=None)
    responds = [line for line in link.recorded if line["intent"] == "respond"]
    assert len(responds) >= 5
    assert all(line == responds[0] for line in responds), "a repetition must be byte-identical"
    assert await bob.state(RESP, link.ends[0]) is State.RESP_READY


@pytest.mark.parametrize("cut", range(1, 13))
async def test_kill_and_restart_after_any_step_goes_on_where_it_was(cut: int) -> None:
    clock, (alice, bob), link = world()
    count = 0

    async def maybe_kill() -> None:
        nonlocal count
        for end in (alice, bob):
            if len(end.outcomes) >= cut and end.lives == 1:
                end.take()  # what was not sent yet is lost with the process
                await end.restart()
                count += 1

    original = link.put

    async def put(author: End | None, line: Any) -> None:
        await original(author, line)
        await maybe_kill()

    link.put = put  # type: ignore[method-assign]
    await link.register()
    await link.advance(clock, 8)
    assert count == 2
    for end, other in ((alice, bob), (bob, alice)):
        assert end.closed(INIT) == other.closed(RESP) == 1
        assert len(other.delivered(RESP)) == len(end.delivered(INIT)) == 4
        assert end.refusals() == []


async def test_a_restart_after_an_hour_begins_afresh() -> None:
    clock, (alice, bob), link = world()
    link.fate = lambda line: 0 if line["intent"] == "respond" else 1
    await link.register()
    clock.seconds += 3600
    for end in (alice, bob):
        await end.restart()
        assert await end.state(INIT, alice if end is bob else bob) is State.INIT_READY
    link.fate = lambda line: 1
    await link.advance(clock, 5)
    assert alice.closed(INIT) == bob.closed(INIT) == 1


@pytest.mark.parametrize("jump", [365 * 86_400.0, -365 * 86_400.0])
async def test_setting_both_clocks_by_a_year_in_mid_conversation_stops_nothing(jump: float) -> None:
    clock, (alice, bob), link = world()
    link.fate = lambda line: 0 if line["intent"] == "finish" else 1
    await link.register()
    clock.offset += jump
    link.fate = lambda line: 1
    await link.advance(clock, 40)
    assert alice.closed(INIT) >= 2
    assert bob.closed(RESP) >= 2


async def test_an_attacker_who_repeats_every_line_later_changes_nothing() -> None:
    clock, (alice, bob), link = world(reconnect_every=None, lost_memory_after=1e9)
    await link.register()
    await link.advance(clock, 2)
    before = [(end.closed(INIT), end.closed(RESP), len(end.delivered())) for end in (alice, bob)]
    recorded = list(link.recorded)
    for delay in (1, 30, 100):
        clock.seconds += delay
        for line in recorded:
            await link.put(None, line)
            await link.settle()
    await link.advance(clock, 60, register_every=None)
    assert [(end.closed(INIT), end.closed(RESP), len(end.delivered())) for end in (alice, bob)] == before
    for end, other in ((alice, bob), (bob, alice)):
        assert await end.state(INIT, other) is State.INIT_READY


async def test_lines_between_three_others_never_touch_a_conversation() -> None:
    clock, ends, link = world(4)
    await link.register()
    await link.advance(clock, 5)
    for end in ends:
        assert end.closed(INIT) == end.closed(RESP) == 3
        assert end.refusals() == []


class Attacker:
    """Somebody with an own key who can write any line under any name."""

    def __init__(self, clock: FakeClock) -> None:
        self.identity = make_identity("mallory")
        self.clock = clock

    def hs(self, kind: Any, nonce: str, exchange_public: bytes | None = None) -> dict[str, Any]:
        public = exchange_public or self.identity.exchange_key.public
        return make_hs(kind, nonce, public, self.identity.signing_key, self.clock.now(), None)


@pytest.mark.parametrize(
    ("hs", "reason"),
    [
        (None, "hs_missing"),
        (5, "hs_malformed"),
        ([], "hs_malformed"),
        ({}, "hs_malformed"),
        ("text", "hs_malformed"),
    ],
)
async def test_a_confirm_with_a_bad_hs_never_leaves_init_ready(hs: Any, reason: str) -> None:
    _, (alice, bob), _link = world()
    line = {"to": alice.id, "intent": "confirm", "from": bob.id, "my_nonce": "a" * 32, "hs": hs}
    await alice.receive(line)
    assert await alice.state(INIT, bob) is State.INIT_READY
    assert alice.refusals() == [reason]
    assert alice.take() == []
    assert alice.store.rows == {}  # type: ignore[attr-defined]


@pytest.mark.parametrize("field", ["type", "nonce", "kx_pub", "sign_pub", "timestamp", "sig"])
async def test_a_request_with_an_altered_hs_never_leaves_resp_confirm(field: str) -> None:
    _, (alice, bob), link = world()
    swaps = {
        "type": "response",
        "nonce": "b" * 32,
        "kx_pub": b64encode(bytes(range(32))),
        "sign_pub": b64encode(make_identity("mallory").signing_key.public),
        "timestamp": "2027-01-15T08:00:01",
        "sig": b64encode(bytes(64)),
    }

    def alter(line: dict[str, Any]) -> int:
        if line["intent"] == "request":
            line["hs"] = line["hs"] | {field: swaps[field]}
        return 1

    link.fate = alter
    await bob.receive({"to": None, "intent": "register", "from": alice.id})
    await link.settle()
    assert await bob.state(RESP, alice) is State.RESP_CONFIRM
    assert bob.delivered() == []
    assert len(bob.refusals()) == 1
    assert bob.store.rows == {}, "a row appears only when an hs has verified"  # type: ignore[attr-defined]


async def test_plaintext_is_refused_in_both_directions() -> None:
    _, (alice, bob), link = world()

    def strip(line: dict[str, Any]) -> int:
        if line.pop("sec", None) is not None:
            line["message"] = "How are you?"
        return 1

    link.fate = strip
    with pytest.raises(Exception, match="plaintext"):
        await link.register()
    assert alice.delivered() == bob.delivered() == []


async def test_a_changed_key_under_a_known_id_is_refused_until_the_pin_is_removed() -> None:
    clock, (alice, bob), link = world(reconnect_every=None, lost_memory_after=1e9)
    await link.register()
    await link.advance(clock, 6)
    attacker = Attacker(clock)
    nonce = "c" * 30 + "dd"
    forged = {
        "to": alice.id,
        "intent": "confirm",
        "from": bob.id,
        "my_nonce": nonce,
        "hs": attacker.hs("response", nonce),
    }
    await alice.receive(forged)
    assert alice.refusals() == ["key_changed"]
    assert await alice.state(INIT, bob) is State.INIT_READY
    assert [row.event for row in alice.store.audit_rows if "key_changed" in row.detail] == ["refused"]  # type: ignore[attr-defined]
    del alice.store.pins[bob.id]  # type: ignore[attr-defined]
    await alice.receive(forged)
    assert await alice.state(INIT, bob) is State.INIT_EXCHANGE


async def test_one_key_under_two_ids_and_our_own_key_are_refused() -> None:
    _, (alice, bob), link = world()
    await link.register()
    nonce = "e" * 32
    for signer, reason in ((bob, "key_under_two_ids"), (alice, "own_key_reflected")):
        hs = make_hs("response", nonce, b"\x09" + bytes(31), signer.identity.signing_key, START, None)
        stranger = make_identity("eve").agent_id
        await alice.receive(
            {"to": alice.id, "intent": "confirm", "from": stranger, "my_nonce": nonce, "hs": hs}
        )
        assert alice.refusals()[-1] == reason


async def test_a_small_order_exchange_key_is_refused() -> None:
    clock, (alice, bob), _link = world()
    nonce = "f" * 32
    for point in (bytes(32), b"\x01" + bytes(31)):
        hs = Attacker(clock).hs("response", nonce, point)
        await alice.receive(
            {"to": alice.id, "intent": "confirm", "from": bob.id, "my_nonce": nonce, "hs": hs}
        )
        assert alice.refusals()[-1] == "weak_key"
    assert await alice.state(INIT, bob) is State.INIT_READY


@pytest.mark.parametrize(("hardened", "reason"), [(False, "sec_replayed"), (True, "hdr_binding")])
async def test_a_sec_moved_into_a_forged_message_is_refused(hardened: bool, reason: str) -> None:
    _, (alice, bob), link = world(hardened=hardened)
    moved: list[dict[str, Any]] = []

    def replay_sec(line: dict[str, Any]) -> int:
        # when bob has answered the first request, a forged second one reuses the first one's sealed content
        if line["intent"] == "respond" and not moved:
            request = next(
                other
                for other in link.recorded
                if other["intent"] == "request" and other["to"] == line["from"]
            )
            moved.append(
                {
                    "to": bob.id,
                    "intent": "request",
                    "from": alice.id,
                    "your_nonce": line["my_nonce"],
                    "my_nonce": "ab" * 16,
                    "sec": request["sec"],
                }
            )
        return 1

    link.fate = replay_sec
    await bob.receive({"to": None, "intent": "register", "from": alice.id})
    while not moved:
        link.collect()
        author, line = link._lines.popleft()
        link.fate(line)
        if not moved:
            await link.put(author, line)
        else:
            await bob.receive(moved[0])
            await link.put(author, line)
    assert bob.refusals() == [reason]
    await link.settle()
    assert bob.closed(RESP) == 1
    assert len(bob.delivered(RESP)) == 4


async def test_a_dialogue_that_raises_leaves_the_conversation_where_it_was() -> None:
    class Broken(Dialogue):
        broken = True

        def reply(self, peer: str, message: Any) -> Any:
            if self.broken:
                raise RuntimeError("the model is asleep")
            return super().reply(peer, message)

    clock = FakeClock()
    dialogue = Broken()
    alice, bob = End("alice", clock), End("bob", clock, dialogue=dialogue)
    link = Link(alice, bob)
    await bob.receive({"to": None, "intent": "register", "from": alice.id})
    await link.settle()
    assert bob.refusals() == ["dialogue_failed"]
    assert isinstance(bob.outcomes[-1].failure, RuntimeError)
    assert await bob.state(RESP, alice) is State.RESP_CONFIRM
    assert bob.delivered() == []
    Broken.broken = False
    await link.advance(clock, 5, register_every=None)
    assert bob.closed(RESP) == 1
    assert len(bob.delivered(RESP)) == 4


@pytest.mark.parametrize("message", [float("nan"), {1, 2}, "x" * 50_000, object()])
async def test_a_dialogue_that_says_what_cannot_be_sent_is_its_own_failure(message: Any) -> None:
    clock = FakeClock()
    alice, bob = End("alice", clock), End("bob", clock, dialogue=Dialogue(answer=message))
    link = Link(alice, bob)
    await bob.receive({"to": None, "intent": "register", "from": alice.id})
    await link.settle()
    assert bob.refusals() == ["dialogue_failed"]
    assert await bob.state(RESP, alice) is State.RESP_CONFIRM


async def test_half_open_conversations_with_strangers_are_bounded() -> None:
    clock, (alice, bob), _link = world()
    for number in range(1000):
        clock.seconds += 0.6
        await alice.receive(
            {"to": None, "intent": "register", "from": make_identity(f"stranger {number}").agent_id}
        )
    assert len(alice.store.half_open) == 256  # type: ignore[attr-defined]
    assert alice.store.rows == {}  # type: ignore[attr-defined]
    assert alice.store.nonces == set()  # type: ignore[attr-defined]
    del bob


async def test_a_pace_delays_every_answer_but_changes_no_other_thing() -> None:
    clock, (alice, bob), link = world(pace=1.0)
    await link.register()
    assert bob.closed(RESP) == 0
    await link.advance(clock, 16)
    assert alice.closed(INIT) == bob.closed(RESP) == 1
    repeated = [str(line) for line in link.recorded if line["intent"] in ("request", "respond")]
    assert len(repeated) == len(set(repeated)), "nothing was sent twice, although every answer waited"


async def test_winding_down_begins_nothing_new_and_finishes_what_is_under_way() -> None:
    clock, (alice, bob), link = world()
    link.fate = lambda line: 0 if line["intent"] == "close" else 1
    await link.register()
    alice.driver.winding_down = True
    link.fate = lambda line: 1
    await link.advance(clock, 40)
    assert (alice.closed(INIT), alice.closed(RESP)) == (1, 1)
    assert (bob.closed(INIT), bob.closed(RESP)) == (1, 1)


async def test_an_envelope_with_no_message_inside_is_refused() -> None:
    _, (alice, bob), link = world()

    def hollow(line: dict[str, Any]) -> int:
        if line["intent"] == "respond":
            state = bob.driver._pairs.stored[RESP, alice.id]
            assert state.secret is not None
            line["sec"] = seal({}, state.secret, bob.identity.signing_key, b"n" * 12, START, None)
        return 1

    link.fate = hollow
    await bob.receive({"to": None, "intent": "register", "from": alice.id})
    await link.settle()
    assert alice.refusals() == ["sec_malformed"]
    assert alice.delivered() == []


async def test_the_audit_log_is_bounded_under_a_storm_of_refused_messages_and_its_chain_holds() -> None:
    clock, (alice, bob), link = world(reconnect_every=None, lost_memory_after=1e9)
    await link.register()
    await link.advance(clock, 6)
    told = len(alice.store.audit_rows)  # type: ignore[attr-defined]
    for number in range(150):
        nonce = f"{number:032x}"
        await alice.receive(
            {"to": alice.id, "intent": "confirm", "from": bob.id, "my_nonce": nonce, "hs": None}
        )
    assert len(alice.store.audit_rows) == told + 50  # type: ignore[attr-defined]
    forged = {"to": alice.id, "intent": "confirm", "from": bob.id, "my_nonce": "ab" * 16}
    await alice.receive(forged | {"hs": Attacker(clock).hs("response", "ab" * 16)})
    assert alice.refusals()[-1] == "key_changed", "noise does not hide that somebody poses as a known peer"
    assert "key_changed" in alice.store.audit_rows[-1].detail  # type: ignore[attr-defined]
    clock.seconds += 10
    await alice.receive(
        {"to": alice.id, "intent": "confirm", "from": bob.id, "my_nonce": "ee" * 16, "hs": None}
    )
    assert '"refusals_not_listed_before": 100' in alice.store.audit_rows[-1].detail  # type: ignore[attr-defined]
    assert verify(map(asdict, alice.store.audit_rows)).fault is None  # type: ignore[attr-defined]


async def test_a_cancelled_handler_leaves_a_conversation_that_goes_on() -> None:
    clock, (alice, bob), link = world()
    inner, committed = alice.store, asyncio.Event()

    class Slow:
        """Commits, and lets others have a turn before it says so, as a real database does."""

        def __getattr__(self, name: str) -> Any:
            return getattr(inner, name)

        async def run(self, work: Any) -> Any:
            result = await inner.run(work)
            committed.set()
            await asyncio.sleep(0)
            return result

    alice.store = Slow()  # type: ignore[assignment]
    alice.driver = alice.new_driver()
    await bob.receive({"to": None, "intent": "register", "from": alice.id})
    (confirm,) = bob.take()
    handler = asyncio.create_task(alice.receive(confirm))
    await committed.wait()
    handler.cancel()
    with pytest.raises(asyncio.CancelledError):
        await handler
    await link.advance(clock, 5, register_every=None)
    assert alice.closed(INIT) == bob.closed(RESP) == 1


async def test_an_hs_repeated_under_another_id_pins_nothing_and_locks_nobody_out() -> None:
    clock, (alice, bob), link = world()
    await alice.receive({"to": None, "intent": "register", "from": bob.id})
    (confirm,) = alice.take()
    stranger = make_identity("nobody").agent_id
    await bob.receive(confirm | {"from": stranger})
    assert await bob.driver.state(INIT, stranger) != await bob.driver.state(INIT, alice.id)
    assert bob.store.pins == {}  # type: ignore[attr-defined]
    await link.register()
    await link.advance(clock, 60)
    assert alice.closed(INIT) >= 1
    assert bob.closed(INIT) >= 1
    assert set(bob.store.pins) == {alice.id}  # type: ignore[attr-defined]
    assert stranger not in {peer for _, peer in bob.store.rows}  # type: ignore[attr-defined]
    assert bob.store.half_open == {}  # type: ignore[attr-defined]


async def test_made_up_ids_with_made_up_keys_leave_nothing_behind() -> None:
    clock, (alice, bob), link = world()
    for number in range(2000):
        clock.seconds += 0.06
        stranger = make_identity(f"made up {number}")
        nonce = f"{number:032x}"
        hs = make_hs("response", nonce, stranger.exchange_key.public, stranger.signing_key, clock.now(), None)
        await alice.receive(
            {"to": alice.id, "intent": "confirm", "from": stranger.agent_id, "my_nonce": nonce, "hs": hs}
        )
        alice.take()
    assert len(alice.store.half_open) == 256  # type: ignore[attr-defined]
    assert len(alice.store.nonces) <= 2 * 256  # type: ignore[attr-defined]
    assert alice.store.rows == alice.store.pins == {}  # type: ignore[attr-defined]
    await link.register()
    assert alice.closed(INIT) == bob.closed(INIT) == 1
    await link.advance(clock, 200, register_every=None)  # after unanswered requests, waits are longer
    assert alice.store.half_open == {}  # type: ignore[attr-defined]
    assert [row.event for row in alice.store.audit_rows] == [
        "pinned",
        "session",
        "closed",
        "session",
        "closed",
    ]  # type: ignore[attr-defined]


async def test_an_invented_register_makes_us_say_no_more_than_two_lines() -> None:
    clock, (alice, _), link = world()
    await alice.receive({"to": None, "intent": "register", "from": make_identity("invented").agent_id})
    await link.advance(clock, 60, register_every=None)
    assert len(link.recorded) == 2


async def test_after_an_outage_of_minutes_a_new_handshake_is_made_instead_of_repeating_a_stale_one() -> None:
    clock, (alice, bob), link = world()
    link.fate = lambda line: 0 if line["intent"] == "request" else 1
    await link.register()
    clock.seconds += 120  # no tick: without a session nothing runs
    link.fate = lambda line: 1
    await link.advance(clock, 3)
    assert (alice.closed(INIT), alice.closed(RESP)) == (1, 1)
    assert alice.refusals() == bob.refusals() == []


async def test_after_a_long_absence_a_peer_that_still_waits_gets_its_answer() -> None:
    clock, (alice, bob), link = world()
    await bob.receive({"to": None, "intent": "register", "from": alice.id})
    link.fate = lambda line: 0 if line["intent"] == "respond" else 1
    await link.settle()
    waiting = await alice.driver.state(INIT, bob.id)
    clock.seconds += 40
    await bob.restart()
    assert await bob.state(RESP, alice) is State.RESP_EXCHANGE
    (answer,) = bob.take()
    assert answer["your_nonce"] == waiting.local_nonce
    await link.advance(clock, 4, register_every=None)
    assert await bob.state(RESP, alice) is State.RESP_READY


async def test_one_pair_whose_storage_fails_does_not_hold_up_the_others() -> None:
    clock, ends, link = world(3)
    alice, bob, carol = ends
    link.fate = lambda line: 0 if line["intent"] == "respond" else 1
    await link.register()
    inner = alice.store

    class Damaged:
        def __getattr__(self, name: str) -> Any:
            return getattr(inner, name)

        async def run(self, work: Any) -> Any:
            def checked(transaction: Any) -> Any:
                load = transaction.load

                def guarded(role: Role, peer: str) -> Any:
                    if peer == bob.id:
                        raise StorageError("damaged")
                    return load(role, peer)

                transaction.load = guarded
                return work(transaction)

            return await inner.run(checked)

    alice.driver._store = Damaged()  # type: ignore[assignment]
    link.fate = lambda line: 1
    failures = 0
    for _ in range(60):
        clock.seconds += 0.25
        try:
            await alice.driver.tick()
        except StorageError:
            failures += 1
        for line in alice.take():
            await carol.receive(line)
        for line in carol.take():
            if line["to"] == alice.id:
                await alice.receive(line)
    assert failures > 5
    assert alice.closed(INIT) == 1


async def test_who_was_met_before_is_no_first_contact() -> None:
    clock, (alice, bob), link = world(reconnect_every=5.0)
    await link.register()
    assert alice.closed(INIT) == 1
    for end in (alice, bob):
        party = replace(end.driver._party, policy=Policy(first_contact=FirstContact.REFUSE))
        end.driver._party = party
    await link.advance(clock, 30)
    assert alice.closed(INIT) >= 2
    assert alice.refusals() == bob.refusals() == []
