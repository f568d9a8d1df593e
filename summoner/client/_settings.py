"""`ClientSettings`: the client's configuration, checked and complete (section 4.3).

The one place that knows the configuration's keys and their defaults. Nothing here reads files or logs.
"""

from dataclasses import dataclass, field
from typing import Any

from summoner.config import Field, Schema, check
from summoner.logger import LOGGER_SCHEMA

RETRY_DELAY_SECONDS = 3.0
PRIMARY_RETRY_LIMIT = 3
DEFAULT_RETRY_LIMIT = 2
MAX_BYTES_PER_LINE = 65_536
CONCURRENCY_LIMIT = 50
EVENT_BRIDGE_MAXSIZE = 1000
MAX_WORKER_ERRORS = 3

# A failover target that is not given is `host` and `port`; one given as null is the arguments of `run`.
_AS_CONFIGURED = object()

_SCHEMA: Schema = {
    "host": Field(str, None, nullable=True),
    "port": Field(int, None, minimum=0, maximum=65_535, nullable=True),
    "logger": LOGGER_SCHEMA,
    "hyper_parameters": {
        "reconnection": {
            "retry_delay_seconds": Field(float, RETRY_DELAY_SECONDS, minimum=0),
            "primary_retry_limit": Field(int, PRIMARY_RETRY_LIMIT, minimum=0, nullable=True),
            "default_host": Field(str, _AS_CONFIGURED, nullable=True),
            "default_port": Field(int, _AS_CONFIGURED, minimum=0, maximum=65_535, nullable=True),
            "default_retry_limit": Field(int, DEFAULT_RETRY_LIMIT, minimum=0, nullable=True),
        },
        "receiver": {
            "max_bytes_per_line": Field(int, MAX_BYTES_PER_LINE, minimum=1),
            "read_timeout_seconds": Field(object, None),  # C23: accepted, without effect
        },
        "sender": {
            "concurrency_limit": Field(int, CONCURRENCY_LIMIT, minimum=1),
            "queue_maxsize": Field(int, None, minimum=1),
            "batch_drain": Field(object, True),
            "event_bridge_maxsize": Field(int, EVENT_BRIDGE_MAXSIZE, minimum=1),
            "max_worker_errors": Field(int, MAX_WORKER_ERRORS, minimum=1),
        },
    },
}


@dataclass(frozen=True)
class ClientSettings:
    """What a configuration says, with its defaults.

    A host or port of `None` stands for the arguments of `run`, a retry limit of `None` for no limit. Sizes are
    bytes (`max_bytes_per_line`, newline included), calls or events; delays are seconds.
    """

    host: str | None = None
    port: int | None = None
    logger: dict[str, Any] = field(default_factory=dict)
    default_host: str | None = None
    default_port: int | None = None
    retry_delay_seconds: float = RETRY_DELAY_SECONDS
    primary_retry_limit: int | None = PRIMARY_RETRY_LIMIT
    default_retry_limit: int | None = DEFAULT_RETRY_LIMIT
    max_bytes_per_line: int = MAX_BYTES_PER_LINE
    concurrency_limit: int = CONCURRENCY_LIMIT
    queue_maxsize: int = CONCURRENCY_LIMIT
    batch_drain: bool = True
    event_bridge_maxsize: int = EVENT_BRIDGE_MAXSIZE
    max_worker_errors: int = MAX_WORKER_ERRORS


def read_settings(config: dict[str, Any]) -> tuple[ClientSettings, list[str]]:
    """The settings that a configuration describes, and one warning for each thing in it worth a remark.

    Raises `ConfigError`, a `ValueError` whose one line names the key, for an invalid value.
    """
    values, warnings = check(_SCHEMA, config)
    reconnection, receiver, sender = (
        values["hyper_parameters"][section] for section in ("reconnection", "receiver", "sender")
    )
    failover = {
        f"default_{key}": values[key]
        if reconnection[f"default_{key}"] is _AS_CONFIGURED
        else reconnection[f"default_{key}"]
        for key in ("host", "port")
    }
    if sender["queue_maxsize"] is None:
        sender["queue_maxsize"] = sender["concurrency_limit"]
    elif sender["queue_maxsize"] < sender["concurrency_limit"]:
        warnings.append(
            "hyper_parameters.sender.queue_maxsize: smaller than concurrency_limit, so some workers will stay idle"
        )
    receiver.pop("read_timeout_seconds")
    sender["batch_drain"] = bool(sender["batch_drain"])
    top = {key: values[key] for key in ("host", "port", "logger")}
    return ClientSettings(**(top | reconnection | failover | receiver | sender)), warnings
