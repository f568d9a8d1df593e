"""`handfast demo`: a relay, two agents and an eavesdropper, all of them real, and what becomes of them."""

import asyncio
import signal

import click

from handfast.cli.demo.course import run
from handfast.cli.demo.narrator import Narrator
from handfast.errors import HandfastError

_TERMINATED = 128 + signal.SIGTERM


@click.command()
def demo() -> int:
    """Watch a relay and two agents meet, verify each other, talk encrypted, close and reconnect.

    Everything is real: three processes, sockets on this machine only, identity files and databases in a temporary
    directory that is removed afterwards. A fourth party listens, and tries what an attacker would try. It takes a few
    seconds; the exit status is 0 if all of it worked.

    \b
    Examples:
      handfast demo
      NO_COLOR=1 handfast demo
      handfast demo | less
    """
    try:
        asyncio.run(run(Narrator()))
    except (HandfastError, OSError) as failure:
        raise click.ClickException(f"the demo failed: {failure}") from None
    except asyncio.CancelledError:  # by SIGTERM; everything is cleaned up
        return _TERMINATED
    return 0
