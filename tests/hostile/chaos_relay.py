"""A relay that misbehaves on purpose: a real TCP server with the real relay's wire format, and a fate for every line.

Nothing in here knows what agents say. Framing and wrapping are those of `summoner.server`, so a relay without faults is
a plain relay; each fault is a rate, and every one that is injected is counted.
"""

import asyncio
import contextlib
import json
import random
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from typing import Self

from summoner.server.frames import FrameEncoder
from summoner.server.framing import LineFramer

FRAME_BYTES = 65_536
# An old line is repeated from among so many of the first ones: sessions long closed, and those under way.
REPLAYED_FROM = 20_000


@dataclass(frozen=True)
class Faults:
    """How often what goes wrong: the probability for one line on its way to one recipient; lengths in seconds.

    Attributes:
        loss: it never arrives.
        duplication: it arrives twice.
        delay: it arrives up to `delay_at_most` later, whatever else arrives in the meantime.
        reordering: it arrives after the next line for the same recipient.
        truncation: the rest of it is missing: of the author's text, or of the frame around it.
        bit_flip: one bit of the frame is another.
        forged_from: a copy arrives, too, that names another participant as its author.
        replay: an old line arrives, too.
        stall: the relay takes nothing from the recipient and gives it nothing for `stall_seconds`, then all of it.
        reset: the recipient's connection is reset (RST).
        half_open: for `half_open_seconds` the recipient's connection looks alive and carries nothing; then it is reset.
    """

    loss: float = 0.0
    duplication: float = 0.0
    delay: float = 0.0
    reordering: float = 0.0
    truncation: float = 0.0
    bit_flip: float = 0.0
    forged_from: float = 0.0
    replay: float = 0.0
    stall: float = 0.0
    reset: float = 0.0
    half_open: float = 0.0
    delay_at_most: float = 0.3
    stall_seconds: float = 0.5
    half_open_seconds: float = 1.0


KINDS = tuple(field.name for field in fields(Faults) if not field.name.endswith(("_seconds", "_most")))


class ChaosRelay:
    """The relay.

    Which fates are drawn, and in which order, is the seed's; which line meets which of them depends on how the agents'
    processes happen to run.

    Args:
        faults: what goes wrong and how often.
        seed: of the chance behind it.

    Attributes:
        faults: may be replaced at any moment.
        injected: how often each fault was injected, by its name in `Faults`.
        recorded: every line that anybody said, oldest first, unwrapped.
        port: where it listens.
    """

    def __init__(self, faults: Faults | None = None, seed: int = 0) -> None:
        self.faults = faults or Faults()
        self.injected: Counter[str] = Counter()
        self.recorded: list[str] = []
        self.port = 0
        self._chance = random.Random(seed)
        self._members: set[_Member] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @classmethod
    @asynccontextmanager
    async def listening(cls, faults: Faults | None = None, seed: int = 0) -> AsyncIterator[Self]:
        """A relay on a free port of the loopback interface while the context lasts."""
        relay = cls(faults, seed)
        relay._server = await asyncio.start_server(relay._accept, "127.0.0.1", 0)
        relay.port = relay._server.sockets[0].getsockname()[1]
        try:
            yield relay
        finally:
            relay._server.close()
            for member in tuple(relay._members):
                member.reset()
            await asyncio.gather(*relay._tasks, return_exceptions=True)
            await relay._server.wait_closed()

    def say(self, raw: bytes) -> None:
        """Send bytes of the relay's own to everybody, as they stand."""
        for member in self._members:
            member.put(raw)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        member = _Member(writer)
        self._members.add(member)
        framer = LineFramer(FRAME_BYTES)
        try:
            while data := await reader.read(2**16):
                await member.open.wait()
                received = framer.feed(data)
                if member.dead:
                    continue
                for line in received.lines:
                    self._forward(member, line)
                if received.invalid:
                    break
        except OSError:
            pass  # the client, or a fault of ours, has reset the connection
        finally:
            self._members.discard(member)
            member.reset()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _forward(self, author: "_Member", line: str) -> None:
        self.recorded.append(line)
        for member in tuple(self._members):
            if member is not author:
                self._deliver(author, member, line)

    def _happens(self, kind: str) -> bool:
        rate: float = getattr(self.faults, kind)
        happens = rate > 0 and self._chance.random() < rate
        self.injected[kind] += happens
        return happens

    def _deliver(self, author: "_Member", recipient: "_Member", line: str) -> None:
        self._disturb(recipient)
        for extra in self._additions(line):
            recipient.put(author.wrap(extra))
        if self._happens("loss"):
            return
        frame = self._damaged(author.wrap(line), author, line)
        for _ in range(2 if self._happens("duplication") else 1):
            if self._happens("delay"):
                recipient.put_later(frame, self._chance.uniform(0, self.faults.delay_at_most))
            elif self._happens("reordering"):
                recipient.hold(frame, self.faults.delay_at_most)
            else:
                recipient.put(frame)

    def _disturb(self, recipient: "_Member") -> None:
        if self._happens("reset"):
            recipient.reset()
        if self._happens("stall"):
            recipient.stall(self.faults.stall_seconds)
        if self._happens("half_open"):
            recipient.half_open(self.faults.half_open_seconds)

    def _additions(self, line: str) -> list[str]:
        additions = []
        if self._happens("forged_from"):
            additions.append(self._forged(line))
        if self._happens("replay"):
            additions.append(self.recorded[self._chance.randrange(min(len(self.recorded), REPLAYED_FROM))])
        return additions

    def _forged(self, line: str) -> str:
        """`line` under the name of whoever wrote some other line."""
        try:
            typed, other = json.loads(line), json.loads(self._chance.choice(self.recorded))
            typed["_payload"]["from"] = other["_payload"]["from"]
        except (ValueError, TypeError, KeyError):
            return line
        return json.dumps(typed)

    def _damaged(self, frame: bytes, author: "_Member", line: str) -> bytes:
        if self._happens("truncation"):
            if self._chance.random() < 0.5:
                frame = author.wrap(line[: self._chance.randrange(len(line) + 1)])
            else:
                frame = frame[: self._chance.randrange(len(frame))] + b"\n"
        if self._happens("bit_flip"):
            position = self._chance.randrange(len(frame))
            flipped = frame[position] ^ 1 << self._chance.randrange(8)
            frame = frame[:position] + bytes([flipped]) + frame[position + 1 :]
        return frame


class _Member:
    """One client's connection."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        address = "{}:{}".format(*writer.get_extra_info("peername"))
        self.dead = False
        self.open = asyncio.Event()
        self.open.set()
        self._encoder = FrameEncoder(address, FRAME_BYTES)
        self._writer = writer
        self._waiting: list[bytes] = []
        self._held: list[bytes] = []
        self._loop = asyncio.get_running_loop()

    def wrap(self, line: str) -> bytes:
        return self._encoder.encode([line])[0]

    def put(self, frame: bytes) -> None:
        held, self._held = self._held, []
        self._write(frame + b"".join(held))

    def put_later(self, frame: bytes, seconds: float) -> None:
        self._loop.call_later(seconds, self._write, frame)

    def hold(self, frame: bytes, at_most: float) -> None:
        """Keep it until the next one overtakes it, or for so many seconds where none comes."""
        self._held.append(frame)
        self._loop.call_later(at_most, self.put, b"")

    def stall(self, seconds: float) -> None:
        if self.open.is_set():
            self.open.clear()
            self._loop.call_later(seconds, self._go_on)

    def half_open(self, seconds: float) -> None:
        if not self.dead:
            self.dead = True
            self._loop.call_later(seconds, self.reset)

    def reset(self) -> None:
        """End the connection with an RST, whatever is on its way."""
        self.dead = True
        self.open.set()
        connection = self._writer.get_extra_info("socket")
        if connection is not None and connection.fileno() != -1:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    def _go_on(self) -> None:
        self.open.set()
        waiting, self._waiting = self._waiting, []
        self._write(b"".join(waiting))

    def _write(self, raw: bytes) -> None:
        if self.dead or self._writer.is_closing():
            return
        if self.open.is_set():
            self._writer.write(raw)
        else:
            self._waiting.append(raw)
