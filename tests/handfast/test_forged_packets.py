"""Packets under the id of a peer that talks to us: what those cost that somebody forged, and those that the peer spoils itself.

Real ends, and a clock that stands still: whatever is used up stays so while a test looks on.
"""

from collections.abc import Callable
from typing import Any

import pytest
from v2_world import INIT, Line, Relay, World2, blob, flipped, held_up, packets_of, sealed, with_blob

from handfast import proofs
from handfast.conversation.model import State, Verdict, role_of
from handfast.driver import Driver
from handfast.outcomes import REFUSALS_TOLD, Outcome
from handfast.ports import Store
from handfast.wire.messages import parse_message
from handfast.wire.v2 import frames
from handfast.wire.v2.frames import Frame

FLOOD = 10_000
PACKETS_OF_A_CONVERSATION = 12
HEAD_BYTES = 18


class Flooded(Relay):
    """Ahead of each packet, its addressee gets so many forgeries of it.

    Attributes:
        came_of_it: what came of them.
    """

    def __init__(self, world: World2, count: int) -> None:
        super().__init__(*world.ends)
        self._world = world
        self._count = count
        self.came_of_it: list[Outcome] = []

    async def put(self, author: Any, line: Any) -> None:
        if packets_of([line]):
            packet = blob(line, "b")
            addressee = next(end for end in self._world.ends if end.id == line["to"])
            for number in range(self._count):
                # the name of the key, the counter, nonces and references are there for everybody to copy
                at = HEAD_BYTES + number % (len(packet) - HEAD_BYTES)
                self.came_of_it.append(
                    await said(addressee.driver, with_blob(line, "b", flipped(packet, at)))
                )
        await super().put(author, line)


async def test_a_forged_packet_wakes_no_session_that_rests() -> None:
    world = World2()
    line, _, _ = await held_up(world, 1)
    session = world.alice.live(INIT, world.bob).session
    assert session is not None
    assert session._current.decrypt is None
    await said(world.alice.driver, with_blob(line, "b", flipped(blob(line, "b"), 40)))
    assert session._current.decrypt is None


async def test_who_repeats_a_refused_packet_does_not_silence_its_author(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World2()
    line = await world.begin_and_stop_before(
        lambda line: "sec" in line and line["intent"] == "request" and len(packets_of(world.lines)) == 3
    )

    def fails(*_: object) -> None:
        raise RuntimeError("for a moment")

    with monkeypatch.context() as patch:
        patch.setattr(world.bob.dialogue, "reply", fails)
        for _ in range(100):
            outcome = await said(world.bob.driver, line)
            assert outcome.verdict is Verdict.REFUSED
            assert (await said(world.bob.driver, line)).verdict is Verdict.IGNORED
            world.clock.seconds += 1.0
    assert (await said(world.bob.driver, line)).verdict is Verdict.ACCEPTED


async def said(driver: Driver, line: Line) -> Outcome:
    message = parse_message(line, line["to"])
    assert message is not None
    return await driver.receive(role_of(message), message)


def count_transactions(monkeypatch: pytest.MonkeyPatch, store: Store) -> Callable[[], int]:
    """How many there were from now on."""
    done, run = 0, store.run

    async def counted(work: Any) -> Any:
        nonlocal done
        done += 1
        return await run(work)

    monkeypatch.setattr(store, "run", counted)
    return lambda: done


async def test_ten_thousand_forgeries_at_once_cost_no_packet_and_hardly_a_transaction(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    quiet = World2()
    done = [count_transactions(monkeypatch, end.store) for end in quiet.ends]
    await quiet.begin()
    assert quiet.closed() == (1, 1)
    assert len(packets_of(quiet.lines)) == PACKETS_OF_A_CONVERSATION
    usual = [count() for count in done]

    world = World2()
    world.link = link = Flooded(world, -(-FLOOD // PACKETS_OF_A_CONVERSATION))
    done = [count_transactions(monkeypatch, end.store) for end in world.ends]
    await world.begin()
    assert len(link.came_of_it) >= FLOOD
    assert {outcome.verdict for outcome in link.came_of_it} == {Verdict.REFUSED}
    assert world.closed() == (1, 1)
    assert world.heard() == quiet.heard()
    assert len(packets_of(world.lines)) == PACKETS_OF_A_CONVERSATION, "nothing had to be said twice"
    for count, before in zip(done, usual, strict=True):
        assert count() == before + REFUSALS_TOLD[0], "those that are told of"


async def test_forgeries_of_a_session_leave_handshakes_of_its_peer_their_share() -> None:
    world = World2()
    line, _, _ = await held_up(world, 1)
    forged = with_blob(line, "b", flipped(blob(line, "b"), 40))
    for _ in range(1_000):
        await said(world.alice.driver, forged)
    gate = world.alice.driver._gatekeeper
    assert not any(
        gate._failed.are_too_many(world.bob.id, standing, world.clock.monotonic())
        for standing in proofs.Standing
    )


async def test_what_the_peer_itself_spoils_is_passed_over_after_a_few_and_costs_it_a_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World2()
    line, _, his = await held_up(world, 2)
    done = count_transactions(monkeypatch, world.alice.store)
    burst, per_second = proofs.FAILED_IN_SESSION
    verdicts = []
    for _ in range(100):
        spoiled = sealed(
            world, his, "respond", None, Frame(frames.DATA, b"no JSON"), your_nonce=line["your_nonce"]
        )
        verdicts.append((await said(world.alice.driver, spoiled)).verdict)
    assert verdicts == [Verdict.REFUSED] * int(burst) + [Verdict.IGNORED] * (100 - int(burst))
    assert done() == 2 * burst, "each was looked at, and told of"
    assert (await said(world.alice.driver, line)).verdict is Verdict.IGNORED
    await world.wait(1 / per_second)
    assert (await said(world.alice.driver, line)).verdict is Verdict.ACCEPTED
    assert await world.alice.state(INIT, world.bob) is State.INIT_EXCHANGE
