"""The agent's log and events: calm, bounded, and never in the way of a conversation."""

import io
import json
import logging
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "agents" / "agent_HSAgent_1"))

import reporting
from handfast.conversation.effects import Delivered, GaveUp
from handfast.conversation.model import Role, State, Verdict
from handfast.errors import Reason
from handfast.outcomes import Outcome

PEER = "9c4195c8-dc41-4f4d-8cc4-6cd0fb5436ef"


class Log(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def lines(self, level: int = logging.INFO) -> list[str]:
        return [record.getMessage() for record in self.records if record.levelno >= level]


@pytest.fixture
def log() -> Iterator[Log]:
    handler, logger = Log(), logging.getLogger("test of reporting")
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


def reporter(stream: io.StringIO | None = None) -> reporting.Reporter:
    return reporting.Reporter("alice", logging.getLogger("test of reporting"), stream)


def outcome(
    event: str,
    before: State,
    after: State,
    *effects: object,
    verdict: Verdict = Verdict.ACCEPTED,
    reason: Reason | None = None,
    failure: BaseException | None = None,
) -> Outcome:
    role = Role.INITIATOR if before.startswith("init") else Role.RESPONDER
    return Outcome(PEER, role, event, before, after, effects, verdict, reason, failure)  # type: ignore[arg-type]


def test_a_message_of_a_peer_is_shown_with_its_control_characters_escaped(log: Log) -> None:
    message = Delivered("\x1b[2J\u202ehello\n" + "x" * 500)
    reporter().outcome(outcome("respond", State.INIT_EXCHANGE, State.INIT_EXCHANGE, message))
    (line,) = log.lines()
    assert line.isprintable()
    assert len(line) < 300


def test_what_only_strangers_and_timers_do_is_for_those_who_look_closer(log: Log) -> None:
    told = reporter()
    told.outcome(outcome("register", State.RESP_READY, State.RESP_CONFIRM))
    told.outcome(outcome("timer", State.RESP_CONFIRM, State.RESP_CONFIRM))
    told.outcome(outcome("timer", State.RESP_CONFIRM, State.RESP_READY, GaveUp("no answer")))
    assert log.lines() == []
    assert len(log.lines(logging.DEBUG)) == 3
    told.outcome(outcome("timer", State.RESP_EXCHANGE, State.RESP_READY, GaveUp("no answer")))
    assert len(log.lines()) == 1


def test_a_refusal_and_a_failing_dialogue_are_told(log: Log) -> None:
    stream = io.StringIO()
    told = reporter(stream)
    refused = outcome(
        "request",
        State.RESP_CONFIRM,
        State.RESP_CONFIRM,
        verdict=Verdict.REFUSED,
        reason=Reason.DIALOGUE_FAILED,
        failure=RuntimeError("asleep"),
    )
    told.outcome(refused)
    told.stopped()
    assert any("dialogue_failed" in line for line in log.lines(logging.WARNING))
    assert [record.exc_info is not None for record in log.records if record.levelno == logging.ERROR] == [
        True
    ]
    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [event["event"] for event in events] == ["refused", "stopped"]
    assert events[0] | {"t": 0} == {"event": "refused", "t": 0, "peer": PEER, "reason": "dialogue_failed"}


def test_presence_is_news_once_and_made_up_newcomers_are_bounded(log: Log) -> None:
    told = reporter()
    assert told.heard(PEER)
    assert not told.heard(PEER)
    news = sum(told.heard(f"made up {number}") for number in range(10_000))
    assert 199 <= news < 1_000
    assert len(log.lines()) <= news + 3
    assert len(told._seen) <= reporting.KNOWN_PRESENCES


def test_trouble_that_repeats_is_one_line(log: Log) -> None:
    told = reporter()
    for _ in range(1_000):
        told.trouble("relay", "the relay says: \x1b[31mslow down")
        told.trouble("storage", "full")
    assert len(log.lines()) == 2
    assert all(line.isprintable() for line in log.lines())


class StuckStream(io.StringIO):
    """A pipe that nobody reads."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.released = threading.Event(), threading.Event()

    def write(self, text: str) -> int:
        self.entered.set()
        if not self.released.wait(30):
            raise OSError("never released")
        return super().write(text)


def test_a_reader_who_does_not_read_holds_nothing_up(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporting, "EVENTS_WAITING", 10)
    stream = StuckStream()
    told = reporter(stream)
    told.event("first")
    assert stream.entered.wait(10)
    for number in range(50):
        told.event("more", number=number)
    assert any("nobody reads" in line for line in log.lines())
    told.stopped()
    stream.released.set()
    assert told._events is not None
    told._events._lines.put(None, timeout=10)
    told._events._thread.join(10)
    assert not told._events._thread.is_alive()


def test_a_reader_who_has_gone_is_no_reason_to_end() -> None:
    class Closed(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    told = reporter(Closed())
    for _ in range(10):
        told.event("anything")
    told.stopped()


def test_a_terminal_that_lacks_a_character_shows_its_number() -> None:
    raw = io.BytesIO()
    logger = logging.getLogger("a narrow terminal")
    stream = io.TextIOWrapper(raw, encoding="ascii")
    reporting.log_to(stream, logger, "alice")
    logger.info("ça → va")
    stream.flush()
    assert rb"\xe7a \u2192 va" in raw.getvalue()


def test_lines_of_all_kinds_together_are_bounded_and_those_left_out_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reporting, "LOG_LINES", (100, 5.0))
    now = 1_000.0
    monkeypatch.setattr(reporting.time, "monotonic", lambda: now)
    logger, stream = logging.getLogger("a flooded log"), io.StringIO()
    reporting.log_to(stream, logger, "alice")
    for number in range(1_000):
        logger.log((logging.INFO, logging.ERROR)[number % 2], "line %d", number)
    assert stream.getvalue().count("\n") == 100
    now += 1.0
    for number in range(1_000):
        logger.info("line %d", number)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 105
    assert lines[100].endswith("line 0 (900 lines before it were left out)")
    assert lines[101].endswith("line 1")
