"""The relay's command line: `python server.py [--config PATH] [--host HOST] [--port PORT]`.

Turns whatever a person can get wrong into one line on standard error. Exit status: 0 when stopped by a signal, 1 if
the address cannot be bound, 2 for wrong arguments or a wrong configuration.
"""

import argparse
import contextlib
import errno
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from summoner.config import ConfigError
from summoner.server.server import SummonerServer
from summoner.server.settings import UnsupportedVersionError

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8888


class _AnnouncingServer(SummonerServer):
    def listening(self, addresses: list[str]) -> None:
        with contextlib.suppress(OSError):  # nobody needs to be there to read it
            print(f"The relay listens on {', '.join(addresses)}. Ctrl-C stops it.", flush=True)  # noqa: T201


def main(
    arguments: Sequence[str] | None = None, default_config: Path | None = None, prog: str = "server.py"
) -> int:
    """Parse the command line, `sys.argv` by default, and run a relay until it is stopped; returns the exit status.

    `default_config` is read if it exists and `--config` is not given.
    """
    options = _parser(default_config, prog).parse_args(arguments)
    try:
        config = _configuration(options.config, default_config)
        host = options.host or config.get("host") or DEFAULT_HOST
        port = options.port if options.port is not None else config.get("port") or DEFAULT_PORT
        # Given twice, the address is the same for both kinds of relay, and a wrong one is refused by its key.
        config |= {"host": host, "port": port}
        _AnnouncingServer(name="server").run(host=host, port=port, config_dict=config)
    except (ConfigError, UnsupportedVersionError) as error:
        return _failure(prog, 2, str(error))
    except OSError as error:
        return _failure(prog, 1, f"cannot listen on {host} port {port}: {_reason(error)}")
    return 0


def _parser(default_config: Path | None, prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="The relay that agents meet on. It forwards every line to all other clients.",
    )
    default = str(default_config or "built-in defaults").replace("%", "%%")
    parser.add_argument(
        "--config", type=Path, metavar="PATH", help=f"JSON configuration (default: {default})"
    )
    parser.add_argument(
        "--host", help=f"address to listen on, before the configuration's (default: {DEFAULT_HOST})"
    )
    parser.add_argument(
        "--port",
        type=_port,
        help=f"port, before the configuration's; 0 for a free one (default: {DEFAULT_PORT})",
    )
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 65535, got {text[:20]!r}")
    return int(text)


def _configuration(given: Path | None, default: Path | None) -> dict[str, Any]:
    path = given or default
    if path is None or (given is None and not path.exists()):
        return {}
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"--config {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"--config {path}: not valid JSON: {error}") from None
    if not isinstance(config, dict):
        raise ConfigError(f"--config {path}: must hold a JSON object")
    return config


def _reason(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "the address is in use. Stop the program that uses it, or choose another port with --port."
    if error.errno == errno.EACCES:
        return "permission denied. Ports below 1024 are reserved; choose another one with --port."
    return (error.strerror or str(error)).rpartition(": ")[2]  # without the address, which we have said


def _failure(prog: str, status: int, message: str) -> int:
    print(f"{prog}: {message}", file=sys.stderr)  # noqa: T201
    return status
