"""Section 6.1: levels, formats, dates, files and the handlers of a configured logger."""

import io
import json
import logging
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from summoner.config import ConfigError, check
from summoner.logger import LOGGER_SCHEMA, Logger, configure_logger, get_logger, printable

AT = time.mktime((2024, 5, 6, 8, 33, 37, 0, 0, -1)) + 0.765432


@pytest.fixture
def logger() -> Iterator[Logger]:
    logger = get_logger("my.agent:v1")
    yield logger
    for handler in logger.handlers[:]:
        logger.removeHandler(handler)
        handler.close()


def log_at(logger: Logger, message: Any, *args: Any) -> None:
    """Log at a moment known in advance."""
    record = logger.makeRecord(logger.name, logging.INFO, "file", 1, message, args, None)
    record.created = AT
    logger.handle(record)


def file_config(directory: Path, **more: Any) -> dict[str, Any]:
    return {"enable_console_log": False, "enable_file_log": True, "log_file_path": str(directory)} | more


def test_a_new_logger_is_bare() -> None:
    logger = get_logger("test.bare")
    assert type(logger) is Logger
    assert (logger.level, logger.propagate, logger.handlers) == (logging.NOTSET, False, [])
    logger.setLevel(logging.ERROR)
    assert get_logger("test.bare") is logger
    assert logger.level == logging.NOTSET


def test_by_default_everything_goes_to_the_console_in_colour(
    logger: Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logger(logger, None)
    assert logger.level == logging.DEBUG
    log_at(logger, "hello %s", "you")
    green, blue, plain = "\033[92m", "\033[94m", "\033[0m"
    assert capsys.readouterr().out == (
        f"{green}2024-05-06 08:33:37.765{plain} - {blue}my.agent:v1{plain} - INFO - hello you\n"
    )


@pytest.mark.parametrize(
    ("name", "level"),
    [
        ("DEBUG", logging.DEBUG),
        ("info", logging.INFO),
        ("Warning", logging.WARNING),
        ("ERROR", logging.ERROR),
        ("critical", logging.CRITICAL),
        ("warn", logging.WARNING),
        ("trace", logging.DEBUG),
    ],
)
def test_levels_of_both_relays_are_known_in_any_case(logger: Logger, name: str, level: int) -> None:
    configure_logger(logger, {"log_level": name})
    assert logger.level == level


def test_off_is_above_every_level(logger: Logger) -> None:
    configure_logger(logger, {"log_level": "off"})
    assert not logger.isEnabledFor(logging.CRITICAL)


def test_an_unknown_level_means_debug_and_is_reported(
    logger: Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logger(logger, {"log_level": "LOUD"})
    assert logger.level == logging.DEBUG
    assert "unknown level 'LOUD'" in capsys.readouterr().out


def test_unknown_keys_are_reported(logger: Logger, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logger(logger, {"log_levl": "INFO"})
    assert 'logger.log_levl: unknown key, ignored, did you mean "log_level"?' in capsys.readouterr().out


def test_configuring_again_replaces_handlers_but_those_to_keep(logger: Logger, tmp_path: Path) -> None:
    kept = logging.NullHandler()
    kept._keep = True  # type: ignore[attr-defined]
    logger.addHandler(kept)
    configure_logger(logger, file_config(tmp_path, enable_console_log=True))
    assert len(logger.handlers) == 3
    file_handler = logger.handlers[-1]
    assert isinstance(file_handler, logging.FileHandler)
    configure_logger(logger, {"enable_console_log": False})
    assert logger.handlers == [kept]
    assert file_handler.stream is None


def test_a_filter_of_keys_concerns_logged_dicts_only(
    logger: Logger, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logger(
        logger,
        file_config(tmp_path, enable_console_log=True, console_log_format="%(message)s", log_keys=["b", "z"]),
    )
    message = {"a": 1, "b": 2}
    logger.info(message)
    logger.info("a %(a)s", {"a": 1})
    assert capsys.readouterr().out == "{'b': 2}\na 1\n"
    lines = (tmp_path / "my_agent:v1.log").read_text(encoding="utf-8").splitlines()
    assert [line.rpartition(" - ")[2] for line in lines] == ["{'b': 2}", "a 1"]
    assert message == {"a": 1, "b": 2}


def test_the_file_is_named_after_the_logger_in_a_directory_made_for_it(
    logger: Logger, tmp_path: Path
) -> None:
    configure_logger(logger, file_config(tmp_path / "a" / "b"))
    log_at(logger, "hello")
    text = (tmp_path / "a" / "b" / "my_agent:v1.log").read_text(encoding="utf-8")
    assert text == "2024-05-06 08:33:37.765 - my.agent:v1 - INFO - hello\n"


@pytest.mark.parametrize(
    ("name", "file"), [("a/b", "a_b.log"), ("../up", "___up.log"), ("a\\b\0c", "a_b_c.log")]
)
def test_a_name_cannot_lead_out_of_the_directory(name: str, file: str, tmp_path: Path) -> None:
    logger = get_logger(name)
    configure_logger(logger, file_config(tmp_path))
    logger.info("x")
    configure_logger(logger, {"enable_console_log": False})
    assert [path.name for path in tmp_path.iterdir()] == [file]


def test_an_empty_directory_is_the_current_one(
    logger: Logger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    configure_logger(logger, {"enable_console_log": False, "enable_file_log": True})
    assert (tmp_path / "my_agent:v1.log").exists()


def test_files_rotate(logger: Logger, tmp_path: Path) -> None:
    configure_logger(
        logger, file_config(tmp_path, log_format="%(message)s", max_file_size=10, backup_count=2)
    )
    for number in range(5):
        logger.info("record %d", number)
    content = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    assert content == {
        "my_agent:v1.log": "record 4\n",
        "my_agent:v1.log.1": "record 3\n",
        "my_agent:v1.log.2": "record 2\n",
    }


def json_lines(directory: Path) -> list[dict[str, Any]]:
    return [
        json.loads(line) for line in (directory / "my_agent:v1.log").read_text(encoding="utf-8").splitlines()
    ]


def test_json_lines_hold_time_name_level_and_message(logger: Logger, tmp_path: Path) -> None:
    configure_logger(logger, file_config(tmp_path, enable_json_log=True, log_keys=["a"], date_format="%H:%M"))
    log_at(logger, {"a": 1, "b": 2})
    log_at(logger, "hello %s", "you")
    text = (tmp_path / "my_agent:v1.log").read_text(encoding="utf-8")
    assert text == (
        '{"timestamp": "08:33", "name": "my.agent:v1", "level": "INFO", "message": {"a": 1}}\n'
        '{"timestamp": "08:33", "name": "my.agent:v1", "level": "INFO", "message": "hello you"}\n'
    )


def test_json_lines_stringify_what_json_cannot_express(logger: Logger, tmp_path: Path) -> None:
    configure_logger(logger, file_config(tmp_path, enable_json_log=True))
    endless: dict[str, Any] = {}
    endless["self"] = endless
    for message in ({"a": Path("x")}, {(1, 2): 3}, endless, {"s": "\ud800"}):
        logger.info(message)
    assert [entry["message"] for entry in json_lines(tmp_path)] == [
        {"a": "x"},
        "{(1, 2): 3}",
        "{'self': {...}}",
        {"s": "\ud800"},
    ]


def test_json_lines_hold_the_traceback_of_an_exception(logger: Logger, tmp_path: Path) -> None:
    configure_logger(logger, file_config(tmp_path, enable_json_log=True))
    try:
        raise KeyError("lost")
    except KeyError:
        logger.exception("failed")
    (entry,) = json_lines(tmp_path)
    assert list(entry) == ["timestamp", "name", "level", "message", "traceback"]
    assert entry["message"] == "failed"
    assert entry["traceback"].endswith("KeyError: 'lost'")


@pytest.mark.parametrize(
    ("date_format", "text"),
    [
        (None, "2024-05-06 08:33:37.765"),
        ("", "2024-05-06 08:33:37.765"),
        ("%H:%M:%S.%2fZ", "08:33:37.76Z"),
        ("%S.%f", "37.765"),
        ("%S.%0f", "37.7"),
        ("%S.%1f", "37.7"),
        ("%S.%6f", "37.765432"),
        ("%S.%9f", "37.765432"),
        ("%3f|%%2f", "765|%2f"),
        ("%%f %2f", "%f 76"),
        ("%Y", "2024"),
        ("plain", "plain"),
    ],
)
def test_dates_are_formatted(logger: Logger, tmp_path: Path, date_format: str | None, text: str) -> None:
    configure_logger(logger, file_config(tmp_path, log_format="%(asctime)s", date_format=date_format))
    log_at(logger, "x")
    assert (tmp_path / "my_agent:v1.log").read_text(encoding="utf-8") == text + "\n"


def test_the_time_goes_on_between_records(logger: Logger, tmp_path: Path) -> None:
    configure_logger(logger, file_config(tmp_path, log_format="%(asctime)s", date_format="%S.%6f"))
    for seconds in (0.0, 0.1, 1.0, -1.0, 0.2345679):
        record = logger.makeRecord(logger.name, logging.INFO, "file", 1, "x", (), None)
        record.created = AT + seconds
        logger.handle(record)
    lines = (tmp_path / "my_agent:v1.log").read_text(encoding="utf-8").splitlines()
    assert lines == ["37.765432", "37.865432", "38.765432", "36.765432", "37.999999"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"log_level": 10}, r"^logger\.log_level: must be a string, got 10$"),
        ({"log_keys": "a"}, r"^logger\.log_keys: must be a list of strings or null, got \"a\"$"),
        ({"backup_count": -1}, r"^logger\.backup_count: must be a whole number of at least 0, got -1$"),
        ({"console_log_format": "%(nope)s"}, r"^logger\.console_log_format: not a usable format"),
        ({"console_log_format": "%(asctime)"}, r"^logger\.console_log_format: not a usable format"),
        ({"console_log_format": "%(message)d"}, r"^logger\.console_log_format: not a usable format"),
        (
            {"enable_file_log": True, "log_file_path": "{file}"},
            r"^logger\.log_file_path: cannot write logs to .*: File exists$",
        ),
        ({"date_format": "a\0b"}, r"^logger\.console_log_format: not a usable format"),
        (
            {
                "enable_console_log": False,
                "enable_file_log": True,
                "enable_json_log": True,
                "date_format": "a\0b",
            },
            r"^logger\.date_format: not a usable format",
        ),
        ({"date_format": "%" + "9" * 5000 + "f"}, r"^logger\.console_log_format: not a usable format"),
        (
            {"enable_file_log": True, "log_file_path": "a\0b"},
            r"^logger\.log_file_path: cannot write logs to .*: embedded null",
        ),
        ([], r"^logger: must be an object, got \[\]$"),
    ],
)
def test_a_wrong_value_is_one_line_and_changes_nothing(
    logger: Logger, tmp_path: Path, config: Any, message: str
) -> None:
    if isinstance(config, dict) and config.get("log_file_path") == "{file}":
        (tmp_path / "file").touch()
        config = config | {"log_file_path": str(tmp_path / "file")}
    configure_logger(logger, {"log_level": "ERROR"})
    before = logger.handlers[:]
    with pytest.raises(ConfigError, match=message) as caught:
        configure_logger(logger, config)
    assert "\n" not in str(caught.value)
    assert (logger.handlers, logger.level) == (before, logging.ERROR)


class Stream(io.TextIOWrapper):
    """A standard output of a given encoding that may refuse to take what is written."""

    def __init__(self, encoding: str, error: OSError | None = None) -> None:
        super().__init__(io.BytesIO(), encoding=encoding, newline="\n")
        self.error = error

    def flush(self) -> None:
        if self.error is not None:
            raise self.error
        super().flush()

    def text(self) -> str:
        buffer = self.buffer
        assert isinstance(buffer, io.BytesIO)
        return buffer.getvalue().decode(self.encoding)


@pytest.mark.parametrize("error", [BlockingIOError(11, "would block"), BrokenPipeError(32, "nobody listens")])
def test_a_console_that_takes_nothing_loses_records_in_silence(
    logger: Logger, error: OSError, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = Stream("utf-8", error)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        configure_logger(logger, {})
        logger.error("lost")
    assert capsys.readouterr().err == ""
    stream.error = None
    stream.close()


def test_any_other_fault_of_the_console_is_reported(
    logger: Logger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = Stream("utf-8", OSError(5, "broken"))
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        configure_logger(logger, {})
        logger.error("lost")
    assert "Logging error" in capsys.readouterr().err
    stream.error = None
    stream.close()


@pytest.mark.parametrize(
    ("encoding", "shown"), [("ascii", "caf\\xe9 \\u2615 \\ud800"), ("utf-8", "café ☕ \\ud800")]
)
def test_what_the_console_cannot_encode_is_escaped(
    logger: Logger,
    encoding: str,
    shown: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Stream(encoding) as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        configure_logger(logger, {"console_log_format": "%(message)s"})
        logger.info("café ☕ \ud800")
        assert stream.text() == shown + "\n"
        logger.handlers.clear()
    monkeypatch.undo()
    assert capsys.readouterr().err == ""


def test_a_console_without_an_encoding_gets_text(logger: Logger, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    configure_logger(logger, {"console_log_format": "%(message)s"})
    logger.info("café")
    assert stream.getvalue() == "café\n"


def test_what_a_file_cannot_encode_is_escaped(logger: Logger, tmp_path: Path) -> None:
    configure_logger(logger, file_config(tmp_path, log_format="%(message)s"))
    logger.info("café \ud800")
    assert (tmp_path / "my_agent:v1.log").read_text(encoding="utf-8") == "café \\ud800\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ☕", "plain ☕"),
        ("\033[31mred", "\\x1b[31mred"),
        ("a\r\nb\tc\0", "a\\r\\nb\\tc\\x00"),
        ("☕\x85\u2028\u202e", "☕\\x85\\u2028\\u202e"),
    ],
)
def test_text_of_a_peer_can_be_made_printable(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text())
def test_printable_text_has_no_control_characters_and_stays_one_line(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert len(shown.splitlines()) <= 1
    assert printable(shown) == shown


def test_the_schema_holds_the_documented_keys_and_defaults() -> None:
    values, _ = check(LOGGER_SCHEMA, {})
    assert "%(asctime)s" in values.pop("console_log_format")
    assert values == {
        "log_level": "DEBUG",
        "enable_console_log": True,
        "enable_file_log": False,
        "log_file_path": "",
        "log_format": "%(asctime)s - %(name)s - %(levelname)s - %(message)s",
        "enable_json_log": False,
        "max_file_size": 1_000_000,
        "backup_count": 3,
        "date_format": None,
        "log_keys": None,
    }


def test_a_console_that_nobody_reads_costs_records_and_never_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as reader, os.fdopen(writing, "w", encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stdout", full)
        logger = get_logger("nobody reads")
        configure_logger(logger, {"console_log_format": "%(message)s"})
        for _ in range(200):
            logger.info("x" * 5_000)  # a megabyte: more than any pipe holds
        os.set_blocking(reading, False)
        taken = reader.read()
        assert 4_096 <= len(taken) < 1_000_000
        logger.info("somebody reads again")
        assert reader.read().endswith(b"somebody reads again\n")
        logger.handlers[0].close()
        logger.handlers.clear()
