"""Ends of version 2 over a fake relay on which a case may say, alter and withhold whatever it likes: real drivers, keys and
stores, and a clock that only the case moves."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from fake_world import End, FakeClock, Link, SeededEntropy, make_identity

from handfast.conversation.effects import SessionOpened
from handfast.conversation.live import Live
from handfast.conversation.model import Party, Role, Settings, Verdict
from handfast.driver import Driver
from handfast.errors import PeerError
from handfast.identity import Identity
from handfast.identity.agent_ids import self_certifying_id
from handfast.outcomes import Outcome
from handfast.ports import Store
from handfast.session.v2.session import Session
from handfast.trust.decision import Policy
from handfast.wire.messages import parse_message
from handfast.wire.text import Json, b64url_decode, b64url_encode
from handfast.wire.v1 import SENTINEL
from handfast.wire.v2 import frames
from handfast.wire.v2.frames import Frame, encode_frames
from handfast.wire.v2.header import Header
from handfast.wire.v2.messages import Packet, encode_message

Line = dict[str, Any]

INIT, RESP = Role.INITIATOR, Role.RESPONDER
BLOBS = ("o", "s", "i", "m", "b")
ROUTING = ("my_nonce", "your_nonce", "my_ref", "your_ref")


def identity_of(name: str, now: float, *, self_certifying: bool = True) -> Identity:
    """The same for the same name, in every run."""
    identity = make_identity(name)
    if self_certifying:
        identity = replace(identity, agent_id=self_certifying_id(identity.signing_key.public))
    return identity.with_static_key(hashlib.sha256(f"{name} static".encode()).digest(), now)


class Entropy2(SeededEntropy):
    """Whose nonces of version 1 tell that version 2 is spoken, too."""

    def nonce(self) -> str:
        return super().nonce()[: -len(SENTINEL)] + SENTINEL


class End2(End):
    """One agent of version 2."""

    def __init__(
        self,
        name: str,
        clock: FakeClock,
        *,
        seed: int = 0,
        self_certifying: bool = True,
        settings: Settings | None = None,
        policy: Policy | None = None,
        store: Callable[[Identity], Store] | None = None,
        **party: Any,
    ) -> None:
        self.seed = seed
        self._policy = policy or Policy()
        self._party: dict[str, Any] = {"post_quantum": "off"} | party
        super().__init__(name, clock, settings)
        self.identity = identity_of(name, clock.now(), self_certifying=self_certifying)
        self.store = type(self.store)(self.id) if store is None else store(self.identity)
        self.driver = self.new_driver()

    def new_driver(self) -> Driver:
        self.lives += 1
        party = Party(self.identity, self.settings, self.dialogue, self._policy, **self._party)
        entropy = Entropy2((self.seed, self.name, self.lives))
        return Driver(self.store, self.clock, entropy, party, self.outcomes.append)

    def take_id_of(self, other: "End2") -> None:
        """Say in everybody's face to be another one, with keys of one's own and a binding of these."""
        identity = replace(self.identity, agent_id=other.id, static_keys=())
        self.identity = identity.with_static_key(bytes(range(32)), self.clock.now())
        self.driver = self.new_driver()

    async def receive(self, content: Json) -> None:
        """As the agent does: what cannot be read is noted and dropped."""
        try:
            await super().receive(content)
        except PeerError as refusal:
            await self.driver.refuse(content, refusal.reason)

    def live(self, role: Role, peer: "End") -> Live:
        """What it keeps of a pair in memory."""
        state = self.driver._pairs.live[role, peer.id]
        assert state.live is not None
        return state.live

    def session(self, role: Role, peer: "End") -> Session:
        """The session of the conversation under way."""
        session = self.live(role, peer).session
        assert session is not None
        return session.copy()

    def opened(self) -> int:
        return sum(isinstance(effect, SessionOpened) for o in self.outcomes for effect in o.effects)


class Relay(Link):
    """A relay whose lines a case sees before they arrive.

    Attributes:
        before: what is to be said to everybody before a line arrives; the second argument is its number.
        led_to: what came of all that was said so.
        carried: how many lines arrived, but for those.
    """

    def __init__(self, *ends: End) -> None:
        super().__init__(*ends)
        self.before: Callable[[Line, int], Iterable[Json]] = lambda line, number: ()
        self.led_to: list[Outcome] = []
        self.carried = 0

    async def put(self, author: End | None, line: Json) -> None:
        if author is not None:
            number, self.carried = self.carried, self.carried + 1
            for extra in list(self.before(line, number)):
                self.led_to += await self.say(extra)
        await super().put(author, line)

    async def say(self, line: Json) -> list[Outcome]:
        """What the attacker says reaches everybody; what came of it."""
        known = [len(end.outcomes) for end in self.ends]
        await super().put(None, line)
        return [o for end, count in zip(self.ends, known, strict=True) for o in end.outcomes[count:]]


class World2:
    """Alice, who begins conversations, and Bob, whom she has them with.

    Args:
        alice, bob: what only one of them is made with.
        party: what both are made with, as `End2` takes it.
    """

    def __init__(self, *, alice: Line | None = None, bob: Line | None = None, **party: Any) -> None:
        self.clock = FakeClock()
        self.alice = End2("alice", self.clock, **(party | (alice or {})))
        self.bob = End2("bob", self.clock, **(party | (bob or {})))
        self.link = Relay(self.alice, self.bob)

    @property
    def ends(self) -> tuple[End2, End2]:
        return self.alice, self.bob

    @property
    def lines(self) -> list[Line]:
        """Everything that was said."""
        return self.link.recorded

    async def register(self, end: End) -> None:
        line = end.driver.register() | {"from": end.id}
        self.lines.append(line)
        await self.link.put(end, line)

    async def begin(self) -> None:
        """A conversation that Alice begins as with somebody unknown, or whose ticket is lost."""
        await self.register(self.alice)
        await self.link.settle()

    async def begin_again(self) -> None:
        """The next one, which goes on from a ticket."""
        await self.wait(11)
        register = parse_message(self.bob.driver.register() | {"from": self.bob.id}, self.alice.id)
        assert register is not None
        await self.alice.driver.receive(Role.INITIATOR, register)
        await self.link.settle()

    async def begin_and_stop_before(self, stop: Callable[[Line], bool], *, again: bool = False) -> Line:
        """As `begin`, up to a line that does not arrive, and this line."""
        held: list[Line] = []

        def fate(line: Line) -> int:
            if held or stop(line):
                held.append(line)
                return 0
            return 1

        self.link.fate = fate
        await (self.begin_again() if again else self.begin())
        self.link.fate = lambda line: 1
        return held[0]

    async def wait(self, seconds: float) -> None:
        """Nothing is said meanwhile."""
        self.clock.seconds += seconds

    async def pass_time(self, seconds: float) -> None:
        """With timers, and no `register`."""
        await self.link.advance(self.clock, seconds, register_every=None)

    def author(self, line: Line) -> End2:
        return next(end for end in self.ends if end.id == line["from"])

    def heard(self) -> list[tuple[str, Json]]:
        """What was delivered, to whom, in order for each."""
        return [(end.name, message) for end in self.ends for message in end.delivered()]

    def closed(self) -> tuple[int, int]:
        return self.alice.closed(Role.INITIATOR), self.bob.closed(Role.RESPONDER)

    def assert_nothing_twice(self) -> None:
        texts = [json.dumps(entry) for entry in self.heard()]
        assert len(texts) == len(set(texts))

    async def assert_unharmed(self) -> None:
        """Within two minutes a conversation closes in each direction; what was heard, was said, and heard once."""
        before = [(end.closed(role), end, role) for end in self.ends for role in Role]
        await self.link.advance(self.clock, 120)
        for count, end, role in before:
            assert end.closed(role) > count, f"{end.name} as {role}"
        self.assert_nothing_twice()


def kind(line: Line) -> str:
    """`n1`, `n2`, ... or the intent."""
    hs = line.get("hs")
    return str(hs.get("t", line["intent"])) if isinstance(hs, dict) else str(line["intent"])


def packets_of(lines: list[Line]) -> list[Line]:
    """Those that carry a packet of an established session."""
    return [line for line in lines if "sec" in line]


def block(line: Line) -> tuple[str, Line]:
    """The name of its `hs` or `sec`, and that."""
    name = "hs" if "hs" in line else "sec"
    return name, line[name]


def with_blob(line: Line, member: str, raw: bytes) -> Line:
    name, content = block(line)
    return line | {name: content | {member: b64url_encode(raw)}}


def blob(line: Line, member: str) -> bytes:
    return b64url_decode(block(line)[1][member])


def flipped(raw: bytes, at: int) -> bytes:
    return raw[:at] + bytes([raw[at] ^ 1 << at % 8]) + raw[at + 1 :]


def altered(line: Line) -> Iterator[Line]:
    """`line` with one bit of one byte of one of its blobs, nonces or references changed, each byte in its turn."""
    for member in BLOBS:
        if member in block(line)[1]:
            raw = blob(line, member)
            for at in range(len(raw)):
                yield with_blob(line, member, flipped(raw, at))
    for member in ROUTING:
        if member in line:
            raw = b64url_decode(line[member])
            for at in range(len(raw)):
                yield line | {member: b64url_encode(flipped(raw, at))}
    if "g" in block(line)[1]:
        name, content = block(line)
        yield line | {name: content | {"g": content["g"] + 1}}


def accepted(outcomes: list[Outcome]) -> list[Outcome]:
    return [outcome for outcome in outcomes if outcome.verdict is Verdict.ACCEPTED]


def sealed(world: World2, session: Session, intent: str, message: Any, *more: Frame, **members: str) -> Line:
    """What Alice, or whoever has her session, says to Bob; or Bob to her."""
    by, to = (world.alice, world.bob) if session.is_initiator else (world.bob, world.alice)
    nonce = {"my_nonce": "u" + "A" * 22} if intent in ("request", "respond") else {}
    header = Header(by.id, to.id, intent, **(nonce | members))
    data = [] if message is None else [Frame(frames.DATA, b'{"message":"%s"}' % str(message).encode())]
    packet = session.seal(header.encoded(), encode_frames([*data, *more]))
    return encode_message(Packet(header, packet)) | {"from": by.id}


def header_of(line: Line) -> bytes:
    members = {key: line.get(key) for key in ("my_nonce", "your_nonce", "my_ref", "your_ref")}
    return Header(line["from"], line["to"], line["intent"], **members).encoded()


async def held_up(world: World2, turn: int) -> tuple[Line, Session, Session]:
    """A conversation stopped before the `respond` of a turn; that, and both sessions."""
    count = 0

    def stop(line: Line) -> bool:
        nonlocal count
        count += kind(line) == "respond"
        return count == turn

    line = await world.begin_and_stop_before(stop)
    return line, world.alice.session(INIT, world.bob), world.bob.session(RESP, world.alice)
