"""The small parts of the client by themselves: lines, the bounded log, the configuration, the threads."""

import asyncio
import contextlib
import logging
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_server import PATIENCE, RecordKeeper, SkippingLoop

from summoner.client._executor import DaemonExecutor
from summoner.client._line_splitter import LineSplitter
from summoner.client._logging import LimitedLog
from summoner.client._settings import ClientSettings, read_settings
from summoner.config import ConfigError
from summoner.utils import load_config

LIMIT = 6
STOCK_CONFIGURATION = str(Path(__file__).parents[2] / "configs" / "client_config.json")

pieces = st.lists(st.text("ab\n", max_size=20).map(str.encode), max_size=12)


@given(pieces)
def test_lines_are_the_same_however_the_stream_is_cut(chunks: list[bytes]) -> None:
    skipped: list[bool] = []
    splitter = LineSplitter(LIMIT, lambda: skipped.append(True))
    lines = [line for chunk in chunks for line in splitter.feed(chunk)]
    *texts, tail = b"".join(chunks).split(b"\n")
    assert lines == [text for text in texts if len(text) < LIMIT]
    assert splitter.finish() == (tail if 0 < len(tail) < LIMIT else None)
    assert len(skipped) == sum(len(text) >= LIMIT for text in (*texts, tail))


@given(pieces)
def test_no_more_than_the_limit_is_held_between_chunks(chunks: list[bytes]) -> None:
    splitter = LineSplitter(LIMIT, lambda: None)
    for chunk in chunks:
        splitter.feed(chunk)
        assert len(splitter._partial) < LIMIT


def test_a_flood_of_one_kind_is_counted_and_another_kind_is_still_logged() -> None:
    keeper = RecordKeeper()
    logger = logging.getLogger("flood")
    logger.addHandler(keeper)
    with contextlib.closing(SkippingLoop()) as loop:
        log = LimitedLog(logger, loop)
        for number in range(100):
            log.report("Flood", f"line {number}\x07")
        log.report("Another kind")
        loop.run_until_complete(asyncio.sleep(10))
        log.report("Flood", level=logging.ERROR)
    assert keeper.texts == [
        *(f"WARNING Flood: line {number}\\x07" for number in range(5)),
        "WARNING Another kind",
        "ERROR 95 more like the following were not logged",
        "ERROR Flood",
    ]


def test_an_empty_configuration_means_the_defaults() -> None:
    settings, warnings = read_settings({})
    assert settings.__dict__ | {"logger": {}} == ClientSettings().__dict__
    assert not warnings


@pytest.mark.parametrize(
    ("reconnection", "target"),
    [
        ({}, ("relay", 1)),
        ({"default_host": "other"}, ("other", 1)),
        ({"default_host": None, "default_port": None}, (None, None)),
        ({"default_host": "other", "default_port": 2}, ("other", 2)),
    ],
)
def test_the_failover_target_defaults_to_the_configured_address(
    reconnection: dict[str, Any], target: tuple[str | None, int | None]
) -> None:
    config = {"host": "relay", "port": 1, "hyper_parameters": {"reconnection": reconnection}}
    settings, _ = read_settings(config)
    assert (settings.default_host, settings.default_port) == target


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("sender", "concurrency_limit", 0),
        ("sender", "concurrency_limit", "50"),
        ("sender", "queue_maxsize", 0),
        ("sender", "queue_maxsize", True),
        ("sender", "event_bridge_maxsize", 0),
        ("sender", "max_worker_errors", None),
        ("receiver", "max_bytes_per_line", 0.5),
        ("reconnection", "retry_delay_seconds", -1),
        ("reconnection", "primary_retry_limit", "3"),
        ("reconnection", "default_port", 65_536),
    ],
)
def test_an_invalid_value_is_one_line_that_names_its_key(section: str, key: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        read_settings({"hyper_parameters": {section: {key: value}}})
    text = str(caught.value)
    assert text.startswith(f"hyper_parameters.{section}.{key}: must be")
    assert "\n" not in text


def test_the_drain_setting_is_taken_for_what_it_is_worth() -> None:
    settings, _ = read_settings({"hyper_parameters": {"sender": {"batch_drain": "", "concurrency_limit": 7}}})
    assert settings.batch_drain is False
    assert settings.queue_maxsize == 7


def test_a_thread_that_has_finished_takes_the_next_call() -> None:
    executor = DaemonExecutor()
    threads = {executor.submit(threading.get_ident).result(PATIENCE) for _ in range(5)}
    assert len(threads) == 1
    assert executor.close(PATIENCE)
    with pytest.raises(RuntimeError):
        executor.submit(threading.get_ident)


def test_a_closing_executor_drops_what_waits_and_leaves_behind_what_is_stuck() -> None:
    executor = DaemonExecutor()
    release = threading.Event()
    stuck = [executor.submit(release.wait, PATIENCE) for _ in range(40)]
    assert not executor.close(0)
    release.set()
    executor.shutdown()
    assert [call.cancelled() for call in stuck] == sorted(call.cancelled() for call in stuck)
    assert stuck[0].result()
    assert stuck[-1].cancelled()


def test_the_stock_configuration_is_valid_and_never_gives_up() -> None:
    settings, warnings = read_settings(load_config(STOCK_CONFIGURATION))
    assert settings.primary_retry_limit is None
    assert not warnings
