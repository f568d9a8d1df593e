"""Conversations that carry letters: how they go on, pause, end and begin again, and what is told of each letter."""

from typing import Any

import pytest
from fake_world import End, FakeClock, Link
from mail_world import INIT, RESP, MailEnd, copy_of, identity_of, without_sessions

from handfast.adapters.memory import MemoryStore, MemoryTransaction
from handfast.api import runner
from handfast.conversation.effects import Closed, GaveUp, Rekeyed
from handfast.conversation.model import Settings, State
from handfast.conversation.v2 import mail
from handfast.driver import Driver
from handfast.mail import INBOX_LETTERS, LETTERS_IN_A_PACKET, OUTBOX_LETTERS, Fate, Receipt
from handfast.wire.v2 import frames
from handfast.wire.v2.frames import Frame

LINGER = 20.0


class World:
    """Alice and bob, who have met, on a link whose fate a test may set."""

    def __init__(self, **settings: Any) -> None:
        self.clock = FakeClock()
        self.alice, self.bob = (
            MailEnd(name, self.clock, Settings(linger=LINGER, **settings)) for name in ("alice", "bob")
        )
        self.link = Link(self.alice, self.bob)

    async def post(self, *texts: Any, expires_in: float | None = None) -> None:
        for text in texts:
            assert await self.alice.post(self.bob, text, expires_in) is not None

    async def say(self, *texts: Any) -> list[Any]:
        """Post, let everything arrive, and see what bob's application gets."""
        await self.post(*texts)
        await self.link.register()
        await self.link.settle()
        return await self.bob.take_all()

    async def wait(self, seconds: float, register_every: float | None = 1.0) -> None:
        await self.link.advance(self.clock, seconds, register_every)

    async def state(self) -> State:
        return await self.alice.state(INIT, self.bob)

    async def fates(self) -> list[Fate]:
        return list((await self.alice.fates_in_store(self.bob)).values())

    def lines(self, intent: str) -> int:
        """So many packets, repeated ones included."""
        return sum(line["intent"] == intent and "sec" in line for line in self.link.recorded)

    def lose(self, *intents: str) -> None:
        self.link.fate = lambda line: 0 if line["intent"] in intents else 1


@pytest.fixture
def world() -> World:
    return World()


# ---- the way of a letter ------------------------------------------------------------------------------------------


async def test_a_letter_is_delivered_and_its_writer_told(world: World) -> None:
    assert await world.say({"hello": "bob"}) == [{"hello": "bob"}]
    assert await world.fates() == [Fate.DELIVERED]
    assert world.alice.fates == {(world.bob.id, 1): Fate.DELIVERED}
    assert world.bob.taken == [(world.alice.id, {"hello": "bob"})]
    assert world.bob.sessions(RESP)[0].security == "v2-selfcert"


async def test_nothing_that_is_said_can_be_read_on_the_link(world: World) -> None:
    await world.say("a word for bob only")
    assert "a word" not in str(world.link.recorded)


async def test_letters_of_a_packet_arrive_in_order_and_many_fill_several(world: World) -> None:
    await world.say(0)
    before = world.lines("request")
    world.lose("respond")
    await world.post(1)  # while its answer is awaited, the others gather
    await world.link.settle()
    await world.post(*range(2, 30))
    world.lose()
    await world.wait(3)
    assert await world.bob.take_all() == list(range(30))
    requests = {str(line) for line in world.link.recorded if line["intent"] == "request" and "sec" in line}
    assert len(requests) - before == 1 + -(-28 // LETTERS_IN_A_PACKET)


async def test_an_open_session_carries_a_letter_with_one_line_each_way(world: World) -> None:
    await world.say("first")
    before = len(world.link.recorded)
    await world.post("second")
    await world.link.settle()
    assert [line["intent"] for line in world.link.recorded[before:]] == ["request", "respond"]
    assert await world.bob.take_all() == ["first", "second"]


async def test_both_directions_use_sessions_of_their_own(world: World) -> None:
    await world.say("to bob")
    await world.bob.post(world.alice, "to alice")
    await world.wait(4)
    assert await world.alice.take_all() == ["to alice"]
    assert (await world.state(), await world.bob.state(INIT, world.alice)) == (State.INIT_EXCHANGE,) * 2


async def test_nobody_begins_a_conversation_without_a_letter(world: World) -> None:
    await world.wait(70)
    assert world.lines("request") == 0
    assert await world.alice.store.unfinished() == []


# ---- pauses ---------------------------------------------------------------------------------------------------------


async def test_after_a_pause_the_conversation_closes_politely_on_both_sides(world: World) -> None:
    await world.say("x")
    await world.wait(LINGER + 3)
    assert (await world.state(), await world.bob.state(RESP, world.alice)) == (
        State.INIT_READY,
        State.RESP_READY,
    )
    assert (world.alice.closed(INIT), world.bob.closed(RESP)) == (1, 1)
    assert world.lines("request") == 2, "one to begin with, and one with the letter"


async def test_the_next_letter_resumes_by_ticket_at_once(world: World) -> None:
    await world.say("x")
    await world.wait(LINGER + 3)
    await world.post("y")
    await world.link.settle()  # nobody registers
    assert await world.bob.take_all() == ["x", "y"]
    assert [session.resumed for session in world.alice.sessions(INIT)] == [False, True]


async def test_a_letter_posted_while_the_conversation_closes_begins_the_next_one(world: World) -> None:
    await world.say("x")
    world.lose("finish")
    await world.wait(LINGER + 3)
    assert await world.state() is State.INIT_FINALIZE_PROPOSE
    await world.post("y")
    world.lose()
    await world.wait(10)
    assert await world.bob.take_all() == ["x", "y"]


async def test_an_answer_that_is_repeated_in_a_pause_is_not_answered(world: World) -> None:
    await world.say("x")
    *_, respond = [line for line in world.link.recorded if line["intent"] == "respond" and "sec" in line]
    before = len(world.link.recorded)
    world.clock.seconds += 1
    await world.alice.receive(respond)
    world.link.collect()
    assert len(world.link.recorded) == before


# ---- long conversations -----------------------------------------------------------------------------------------------


async def test_more_than_a_thousand_requests_take_new_keys_on_the_way(world: World) -> None:
    await world.say(0)
    for number in range(1, 1_100):
        await world.post(number)
        await world.link.settle()
        await world.bob.take_all()
    assert world.bob.messages() == list(range(1_100))
    rekeyed = [e.generation for o in world.alice.outcomes for e in o.effects if isinstance(e, Rekeyed)]
    assert rekeyed == [2]
    assert len(world.alice.sessions(INIT)) == 1
    await world.wait(LINGER + 3)
    assert world.alice.closed(INIT) == 1
    assert world.alice.refusals() == world.bob.refusals() == []


@pytest.mark.parametrize(
    ("seconds", "rekeyed"),
    [(16 * 60, True), (31 * 60, False), (25 * 3_600, False)],
    ids=["new keys", "another session", "another handshake"],
)
async def test_a_session_that_grows_old(seconds: float, rekeyed: bool) -> None:
    world = World()
    await world.say("x")
    world.clock.offset += seconds  # the pause goes on
    await world.post("y")
    await world.link.settle()
    await world.wait(70 if seconds > 24 * 3_600 else 3)  # whoever has a ticket is not greeted for a minute
    await world.post("z")
    await world.wait(3)
    assert await world.bob.take_all() == ["x", "y", "z"]
    assert (len(world.alice.sessions(INIT)) == 1) is rekeyed
    effects = [type(effect) for outcome in world.alice.outcomes for effect in outcome.effects]
    assert (Rekeyed in effects, GaveUp in effects) == (rekeyed, False)
    assert (Closed in effects) is not rekeyed


# ---- crashes and losses -------------------------------------------------------------------------------------------------


async def test_a_letter_that_was_posted_before_a_crash_is_sent_after_it(world: World) -> None:
    await world.say("x")
    await world.alice.post(world.bob, "y", tell=False)
    await world.alice.restart()
    await world.link.settle()
    assert await world.bob.take_all() == ["x", "y"]


@pytest.mark.parametrize("committed_by", ["writer", "reader"])
async def test_a_crash_between_commit_and_send_repeats_nothing(world: World, committed_by: str) -> None:
    await world.say("x")
    await world.post("y")  # the request is committed
    if committed_by == "reader":
        for line in world.alice.take():
            await world.bob.receive(line)  # and its letter is in bob's inbox
        world.bob.take()  # but he never answers
        await world.bob.restart()
    else:
        world.alice.take()
    await world.alice.restart()
    await world.wait(90)
    assert await world.bob.take_all() == ["x", "y"]
    assert await world.fates() == [Fate.DELIVERED] * 2


async def test_what_was_delivered_and_not_taken_outlives_the_reader(world: World) -> None:
    await world.post("x")
    await world.link.register()
    await world.link.settle()
    await world.bob.restart()
    assert await world.bob.take_all() == ["x"]
    await world.bob.restart()
    assert await world.bob.take_all() == ["x"]


async def test_a_lost_answer_leads_to_no_second_delivery(world: World) -> None:
    await world.say("x")
    world.lose("respond")
    await world.post("y")
    await world.link.settle()
    assert await world.fates() == [Fate.DELIVERED, Fate.WAITING]
    world.alice.take()
    await world.alice.restart()  # the session is gone, the number is not
    world.lose()
    await world.wait(5)
    assert await world.bob.take_all() == ["x", "y"]
    assert await world.fates() == [Fate.DELIVERED] * 2


async def test_a_peer_that_is_away_gets_its_letters_when_it_is_back(world: World) -> None:
    await world.say("x")
    world.lose("request", "reconnect", "register", "confirm")
    await world.post("y")
    await world.wait(300)
    assert await world.fates() == [Fate.DELIVERED, Fate.WAITING]
    world.lose()
    await world.wait(5)
    assert await world.bob.take_all() == ["x", "y"]


async def test_a_reader_that_lost_its_database_gets_what_comes_from_then_on(world: World) -> None:
    await world.say("x")
    world.bob.store = MemoryStore(world.bob.id)
    await world.bob.restart()
    await world.post("y")
    await world.wait(30)
    assert await world.bob.take_all() == ["x", "y"]
    assert await world.fates() == [Fate.DELIVERED] * 2


async def test_a_writer_that_lost_its_database_is_not_taken_for_her_former_self(world: World) -> None:
    await world.say("x", "y")
    world.alice.store = MemoryStore(world.alice.id)
    await world.alice.restart()
    await world.post("z")
    await world.wait(30)
    assert await world.bob.take_all() == ["x", "y", "z"]
    assert await world.fates() == [Fate.DELIVERED]


async def test_an_old_copy_of_the_writers_database_calls_nothing_delivered_that_is_not(world: World) -> None:
    await world.say("x")
    backup = copy_of(world.alice.store)
    await world.say(*"yz")
    world.alice.store = without_sessions(backup)
    await world.alice.restart()
    await world.post("Y", "Z", "more")  # with numbers that bob has seen
    await world.wait(90)
    assert await world.bob.take_all() == [*"xyz", "more"]
    assert await world.fates() == [Fate.DELIVERED, Fate.UNKNOWN, Fate.UNKNOWN, Fate.DELIVERED]
    assert (await world.say("and on"))[-1] == "and on"


# ---- deadlines ------------------------------------------------------------------------------------------------------------


async def test_a_letter_that_was_never_sent_expires_and_one_that_was_is_unknown(world: World) -> None:
    await world.say("x")
    world.lose("respond")
    await world.post("sent", expires_in=5.0)
    await world.link.settle()
    await world.post("not sent", expires_in=5.0)
    await world.post("kept")
    world.clock.seconds += 6
    await world.alice.expire()
    world.lose()
    await world.wait(5)
    assert await world.fates() == [Fate.DELIVERED, Fate.UNKNOWN, Fate.EXPIRED, Fate.DELIVERED]
    assert await world.bob.take_all() == ["x", "sent", "kept"]


async def test_a_letter_that_was_passed_over_stays_so_when_the_clock_is_set_back(world: World) -> None:
    await world.say("x")
    world.lose("respond")
    await world.post("a")
    await world.link.settle()
    await world.post("overdue", expires_in=5.0)
    await world.post("b")
    world.clock.offset += 6
    world.lose()
    await world.wait(3)
    world.clock.offset -= 60
    await world.say("c")
    assert await world.bob.take_all() == ["x", "a", "b", "c"]
    assert await world.fates() == [Fate.DELIVERED] * 2 + [Fate.EXPIRED] + [Fate.DELIVERED] * 2


# ---- too much ----------------------------------------------------------------------------------------------------------------


async def test_a_full_inbox_makes_the_writer_wait_and_loses_nothing(world: World) -> None:
    count = INBOX_LETTERS + 30
    await world.post(*range(count))
    await world.wait(5)
    assert len(world.bob.store.mail.inbox) == INBOX_LETTERS
    requests = world.lines("request")
    await world.wait(60)
    assert world.lines("request") - requests < 10, "it asks less and less often"
    for _ in range(40):
        await world.bob.take_all()
        await world.wait(1)
    assert world.bob.messages() == list(range(count))
    assert set(await world.fates()) == {Fate.DELIVERED}


async def test_a_full_outbox_refuses_more(world: World) -> None:
    await world.post(*range(OUTBOX_LETTERS))
    assert await world.alice.post(world.bob, "one more") is None


# ---- what peers may get wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b'{"message":1,"n":0,"s":"uAAAAAAAAAAA"}',
        b'{"message":1,"n":true,"s":"uAAAAAAAAAAA"}',
        b'{"message":1,"n":1.5,"s":"uAAAAAAAAAAA"}',
        b'{"message":1,"n":9007199254740992,"s":"uAAAAAAAAAAA"}',
        b'{"message":1,"n":1,"s":"uAAAAAAAA"}',
        b'{"message":1,"n":1,"s":7}',
        b'{"message":1,"n":1}',
        b'{"message":1,"s":"uAAAAAAAAAAA"}',
        b'{"message":1}|{"message":1,"n":1,"s":"uAAAAAAAAAAA"}',
        b'{"message":1,"n":2,"s":"uAAAAAAAAAAA"}|{"message":1,"n":2,"s":"uAAAAAAAAAAA"}',
        b'{"message":1,"n":1,"s":"uAAAAAAAAAAA"}|{"message":1,"n":2,"s":"uAAAAAAAAAAE"}',
    ],
)
async def test_letters_without_a_proper_number_are_refused(
    world: World, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    await world.say("x")
    wrong = [Frame(frames.DATA, part) for part in body.split(b"|")]
    monkeypatch.setattr(mail, "write_letters", lambda turn, stand: wrong)
    await world.post("y")
    await world.link.settle()
    assert world.bob.refusals() == ["format"]
    assert await world.bob.take_all() == ["x"]


@pytest.mark.parametrize(
    ("body", "refused"),
    [
        (b"short", True),
        (Receipt(b"12345678", 9).encode() + b"x", True),
        (Receipt(b"12345678", 9).encode(), False),
    ],
    ids=["short", "long", "of another stream"],
)
async def test_a_receipt_that_makes_no_sense_delivers_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, body: bytes, refused: bool
) -> None:
    await world.say("x")
    monkeypatch.setattr(Receipt, "encode", lambda self: body)
    await world.post("y")
    await world.link.settle()
    assert world.alice.refusals() == (["format"] if refused else [])
    assert await world.fates() == [Fate.DELIVERED, Fate.WAITING]


async def test_a_reader_that_was_killed_is_taken_for_another_process_while_it_is_heard_often(
    world: World,
) -> None:
    await world.say("x")
    await world.bob.restart()
    await world.post("y")
    arrived_at = world.clock.seconds
    while len(await world.bob.take_all()) < 2:
        await world.wait(1.0)
        assert world.clock.seconds - arrived_at < runner._ARRIVING_SECONDS


async def test_who_winds_down_ends_its_pauses_and_waits_for_those_only_that_it_can_end(world: World) -> None:
    await world.say("x")
    assert world.bob.driver.wind_down(60.0), "whoever writes to us may pause"
    assert not world.alice.driver.wind_down(60.0)
    await world.alice.driver.tick()
    await world.link.settle()
    assert world.alice.driver.wind_down(60.0)
    assert (world.alice.closed(INIT), world.bob.closed(RESP)) == (1, 1)


async def test_who_winds_down_says_what_is_left_but_not_without_end(world: World) -> None:
    await world.say("x")
    world.lose("respond")
    await world.post("y", "z")
    await world.link.settle()
    assert not world.alice.driver.wind_down(60.0)
    world.lose()
    await world.wait(5, register_every=None)
    assert not world.alice.driver.wind_down(0.0), "what was said first holds"
    await world.alice.driver.tick()
    await world.link.settle()
    assert world.alice.driver.wind_down(60.0)
    assert (world.alice.closed(INIT), await world.bob.take_all()) == (1, ["x", "y", "z"])
    await world.post("later")
    await world.wait(30)
    assert await world.fates() == [Fate.DELIVERED] * 3 + [Fate.WAITING]
    assert await world.bob.take_all() == ["x", "y", "z"]


async def test_who_winds_down_does_not_wait_for_room(world: World) -> None:
    await world.say("x")
    await world.post(*range(INBOX_LETTERS + 1))
    await world.link.settle()
    assert not world.alice.driver.wind_down(60.0)
    await world.alice.driver.tick()
    await world.link.settle()
    assert world.alice.driver.wind_down(60.0)
    assert world.alice.closed(INIT) == 1


async def test_a_peer_that_does_not_answer_is_waited_for_until_the_time_is_over(world: World) -> None:
    await world.say("x")
    assert not world.alice.driver.wind_down(2.0)
    world.clock.seconds += 2.0
    assert world.alice.driver.wind_down(2.0)


async def test_a_peer_that_is_revoked_in_a_pause_is_left_and_gets_nothing_more(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.say("x")
    monkeypatch.setattr(MemoryTransaction, "is_revoked", lambda self, pin: True)
    await world.post("y")
    await world.wait(LINGER + 3)
    assert await world.state() is State.INIT_READY
    whys = [e.why for o in world.alice.outcomes for e in o.effects if isinstance(e, GaveUp)]
    assert whys == ["revoked"]
    assert await world.bob.take_all() == ["x"]
    assert await world.fates() == [Fate.DELIVERED, Fate.WAITING]


# ---- with agents that have a dialogue --------------------------------------------------------------------------------------------


class Talker(End):
    """An agent of version 2 with a dialogue."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__("talker", clock)
        self.identity = identity_of("talker", clock.now())
        self.store = MemoryStore(self.identity.agent_id)
        self.driver: Driver = self.new_driver()


async def test_an_agent_with_a_dialogue_hears_a_letter_once_and_its_answer_is_a_message() -> None:
    clock = FakeClock()
    alice, talker = MailEnd("alice", clock), Talker(clock)
    link = Link(alice, talker)
    await alice.post(talker, "hello")
    await link.register()
    await link.settle()
    assert talker.delivered(RESP) == ["hello"]
    assert {"from": "talker", "re": "hello", "n": 1} in await alice.take_all()
    assert await alice.fates_in_store(talker) == {1: Fate.DELIVERED}


async def test_what_an_agent_with_a_dialogue_says_of_itself_is_a_message_and_the_conversation_closes() -> (
    None
):
    clock = FakeClock()
    alice, talker = MailEnd("alice", clock), Talker(clock)
    link = Link(alice, talker)
    await link.register()
    await link.advance(clock, 3)
    assert [message["turn"] for message in await alice.take_all()] == [1, 2, 3, 4]
    assert (talker.closed(INIT), alice.closed(RESP)) == (1, 1)


async def test_version_1_is_not_spoken_where_letters_are_carried() -> None:
    clock = FakeClock()
    alice, old = MailEnd("alice", clock), End("old", clock)
    link = Link(alice, old)
    await link.advance(clock, 5)
    assert alice.outcomes == old.outcomes == []
