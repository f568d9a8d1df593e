"""What a fleet did: events of agents counted up, and what is told of one run in the end."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Pair = tuple[str, str]


class Ledger:
    """Who has closed a conversation with whom.

    Args:
        agents: how many there will be.

    Attributes:
        started: when each agent was about to connect, by its id; times here are seconds since 1970 UTC.
        conversations: how many were closed by their responder, repeated ones with the same peer as well.
        closed: for each directed pair (initiator, responder) when both had closed their first conversation.
        refused: messages that agents refused, by reason.
    """

    def __init__(self, agents: int) -> None:
        self.agents = agents
        self.started: dict[str, float] = {}
        self.conversations = 0
        self.closed: dict[Pair, float] = {}
        self.refused: Counter[str] = Counter()
        self._confirmed: dict[Pair, float] = {}
        self._sides: dict[Pair, dict[str, float]] = {}

    @property
    def pairs_expected(self) -> int:
        """Everybody with everybody else, in both directions."""
        return self.agents * (self.agents - 1)

    @property
    def is_complete(self) -> bool:
        """Whether every pair has closed."""
        return len(self.closed) >= self.pairs_expected

    def event(self, agent: str, event: Mapping[str, Any]) -> None:
        """Take one event of an agent."""
        kind, at = event["event"], float(event["t"])
        if kind == "started":
            self.started[agent] = at
        elif kind == "refused":
            self.refused[str(event["reason"])] += 1
        elif kind == "closed":
            role, peer = str(event["role"]), str(event["peer"])
            self.conversations += role == "responder"
            pair = (agent, peer) if role == "initiator" else (peer, agent)
            sides = self._sides.setdefault(pair, {})
            sides.setdefault(role, at)
            if len(sides) == 2:  # both roles
                self.closed.setdefault(pair, max(sides.values()))

    def confirmed(self, initiator: str, responder: str, at: float) -> None:
        """A responder's `confirm` was heard."""
        self._confirmed.setdefault((initiator, responder), at)

    def missing(self) -> list[Pair]:
        """The pairs that have not closed."""
        ids = self.started
        return [(a, b) for a in ids for b in ids if a != b and (a, b) not in self.closed]

    def latencies(self) -> list[float]:
        """Seconds from the first `confirm` of a pair, retried ones included, to the close that both saw; sorted."""
        return sorted(
            max(0.0, at - self._confirmed[pair])
            for pair, at in self.closed.items()
            if pair in self._confirmed
        )


@dataclass(frozen=True, slots=True)
class Result:
    """One fleet's run. Seconds, unless another unit is named; None where the system or the run does not tell.

    Attributes:
        agents: how many.
        problems: why it counts as failed; empty if it does not.
        pairs, pairs_expected: directed pairs that closed, of how many.
        seconds: from the beginning to the last pair's close, or to the end of patience.
        seconds_after_start: the same from when the last agent had started.
        start_seconds: from the beginning to that moment.
        conversations: all that were closed, repeated ones with the same peer as well.
        conversations_per_second: the same, by the time since there were two agents.
        latency: first `confirm` to close of each pair, at the percentiles "p50", "p90", "p99" and "max".
        agent_cpu, agent_memory_bytes, agent_peak_bytes: the largest of any agent process; CPU and peak include its start.
        fleet_cpu: of all agent processes together.
        relay_cpu, relay_memory_bytes: of the relay.
        lines, deliveries, bytes, lost: what the relay took in, what it put out, in bytes, and the faults it injected.
        intents: lines by the kind of message.
        refused: messages refused by agents, by reason.
        plaintext: readable lines.
        closings: when each pair closed, from the beginning; sorted.
    """

    agents: int
    problems: Sequence[str]
    pairs: int
    pairs_expected: int
    seconds: float
    seconds_after_start: float | None
    start_seconds: float | None
    conversations: int
    conversations_per_second: float
    latency: Mapping[str, float]
    agent_cpu: float | None
    agent_memory_bytes: int | None
    agent_peak_bytes: int | None
    fleet_cpu: float | None
    relay_cpu: float | None
    relay_memory_bytes: int | None
    lines: int
    deliveries: int
    bytes: int
    lost: int
    intents: Mapping[str, int]
    refused: Mapping[str, int]
    plaintext: int
    closings: Sequence[float]


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """The nearest-rank percentiles of sorted values; empty if there are none."""
    if not values:
        return {}
    ranks = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
    return {name: values[math.ceil(share * len(values)) - 1] for name, share in ranks.items()}
