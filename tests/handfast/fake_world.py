"""Two real ends over a fake link, with a clock that tests move and chance that repeats."""

import hashlib
import random
from collections import deque
from collections.abc import Callable

from handfast.adapters.memory import MemoryStore
from handfast.conversation.effects import Closed, Delivered
from handfast.conversation.model import Party, Role, Settings, State, role_of
from handfast.crypto.keys import ExchangeKey, SigningKey
from handfast.dialogue import Dialogue
from handfast.driver import Driver
from handfast.identity import Identity
from handfast.outcomes import Outcome
from handfast.ports import Store
from handfast.wire.messages import parse_message
from handfast.wire.text import Json

START = 1_800_000_000.0


class FakeClock:
    """Shows what the test says; wall time may be set apart from the monotonic one."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.offset = START

    def now(self) -> float:
        return self.offset + self.seconds

    def monotonic(self) -> float:
        return self.seconds


class SeededEntropy:
    """The same values in every run."""

    def __init__(self, seed: object) -> None:
        self._random = random.Random(str(seed))

    def nonce(self) -> str:
        return self._random.randbytes(15).hex() + "aa"

    def reference(self) -> str:
        return self.nonce()

    def exchange_key(self) -> bytes:
        return self._random.randbytes(32)

    def octets(self, size: int) -> bytes:
        return self._random.randbytes(size)

    def aead_nonce(self) -> bytes:
        return self._random.randbytes(12)

    def fraction(self) -> float:
        return self._random.random()


def make_identity(name: str) -> Identity:
    """The same identity for the same name, in every run."""
    digest = hashlib.sha256(name.encode()).hexdigest()
    agent_id = f"{digest[:8]}-{digest[8:12]}-4{digest[12:15]}-8{digest[15:18]}-{digest[18:30]}"
    keys = [hashlib.sha256(f"{name} {use}".encode()).digest() for use in ("exchange", "sign")]
    return Identity(agent_id, "2026-01-01T00:00:00+00:00", ExchangeKey(keys[0]), SigningKey(keys[1]))


class Counting(Dialogue):
    """A dialogue in which no two messages are alike."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.count = 0

    def opening(self, peer: str, turn: int) -> Json:
        self.count += 1
        return {"from": self.name, "turn": turn, "n": self.count}

    def reply(self, peer: str, message: Json) -> Json:
        self.count += 1
        return {"from": self.name, "re": message, "n": self.count}


class End:
    """One agent: a driver with its store, and what it reported."""

    def __init__(
        self,
        name: str,
        clock: FakeClock,
        settings: Settings | None = None,
        dialogue: Dialogue | None = None,
        store: Store | None = None,
    ) -> None:
        self.name = name
        self.identity = make_identity(name)
        self.clock = clock
        self.settings = settings or Settings()
        self.dialogue = dialogue or Counting(name)
        self.store = store or MemoryStore(self.identity.agent_id)
        self.outcomes: list[Outcome] = []
        self.lives = 0
        self.driver = self.new_driver()

    @property
    def id(self) -> str:
        return self.identity.agent_id

    def new_driver(self) -> Driver:
        self.lives += 1
        party = Party(self.identity, self.settings, self.dialogue)
        return Driver(self.store, self.clock, self.entropy(), party, self.outcomes.append)

    def entropy(self) -> SeededEntropy:
        return SeededEntropy((self.name, self.lives))

    async def restart(self) -> None:
        """`kill -9` and a new start from what was committed."""
        self.driver = self.new_driver()
        await self.driver.start()

    async def receive(self, content: Json) -> None:
        message = parse_message(content, self.id)
        if message is None:
            return
        roles = list(Role) if message.intent == "register" else [role_of(message)]
        for role in roles:
            await self.driver.receive(role, message)

    def take(self) -> list[dict[str, Json]]:
        """What it wants to send, stamped as the SEND hook does."""
        lines = [payload | {"from": self.id} for payload in self.driver.outgoing]
        self.driver.outgoing.clear()
        return lines

    def delivered(self, role: Role | None = None) -> list[Json]:
        return [
            effect.message
            for outcome in self.outcomes
            for effect in outcome.effects
            if isinstance(effect, Delivered) and role in (None, outcome.role)
        ]

    def closed(self, role: Role) -> int:
        return sum(
            isinstance(effect, Closed)
            for outcome in self.outcomes
            for effect in outcome.effects
            if outcome.role is role
        )

    def refusals(self) -> list[str]:
        return [str(outcome.reason) for outcome in self.outcomes if outcome.reason is not None]

    async def state(self, role: Role, peer: "End") -> State:
        return (await self.driver.state(role, peer.id)).state


class Link:
    """A relay in memory: every line reaches every other end, as often and in the order that `fate` says.

    Args:
        ends: who is connected.
        fate: for a line, how often it arrives and whether it overtakes; default: once, in order.
    """

    def __init__(self, *ends: End, fate: Callable[[dict[str, Json]], int] = lambda line: 1) -> None:
        self.ends = ends
        self.fate = fate
        self.recorded: list[dict[str, Json]] = []
        self._lines: deque[tuple[End, dict[str, Json]]] = deque()

    async def put(self, author: End | None, line: Json) -> None:
        for end in self.ends:
            if end is not author:
                await end.receive(line)

    async def register(self) -> None:
        for end in self.ends:
            await self.put(end, end.driver.register() | {"from": end.id})
            await self.settle()

    async def settle(self, at_most: int = 10_000) -> None:
        """Carry lines until nobody has anything to say."""
        for _ in range(at_most):
            self.collect()
            if not self._lines:
                return
            author, line = self._lines.popleft()
            for _ in range(self.fate(line)):
                await self.put(author, line)
        raise AssertionError("the ends never fall silent")

    def collect(self) -> None:
        for end in self.ends:
            for line in end.take():
                self.recorded.append(line)
                self._lines.append((end, line))

    async def advance(self, clock: FakeClock, seconds: float, register_every: float | None = 1.0) -> None:
        """Let time pass in steps of a quarter of a second, with ticks and registers as an agent makes them."""
        until = clock.seconds + seconds
        next_register = clock.seconds
        while clock.seconds < until:
            clock.seconds += 0.25
            for end in self.ends:
                await end.driver.tick()
            await self.settle()
            if register_every is not None and clock.seconds >= next_register:
                next_register = clock.seconds + register_every
                await self.register()
