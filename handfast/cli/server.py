"""`handfast server`: the relay's own command line, also where there is no checkout with a `server.py`."""

from pathlib import Path

import click

from summoner.server.launcher import main

_STOCK_CONFIG = Path(__file__).resolve().parents[2] / "configs" / "server_config.json"


@click.command(context_settings={"ignore_unknown_options": True}, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def server(arguments: tuple[str, ...]) -> int:
    """Run the relay. Arguments go to it untouched, `--help` included."""
    stock = _STOCK_CONFIG if _STOCK_CONFIG.is_file() else None
    return main(arguments, default_config=stock, prog="handfast server")
