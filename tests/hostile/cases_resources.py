"""Floods: what a stranger can make an agent store, compute and write."""

import asyncio
import contextlib
import sqlite3
import uuid
from collections.abc import Callable, Coroutine

import psutil  # type: ignore[import-untyped]
from catalogue import FRESH, chapter
from stage import Attacker, Stage, new_nonce, register_of, wrapped

from handfast.outcomes import REFUSALS_TOLD

case = chapter("Resources", FRESH)

MIB = 2**20
# A flood may fill every bounded table, cache and buffer once; a leak of a flood's own size is far more.
MEMORY_BOUND = 48 * MIB
ROWS_OF_STRANGERS = 256
# a burst of 200 newcomers and 20 a second, and as many steps of handshakes; far fewer than a flood has lines
LOG_LINES_BURST, LOG_LINES_A_SECOND = 1_500, 120

Flood = Callable[[Stage, int], Coroutine[None, None, None]]


def rows(stage: Stage, table: str) -> int:
    with contextlib.closing(sqlite3.connect(stage.victim.database())) as database:
        (count,) = database.execute(f"SELECT count(*) FROM {table}").fetchone()
    return int(count)


async def bounded(stage: Stage, flood: Flood, count: int) -> None:
    """The flood, and what it must not have cost; a conversation closes in the middle of it and after it."""
    loop = asyncio.get_running_loop()
    process = psutil.Process(stage.victim.pid)
    await flood(stage, count // 10)  # fill caches and pools once
    await stage.assert_unharmed()
    memory, lines, began = process.memory_info().rss, stage.victim.log.count("\n"), loop.time()
    running = asyncio.create_task(flood(stage, count))
    try:
        await stage.assert_unharmed()
    finally:
        await running
    await stage.assert_unharmed()
    assert process.memory_info().rss - memory < MEMORY_BOUND
    seconds = loop.time() - began
    assert stage.victim.log.count("\n") - lines < LOG_LINES_BURST + LOG_LINES_A_SECOND * seconds
    assert rows(stage, "half_open") <= ROWS_OF_STRANGERS
    assert rows(stage, "outbox") <= ROWS_OF_STRANGERS + 8
    assert rows(stage, "nonce_event") <= 4 * ROWS_OF_STRANGERS
    assert rows(stage, "role_state") <= 8
    assert rows(stage, "pin") <= 4


async def flood_registers(stage: Stage, count: int) -> None:
    for _ in range(count):
        await stage.attacker.say(register_of(str(uuid.uuid4())))


async def flood_one_register(stage: Stage, count: int) -> None:
    line = wrapped(register_of(str(uuid.uuid4())))
    await stage.attacker.raw(*[line] * count)


async def flood_confirms(stage: Stage, count: int) -> None:
    """Each from a new id, with a good `hs` of a new key."""
    for _ in range(count):
        await stage.attacker.say(stage.peer().confirm())


async def flood_bad_signatures(stage: Stage, count: int) -> None:
    """Each makes the victim verify a signature in vain."""
    peer = stage.peer()
    hs = peer.hs("response", new_nonce())
    for _ in range(count):
        nonce = new_nonce()
        await peer.say("confirm", my_nonce=nonce, hs=hs | {"nonce": nonce})


async def flood_half_open(stage: Stage, count: int) -> None:
    """Each registers, and never goes on."""
    for _ in range(count // 50):
        async with Attacker.connected(stage.relay.port) as other:
            await other.say(*(register_of(str(uuid.uuid4())) for _ in range(50)))


async def flood_connections(stage: Stage, count: int) -> None:
    """Connections that say half a line and are left there, then closed all together."""
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(count):
            other = await stack.enter_async_context(Attacker.connected(stage.relay.port))
            other._writer.write(b'{"_version": "1.3.0", "_pay')


async def flood_garbage(stage: Stage, count: int) -> None:
    garbage = (b"x" * 200, b"{", b"[]", wrapped({"to": None}), wrapped({"from": 5, "to": [], "intent": {}}))
    for number in range(count // len(garbage)):
        await stage.attacker.raw(*garbage)
        if number % 100 == 0:
            await asyncio.sleep(0)


# name, what, outcome, flood, and how many: in the normal suite (0: not there), in the long runs
FLOODS: tuple[tuple[str, str, str, Flood, int, int], ...] = (
    ("flood-ids", "`register` from {} made-up ids", "bounded memory, rows and log; own conversations go on", flood_registers, 1_000, 10_000),
    ("flood-register", "one stranger's `register`, {} times", "bounded memory, rows and log; own conversations go on", flood_one_register, 0, 20_000),
    ("flood-confirm", "{} `confirm`, each from a new id with a good `hs` of a new key", "at most 256 half-open conversations, a bounded rate of handshakes", flood_confirms, 500, 5_000),
    ("flood-signatures", "{} `confirm` whose signature does not hold", "bounded memory, rows and log; own conversations go on", flood_bad_signatures, 1_000, 10_000),
    ("flood-half-open", "{} strangers who register, each group on a connection that is closed at once, and never go on", "at most 256 half-open conversations", flood_half_open, 0, 5_000),
    ("flood-connections", "{} connections to the relay that say half a line and are left there", "nobody notices", flood_connections, 0, 400),
    ("flood-garbage", "{} lines that are no messages", "bounded memory, rows and log; own conversations go on", flood_garbage, 5_000, 100_000),
)  # fmt: skip

for name, sends, outcome, flood, few, many in FLOODS:
    for suffix, count, slow in (("", few, False), ("-long", many, True)):
        if not count:
            continue

        def check(stage: Stage, flood: Flood = flood, count: int = count) -> Coroutine[None, None, None]:
            return bounded(stage, flood, count)

        case(name + suffix, sends.format(f"{count:_}".replace("_", " ")), outcome, slow=slow)(check)


@case(
    "flood-at-the-caps",
    "`register`, good and broken `confirm` of strangers and forgeries under a known id, all at once and without end",
    "the honest peer has its share: its conversations close while all that goes on",
)
async def _(stage: Stage) -> None:
    known = stage.peer()
    await known.begin()
    await known.end()
    said, over = 0, asyncio.Event()

    async def flood_without_end() -> None:
        nonlocal said
        while not over.is_set():
            for flood in (flood_registers, flood_confirms, flood_bad_signatures):
                await flood(stage, 10)
            for _ in range(10):
                await stage.attacker.say(stage.peer().confirm() | {"from": known.id})
            said += 40
            # far above what is served to strangers, and below what a relay's queues and two cores can carry
            await asyncio.sleep(0.1)

    def at_the_caps() -> bool:
        # far more than every burst, and what is told of it has run out
        return said > 1_000 and stage.victim.count("refused") >= REFUSALS_TOLD[0]

    running = asyncio.create_task(flood_without_end())
    try:
        await stage.victim.wait_until(at_the_caps, 45, "the flood at the caps")
        await stage.assert_unharmed()
        assert not running.done()
    finally:
        over.set()
        await running
