"""`server.py` as people start it: a process with a command line, a configuration and signals."""

import asyncio
import json
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from relay_helpers import PATIENCE, Peer, join

from summoner.server import frames
from summoner.server.launcher import main

SERVER = Path(__file__).parents[2] / "server.py"


class Launched:
    """A running `server.py`."""

    def __init__(self, process: asyncio.subprocess.Process, announcement: str) -> None:
        self.process = process
        self.port = int(re.findall(r":(\d+)", announcement)[0])

    async def room(self, count: int) -> list[Peer]:
        """So many clients that certainly hear each other."""
        peers = [await join(self.port) for _ in range(count)]
        peers[-1].writer.write(b"here I am\n")
        for peer in peers[:-1]:
            assert await peer.content() == "here I am"
        return peers

    async def stop(self, number: signal.Signals) -> tuple[int, str]:
        """Send a signal; exit status and standard error."""
        self.process.send_signal(number)
        _, errors = await asyncio.wait_for(self.process.communicate(), PATIENCE)
        assert self.process.returncode is not None
        return self.process.returncode, errors.decode()


@asynccontextmanager
async def launched(directory: Path, *arguments: str, **config: Any) -> AsyncIterator[Launched]:
    """`server.py` in a directory of its own, with this configuration unless the arguments name one."""
    if "--config" not in arguments:
        (directory / "config.json").write_text(json.dumps(config))
        arguments = ("--config", "config.json", *arguments)
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(SERVER), *arguments,
        cwd=directory, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), PATIENCE)
        yield Launched(process, line.decode())
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


POLICY = {"version": "rust", "logger": {"enable_console_log": False}}
PLAIN = {"logger": {"enable_console_log": False}}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("config", "notice"),
    [
        pytest.param(POLICY, frames.SHUTTING_DOWN, id="policy"),
        pytest.param(PLAIN, frames.SHUTTING_DOWN + frames.SERVER_DISCONNECTED, id="plain"),
    ],
)
async def test_scenario_05_a_signal_ends_it_with_a_notice_to_everybody_and_status_0(
    tmp_path: Path, config: dict[str, Any], notice: bytes, number: signal.Signals
) -> None:
    async with launched(tmp_path, "--port", "0", **config) as server:
        peers = await server.room(4)
        stopping = asyncio.create_task(server.stop(number))
        for peer in peers:
            assert await peer.rest() == notice
            await peer.close()
        assert await stopping == (0, "")


async def test_a_second_signal_while_it_stops_changes_nothing(tmp_path: Path) -> None:
    async with launched(tmp_path, "--port", "0", **POLICY) as server:
        (deaf,) = await server.room(1)  # does not close its end, so that stopping takes a moment
        server.process.send_signal(signal.SIGTERM)
        assert await deaf.rest() == frames.SHUTTING_DOWN
        assert await server.stop(signal.SIGINT) == (0, "")
        await deaf.close()


async def test_the_stock_configuration_logs_to_a_file_beside_the_caller(tmp_path: Path) -> None:
    stock = SERVER.parent / "configs" / "server_config.json"
    async with launched(tmp_path, "--config", str(stock), "--port", "0") as server:
        a, b = await server.room(2)
        assert await server.stop(signal.SIGINT) == (0, "")
        await a.close()
        await b.close()
    records = [json.loads(line) for line in (tmp_path / "logs" / "server.log").read_text().splitlines()]
    assert {"content": "here I am", "remote_addr": b.address} in [record["message"] for record in records]


async def test_flags_beat_the_configuration(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        elsewhere = {"host": "256.1.1.1", "port": taken.getsockname()[1]}
        for config in (POLICY, PLAIN):
            flags = ("--port", "0", "--host", "127.0.0.1")
            async with launched(tmp_path, *flags, **elsewhere, **config) as server:
                await (await join(server.port)).close()
                assert (await server.stop(signal.SIGTERM))[0] == 0


# What can be wrong with it, in this process


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on standard error."""
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    return errors


def test_a_port_in_use_is_one_line_that_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["--port", str(port)]) == 1
    line = complaint(capsys)
    assert line.startswith(f"server.py: cannot listen on 127.0.0.1 port {port}: the address is in use.")
    assert "--port" in line


def test_an_address_that_is_not_here_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--host", "192.0.2.1", "--port", "0"]) == 1
    assert (
        complaint(capsys) == "server.py: cannot listen on 192.0.2.1 port 0: cannot assign requested address\n"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "No such file"),
        ("{", "not valid JSON"),
        ("[]", "must hold a JSON object"),
        ('{"port": "x"}', "port: must be a whole number"),
        ('{"host": 5}', "host: must be a string"),
        ('{"version": "rust_v9"}', "version: 'rust_v9' is not available"),
        (
            '{"hyper_parameters": {"timeout_check_interval_secs": 0}}',
            "hyper_parameters.timeout_check_interval_secs",
        ),
        ('{"logger": {"enable_file_log": true, "log_file_path": "/dev/null/x"}}', "logger.log_file_path"),
    ],
)
def test_a_wrong_configuration_is_one_line_and_status_2(
    tmp_path: Path, text: str | None, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.json"
    if text is not None:
        path.write_text(text)
    assert main(["--config", str(path)]) == 2
    assert words in complaint(capsys)


@pytest.mark.parametrize(
    "arguments", [["--port", "65536"], ["--port", "-1"], ["--port", "x"], ["--sprt", "1"], ["9000"]]
)
def test_wrong_arguments_are_refused_with_a_hint(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_a_default_configuration_need_not_exist(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--host", "192.0.2.1"], default_config=tmp_path / "none.json") == 1
    assert "192.0.2.1" in complaint(capsys)
    (tmp_path / "wrong.json").write_text('{"port": -1}')
    assert main([], default_config=tmp_path / "wrong.json") == 2
    assert "port: must be" in complaint(capsys)
