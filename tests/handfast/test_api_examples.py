"""The examples in docs/api.md run as they stand there."""

import asyncio
import re
import sys
from pathlib import Path

import pytest

from summoner.server.relay import Relay

ROOT = Path(__file__).resolve().parent.parent.parent
TWO_PROCESSES, *ALONE = re.findall(
    r"```python\n(.*?)```", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"), re.DOTALL
)


async def start(code: str, directory: Path, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        code,
        *arguments,
        cwd=directory,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def output(process: asyncio.subprocess.Process) -> str:
    async with asyncio.timeout(30):
        out, err = await process.communicate()
    assert (process.returncode, err.decode()) == (0, "")
    return out.decode()


async def test_the_dozen_lines_talk_to_each_other(tmp_path: Path) -> None:
    async with Relay.listening("127.0.0.1", 0) as relay:
        processes = [await start(TWO_PROCESSES, tmp_path, name, str(relay.port)) for name in ("alice", "bob")]
        for name, other, process in zip(("alice", "bob"), ("bob", "alice"), processes, strict=True):
            said = await output(process)
            assert f"{name} met " in said
            assert "v2-selfcert" in said
            assert "\ndelivered\n" in said
            assert f"{{'hello': '{other}'}} from" in said


@pytest.mark.parametrize(
    ("code", "says"),
    list(
        zip(
            ALONE,
            (
                "over a wire of my own v2-selfcert\n",
                'alice has met bob: True and bob alice: True\n{"message":"hello"}\n',
            ),
            strict=True,
        )
    ),
    ids=["transport", "session"],
)
async def test_an_example_runs(code: str, says: str, tmp_path: Path) -> None:
    assert await output(await start(code, tmp_path)) == says
