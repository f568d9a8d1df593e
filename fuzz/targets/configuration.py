"""Any JSON object as a configuration of relay and client: settings, or one line that says what is wrong.

Numbers that are accepted lie where the schema says.
"""

import json

from summoner.client._settings import read_settings
from summoner.config import ConfigError
from summoner.server.settings import UnsupportedVersionError, read_config

IS_JSON = True
WORDS = (
    *(
        "host",
        "port",
        "version",
        "rust",
        "rust_v1.1.0",
        "logger",
        "log_level",
        "log_keys",
        "hyper_parameters",
        "null",
    ),
    *(
        "rate_limit_msgs_per_minute",
        "client_timeout_secs",
        "backpressure_policy",
        "enable_throttle",
        "true",
        "false",
    ),
    *(
        "throttle_threshold",
        "recipient_queue",
        "max_bytes",
        "on_overflow",
        "disconnect",
        "max_frame_bytes",
        "0",
        "-1",
    ),
    *(
        "reconnection",
        "retry_delay_seconds",
        "primary_retry_limit",
        "receiver",
        "max_bytes_per_line",
        "sender",
        "1e9",
    ),
)


def check(data: bytes) -> None:
    """Read `data` as both configurations."""
    try:
        config = json.loads(data)
    except (ValueError, RecursionError):
        return
    if not isinstance(config, dict):
        return
    try:
        relay = read_config(config).relay
    except (ConfigError, UnsupportedVersionError) as error:
        _is_one_line(error)
    else:
        assert 256 <= relay.max_frame_bytes <= relay.queue_max_bytes
        assert relay.pause_after_line(10**6) >= relay.pause_after_line(0) >= 0
        assert relay.on_overflow in ("drop", "disconnect")
    try:
        settings, _ = read_settings(config)
    except ConfigError as error:
        _is_one_line(error)
    else:
        assert settings.retry_delay_seconds >= 0
        assert min(settings.max_bytes_per_line, settings.concurrency_limit, settings.queue_maxsize) >= 1


def _is_one_line(error: Exception) -> None:
    assert str(error).isprintable()
    assert len(str(error)) < 250
