"""How fast the relay broadcasts: `python -m benchmarks.relay`.

Deliveries per second from one author to 1, 10, 50 and 200 recipients, and among eleven who all say something, side by side
with the yardsticks of `benchmarks.relay_servers`; how long a line takes, alone and while others talk; what memory a
recipient costs that does not read.
"""

import json
import select
import selectors
import socket
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import cast

import psutil  # type: ignore[import-untyped]

from benchmarks.measure import Result, Target, percentile, print_table, ratio
from benchmarks.relay_servers import serving

FAN_OUTS = (1, 10, 50, 200)
CROWD = 11
ROUNDS = 5
# bytes to deliver in one round, all recipients together: enough for a fraction of a second
VOLUME = {"relay": 300_000_000, "forwarder": 300_000_000, "line by line": 12_000_000}
MOST_LINES = 40_000
OF_FORWARDER = Target(0.3, at_most=False)
TIMES_LINE_BY_LINE = Target(5.0, at_most=False)

PINGS = 2_000
STALLED_LINES = 400_000

LINE = (
    json.dumps(
        {
            "_version": "1.3.0",
            "_payload": {"from": "f" * 36, "to": "t" * 36, "intent": "request", "your_nonce": "a" * 32},
            "_type": {"from": "str", "to": "str", "intent": "str", "your_nonce": "str"},
        }
    ).encode()
    + b"\n"
)


class Room:
    """Clients of one server, who have all heard each other.

    Attributes:
        clients: the first is the author where there is only one.
        frame_bytes: the length of what arrives for `LINE`.
    """

    def __init__(self, port: int, size: int) -> None:
        self.clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(size)]
        for client in self.clients:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.frame_bytes = max(self._warm_up(author) for author in self.clients[: 2 if size > 2 else 1])

    def _warm_up(self, author: socket.socket) -> int:
        """Send lines until everybody has heard one."""
        recipients = [client for client in self.clients if client is not author]
        silent = set(recipients)
        frame = b""
        while silent:
            author.sendall(LINE)
            for client in select.select(list(silent), [], [], 0.01)[0]:
                frame = client.recv(len(LINE) * 2).partition(b"\n")[0] + b"\n"
                silent.discard(client)
        while late := select.select(recipients, [], [], 0.1)[0]:
            for client in late:
                client.recv(1 << 16)
        return len(frame)

    def broadcast(self, authors: int, lines: int) -> float:
        """Seconds in which the first `authors` clients send so many lines each, and all others get all of them.

        One thread, blocking at nothing but the selector, so that the clients are cheaper than any server.
        """
        selector = selectors.DefaultSelector()
        unsent = {client: memoryview(LINE * lines) for client in self.clients[:authors]}
        missing = {
            client: (authors - (client in unsent)) * lines * self.frame_bytes for client in self.clients
        }
        missing = {client: count for client, count in missing.items() if count}
        for client in self.clients:
            client.setblocking(False)
            selector.register(
                client, selectors.EVENT_READ | (selectors.EVENT_WRITE if client in unsent else 0)
            )
        buffer = bytearray(1 << 18)
        begin = time.perf_counter()
        while missing:
            events = selector.select(timeout=20)
            if not events:
                raise TimeoutError(f"{len(missing)} recipients miss {sum(missing.values())} bytes")
            for key, mask in events:
                client = cast("socket.socket", key.fileobj)
                if mask & selectors.EVENT_READ and client in missing:
                    missing[client] -= client.recv_into(buffer)
                    if missing[client] <= 0:
                        del missing[client]
                if mask & selectors.EVENT_WRITE:
                    unsent[client] = unsent[client][client.send(unsent[client][: 1 << 16]) :]
                    if not unsent[client]:
                        selector.modify(client, selectors.EVENT_READ)
        seconds = time.perf_counter() - begin
        selector.close()
        return seconds

    def close(self) -> None:
        """Everybody leaves."""
        for client in self.clients:
            client.close()


@contextmanager
def room(system: str, size: int) -> Iterator[tuple[Room, int]]:
    """A server with so many clients, and its process id."""
    with serving(system) as (port, pid), ExitStack() as stack:
        clients = Room(port, size)
        stack.callback(clients.close)
        yield clients, pid


def _rate(system: str, size: int, authors: int) -> float:
    """Deliveries per second."""
    recipients = size - 1
    lines = VOLUME[system] // (len(LINE) * recipients * authors)
    lines = max(1, min(lines, MOST_LINES // authors))
    with room(system, size) as (clients, _):
        return authors * lines * recipients / clients.broadcast(authors, lines)


def throughput(rounds: int) -> list[Result]:
    """Each shape of a room against both yardsticks."""
    results: list[Result] = []
    shapes = {f"1 to {count}": (count + 1, 1) for count in FAN_OUTS}
    shapes[f"{CROWD} to all others"] = (CROWD, CROWD)
    for shape, (size, authors) in shapes.items():
        rates: dict[str, list[float]] = {system: [] for system in VOLUME}
        for _ in range(rounds):  # interleaved, so that a busy moment of the machine meets all of them
            for system in VOLUME:
                rates[system].append(_rate(system, size, authors))
        value = statistics.median(rates["relay"])
        bounds = {
            "forwarder": OF_FORWARDER if size > 50 else None,
            "line by line": TIMES_LINE_BY_LINE if size > 10 else None,
        }
        results.extend(
            Result(
                f"relay, {shape} / {yardstick}",
                value,
                "deliveries/s",
                ratio(rates["relay"], rates[yardstick]),
                bound,
            )
            for yardstick, bound in bounds.items()
        )
    return results


def _ping(clients: Room, load: float, pings: int) -> list[float]:
    """Seconds from a line of the first client to its arrival at the second, while the third says `load` lines a second."""
    for client in clients.clients:
        client.setblocking(False)
    author, listener, talker = clients.clients[:3]
    seconds: list[float] = []
    said, sent_at, heard, unsaid = 0, 0.0, b"", memoryview(b"")
    begin = time.perf_counter()
    while len(seconds) < pings:
        now = time.perf_counter()
        if now - begin > 60:
            raise TimeoutError("the answer to a ping is missing")
        if not sent_at:
            sent_at = now
            author.send(b"ping" + LINE)
        if load and not unsaid and (due := int((now - begin) * load) - said) > 0:
            unsaid = memoryview(LINE * min(due, 64))
            said += len(unsaid) // len(LINE)
        if unsaid:
            with suppress(BlockingIOError):
                unsaid = unsaid[talker.send(unsaid) :]
        for client in select.select(clients.clients, [], [], 0 if load else 5)[0]:
            got = client.recv(1 << 18)
            if client is listener:
                heard += got
                if b"ping" in heard:
                    seconds.append(time.perf_counter() - sent_at)
                    sent_at = 0.0
                heard = heard[-3:] if sent_at else b""
    return seconds


def latency(fan_out: int = 10) -> list[Result]:
    """Unloaded, and at half of what the relay can deliver to that many."""
    with room("relay", fan_out + 1) as (clients, _):
        lines = 20_000
        capacity = lines / clients.broadcast(1, lines)
    results: list[Result] = []
    for name, load in (("unloaded", 0.0), ("at half load", capacity / 2)):
        with room("relay", fan_out + 1) as (clients, _):
            seconds = _ping(clients, load, PINGS)
        results.extend(
            Result(
                f"relay, 1 to {fan_out}, latency {name}, p{percent}", 1e6 * percentile(seconds, percent), "us"
            )
            for percent in (50, 99)
        )
    return results


def memory_with_a_stalled_reader() -> list[Result]:
    """How much the relay grows while one recipient of two does not read what the author says."""
    with room("relay", 3) as (clients, pid):
        before = psutil.Process(pid).memory_info().rss
        stalled = clients.clients.pop()
        clients.broadcast(1, STALLED_LINES)
        grown = psutil.Process(pid).memory_info().rss - before
        stalled.close()
    said = STALLED_LINES * len(LINE) / 2**20
    return [
        Result(f"relay, grown by a reader that stalls while {said:.0f} MiB are said", grown / 2**20, "MiB")
    ]


def run(rounds: int = ROUNDS) -> list[Result]:
    """Everything about the relay."""
    return throughput(rounds) + latency() + memory_with_a_stalled_reader()


if __name__ == "__main__":
    print_table(run())
