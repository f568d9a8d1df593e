"""The relay of a simulation, a process of its own: the shipped one, counted, and lossy where that is asked for.

    python relay.py LOSS SEED [directed]

Says where it listens; on SIGTERM it ends and says what it carried, as one JSON object. Run by its path and not as a
module of the package, so that its memory is the relay's and not that of the command.
"""

import asyncio
import json
import random
import signal
import sys
from collections.abc import Sequence

from summoner.server.connection import Connection
from summoner.server.frames import split_frames
from summoner.server.relay import Relay
from summoner.server.settings import RelaySettings


class CountingRelay(Relay):
    """Counts what it carries, and loses a share of it.

    The first client is the participant who checks every line: it loses nothing.

    Args:
        loss: the probability with which a line does not reach one of its recipients, each on its own.
        seed: of the dice that decide.
        directed: whether lines go to their addressee alone, and to that first client, who never says who it is.
    """

    def __init__(self, loss: float, seed: int, *, directed: bool = False) -> None:
        super().__init__(RelaySettings(directed_delivery=directed))
        self.counts = {"lines": 0, "deliveries": 0, "bytes": 0, "lost": 0}
        self._loss = loss
        self._seed = seed
        self._clients = 0

    def new_connection(self) -> Connection:
        """The protocol for one more client."""
        self._clients += 1
        # dice of its own: what one recipient loses does not depend on when others get their lines
        dice = random.Random(f"{self._seed} {self._clients}")  # noqa: S311  # faults are repeatable, not secret
        return _CountingConnection(self, self._loss if self._clients > 1 else 0.0, dice)

    def forward(self, author: Connection, lines: Sequence[str]) -> None:
        """Count the lines on their way."""
        self.counts["lines"] += len(lines)
        super().forward(author, lines)


class _CountingConnection(Connection):
    """A client that does not get everything."""

    def __init__(self, relay: CountingRelay, loss: float, dice: random.Random) -> None:
        super().__init__(relay)
        self._counts = relay.counts
        self._loss = loss
        self._dice = dice

    def send(self, joined_frames: bytes) -> None:
        """Queue what is not lost."""
        if self._loss:
            frames = split_frames(joined_frames)
            kept = [frame for frame in frames if self._dice.random() >= self._loss]
            self._counts["lost"] += len(frames) - len(kept)
            joined_frames = b"".join(kept)
        if joined_frames:
            self._counts["deliveries"] += joined_frames.count(b"\n")
            self._counts["bytes"] += len(joined_frames)
            super().send(joined_frames)


async def serve(loss: float, seed: int, *, directed: bool) -> None:
    """Carry lines until SIGTERM, then tell how many."""
    relay = CountingRelay(loss, seed, directed=directed)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(
        signal.SIGINT, lambda: None
    )  # Ctrl-C reaches the whole group; who started us ends us
    await relay.start("127.0.0.1", 0)
    _say(f"listens on 127.0.0.1:{relay.port}")
    await stop.wait()
    await relay.close()
    _say(json.dumps(relay.counts))


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    asyncio.run(serve(float(sys.argv[1]), int(sys.argv[2]), directed=sys.argv[3:] == ["directed"]))
