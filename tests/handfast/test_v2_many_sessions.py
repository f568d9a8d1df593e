"""One agent in the middle of ten thousand sessions: they fit into memory, and each of them goes on working."""

import gc
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
from fake_world import FakeClock
from v2_parties import agent, noise, token
from v2_world import End2

from handfast import congestion, gatekeeper
from handfast.adapters.sqlite import SqliteStore
from handfast.conversation.model import Role, State
from handfast.session.v2.initiator import read_n1
from handfast.session.v2.parties import Myself
from handfast.session.v2.session import Session
from handfast.wire.messages import Message, parse_message
from handfast.wire.v2 import frames
from handfast.wire.v2.frames import Frame, encode_frames
from handfast.wire.v2.header import Header
from handfast.wire.v2.messages import N1, N3, Offered, Packet

SESSION_BYTES = 4 * 1024
# with what else is kept of a pair that has just met: the answers that may have to be repeated, and both roles' states
PAIR_BYTES = 12 * 1024
RESP = Role.RESPONDER


class Hub:
    """The agent, its clock, and whom it talks to."""

    def __init__(self, directory: Path) -> None:
        self.clock = FakeClock()
        self.end = End2("hub", self.clock, store=lambda identity: SqliteStore(directory / "hub.db", identity))

    async def say(self, message: Message) -> Message:
        """What it answers."""
        await self.end.driver.receive(RESP, message)
        (answer,) = self.end.take()
        parsed = parse_message(answer, message.sender)
        assert parsed is not None
        return parsed

    async def meet(self, number: int) -> tuple[Myself, Session, str]:
        """A newcomer with an open session, after its first request; also what its next one must echo."""
        self.clock.seconds += 0.01
        me, label = agent(f"peer {number}"), f"peer {number}"
        offer = me.offer(noise(f"{label} offer", 16))
        n1 = await self.say(Offered(Header(me.agent_id, None, "register"), offer))
        assert isinstance(n1, N1)
        waiting, n2 = read_n1(
            me, [offer], n1, ephemeral=noise(f"{label} ephemeral"), nonce=token(f"{label} nonce")
        )
        n3 = await self.say(n2)
        assert isinstance(n3, N3)
        session, _ = waiting.read_n3(n3, self.clock.now())
        echo = await self.ask(me, session, str(n3.header.my_nonce))
        self.end.outcomes.clear()
        return me, session, echo

    async def ask(self, me: Myself, session: Session, echo: str) -> str:
        """One turn; what the next request must echo."""
        nonce = token(f"{me.agent_id} {session.next_counter}")
        header = Header(me.agent_id, self.end.id, "request", my_nonce=nonce, your_nonce=echo)
        content = encode_frames([Frame(frames.DATA, b'{"message":"%s"}' % nonce.encode())])
        answer = await self.say(Packet(header, session.seal(header.encoded(), content)))
        assert isinstance(answer, Packet)
        session.open(answer.header.encoded(), answer.packet, self.clock.now())
        return str(answer.header.my_nonce)


@pytest.mark.parametrize(
    "count",
    [200, pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(900)])],
)
async def test_an_agent_holds_thousands_of_sessions_in_under_4_kib_each_and_all_of_them_work(
    tmp_path: Path, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # what strangers may cost us in a minute is another matter
    for place, name in (
        (gatekeeper, "NEWCOMERS"),
        (gatekeeper, "HANDSHAKES_WITH_STRANGERS"),
        (gatekeeper, "GREETINGS"),
    ):
        monkeypatch.setattr(place, name, (2.0 * count + 200, 1_000.0))
    monkeypatch.setattr(congestion, "AT_ONCE", 2 * count + 200)
    hub = Hub(tmp_path)
    await hub.end.store.open()
    for number in range(100):  # caches and pools fill
        await hub.meet(-1 - number)
    tracemalloc.start()
    before, kept = memory(), {}
    for number in range(count):
        met = await hub.meet(number)
        if number % (count // 100) == 0:
            kept[number] = met
    live = hub.end.driver._pairs.live
    assert len(live) == count + 100
    assert all(state.state is State.RESP_EXCHANGE for state in live.values())
    pairs = (memory() - before) / count
    for me, session, echo in kept.values():
        hub.end.outcomes.clear()
        await hub.ask(me, session, echo)
        assert len(hub.end.delivered()) == 1
    before = memory()
    for pair, state in live.items():
        assert state.live is not None
        live[pair] = replace(state, live=replace(state.live, session=None, transcript=None, pin=None))
    sessions = (before - memory()) / len(live)
    tracemalloc.stop()
    assert 0 < sessions < SESSION_BYTES
    assert pairs < PAIR_BYTES
    print(
        f"\n{count:,} sessions: {sessions:.0f} bytes each, {pairs:.0f} with all else that is kept of a pair"
    )
    await hub.end.store.close()


def memory() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]
