"""`handfast inspect`: what an agent's database holds, once or again and again, while the agent runs or not."""

import asyncio
import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console
from rich.live import Live

from handfast.cli.drawing import snapshot_view, table_console
from handfast.cli.options import database_options
from handfast.cli.snapshot import Reader, Snapshot, opened

_WATCH_SECONDS = 1.0


@click.command()
@database_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
@click.option("--watch", is_flag=True, help="Look again every second, until Ctrl-C.")
@click.option(
    "--audit",
    "audit_entries",
    type=click.IntRange(0, 100_000),
    default=10,
    show_default=True,
    metavar="N",
    help="How many of the last audit entries to list; the chain is verified as a whole.",
)
def inspect(database: Path, as_json: bool, watch: bool, audit_entries: int) -> None:
    """Show what an agent's database holds: DATABASE, a file HSAgent-….db, or that of the agent called NAME.

    Nothing is ever written to it, and the agent may be running. It shows peers with the states of both roles and their
    counters, nonces of the conversations under way as sent + received, pinned keys, messages being repeated, half-open
    conversations, and the end of the audit log. Sealed secrets are never shown.

    \b
    Examples:
      handfast inspect --name alice
      handfast inspect --name alice --watch
      handfast inspect HSAgent-8181bf86-….db --json | jq .conversations
    """
    console = Console(highlight=False) if watch else table_console()
    if watch and not as_json and not console.is_terminal:
        raise click.UsageError("--watch needs a terminal, or --json")
    try:
        asyncio.run(_show(database, console, as_json, watch, audit_entries))
    except KeyboardInterrupt:
        if not watch:
            raise


async def _show(path: Path, console: Console, as_json: bool, watch: bool, audit_entries: int) -> None:
    async with opened(path) as database:
        reader = Reader(database, audit_entries)
        snapshot = await reader.read()
        if not watch:
            if as_json:
                click.echo(_as_json(snapshot, indent=2))
            else:
                console.print(snapshot_view(snapshot, datetime.now(UTC)), crop=False)
        elif as_json:
            while True:
                click.echo(_as_json(snapshot))
                await asyncio.sleep(_WATCH_SECONDS)
                snapshot = await reader.read()
        else:
            await _watch(reader, snapshot, console)


async def _watch(reader: Reader, snapshot: Snapshot, console: Console) -> None:
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(snapshot_view(snapshot, datetime.now(UTC)), refresh=True)
            await asyncio.sleep(_WATCH_SECONDS)
            snapshot = await reader.read()


def _as_json(snapshot: Snapshot, indent: int | None = None) -> str:
    return json.dumps(asdict(snapshot), indent=indent)
