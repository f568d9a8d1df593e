"""What one step of a conversation costs with its transaction: `python -m benchmarks.step`.

Ours is `Driver.receive` of a `request` or a `respond` over `SqliteStore`: proof, decision, sealing of the answer, the
hop to the database's thread, everything read and written there, and back. Beside it, each called directly with keys and
statements prepared:

- `rows`: the same rows (the pair's and its outbox row updated; two nonces and one envelope inserted) written by plain
  `sqlite3` in one transaction, on this thread, into a database of the same tables, indexes and pragmas; nothing is read;
- `cryptography`: what no agent can leave out: verifying and opening what came, sealing and signing what goes;
- `in a thread`: both of them, on another thread and back (`loop.run_in_executor`), as every program must do it whose
  event loop may not wait for a disk.

By the clock, a step also waits for the scheduler twice, on its way to the thread and back, which on a busy machine is
most of it; the processor's time, of both threads together, says what the work costs.
"""

import asyncio
import hashlib
import json
import secrets
import sqlite3
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from benchmarks.measure import Result, Seconds, Target, print_table, ratio
from benchmarks.two_agents import Agent, two_agents
from handfast.adapters.files import new_identity
from handfast.adapters.sqlite import SqliteStore
from handfast.conversation.model import Settings, Verdict

TURNS = 600  # fewer than a conversation may have
AT_MOST = Target(3.0, at_most=True)

PAIR = "self_id = ? AND role = ? AND peer_id = ?"
NEW_ROLE_STATE = "INSERT INTO role_state (self_id, role, peer_id) VALUES (?, ?, ?)"
NEW_OUTBOX = (
    "INSERT INTO outbox (self_id, role, peer_id, payload, sends, due_at, since) VALUES (?, ?, ?, '', 1, 0, 0)"
)
ROLE_STATE = (
    "UPDATE role_state SET state = ?, local_nonce = ?, peer_nonce = ?, exchange_count = ?, last_sent_at = ?, "
    f"last_secure_at = ?, updated_at = CURRENT_TIMESTAMP WHERE {PAIR}"
)
OUTBOX = f"UPDATE outbox SET payload = ?, due_at = ?, since = ? WHERE {PAIR}"
NONCE = "INSERT INTO nonce_event (self_id, role, peer_id, flow, nonce) VALUES (?, ?, ?, ?, ?)"
ENVELOPE = "INSERT INTO opened_envelope (self_id, role, peer_id, nonce) VALUES (?, ?, ?, ?)"


class PlainWriter:
    """The same rows, by hand."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        for pragma in ("foreign_keys = ON", "synchronous = NORMAL", "secure_delete = ON"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._pair = (secrets.token_hex(18), "initiator", secrets.token_hex(18))
        for first in (NEW_ROLE_STATE, NEW_OUTBOX):
            self._connection.execute(first, self._pair)

    def write(self, payload: str) -> None:
        """What one step leaves behind."""
        sent, received, envelope = secrets.token_hex(16), secrets.token_hex(16), secrets.token_hex(8)
        moment, text = time.time(), "2026-01-01T00:00:00.000000+00:00"
        execute, pair = self._connection.execute, self._pair
        execute("BEGIN IMMEDIATE")
        execute(ROLE_STATE, ("init_exchange", sent, received, 3, moment, text, *pair))
        execute(OUTBOX, (payload, moment, moment, *pair))
        execute(NONCE, (*pair, "received", received))
        execute(NONCE, (*pair, "sent", sent))
        execute(ENVELOPE, (*pair, envelope))
        execute("COMMIT")

    def close(self) -> None:
        """Close the database."""
        self._connection.close()


class Primitives:
    """The cryptography of one step."""

    def __init__(self) -> None:
        self._private = Ed25519PrivateKey.generate()
        self._public = self._private.public_key()
        self._aes = AESGCM(secrets.token_bytes(32))
        self._nonce, self._text = secrets.token_bytes(12), b'{"message":"How are you?"}'
        self._signed = b"x" * 240
        self._signature = self._private.sign(self._signed)
        self._digest = hashlib.sha256(self._text).digest()
        self._sealed = self._aes.encrypt(self._nonce, self._text, self._digest)

    def use(self) -> None:
        """Verify and open one envelope, seal and sign another."""
        self._public.verify(self._signature, self._signed)
        hashlib.sha256(self._aes.decrypt(self._nonce, self._sealed, self._digest)).digest()
        self._aes.encrypt(self._nonce, self._text, hashlib.sha256(self._text).digest())
        self._private.sign(self._signed)


async def _begin(initiator: Agent, responder: Agent) -> Any:
    """Up to the first `respond`, on its way."""
    lines = [initiator.register()]
    for listener in (responder, initiator, responder):
        await listener.hear(lines.pop())
        lines.extend(listener.said())
    return lines.pop()


def _clocks() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


async def measure(turns: int) -> dict[str, Seconds]:
    """Seconds by the clock and of the processor, for each turn (a `respond` and a `request`) and each way."""
    marks = []
    primitives = Primitives()
    loop = asyncio.get_running_loop()
    with tempfile.TemporaryDirectory() as home, ThreadPoolExecutor(1) as executor:
        path = Path(home) / "plain.db"
        store = SqliteStore(path, new_identity())
        await store.open()
        await store.close()
        writer = PlainWriter(path)

        def both(payload: str) -> None:
            primitives.use()
            writer.write(payload)

        async with two_agents(SqliteStore, Settings(exchanges=2**62), version=1) as (initiator, responder):
            line = await _begin(initiator, responder)
            for _ in range(turns):
                payload = json.dumps(line, sort_keys=True, separators=(",", ":"))
                begin = _clocks()
                for listener in (initiator, responder):
                    if (await listener.hear(line)).verdict is not Verdict.ACCEPTED:
                        raise RuntimeError("a message was not accepted")
                    (line,) = listener.said()
                stepped = _clocks()
                for _ in range(2):
                    writer.write(payload)
                written = _clocks()
                for _ in range(2):
                    primitives.use()
                used = _clocks()
                for _ in range(2):
                    await loop.run_in_executor(executor, both, payload)
                marks.append((begin, stepped, written, used, _clocks()))
        writer.close()
    return {
        clock: {
            name: [(turn[end + 1][of] - turn[end][of]) / 2 for turn in marks[20:]]  # the first ones warm up
            for end, name in enumerate(("step", "rows", "cryptography", "in a thread"))
        }
        for of, clock in enumerate(("clock", "processor"))
    }


def _results(clock: str, seconds: Seconds) -> list[Result]:
    step, rows, cryptography, in_a_thread = seconds.values()
    both = [a + b for a, b in zip(rows, cryptography, strict=True)]
    whole, written, used, hopped = (1e6 * statistics.median(values) for values in seconds.values())
    parts = {
        "its rows, plain sqlite3": written,
        "its cryptography": used,
        "the thread and back": hopped - written - used,
        "all the rest": whole - hopped,
    }
    return [
        Result(f"step, {clock} / its rows by plain sqlite3", whole, "us", ratio(step, rows), AT_MOST),
        Result(f"step, {clock} / its rows and cryptography", whole, "us", ratio(step, both), AT_MOST),
        Result(f"step, {clock} / both in a thread", whole, "us", ratio(step, in_a_thread), AT_MOST),
        Result(f"both in a thread, {clock} / the rows", hopped, "us", ratio(in_a_thread, rows)),
        *(Result(f"of a step, {clock}: {part}", value, "us", value / whole) for part, value in parts.items()),
    ]


def run(turns: int = TURNS) -> list[Result]:
    """One step against each yardstick, and what it is made of, as shares of it."""
    measured = asyncio.run(measure(turns))
    return [result for clock, seconds in measured.items() for result in _results(clock, seconds)]


if __name__ == "__main__":
    print_table(run())
