"""`handfast agent`: the agent's script, from the checkout or from the installed package."""

import os
import subprocess
import sys
from collections.abc import Sequence

import click

from handfast.agent_script import PROGRAM_VARIABLE, default_home, script_directory


def agent_command(arguments: Sequence[str]) -> list[str]:
    """The command line that runs the agent with these arguments.

    Raises:
        UsageError: the agent's script is missing.
    """
    # beside the script, its own default, must not mean inside site-packages
    return [sys.executable, str(script_directory() / "agent.py"), "--home", str(default_home()), *arguments]


@click.command(context_settings={"ignore_unknown_options": True}, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def agent(arguments: tuple[str, ...]) -> int:
    """Run an agent. Arguments go to it untouched, `--help` included."""
    command = agent_command(arguments)
    environment = os.environ | {PROGRAM_VARIABLE: "handfast agent"}
    if os.name == "posix":
        # the agent takes this process's place, so that signals reach it directly
        os.execve(command[0], command, environment)  # noqa: S606  # no shell is meant
    return subprocess.run(command, check=False, env=environment).returncode  # noqa: S603
