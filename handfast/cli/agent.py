"""`handfast agent`: the agent's script, from the checkout or from the installed package."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from handfast.errors import UsageError

_PACKAGE = Path(__file__).resolve().parents[1]
_IN_CHECKOUT = _PACKAGE.parent / "agents" / "agent_HSAgent_1"
_INSTALLED = _PACKAGE / "_agents" / "agent_HSAgent_1"


def default_home() -> Path:
    """Where identities and databases are: beside the agent's script in a checkout, else the current directory."""
    return _IN_CHECKOUT if _IN_CHECKOUT.is_dir() else Path.cwd()


def agent_command(arguments: Sequence[str]) -> list[str]:
    """The command line that runs the agent with these arguments.

    Raises:
        UsageError: the agent's script is missing.
    """
    for directory in (_IN_CHECKOUT, _INSTALLED):
        script = directory / "agent.py"
        if script.is_file():
            # beside the script, its own default, must not mean inside site-packages
            return [sys.executable, str(script), "--home", str(default_home()), *arguments]
    raise UsageError(f"{_INSTALLED}: the agent's script is missing; install handfast again")


@click.command(context_settings={"ignore_unknown_options": True}, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def agent(arguments: tuple[str, ...]) -> int:
    """Run an agent. Arguments go to it untouched, `--help` included."""
    command = agent_command(arguments)
    if os.name == "posix":
        # the agent takes this process's place, so that signals reach it directly
        os.execv(command[0], command)  # noqa: S606  # no shell is meant
    return subprocess.run(command, check=False).returncode  # noqa: S603
