"""What one step of a conversation costs with its transaction: `python -m benchmarks.step`.

Ours is `Driver.receive` of a `request` or a `respond` over `SqliteStore`: proof, decision, sealing of the answer, the
hop to the database's thread, everything read and written there, and back. The yardstick writes the same five rows (the
pair's, its outbox row, two nonces, one envelope) with plain `sqlite3` in one transaction, on this thread, into a database
of the same tables, indexes and pragmas; it reads nothing. The second yardstick adds what no agent can leave out, called
directly and with keys prepared: verifying and opening what came, sealing and signing what goes.

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
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from benchmarks.measure import Result, Seconds, Target, print_table, ratio
from benchmarks.two_agents import Agent, two_agents
from handfast.adapters.files import new_identity
from handfast.adapters.sqlite import SqliteStore
from handfast.conversation.model import Settings, Verdict

TURNS = 600
AT_MOST = Target(3.0, at_most=True)

PAIR = ("self_id", "role", "peer_id")
CHANGING = (
    *("local_nonce", "peer_nonce", "local_reference", "peer_reference", "exchange_count"),
    *("finalize_retry_count", "peer_address", "peer_sign_pub", "peer_kx_pub", "pin_pending", "waiting_since"),
    *("reconnect_at", "reconnect_tries", "last_sent_at", "state", "hs_derived_at", "last_secure_at"),
    "sealed_secret",
)


def _upsert(table: str, columns: tuple[str, ...]) -> str:
    names, marks = ", ".join(PAIR + columns), ", ".join("?" * len(PAIR + columns))
    changes = ", ".join(f"{name} = excluded.{name}" for name in columns)
    return f"INSERT INTO {table} ({names}) VALUES ({marks}) ON CONFLICT ({', '.join(PAIR)}) DO UPDATE SET {changes}"


ROLE_STATE = _upsert("role_state", CHANGING)
OUTBOX = _upsert("outbox", ("payload", "sends", "due_at", "since"))
NONCE = "INSERT INTO nonce_event (self_id, role, peer_id, flow, nonce) VALUES (?, ?, ?, ?, ?)"
ENVELOPE = "INSERT INTO opened_envelope (self_id, role, peer_id, nonce) VALUES (?, ?, ?, ?)"


class PlainWriter:
    """The same rows, by hand."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        for pragma in ("foreign_keys = ON", "synchronous = NORMAL", "secure_delete = ON"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._pair = (secrets.token_hex(18), "initiator", secrets.token_hex(18))

    def write(self, payload: str) -> None:
        """What one step leaves behind."""
        sent, received, key = secrets.token_hex(16), secrets.token_hex(16), "k" * 44
        moment, text, now = time.time(), "2026-01-01T00:00:00.000000+00:00", secrets.token_bytes(60)
        execute, pair = self._connection.execute, self._pair
        row = (sent, received, None, None, 3, 0, None, key, key, 0, None, None, 0, moment)
        execute("BEGIN IMMEDIATE")
        execute(ROLE_STATE, (*pair, *row, "init_exchange", text, text, now))
        execute(OUTBOX, (*pair, payload, 1, moment, moment))
        execute(NONCE, (*pair, "received", received))
        execute(NONCE, (*pair, "sent", sent))
        execute(ENVELOPE, (*pair, secrets.token_hex(8)))
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
    with tempfile.TemporaryDirectory() as home:
        path = Path(home) / "plain.db"
        store = SqliteStore(path, new_identity())
        await store.open()
        await store.close()
        writer = PlainWriter(path)
        async with two_agents(SqliteStore, Settings(exchanges=2**62)) as (initiator, responder):
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
                marks.append((begin, stepped, written, _clocks()))
        writer.close()
    return {
        clock: {
            name: [(turn[end + 1][of] - turn[end][of]) / 2 for turn in marks[20:]]  # the first ones warm up
            for end, name in enumerate(("step", "rows", "cryptography"))
        }
        for of, clock in enumerate(("clock", "processor"))
    }


def run(turns: int = TURNS) -> list[Result]:
    """One step against both yardsticks."""
    results: list[Result] = []
    for clock, seconds in asyncio.run(measure(turns)).items():
        step, rows = seconds["step"], seconds["rows"]
        both = [a + b for a, b in zip(rows, seconds["cryptography"], strict=True)]
        median = {name: 1e6 * statistics.median(values) for name, values in seconds.items()}
        results += [
            Result(
                f"step, {clock} / its rows by plain sqlite3", median["step"], "us", ratio(step, rows), AT_MOST
            ),
            Result(
                f"step, {clock} / those rows and its cryptography", median["step"], "us", ratio(step, both)
            ),
            Result(f"the rows by plain sqlite3, {clock}", median["rows"], "us"),
            Result(f"the cryptography of a step, {clock}", median["cryptography"], "us"),
        ]
    return results


if __name__ == "__main__":
    print_table(run())
