"""Where the agent's script is, and how to run it with a dialogue of your own."""

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from handfast.dialogue import Dialogue
from handfast.errors import UsageError

# Under which name the agent's script speaks of itself, where it was not called by its own.
PROGRAM_VARIABLE = "HANDFAST_PROGRAM"

_PACKAGE = Path(__file__).resolve().parent
IN_CHECKOUT = _PACKAGE.parent / "agents" / "agent_HSAgent_1"
INSTALLED = _PACKAGE / "_agents" / "agent_HSAgent_1"


def script_directory() -> Path:
    """The directory of `agent.py`, in the checkout or in the installed package.

    Raises:
        UsageError: the agent's script is missing.
    """
    for directory in (IN_CHECKOUT, INSTALLED):
        if (directory / "agent.py").is_file():
            return directory
    raise UsageError(f"{INSTALLED}: the agent's script is missing; install handfast again")


def default_home() -> Path:
    """Where identities and databases are: beside the agent's script in a checkout, else the current directory."""
    return IN_CHECKOUT if IN_CHECKOUT.is_dir() else Path.cwd()


def run_agent(dialogue: Dialogue, arguments: Sequence[str] | None = None) -> int:
    """Run an agent that says what `dialogue` says, until it is stopped.

    Args:
        dialogue: what to say and to answer.
        arguments: the agent's command line; the program's own, if None.

    Returns:
        The exit status: 0 after an orderly end, 1 after fewer conversations than were asked for, 2 where something asked
        for cannot be done.
    """
    directory = str(script_directory())
    if directory not in sys.path:
        sys.path.insert(0, directory)
    # the script's modules import each other by plain names, as agents of the Summoner SDK do
    given = list(sys.argv[1:] if arguments is None else arguments)
    status: int = importlib.import_module("agent").main(["--home", str(default_home()), *given], dialogue)
    return status
