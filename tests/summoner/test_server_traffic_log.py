"""What the relay's log shows of forwarded lines."""

import json
import logging
from collections.abc import Iterator

import pytest
from relay_helpers import room

from summoner.server.traffic_log import TrafficLog

ADDRESS = "127.0.0.1:5"
ENVELOPE = json.dumps(
    {
        "_version": "1.3.0",
        "_payload": {"to": "bob", "intent": "request", "sec": "c2VjcmV0"},
        "_type": {"to": "str", "intent": "str", "sec": "str"},
    }
)


@pytest.fixture
def logger(caplog: pytest.LogCaptureFixture) -> Iterator[logging.Logger]:
    logger = logging.getLogger("traffic under test")
    logger.setLevel(logging.INFO)
    yield logger
    logger.setLevel(logging.NOTSET)


def test_a_line_is_logged_with_its_author(logger: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    TrafficLog(logger, as_json=False, keys=None).forwarded(ADDRESS, ["café", ""])
    assert caplog.messages == ["127.0.0.1:5: café", "127.0.0.1:5: "]


def test_control_characters_do_not_reach_the_terminal(
    logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    for as_json in (False, True):
        TrafficLog(logger, as_json, keys=None).forwarded(ADDRESS, ["\x1b[2J\r\x00\x7f\x9b31m\u2028"])
    assert len(caplog.messages) == 2
    assert all(message.isascii() and message.isprintable() for message in caplog.messages)


def test_as_json_a_record_is_an_object_that_reads_as_compact_json(
    logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    TrafficLog(logger, as_json=True, keys=None).forwarded(ADDRESS, ['say "hi"'])
    (record,) = caplog.records
    assert record.msg == {"content": 'say "hi"', "remote_addr": ADDRESS}
    assert caplog.messages == [r'{"content":"say \"hi\"","remote_addr":"127.0.0.1:5"}']


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (ENVELOPE, {"_version": "1.3.0", "_payload": {"to": "bob"}, "_type": {"to": "str"}}),
        ('{"_version": "1.3.0", "_payload": "text", "_type": "str"}', {"_version": "1.3.0"}),
        ('{"_version": "1.3.0", "_payload": {"a": 1}}', {"_version": "1.3.0", "_payload": {}}),
        ('{"password": "x"}', {}),
        ("plain text", "plain text"),
        ("[1, 2]", "[1, 2]"),
        ("", ""),
        ("[" * 20_000, "[" * 20_000),
        ('{"to": ' + "7" * 5_000 + "}", '{"to": ' + "7" * 5_000 + "}"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_log_keys_reduce_objects_to_what_is_asked_for(
    line: str, shown: object, logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    TrafficLog(logger, as_json=True, keys=frozenset({"to"})).forwarded(ADDRESS, [line])
    TrafficLog(logger, as_json=False, keys=frozenset({"to"})).forwarded(ADDRESS, [line])
    as_json, as_text = caplog.records
    assert as_json.msg["content"] == shown
    text = shown if isinstance(shown, str) else json.dumps(shown)
    assert as_text.getMessage() == f"{ADDRESS}: {text}"


async def test_refused_lines_are_not_logged_and_forwarded_ones_are(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "summoner.server.relay")
    async with room(lines_per_minute=3) as here:
        a, b = [await here.join() for _ in range(2)]
        await a.write(b"one\n" + b"x" * 65_536 + b"\nthree\nfour\n")
        assert await b.contents(2) == ["one", "three"]
        await a.lines(2)
    said = [message for message in caplog.messages if message.startswith(f"{a.address}: ")]
    assert said == [f"{a.address}: one", f"{a.address}: three"]
