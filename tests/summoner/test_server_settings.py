"""Configurations of the relay: the official keys, what they default to, and how mistakes in them are told."""

import json
from pathlib import Path
from typing import Any

import pytest

from summoner.config import ConfigError
from summoner.server import RelaySettings
from summoner.server.frames import SERVER_DISCONNECTED
from summoner.server.settings import Pause, ServerConfig, UnsupportedVersionError, read_config

CONFIGS = Path(__file__).parents[2] / "configs"


def policy_config(**hyper_parameters: Any) -> ServerConfig:
    return read_config({"version": "rust", "hyper_parameters": hyper_parameters})


@pytest.mark.parametrize(
    "config", [{}, {"version": None}, {"version": "python"}, {"version": "go", "port": 0}]
)
def test_any_other_version_is_a_plain_relay_with_its_policies_off(config: dict[str, Any]) -> None:
    assert read_config(config).relay == RelaySettings()
    assert RelaySettings().final_notice == SERVER_DISCONNECTED


@pytest.mark.parametrize("version", ["rust", "rust_v1.0.0", "rust_v1.1.0"])
def test_rust_is_a_relay_with_the_policies_of_the_native_one(version: str) -> None:
    assert read_config({"version": version}).relay == RelaySettings(
        lines_per_minute=300,
        idle_timeout=300,
        pauses=(Pause(100, 0.2), Pause(300, 1.0)),
        disconnect_threshold=500,
        final_notice=b"",
    )


@pytest.mark.parametrize("version", ["rust_v2.0.0", "rusty", "rust_v1.1.0 "])
def test_other_rust_versions_are_refused_naming_those_there_are(version: str) -> None:
    with pytest.raises(
        UnsupportedVersionError, match=r"version: .* only rust, rust_v1\.0\.0, rust_v1\.1\.0$"
    ):
        read_config({"version": version})
    assert issubclass(UnsupportedVersionError, RuntimeError)


def test_a_plain_relay_applies_the_policies_that_are_given() -> None:
    pressure = {"throttle_threshold": 7, "enable_disconnect": True, "enable_flow_control": False}
    relay = read_config(
        {
            "hyper_parameters": {
                "rate_limit_msgs_per_minute": 9,
                "client_timeout_secs": 8,
                "backpressure_policy": pressure,
            }
        }
    ).relay
    assert (relay.lines_per_minute, relay.idle_timeout) == (9, 8)
    assert relay.pauses == (Pause(7, 0.2),)
    assert relay.disconnect_threshold == 500


def test_policies_can_be_switched_off_one_by_one() -> None:
    off = {"enable_throttle": False, "enable_flow_control": False, "enable_disconnect": False}
    relay = policy_config(client_timeout_secs=None, backpressure_policy=off).relay
    assert (relay.idle_timeout, relay.pauses, relay.disconnect_threshold) == (None, (), None)


def test_every_setting_reaches_the_relay() -> None:
    config = policy_config(
        rate_limit_msgs_per_minute=0,
        client_timeout_secs=1,
        timeout_check_interval_secs=2,
        throttle_delay_ms=3,
        flow_control_delay_ms=4,
        quarantine_cooldown_secs=5,
        quarantine_cleanup_interval_secs=6,
        backpressure_policy={"throttle_threshold": 7, "flow_control_threshold": 8, "disconnect_threshold": 9},
        max_frame_bytes=1_000,
        directed_delivery=True,
        recipient_queue={"max_bytes": 1_000, "on_overflow": "drop"},
    )
    assert not config.warnings
    assert config.relay == RelaySettings(
        max_frame_bytes=1_000,
        directed_delivery=True,
        queue_max_bytes=1_000,
        on_overflow="drop",
        lines_per_minute=0,
        idle_timeout=1,
        idle_check_interval=2,
        pauses=(Pause(7, 0.003), Pause(8, 0.004)),
        disconnect_threshold=9,
        quarantine_cooldown=5,
        quarantine_cleanup_interval=6,
        final_notice=b"",
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("host", 5),
        ("port", "9000"),
        ("port", 65_536),
        ("version", 1),
        ("logger", []),
        ("logger.log_level", 3),
        ("hyper_parameters", "fast"),
        ("hyper_parameters.rate_limit_msgs_per_minute", -1),
        ("hyper_parameters.rate_limit_msgs_per_minute", None),
        ("hyper_parameters.client_timeout_secs", 0),
        ("hyper_parameters.client_timeout_secs", 1.5),
        ("hyper_parameters.timeout_check_interval_secs", 0),
        ("hyper_parameters.quarantine_cleanup_interval_secs", 0),
        ("hyper_parameters.connection_buffer_size", 0),
        ("hyper_parameters.command_buffer_size", 0),
        ("hyper_parameters.control_channel_capacity", 0),
        ("hyper_parameters.queue_monitor_capacity", 0),
        ("hyper_parameters.worker_threads", 0),
        ("hyper_parameters.accept_error_backoff_ms", True),
        ("hyper_parameters.backpressure_policy", 1),
        ("hyper_parameters.backpressure_policy.enable_throttle", "yes"),
        ("hyper_parameters.backpressure_policy.disconnect_threshold", -1),
        ("hyper_parameters.max_frame_bytes", 255),
        ("hyper_parameters.recipient_queue.max_bytes", 65_535),
        ("hyper_parameters.recipient_queue.on_overflow", "block"),
    ],
)
def test_an_invalid_value_is_one_line_that_names_its_key(key: str, value: Any) -> None:
    config: Any = value
    for part in reversed(key.split(".")):
        config = {part: config}
    with pytest.raises(ConfigError) as raised:
        read_config({"version": "rust"} | config)
    assert str(raised.value).startswith(f"{key}: must be ")
    assert "\n" not in str(raised.value)


def test_unknown_keys_and_misplaced_ones_are_ignored_with_a_warning() -> None:
    config = read_config(
        {
            "version": "rust",
            "hyper_parameters": {"host": "6.6.6.6", "port": 1, "logger": {}, "trottle_delay_ms": 5},
            "colour": "red",
        }
    )
    assert (config.host, config.port) == (None, None)
    named = {warning.partition(":")[0] for warning in config.warnings}
    below = {f"hyper_parameters.{key}" for key in ("host", "port", "logger", "trottle_delay_ms")}
    assert named == {"colour"} | below


@pytest.mark.parametrize(
    ("config", "address"),
    [
        ({"version": "rust", "host": "::1", "port": 9}, ("::1", 9)),
        ({"version": "rust", "host": "", "port": 0}, (None, None)),
        ({"version": "rust", "host": None, "port": None}, (None, None)),
        ({"host": "::1", "port": 9}, (None, None)),
    ],
)
def test_only_a_policy_relay_takes_its_address_from_the_configuration(
    config: dict[str, Any], address: tuple[str | None, int | None]
) -> None:
    read = read_config(config)
    assert (read.host, read.port) == address


def test_log_keys_are_applied_by_the_relay_and_not_by_the_logger() -> None:
    config = read_config({"logger": {"log_keys": ["to"], "enable_json_log": True}})
    assert config.relay.log_keys == {"to"}
    assert config.relay.log_as_json
    assert config.logger["log_keys"] is None


@pytest.mark.parametrize(
    ("name", "rate", "thresholds"),
    [
        ("server_config.json", 6_000, (50, 150, 300)),
        ("server_config_nojsonlogs.json", 6_000, (50, 150, 300)),
        ("server_config_high_traffic.json", 240_000, (500, 1500, 3000)),
    ],
)
def test_the_stock_configurations_are_valid(name: str, rate: int, thresholds: tuple[int, ...]) -> None:
    config = read_config(json.loads((CONFIGS / name).read_text()))
    assert not config.warnings
    assert config.relay.lines_per_minute == rate
    assert (
        *[pause.threshold for pause in config.relay.pauses],
        config.relay.disconnect_threshold,
    ) == thresholds
