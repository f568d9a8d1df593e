"""The agent's command line: flags to a checked `Options`."""

import argparse
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from handfast.adapters.files import PASSPHRASE_VARIABLE, check_name, read_psk
from handfast.agent_script import PROGRAM_VARIABLE
from handfast.crypto.keys import Secret
from handfast.errors import UsageError
from handfast.session.v2.suites import PostQuantum, suites_for
from handfast.trust.decision import FirstContact, Mode, Policy
from handfast.wire import limits

PROGRAM = os.environ.get(PROGRAM_VARIABLE, "agent.py")
CONFIG_BYTES = 1024 * 1024

# Never give up by itself: a relay that is down for a night is no reason to end. Keys are the official SDK's.
DEFAULT_CONFIG = {
    "logger": {"log_level": "INFO"},
    "hyper_parameters": {"reconnection": {"retry_delay_seconds": 1, "primary_retry_limit": None}},
}


@dataclass(frozen=True)
class Options:
    """What the command line asks for; times in seconds, None where a flag was not given."""

    name: str
    home: Path
    config: dict[str, object]
    host: str | None
    port: int | None
    passphrase_file: Path | None
    keychain: str | None
    demo_passphrase: bool
    say: str | None
    reply: str | None
    conversations: int | None
    pace: float
    reconnect_every: float
    zone: tzinfo | None
    policy: Policy
    network: str
    psk: Secret | None
    post_quantum: PostQuantum
    events: bool


def parse(arguments: Sequence[str] | None, default_home: Path) -> Options:
    """The options in `arguments`; prints help and exits as command lines do.

    Raises:
        UsageError: a value that cannot be meant.
    """
    given = _parser(default_home).parse_args(arguments)
    return Options(
        name=check_name(given.name),
        home=given.home,
        config=DEFAULT_CONFIG if given.config is None else _load_config(given.config),
        host=given.host,
        port=_in_range("--port", given.port, 1, 65_535),
        passphrase_file=given.passphrase_file,
        keychain=given.keychain,
        demo_passphrase=given.demo_passphrase,
        say=_message("--say", given.say),
        reply=_message("--reply", given.reply),
        conversations=_in_range("--conversations", given.conversations, 1, 1_000_000_000),
        pace=_seconds("--pace", given.pace, 0, 5),
        reconnect_every=_seconds("--reconnect-every", given.reconnect_every, 0.1, 86_400),
        zone=_zone(given.zone),
        policy=Policy(
            # version 1 knows neither certificates nor pre-shared keys
            mode=Mode.STRICT if given.require_certificate or given.psk_file else Mode(given.policy),
            first_contact=None if given.first_contact is None else FirstContact(given.first_contact),
            require_certificate=given.require_certificate,
        ),
        network=_network(given.network),
        psk=None if given.psk_file is None else read_psk(given.psk_file),
        post_quantum=_post_quantum(given.post_quantum),
        events=given.events,
    )


def _parser(default_home: Path) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="An agent that meets others on a Summoner relay, proves who it is, and talks end-to-end encrypted.",
        epilog=f"The passphrase of the identity file comes from --passphrase-file, --keychain or ${PASSPHRASE_VARIABLE}.",
    )
    add = parser.add_argument
    add("--name", required=True, help="a short tag; each name has its own identity file and database")
    add(
        "--home",
        type=Path,
        default=default_home,
        metavar="DIR",
        help="where those are (default: beside the script; without a checkout: the current directory)",
    )
    add("--config", type=Path, metavar="FILE", help="client configuration, JSON with the Summoner SDK's keys")
    add("--host", help="the relay's host (default: the configuration's, or 127.0.0.1)")
    add("--port", type=int, help="the relay's port (default: the configuration's, or 8888)")
    add("--passphrase-file", type=Path, metavar="FILE", help="a file whose first line is the passphrase")
    add(
        "--keychain",
        metavar="ENTRY",
        help="take it from the system's keychain, service 'handfast', this entry",
    )
    add(
        "--demo-passphrase",
        action="store_true",
        help="use the public demonstration passphrase; protects nothing",
    )
    add("--say", metavar="TEXT", help="what to say as initiator (default: How are you?)")
    add("--reply", metavar="TEXT", help="what to answer as responder (default: I am OK!)")
    add(
        "--conversations", type=int, metavar="N", help="exit after N closed conversations, both roles counted"
    )
    add(
        "--pace",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="wait this long before each reply (default: 0)",
    )
    add(
        "--reconnect-every",
        type=float,
        default=10.0,
        metavar="SECONDS",
        help="pause before the next conversation with a known peer (default: 10, varied by a tenth)",
    )
    add(
        "--zone",
        metavar="NAME",
        help="time zone of v1 timestamps, such as Europe/Berlin or UTC (default: the system's)",
    )
    add(
        "--policy",
        choices=[str(mode) for mode in Mode],
        default=str(Mode.PREFER),
        help="strict: version 2 only; prefer: version 1 with peers that know no other; compat: as prefer, but an agent with"
        " an id of the first generation makes no offers (default: prefer)",
    )
    add(
        "--first-contact",
        choices=[str(choice) for choice in FirstContact],
        help="who may be met for the first time without a certificate: nobody, ids that are made of their key, or everybody"
        " (default: tofu; selfcert under --policy strict)",
    )
    add(
        "--require-certificate",
        action="store_true",
        help="talk to holders of a trusted certificate only, in version 2 only",
    )
    add(
        "--network",
        default="",
        metavar="NAME",
        help="the name of the deployment; agents of other names cannot talk to ours (version 2)",
    )
    add(
        "--psk-file",
        type=Path,
        metavar="FILE",
        help="a file with a pre-shared key of 32 bytes, as 64 hex digits: only peers that know it, too, are talked to,"
        " in version 2 only",
    )
    add(
        "--post-quantum",
        choices=["prefer", "require", "off"],
        default="prefer",
        help="whether key exchanges with ML-KEM-768 are offered first, alone or not at all (default: prefer, where the"
        " installed cryptography has it)",
    )
    add("--events", action="store_true", help="write one JSON object per event on stdout, and logs on stderr")
    return parser


def _load_config(path: Path) -> dict[str, object]:
    try:
        with path.open("rb") as file:
            config = json.loads(file.read(CONFIG_BYTES))
    except OSError as error:
        raise UsageError(f"--config {path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--config {path}: not JSON: {str(error).splitlines()[0]}") from None
    if not isinstance(config, dict):
        raise UsageError(f"--config {path}: must hold a JSON object")
    return config


def _message(flag: str, text: str | None) -> str | None:
    if text is not None and len(json.dumps({"message": text})) > limits.DATA_BYTES:
        raise UsageError(f"{flag}: too long for one message of {limits.DATA_BYTES} bytes")
    return text


def _zone(name: str | None) -> tzinfo | None:
    try:
        return None if name is None else ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UsageError(f"--zone: no time zone is called {name!r}") from None


def _network(name: str) -> str:
    if len(name) > limits.NETWORK_CHARACTERS or not name.isprintable():
        raise UsageError(f"--network: at most {limits.NETWORK_CHARACTERS} printable characters")
    return name


def _post_quantum(choice: PostQuantum) -> PostQuantum:
    try:
        suites_for(choice, psk=False)
    except UsageError as error:
        raise UsageError(f"--post-quantum: {error}") from None
    return choice


def _in_range(flag: str, number: int | None, low: int, high: int) -> int | None:
    if number is not None and not low <= number <= high:
        raise UsageError(f"{flag}: must be a whole number from {low} to {high}, got {number}")
    return number


def _seconds(flag: str, number: float, low: float, high: float) -> float:
    if not (math.isfinite(number) and low <= number <= high):
        raise UsageError(f"{flag}: must be from {low:g} to {high:g} seconds, got {number:g}")
    return number
