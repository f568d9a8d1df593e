"""What the agent tells people (a calm log) and programs (`--events`): one line for each step, no secret in any."""

import contextlib
import io
import json
import logging
import queue
import select
import sys
import threading
import time
from collections import OrderedDict
from typing import TextIO

from handfast.budget import Budget
from handfast.conversation.effects import Closed, Delivered, GaveUp, PinKey, PinPeer, Rekeyed, SessionOpened
from handfast.conversation.model import State, Verdict
from handfast.identity.names import fingerprint
from handfast.outcomes import Outcome
from handfast.trust.decision import Change
from handfast.wire.text import printable

_PINNED = {
    Change.NEW: "pinned",
    Change.ROTATED: "pinned, rotated by the one before",
    Change.REPLACED: "pinned anew",
}
_SURE = {
    "v2-cert": "with a certified peer",
    "v2-selfcert": "with a peer whose id is made of its key",
    "v2-pin": "with a known peer",
    "v2-tofu": "with a peer who is taken at its word",
}

# A peer that was silent for this long is news when it speaks again.
ABSENCE_SECONDS = 30.0
# How many peers' presence is remembered; made-up ids push out the oldest, which at worst repeats a `peer_seen`.
KNOWN_PRESENCES = 4096
# At most so often a line about the same kind of trouble.
TROUBLE_EVERY_SECONDS = 10.0
# Made-up ids come for free: so many newcomers are announced at once, and so many a second.
NEWCOMERS_TOLD = (200, 20.0)
# Log lines of all kinds and levels. Strangers cause less than a hundred a second (newcomers, refusals, handshakes that lead
# nowhere), so more than half is left to known peers; a busy agent writes a few dozen.
LOG_LINES = (5_000, 250.0)
# So many events wait for a reader who is slow; far more than a busy agent makes in a minute.
EVENTS_WAITING = 50_000


class Reporter:
    """Turns outcomes into log lines and events.

    Args:
        name: the agent's name tag.
        logger: where log lines go.
        events: where events go, one JSON object per line; None: nowhere.

    Attributes:
        closed: how many conversations were closed, both roles counted.
    """

    def __init__(self, name: str, logger: logging.Logger, events: TextIO | None) -> None:
        self.closed = 0
        self._name = name
        self._logger = logger
        self._events = None if events is None else _EventWriter(events)
        self._newcomers = Budget(*NEWCOMERS_TOLD, time.monotonic())
        self._seen: OrderedDict[str, float] = OrderedDict()
        self._troubles: dict[str, tuple[float, int]] = {}

    def event(self, event: str, **members: object) -> None:
        """Write one event, if anybody wants them."""
        if self._events is not None and not self._events.put(
            {"event": event, "t": round(time.time(), 6)} | members
        ):
            self.trouble("events", "nobody reads the events: some are dropped")

    def started(self, agent_id: str) -> None:
        """The agent is about to connect."""
        self._logger.info("%s is %s", self._name, agent_id)
        self.event("started", id=agent_id, name=self._name)

    def stopped(self) -> None:
        """The agent has closed everything."""
        self._logger.info("database closed")
        self.event("stopped")
        if self._events is not None:
            self._events.close()

    def heard(self, peer_id: str) -> bool:
        """Note that a peer spoke; True where that is news."""
        now = time.monotonic()
        last = self._seen.pop(peer_id, None)
        self._seen[peer_id] = now
        if len(self._seen) > KNOWN_PRESENCES:
            self._seen.popitem(last=False)
        if last is not None and now - last < ABSENCE_SECONDS:
            return False
        if self._newcomers.take(now) is None:
            self.trouble("newcomers", "more newcomers than can be told apart")
            return False
        self._logger.info("%s is here", short(peer_id))
        self.event("peer_seen", peer=peer_id)
        return True

    def outcome(self, outcome: Outcome) -> None:
        """Tell what one event led to."""
        where = f"{outcome.role.value:9} {short(outcome.peer_id)}"
        if outcome.verdict is Verdict.REFUSED:
            self._logger.warning("%s  %s refused: %s", where, outcome.event, outcome.reason)
            if outcome.failure is not None:
                self._logger.error("the dialogue failed", exc_info=outcome.failure)
            self.event("refused", peer=outcome.peer_id, reason=str(outcome.reason))
            return
        notes = []
        for effect in outcome.effects:
            match effect:
                case PinKey(sign_pub):
                    notes.append(f"key {fingerprint(sign_pub)[:19]} pinned")
                case PinPeer(decision) if decision.change is not Change.KNOWN:
                    notes.append(
                        f"key {fingerprint(decision.pin.identity_public)[:19]} {_PINNED[decision.change]}"
                    )
                case SessionOpened(version, security, suite, resumed):
                    how = "hs verified, session key proven" if version == 1 else f"session {_SURE[security]}"
                    notes.append(how + (", resumed" if resumed else ""))
                    more = {"suite": suite, "resumed": resumed} if version > 1 else {}
                    self.event(
                        "session",
                        peer=outcome.peer_id,
                        role=str(outcome.role),
                        version=version,
                        security=security,
                        **more,
                    )
                case Rekeyed(generation):
                    notes.append(f"new keys, generation {generation}")
                case Delivered(message):
                    notes.append(f"opened {printable(json.dumps(message, ensure_ascii=False), 80)}")
                    self.event("delivered", peer=outcome.peer_id, role=str(outcome.role), message=message)
                case Closed():
                    self.closed += 1
                    notes.append("closed")
                    self.event("closed", peer=outcome.peer_id, role=str(outcome.role))
                case GaveUp(why) if outcome.before is not State.RESP_CONFIRM:
                    notes.append(why)
                case _:
                    pass
        arrow = (
            str(outcome.after) if outcome.after is outcome.before else f"{outcome.before} -> {outcome.after}"
        )
        # calm: what anybody can cause who has proven nothing, and what only repeats, is for those who look closer
        is_step = outcome.after is not outcome.before and outcome.event not in ("register", "timer")
        level = logging.INFO if notes or is_step else logging.DEBUG
        self._logger.log(
            level, "%s  %s  [%s]%s", where, outcome.event, arrow, "".join(f"  {note}" for note in notes)
        )

    def trouble(self, kind: str, text: str) -> None:
        """Warn about something that may repeat without end: one line now, then one in ten seconds with a count."""
        now = time.monotonic()
        last, count = self._troubles.get(kind, (-TROUBLE_EVERY_SECONDS, 0))
        if now - last < TROUBLE_EVERY_SECONDS:
            self._troubles[kind] = last, count + 1
            return
        self._troubles[kind] = now, 0
        more = f" ({count} more like it since the last such line)" if count else ""
        self._logger.warning("%s%s", printable(text), more)


class _EventWriter:
    """Writes events from a thread of its own, so that a reader who does not read never holds up a conversation."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: queue.Queue[str | None] = queue.Queue(EVENTS_WAITING)
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)
        self._thread.start()

    def put(self, event: dict[str, object]) -> bool:
        """Write one event soon; False where too many are waiting already, and this one is dropped."""
        try:
            self._lines.put_nowait(json.dumps(event) + "\n")
        except queue.Full:
            return False
        return True

    def close(self) -> None:
        """Write what is waiting, for a moment at most."""
        with contextlib.suppress(queue.Full):
            self._lines.put_nowait(None)
        self._thread.join(timeout=0.5)

    def _run(self) -> None:
        with contextlib.suppress(OSError, ValueError):  # whoever read them has gone; the conversations go on
            while (line := self._lines.get()) is not None:
                self._stream.write(line)
                if self._lines.empty():
                    self._stream.flush()
            self._stream.flush()


def short(peer_id: str) -> str:
    """Enough of a peer's id to tell peers apart in a log."""
    return peer_id[:8]


class _NeverWaitingHandler(logging.StreamHandler[TextIO]):
    """Loses a line rather than wait where a terminal is stopped or a pipe is full: conversations go on."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            takes_more = bool(select.select([], [self.stream.fileno()], [], 0)[1])
        except (OSError, ValueError, AttributeError):
            takes_more = True  # no descriptor, or none that this platform can ask
        if takes_more:
            super().emit(record)


class _LineLimit(logging.Filter):
    """Lets a bounded number of lines pass, whatever they say and wherever they go, and tells how many were left out."""

    def __init__(self) -> None:
        super().__init__()
        self._budget = Budget(*LOG_LINES, time.monotonic())

    def filter(self, record: logging.LogRecord) -> bool:
        left_out = self._budget.take(time.monotonic())
        if left_out:
            record.msg, record.args = (
                f"{record.getMessage()} ({left_out} lines before it were left out)",
                None,
            )
        return left_out is not None


def log_to(stream: TextIO, logger: logging.Logger, name: str) -> None:
    """Give the client's logger a calm console handler of ours, which its own configuration leaves alone."""
    # the runtime sets the level that its configuration names when it runs; until then this one holds
    logger.setLevel(logging.INFO)
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")  # a terminal that lacks a character shows its number
    handler = _NeverWaitingHandler(stream)
    handler.setFormatter(logging.Formatter(f"%(asctime)s {name}  %(message)s", datefmt="%H:%M:%S"))
    # the mark by which the runtime's own configuration leaves a handler alone (summoner-runtime.md, section 6.1)
    vars(handler)["_keep"] = True
    logger.addHandler(handler)
    logger.addFilter(_LineLimit())


def say(text: str) -> None:
    """One line on stderr, before there is a logger."""
    print(printable(text, 1000), file=sys.stderr)  # noqa: T201
