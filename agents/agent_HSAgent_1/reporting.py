"""What the agent tells people (a calm log) and programs (`--events`): one line for each step, no secret in any."""

import json
import logging
import sys
import time
from collections import OrderedDict
from typing import TextIO

from handfast.conversation.model import Closed, Delivered, GaveUp, PinKey, SessionOpened, Verdict
from handfast.driver import Outcome
from handfast.identity.identity import fingerprint
from handfast.wire.text import printable

# A peer that was silent for this long is news when it speaks again.
ABSENCE_SECONDS = 30.0
# How many peers' presence is remembered; made-up ids push out the oldest, which at worst repeats a `peer_seen`.
KNOWN_PRESENCES = 4096
# At most so often a line about the same kind of trouble.
TROUBLE_EVERY_SECONDS = 10.0


class Reporter:
    """Turns outcomes into log lines and events.

    Args:
        name: the agent's name tag.
        logger: where log lines go.
        events: where events go, one JSON object per line; None: nowhere.
    """

    def __init__(self, name: str, logger: logging.Logger, events: TextIO | None) -> None:
        self.closed = 0
        self._name = name
        self._logger = logger
        self._events = events
        self._seen: OrderedDict[str, float] = OrderedDict()
        self._troubles: dict[str, tuple[float, int]] = {}

    def event(self, event: str, **members: object) -> None:
        """Write one event, if anybody wants them."""
        if self._events is None:
            return
        line = json.dumps({"event": event, "t": round(time.time(), 6)} | members)
        try:
            self._events.write(line + "\n")
            self._events.flush()
        except (OSError, ValueError):
            self._events = None  # whoever read them has gone; the conversations go on
            self._logger.warning("nobody reads the events any more")

    def started(self, agent_id: str) -> None:
        """The agent is about to connect."""
        self._logger.info("%s is %s", self._name, agent_id)
        self.event("started", id=agent_id, name=self._name)

    def stopped(self) -> None:
        """The agent has closed everything."""
        self._logger.info("database closed")
        self.event("stopped")

    def heard(self, peer_id: str) -> bool:
        """Note that a peer spoke; True where that is news."""
        now = time.monotonic()
        last = self._seen.pop(peer_id, None)
        self._seen[peer_id] = now
        if len(self._seen) > KNOWN_PRESENCES:
            self._seen.popitem(last=False)
        if last is not None and now - last < ABSENCE_SECONDS:
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
                case SessionOpened():
                    notes.append("hs verified, session key derived")
                    self.event("session", peer=outcome.peer_id, role=str(outcome.role), version=1)
                case Delivered(message):
                    notes.append(f"opened {printable(json.dumps(message, ensure_ascii=False), 80)}")
                    self.event("delivered", peer=outcome.peer_id, role=str(outcome.role), message=message)
                case Closed():
                    self.closed += 1
                    notes.append("closed")
                    self.event("closed", peer=outcome.peer_id, role=str(outcome.role))
                case GaveUp(why):
                    notes.append(why)
                case _:
                    pass
        arrow = (
            str(outcome.after) if outcome.after is outcome.before else f"{outcome.before} -> {outcome.after}"
        )
        level = logging.DEBUG if outcome.event == "register" or not notes else logging.INFO
        level = logging.INFO if outcome.after is not outcome.before and outcome.event != "timer" else level
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


def short(peer_id: str) -> str:
    """Enough of a peer's id to tell peers apart in a log."""
    return peer_id[:8]


def log_to(stream: TextIO, logger: logging.Logger, name: str) -> None:
    """Give the client's logger a calm console handler of ours, which its own configuration leaves alone."""
    # the runtime sets the level that its configuration names when it runs; until then this one holds
    logger.setLevel(logging.INFO)
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter(f"%(asctime)s {name}  %(message)s", datefmt="%H:%M:%S"))
    # the mark by which the runtime's own configuration leaves a handler alone (summoner-runtime.md, section 6.1)
    vars(handler)["_keep"] = True
    logger.addHandler(handler)


def say(text: str) -> None:
    """One line on stderr, before there is a logger."""
    print(printable(text, 1000), file=sys.stderr)  # noqa: T201
