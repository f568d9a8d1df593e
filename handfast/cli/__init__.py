"""The `handfast` command: the list of its commands, and the one place where errors become one line and a status.

Each command lives in the module of its name, which is imported when that command is asked for: `handfast agent` does
not pay for the tables of `handfast inspect`.
"""

import importlib
import io
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from handfast.errors import HandfastError
from handfast.wire.text import printable

INTERRUPTED = 130

_SUMMARIES = {
    "demo": "Watch a relay and two agents meet, verify each other and talk.",
    "simulate": "Run a fleet of agents, and measure it.",
    "server": "Run the relay.",
    "agent": "Run an agent.",
    "inspect": "Show what an agent's database holds.",
    "audit": "Show, verify and export the audit log.",
    "identity": "Show, make, renew and certify identities.",
    "pins": "List, add and remove the keys that speak for peers.",
    "trust": "Say whose certificates are believed, and what is revoked.",
    "authority": "Certify agents: a controller in files.",
}

_EPILOG = """\b
A first look:
  handfast demo

\b
By hand, in three terminals:
  handfast server
  handfast agent --name alice
  handfast agent --name bob

\b
And while they talk:
  handfast inspect --name alice --watch
"""


class _CommandLine(click.Group):
    """Imports a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(_SUMMARIES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in _SUMMARIES:
            return None
        command: click.Command = getattr(importlib.import_module(f"handfast.cli.{cmd_name}"), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(_SUMMARIES.items()))


@click.group(cls=_CommandLine, invoke_without_command=True, epilog=_EPILOG)
@click.version_option(package_name="handfast", message="handfast %(version)s")
@click.pass_context
def command_line(context: click.Context) -> None:
    """Agents that meet on a relay they do not trust, prove who they are, and talk end-to-end encrypted.

    Each command explains itself: handfast COMMAND --help
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command line and exit: 0 done, 1 failed, 2 cannot be done as asked, 130 interrupted.

    Args:
        arguments: those of the process if None.
    """
    for stream in (sys.stdout, sys.stderr):
        # a terminal that knows no arrows shows question marks, and not a traceback
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    sys.exit(_status_of(arguments))


def _status_of(arguments: Sequence[str] | None) -> int:
    try:
        status = command_line.main(arguments, prog_name="handfast", standalone_mode=False)
    except click.Abort as abort:
        if isinstance(abort.__context__, EOFError):
            click.echo(err=True)  # ends the line of the question
            return _failure("handfast", "no answer, and nobody left to ask: nothing was done (see --yes)", 1)
        return INTERRUPTED
    except click.UsageError as error:
        where = "handfast" if error.ctx is None else error.ctx.command_path
        return _failure(where, f"{error.format_message()} (see {where} --help)", 2)
    except click.ClickException as error:
        return _failure("handfast", error.format_message(), error.exit_code)
    except (HandfastError, OSError) as error:
        # only what was asked for has a name; without one, it is standard output that failed
        status = 1 if isinstance(error, OSError) and error.filename is None else 2
        return _failure("handfast", _words(error), status)
    return status if isinstance(status, int) else 0


def _failure(where: str, text: str, status: int) -> int:
    click.echo(f"{where}: {printable(' '.join(text.split()), 1000)}", err=True)
    return status


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)
