"""Letters over a link that drops, repeats, reorders and replays, while both ends are killed and their clocks are set.

A state machine of hypothesis: any order of such events. Whatever happens, every letter is taken at most once and in order,
and who wrote it is told "delivered" only of those that are there. When the link works again, everything is told.
"""

import pytest
from fake_world import FakeClock
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule
from lossy_link import LossyLink, fates_of_lines, whose
from mail_world import MailEnd, copy_of, without_sessions

from handfast.adapters.memory import MemoryStore
from handfast.conversation.model import Settings
from handfast.mail import Fate

# a peer that lost its memory is greeted after 60 s, a session that is not answered given up after 26 s, each in its turn
UNTIL_ALL_IS_TOLD_SECONDS = 150


class LettersOnALossyLink(LossyLink[MailEnd]):
    """Two agents that carry mail."""

    one_way = False

    def __init__(self) -> None:
        super().__init__(*(MailEnd(name, FakeClock(), Settings(linger=5.0)) for name in ("alice", "bob")))
        self.posted = [0, 0]
        # what was told of letters that a later copy of the database knows nothing of
        self.texts: list[dict[int, int]] = [{}, {}]
        self.registers(0)
        self.registers(1)
        self.post(0, 1, None)
        self.post(1, 1, None)
        self.all_arrive_in_order()

    def all_ends_well(self) -> None:
        self.clocks_are_set_right()
        self.the_link_works_again()
        self.everything_is_told()

    async def tick(self, end: MailEnd) -> None:
        await end.driver.tick()
        await end.expire()

    def post(self, who: int, count: int, expires_in: float | None, *, tell: bool = True) -> None:
        if self.one_way and who == 1:
            return
        for _ in range(count):
            self.posted[who] += 1
            end, peer = self.ends[who], self.ends[1 - who]
            number = self.run(end.post(peer, self.posted[who], expires_in, tell=tell))
            if number is not None:
                self.texts[who][number] = self.posted[who]
        self.collect()

    # ---- what may happen --------------------------------------------------------------------------------------------

    @rule(
        who=whose,
        count=st.sampled_from([1, 2, 14]),
        expires_in=st.sampled_from([None, None, None, 3.0]),
        fates=fates_of_lines,
    )
    def writes(self, who: int, count: int, expires_in: float | None, fates: list[str]) -> None:
        self.post(who, count, expires_in)
        self.talk(fates)

    @rule(who=whose)
    def writes_and_is_killed(self, who: int) -> None:
        self.post(who, 1, None, tell=False)
        self.is_killed_and_restarted(who)

    @rule(who=whose)
    def takes(self, who: int) -> None:
        self.run(self.ends[who].take_one())

    @rule(who=whose, by=st.sampled_from([-3_600.0, -45.0, 45.0, 3_600.0]))
    def clock_is_set(self, who: int, by: float) -> None:
        self.ends[who].clock.offset += by

    @rule()
    def clocks_are_set_right(self) -> None:
        for end in self.ends:
            end.clock.offset = FakeClock().offset

    # ---- what must hold ---------------------------------------------------------------------------------------------

    @invariant()
    def every_letter_is_taken_at_most_once_and_in_order(self) -> None:
        for end in self.ends:
            messages = end.messages()
            assert messages == sorted(set(messages))

    @invariant()
    def what_is_called_delivered_is_there_and_what_is_called_expired_is_not(self) -> None:
        for who, end in enumerate(self.ends):
            peer = self.ends[1 - who]
            there = {*peer.messages(), *(arrival.message for arrival in peer.store.mail.inbox)}
            for (_, number), fate in end.fates.items():
                if fate is Fate.DELIVERED:
                    assert self.texts[who][number] in there
                elif (
                    fate is Fate.EXPIRED and not self.one_way
                ):  # what a former self has sent, no copy can know
                    assert self.texts[who][number] not in there

    @invariant()
    def the_inbox_is_bounded(self) -> None:
        for end in self.ends:
            assert len(end.store.mail.inbox) <= 128

    def the_link_works_again(self) -> None:
        for _ in range(UNTIL_ALL_IS_TOLD_SECONDS):
            for who in range(2):
                self.registers(who)
            self.all_arrive_in_order()
            for end in self.ends:
                self.run(end.take_all())
            self.time_passes(1.0)
            if not any(self.run(end.store.run(lambda t: t.mail.waiting())) for end in self.ends):
                break

    def everything_is_told(self) -> None:
        for who, end in enumerate(self.ends):
            fates = self.run(end.fates_in_store(self.ends[1 - who]))
            assert set(fates) == set(range(1, len(fates) + 1))
            assert Fate.WAITING not in fates.values()
            self.run(self.ends[1 - who].take_all())
        self.every_letter_is_taken_at_most_once_and_in_order()
        self.what_is_called_delivered_is_there_and_what_is_called_expired_is_not()


class LettersOfALostDatabase(LettersOnALossyLink):
    """The same, while the writer's database is lost, or an old copy of it is put in its place; only she writes."""

    one_way = True

    def __init__(self) -> None:
        super().__init__()
        self.a_copy_is_made()

    @rule()
    def a_copy_is_made(self) -> None:
        self.backup = copy_of(self.ends[0].store), dict(self.texts[0])

    @rule()
    def the_database_is_lost(self) -> None:
        self._begins_again_with(MemoryStore(self.ends[0].id), {})

    @rule(count=st.integers(0, 14))
    def an_old_copy_is_put_in_its_place(self, count: int) -> None:
        store, texts = self.backup
        self._begins_again_with(without_sessions(copy_of(store)), dict(texts))
        self.post(0, count, None)

    def _begins_again_with(self, store: MemoryStore, texts: dict[int, int]) -> None:
        self.ends[0].store = store
        self.ends[0].fates.clear()
        self.texts[0] = texts
        self.is_killed_and_restarted(0)

    @invariant()
    def every_letter_is_taken_at_most_once_and_in_order(self) -> None:
        messages = self.ends[1].messages()
        assert len(messages) == len(set(messages))


class TestLettersOnALossyLink(LettersOnALossyLink.TestCase):  # type: ignore[name-defined, misc]
    settings = settings(max_examples=60, stateful_step_count=30, deadline=None, derandomize=True)


class TestLettersOfALostDatabase(LettersOfALostDatabase.TestCase):  # type: ignore[name-defined, misc]
    settings = settings(max_examples=60, stateful_step_count=30, deadline=None, derandomize=True)


@pytest.mark.slow
@pytest.mark.timeout(900)
class TestLettersOnALossyLinkForLong(LettersOnALossyLink.TestCase):  # type: ignore[name-defined, misc]
    settings = settings(max_examples=400, stateful_step_count=100, deadline=None)


@pytest.mark.slow
@pytest.mark.timeout(900)
class TestLettersOfALostDatabaseForLong(LettersOfALostDatabase.TestCase):  # type: ignore[name-defined, misc]
    settings = settings(max_examples=400, stateful_step_count=100, deadline=None)
