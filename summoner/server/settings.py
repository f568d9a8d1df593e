"""What can be set about a relay, and how it is read from a configuration (sections 3.2 and 3.3).

`RelaySettings` is what the relay itself works with; `read_config` translates the official keys into it. Keys that
only make sense for the native relay's threads and channels are checked, so that a mistake in them shows, and have
no effect here: see `_WITHOUT_EFFECT`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from summoner.config import ConfigError, Field, Schema, check
from summoner.logger import LOGGER_SCHEMA
from summoner.server.frames import SERVER_DISCONNECTED

POLICY_VERSIONS = ("rust", "rust_v1.0.0", "rust_v1.1.0")
"""Values of `version` that ask for the relay with policies; others beginning with `rust` are refused (S1)."""


class UnsupportedVersionError(RuntimeError):
    """`version` asks for a native relay that does not exist. The text is one line."""


@dataclass(frozen=True)
class Pause:
    """A reaction to pressure: the author waits `seconds` after a line that had `threshold` recipients or more."""

    threshold: int
    seconds: float


@dataclass(frozen=True)
class RelaySettings:
    """How a relay treats its clients. The defaults are a plain relay: bounded memory and no policies.

    Sizes are in bytes, times in seconds; `None` switches a policy off.
    """

    max_frame_bytes: int = 65_536
    """Longest wrapped line that is forwarded, newline included (S9)."""
    queue_max_bytes: int = 32 * 1024 * 1024
    """Bound of what may wait for one recipient. Recipients share the bytes of what waits for several of them."""
    on_overflow: str = "drop"
    """What happens when a recipient's queue is full: `drop` loses lines for it and logs how many, `disconnect` ends
    its connection with a warning."""
    directed_delivery: bool = False
    """Whether a line whose payload names an addressee reaches that one alone; see `summoner.server.directory`."""
    lines_per_minute: int | None = None
    """Lines of one client per minute, 0 to refuse everything."""
    idle_timeout: float | None = None
    """How long a client may stay without sending a line."""
    idle_check_interval: float = 30.0
    pauses: tuple[Pause, ...] = ()
    """Throttling and flow control; what applies to one line adds up."""
    disconnect_threshold: int | None = None
    """How many lines may lastingly wait behind the pauses of their author before it is forced out (S8)."""
    quarantine_cooldown: float = 300.0
    quarantine_cleanup_interval: float = 60.0
    final_notice: bytes = SERVER_DISCONNECTED
    """Last words on every connection the relay closes."""
    log_as_json: bool = False
    """Whether forwarded lines are logged as objects, see `TrafficLog`."""
    log_keys: frozenset[str] | None = None
    """What is logged of lines that are JSON objects, `None` for everything."""

    def pause_after_line(self, recipients: int) -> float:
        """Seconds the author of a line with so many recipients must wait before its next one."""
        return sum(pause.seconds for pause in self.pauses if recipients >= pause.threshold)


@dataclass(frozen=True)
class ServerConfig:
    """A checked configuration.

    `host` and `port` are `None` where the arguments of `run` apply. `logger` is what `configure_logger` takes, but
    for `log_keys`: the relay applies them itself, inside the forwarded envelope and not to the record.
    """

    host: str | None
    port: int | None
    logger: dict[str, Any]
    relay: RelaySettings
    warnings: list[str]


def read_config(config: Mapping[str, Any]) -> ServerConfig:
    """Check a configuration with the official keys and translate it.

    Raises `ConfigError` for an invalid value and `UnsupportedVersionError` for an unknown native version, both with
    a text of one line.
    """
    policies = _asks_for_policies(config.get("version"))
    values, warnings = check(_schema(policies), config)
    logger = values["logger"]
    relay = replace(
        _relay_settings(values["hyper_parameters"], policies),
        final_notice=b"" if policies else SERVER_DISCONNECTED,
        log_as_json=logger["enable_json_log"],
        log_keys=None if logger["log_keys"] is None else frozenset(logger["log_keys"]),
    )
    return ServerConfig(
        host=(values["host"] or None) if policies else None,
        port=(values["port"] or None) if policies else None,
        logger=logger | {"log_keys": None},
        relay=relay,
        warnings=warnings,
    )


def _asks_for_policies(version: object) -> bool:
    if not isinstance(version, str) or not version.startswith("rust"):
        return False  # a value of another type is refused with all others
    if version not in POLICY_VERSIONS:
        raise UnsupportedVersionError(
            f"version: {version[:40]!r} is not available, only {', '.join(POLICY_VERSIONS)}"
        )
    return True


_WITHOUT_EFFECT: Schema = {
    "accept_error_backoff_ms": Field(int, 100, minimum=1),
    "connection_buffer_size": Field(int, 128, minimum=1),
    "command_buffer_size": Field(int, 32, minimum=1),
    "control_channel_capacity": Field(int, 8, minimum=1),
    "queue_monitor_capacity": Field(int, 100, minimum=1),
    "worker_threads": Field(int, None, minimum=1),
}


def _schema(policies: bool) -> Schema:
    """The configuration's schema. Without policies those apply that are given explicitly (S1).

    Zero intervals and capacities, on which native tasks end, are refused (S4).
    """
    plain = RelaySettings()
    return {
        "host": Field(str, None, nullable=True),
        "port": Field(int, None, minimum=0, maximum=65_535, nullable=True),
        "version": Field(str, None, nullable=True),
        "logger": LOGGER_SCHEMA,
        "hyper_parameters": {
            "rate_limit_msgs_per_minute": Field(int, 300 if policies else None, minimum=0),
            "client_timeout_secs": Field(int, 300 if policies else None, minimum=1, nullable=True),
            "timeout_check_interval_secs": Field(int, 30, minimum=1),
            "throttle_delay_ms": Field(int, 200, minimum=0),
            "flow_control_delay_ms": Field(int, 1000, minimum=0),
            "quarantine_cooldown_secs": Field(int, 300, minimum=0),
            "quarantine_cleanup_interval_secs": Field(int, 60, minimum=1),
            **_WITHOUT_EFFECT,
            "backpressure_policy": {
                "enable_throttle": Field(bool, None),
                "throttle_threshold": Field(int, None, minimum=0),
                "enable_flow_control": Field(bool, None),
                "flow_control_threshold": Field(int, None, minimum=0),
                "enable_disconnect": Field(bool, None),
                "disconnect_threshold": Field(int, None, minimum=0),
            },
            "directed_delivery": Field(bool, plain.directed_delivery),
            "max_frame_bytes": Field(int, plain.max_frame_bytes, minimum=256),
            "recipient_queue": {
                "max_bytes": Field(int, plain.queue_max_bytes, minimum=1),
                "on_overflow": Field(str, plain.on_overflow, choices=("drop", "disconnect")),
            },
        },
    }


def _relay_settings(values: Mapping[str, Any], policies: bool) -> RelaySettings:
    pressure = values["backpressure_policy"]
    throttle = _threshold(pressure, "throttle", 100, policies)
    flow_control = _threshold(pressure, "flow_control", 300, policies)
    queue = values["recipient_queue"]
    if queue["max_bytes"] < values["max_frame_bytes"]:
        raise ConfigError(
            f"hyper_parameters.recipient_queue.max_bytes: must be at least max_frame_bytes, "
            f"{values['max_frame_bytes']}, got {queue['max_bytes']}"
        )
    return RelaySettings(
        max_frame_bytes=values["max_frame_bytes"],
        queue_max_bytes=queue["max_bytes"],
        on_overflow=queue["on_overflow"],
        directed_delivery=values["directed_delivery"],
        lines_per_minute=values["rate_limit_msgs_per_minute"],
        idle_timeout=values["client_timeout_secs"],
        idle_check_interval=values["timeout_check_interval_secs"],
        pauses=tuple(
            Pause(threshold, values[delay] / 1000)
            for threshold, delay in ((throttle, "throttle_delay_ms"), (flow_control, "flow_control_delay_ms"))
            if threshold is not None
        ),
        disconnect_threshold=_threshold(pressure, "disconnect", 500, policies),
        quarantine_cooldown=values["quarantine_cooldown_secs"],
        quarantine_cleanup_interval=values["quarantine_cleanup_interval_secs"],
    )


def _threshold(pressure: Mapping[str, Any], name: str, default: int, policies: bool) -> int | None:
    """The threshold of a pressure policy, `None` if it is off. Without policies a threshold alone switches it on."""
    threshold: int | None = pressure[f"{name}_threshold"]
    enabled = pressure[f"enable_{name}"]
    if enabled is None:
        enabled = policies or threshold is not None
    if not enabled:
        return None
    return default if threshold is None else threshold
