"""Whole conversations of version 2 in one process, handed over in memory: `python -m benchmarks.one_process`.

Messages per second, both agents together, with the SQLite store, with the same store without its thread, and with the
store in memory; and from a profile of the second, which part of the code the time goes to. A profiler makes calls dearer
than they are, so that the shares favour what makes few: cryptography and SQLite.
"""

import asyncio
import cProfile
import pstats
import time
from typing import Any

from benchmarks.measure import Result, print_table, ratio
from benchmarks.two_agents import InlineStore, MakeStore, converse, two_agents
from handfast.adapters.memory import MemoryStore
from handfast.adapters.sqlite import SqliteStore
from handfast.conversation.model import Settings

# the next conversation at once, and `close` said once only
SETTINGS = Settings(reconnect_every=0.0, close_delays=(0.0,), jitter=0.0)
ROUNDS = 12
CONVERSATIONS = 10

STORES: dict[str, MakeStore] = {
    "SQLite": SqliteStore,
    "SQLite, without its thread": InlineStore,
    "in memory": lambda _path, identity: MemoryStore(identity.agent_id),
}

# by what the name of a C function, or the path of a Python one, contains; the first that fits
ROOMS = {
    "cryptography": ("cryptography", "_hashlib", "hashlib", "handfast/crypto"),
    "SQLite": ("sqlite3.Connection", "sqlite3.Cursor"),
    "JSON and base64": ("json", "base64", "binascii"),
    "db_sdk": ("db_sdk/",),
    "handfast.adapters": ("handfast/adapters",),
    "handfast.conversation": ("handfast/conversation", "dataclasses.py", "handfast/trust"),
    "handfast.session, wire": ("handfast/session", "handfast/wire"),
    "handfast.driver": (
        "handfast/driver",
        "handfast/gatekeeper",
        "handfast/pairs",
        "asyncio",
        "handfast/budget",
    ),
}


async def _rate(make_store: MakeStore, conversations: int, profile: cProfile.Profile | None = None) -> float:
    """Messages per second, the first conversation, in which the peers become known, not counted."""
    async with two_agents(make_store, SETTINGS, version=2) as agents:
        await converse(*agents, again=False)
        if profile is not None:
            profile.enable()
        begin = time.perf_counter()
        messages = 0
        for _ in range(conversations):
            messages += await converse(*agents, again=True)
        seconds = time.perf_counter() - begin
        if profile is not None:
            profile.disable()
    return messages / seconds


def _room(function: tuple[str, int, str]) -> str:
    path, _, name = function
    where = name if path == "~" else path.replace("\\", "/")
    return next((room for room, signs in ROOMS.items() if any(sign in where for sign in signs)), "the rest")


def shares() -> dict[str, float]:
    """Each room's share of the time, in percent, largest first."""
    profile = cProfile.Profile()
    asyncio.run(_rate(InlineStore, 3 * CONVERSATIONS, profile))
    totals: dict[str, float] = {}
    entries: dict[Any, Any] = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    for function, (_, _, own_seconds, _, _) in entries.items():
        totals[_room(function)] = totals.get(_room(function), 0.0) + own_seconds
    whole = sum(totals.values())
    return {room: 100 * totals[room] / whole for room in sorted(totals, key=totals.__getitem__, reverse=True)}


def run(rounds: int = ROUNDS) -> list[Result]:
    """The rates, and the shares."""
    rates: dict[str, list[float]] = {name: [] for name in STORES}
    for _ in range(rounds):
        for name, make_store in STORES.items():
            rates[name].append(asyncio.run(_rate(make_store, CONVERSATIONS)))
    results = [
        Result(
            f"conversation, store {name} / in memory",
            sorted(values)[len(values) // 2],
            "messages/s",
            ratio(values, rates["in memory"]),
        )
        for name, values in rates.items()
    ]
    return results + [Result(f"its time in {room}", share, "%") for room, share in shares().items()]


if __name__ == "__main__":
    print_table(run())
