"""Loggers with console and rotating file output, set up from a configuration's `logger` object (section 6.1).

Everything the client and the relay log goes through a `logging.Logger` of their own name; this module only builds
handlers and formatters for it. No text of a record is invented here.
"""

import json
import logging
import re
import select
import sys
import time
from collections.abc import Mapping
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from summoner.config import ConfigError, Field, Schema, check

Logger = logging.Logger

_GREEN, _BLUE, _PLAIN = "\033[92m", "\033[94m", "\033[0m"

LOGGER_SCHEMA: Schema = {
    "log_level": Field(str, "DEBUG"),
    "enable_console_log": Field(bool, True),
    "console_log_format": Field(
        str, f"{_GREEN}%(asctime)s{_PLAIN} - {_BLUE}%(name)s{_PLAIN} - %(levelname)s - %(message)s"
    ),
    "enable_file_log": Field(bool, False),
    "log_file_path": Field(str, ""),
    "log_format": Field(str, "%(asctime)s - %(name)s - %(levelname)s - %(message)s"),
    "enable_json_log": Field(bool, False),
    "max_file_size": Field(int, 1_000_000, minimum=0),
    "backup_count": Field(int, 3, minimum=0),
    "date_format": Field(str, None, nullable=True),
    "log_keys": Field(list, None, nullable=True),
}

# S16: the names of Python's levels, then those that only the native relay has.
_LEVELS = {
    "CRITICAL": logging.CRITICAL,
    "FATAL": logging.CRITICAL,
    "ERROR": logging.ERROR,
    "WARNING": logging.WARNING,
    "INFO": logging.INFO,
    "DEBUG": logging.DEBUG,
    "NOTSET": logging.NOTSET,
    "OFF": logging.CRITICAL + 1,
    "WARN": logging.WARNING,
    "TRACE": logging.DEBUG,
}

_DEFAULT_DATE_FORMAT = "%Y-%m-%d %H:%M:%S.%3f"
_PERCENT_OR_FRACTION = re.compile(r"%%|%(?P<digits>[0-9]*)f")
_NOT_IN_A_FILE_NAME = re.compile(r"[/\\\x00-\x1f]")  # L1
_CONSOLE_PIECE = 1024  # characters: at most 4096 bytes, which fit where a pipe says that it takes more
_NOT_PLAIN_ASCII = re.compile(r"[^ -~]")


def get_logger(name: str) -> Logger:
    """The standard logger of that name: level NOTSET, no propagation, no handlers added."""
    logger = logging.getLogger(name)
    logger.setLevel(logging.NOTSET)
    logger.propagate = False
    return logger


def configure_logger(logger: Logger, cfg: Mapping[str, Any] | None) -> None:
    """Give `logger` the level and the handlers that `cfg` describes (keys of `LOGGER_SCHEMA`, all optional).

    Handlers of an earlier configuration are closed and removed, except those with a true attribute `_keep`.
    Raises `ConfigError` for an invalid value, a format string that cannot be used, or a log file that cannot be
    opened; the logger is then left as it was.
    """
    values, warnings = check(LOGGER_SCHEMA, cfg, "logger")
    handlers: list[logging.Handler] = []
    if values["enable_console_log"]:
        handlers.append(_console_handler(values))
    if values["enable_file_log"]:
        handlers.append(_file_handler(logger.name, values))
    for handler in logger.handlers[:]:
        if not getattr(handler, "_keep", False):
            logger.removeHandler(handler)
            handler.close()
    for handler in handlers:
        logger.addHandler(handler)
    level = _LEVELS.get(values["log_level"].upper())
    logger.setLevel(logging.DEBUG if level is None else level)
    if level is None:
        warnings.append(f"logger.log_level: unknown level {values['log_level'][:20]!r}, DEBUG is used")
    for warning in warnings:
        logger.warning(warning)


def printable(text: str) -> str:
    """Text of a peer made safe to log: what is not printable, such as control characters, becomes an escape."""
    return text if text.isprintable() else _NOT_PLAIN_ASCII.sub(_escaped_unless_printable, text)


def _escaped_unless_printable(match: re.Match[str]) -> str:
    return match[0] if match[0].isprintable() else match[0].encode("unicode_escape").decode("ascii")


class _ConsoleHandler(logging.StreamHandler[Any]):
    """Writes to standard output, and loses a record rather than wait or complain when nobody takes it (L2).

    A stopped terminal or a full pipe would otherwise stop the relay, or the agent, for everybody.
    """

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record) + self.terminator
            for start in range(0, len(text), _CONSOLE_PIECE):
                if not self._takes_more():
                    return
                self.stream.write(text[start : start + _CONSOLE_PIECE])
                self.stream.flush()
        except RecursionError:
            raise
        except Exception:  # noqa: BLE001 - as in the base class: logging never raises into the program
            self.handleError(record)

    def _takes_more(self) -> bool:
        """Whether a piece can be written without waiting; a pipe is ready if it has room for PIPE_BUF bytes."""
        try:
            return bool(select.select([], [self.stream.fileno()], [], 0)[1])
        except (OSError, ValueError, AttributeError):
            return True  # no descriptor, as under a test's capture, or none that this platform can ask

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        encoding = getattr(self.stream, "encoding", None) or "utf-8"
        return text if text.isascii() else text.encode(encoding, "backslashreplace").decode(encoding)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - named by the base class
        if not isinstance(sys.exc_info()[1], BlockingIOError | BrokenPipeError):
            super().handleError(record)


def _console_handler(values: Mapping[str, Any]) -> logging.Handler:
    handler = _ConsoleHandler(sys.stdout)
    handler.setFormatter(_formatter(values, "console_log_format"))
    return handler


def _file_handler(name: str, values: Mapping[str, Any]) -> logging.Handler:
    formatter = _formatter(values, None if values["enable_json_log"] else "log_format")
    directory = Path(values["log_file_path"])
    path = directory / (_NOT_IN_A_FILE_NAME.sub("_", name.replace(".", "_")) + ".log")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        handler = RotatingFileHandler(
            path,
            maxBytes=values["max_file_size"],
            backupCount=values["backup_count"],
            encoding="utf-8",
            errors="backslashreplace",
        )
    except (OSError, ValueError) as error:  # ValueError: a NUL in the directory's name
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"logger.log_file_path: cannot write logs to {str(path)!r}: {reason}") from None
    handler.setFormatter(formatter)
    return handler


def _formatter(values: Mapping[str, Any], key: str | None) -> logging.Formatter:
    """The formatter for the format under `key`, or for JSON, tried on a sample so that no record has to fail."""
    try:
        formatter = (_TextFormatter if key else _JsonFormatter)(
            values[key] if key else None, values["date_format"], values["log_keys"]
        )
        formatter.format(logging.makeLogRecord({}))
    except (ValueError, TypeError) as error:
        raise ConfigError(f"logger.{key or 'date_format'}: not a usable format: {error}") from None
    return formatter


class _Formatter(logging.Formatter):
    """Formats the time with `%<n>f` for fractions of a second, and filters logged dicts by `log_keys`."""

    def __init__(self, format_text: str | None, date_format: str | None, log_keys: list[str] | None) -> None:
        super().__init__(format_text)
        self._before, self._digits, self._after = _split_date_format(date_format or _DEFAULT_DATE_FORMAT)
        self._log_keys = None if log_keys is None else frozenset(log_keys)
        self._second = -1
        self._text_before = self._text_after = ""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802, ARG002
        second = int(record.created)
        if second != self._second:  # the part that strftime prints changes once a second
            local = time.localtime(second)
            self._text_before = time.strftime(self._before, local)
            self._text_after = time.strftime(self._after, local)
            self._second = second
        microseconds = min(round((record.created - second) * 1_000_000), 999_999)
        return self._text_before + f"{microseconds:06d}"[: self._digits] + self._text_after

    def selected(self, message: dict[Any, Any]) -> dict[Any, Any]:
        """The part of a logged dict that the configuration wants to see."""
        keys = self._log_keys
        return message if keys is None else {key: item for key, item in message.items() if key in keys}


class _TextFormatter(_Formatter):
    def format(self, record: logging.LogRecord) -> str:
        if not isinstance(record.msg, dict):
            return super().format(record)
        whole = record.msg
        record.msg = self.selected(whole)
        try:
            return super().format(record)
        finally:
            record.msg = whole  # other handlers see the record unfiltered


class _JsonFormatter(_Formatter):
    """One JSON object per record: timestamp, name, level, message, and the traceback if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "timestamp": self.formatTime(record),
            "name": record.name,
            "level": record.levelname,
            "message": self.selected(record.msg) if isinstance(record.msg, dict) else record.getMessage(),
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        try:
            return json.dumps(entry, default=str)
        except (TypeError, ValueError):  # keys that JSON cannot express, or a dict that contains itself
            return json.dumps(entry | {"message": str(entry["message"])})


def _split_date_format(date_format: str) -> tuple[str, int, str]:
    """The `strftime` texts before and after the first `%<n>f`, and how many digits it asks for (0 without one)."""
    for match in _PERCENT_OR_FRACTION.finditer(date_format):
        if match[0] != "%%":
            digits = min(max(int(match["digits"] or 3), 1), 6)
            return date_format[: match.start()], digits, date_format[match.end() :]
    return date_format, 0, ""
