"""The examples in the README run as they stand there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
SAYS = (
    "",
    "4 times a side saw a conversation close",
    "agents can meet on port",
    "[{'name': 'alice', 'turns': 4}]",
)


@pytest.mark.parametrize(
    ("code", "says"), list(zip(BLOCKS, SAYS, strict=True)), ids=["dialogue", "core", "relay", "orm"]
)
def test_an_example_of_the_readme_runs(code: str, says: str, tmp_path: Path) -> None:
    if not says:  # an agent that runs for ever: asked for its help only
        code = code.replace("run_agent(Weather(", "run_agent(arguments=['--help'], dialogue=Weather(")
        says = "usage: agent.py"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert says in done.stdout


def test_every_file_that_the_readme_names_is_there() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\]\(([^)#:]+)[^)]*\)", text)) | set(
        re.findall(r"`((?:configs|docs|handfast)/[\w/.]+)`", text)
    )
    assert len(named) > 8
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
