"""`handfast server`: the relay's own command line, also where there is no checkout with a `server.py`."""

from pathlib import Path

import click

from summoner.server.launcher import main

_PACKAGE = Path(__file__).resolve().parents[1]
_STOCK_CONFIGS = tuple(
    directory / "server_config.json" for directory in (_PACKAGE.parent / "configs", _PACKAGE / "_configs")
)


@click.command(context_settings={"ignore_unknown_options": True}, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def server(arguments: tuple[str, ...]) -> int:
    """Run the relay. Arguments go to it untouched, `--help` included."""
    stock = next((path for path in _STOCK_CONFIGS if path.is_file()), None)
    return main(arguments, default_config=stock, prog="handfast server")
