"""The command line as a whole: help, errors in one line, and the two scripts behind it."""

import importlib
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from handfast import agent_script
from handfast.cli import agent as agent_module
from handfast.cli import command_line, main


@dataclass
class Result:
    status: int
    out: str
    err: str


def run(*arguments: object, typed: str = "") -> Result:
    """Run a command line in this process, as its own `main` does."""
    with CliRunner().isolation(input=typed) as (out, err, _):
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        sys.stdout.flush()
        return Result(int(str(end.value.code)), out.getvalue().decode(), err.getvalue().decode())


def one_line(result: Result) -> str:
    """The only line of an error, without anything on standard output."""
    assert result.out == ""
    assert result.err.count("\n") == 1
    return result.err


def all_commands() -> list[list[str]]:
    found = []
    with click.Context(command_line) as context:
        for name in command_line.list_commands(context):
            command = command_line.get_command(context, name)
            assert command is not None
            found.append([name])
            if isinstance(command, click.Group):
                found += [[name, sub] for sub in command.list_commands(context)]
    return found


@pytest.mark.parametrize(
    "words", [words for words in all_commands() if words[0] not in {"server", "agent"}], ids=" ".join
)
def test_every_command_explains_itself(words: list[str]) -> None:
    result = run(*words, "--help")
    assert result.status == 0
    assert f"Usage: handfast {' '.join(words)}" in result.out
    assert all(len(line) <= 80 for line in result.out.splitlines())


@pytest.mark.parametrize("words", [[], ["identity"], ["pins"]], ids=" ".join)
def test_a_group_without_a_command_lists_its_commands(words: list[str]) -> None:
    result = run(*words)
    assert result.status == 0
    assert "Commands:" in result.out


def test_the_list_of_commands_names_each_of_them() -> None:
    assert all(f"  {words[0]} " in run("--help").out for words in all_commands())


def test_the_version_is_told() -> None:
    result = run("--version")
    assert result.status == 0
    assert result.out.startswith("handfast ")


@pytest.mark.parametrize(
    "words",
    [["nonsense"], ["inspect"], ["inspect", "--nonsense"], ["identity", "show"], ["pins", "remove"]],
    ids=" ".join,
)
def test_a_wrong_command_line_is_one_line_and_status_2(words: list[str]) -> None:
    result = run(*words)
    assert result.status == 2
    assert "--help" in one_line(result)


def test_an_error_never_carries_control_characters_to_the_terminal() -> None:
    error = one_line(run("inspect", "\x1b[2J\x07nothing\nhere"))
    assert not any(character in error for character in "\x1b\x07")
    assert "nothing here: no such database" in error


def test_the_list_of_commands_imports_nothing_heavy() -> None:
    heavy = ["rich", "db_sdk", "cryptography", "asyncio", "summoner"]
    program = (
        "import sys; from handfast.cli import main\n"
        "try: main(sys.argv[1:])\n"
        f"finally: print([name for name in {heavy} if name in sys.modules], file=sys.stderr)"
    )
    found = subprocess.run(
        [sys.executable, "-c", program, "--help"], capture_output=True, text=True, timeout=30, check=True
    )
    assert found.stderr.strip() == "[]"


def test_the_agent_gets_its_arguments_untouched_and_a_home_that_they_can_overrule(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    called: list[list[str]] = []
    names: list[str] = []

    def take_over(program: str, command: list[str], environment: dict[str, str]) -> None:
        called.append([program, *command])
        names.append(environment[agent_script.PROGRAM_VARIABLE])

    monkeypatch.setattr(os, "execve", take_over)
    monkeypatch.setattr(agent_module.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0))
    run("agent", "--name", "alice", "--help", "-x", "--home", "/elsewhere", "--say", "how are you?")
    program, interpreter, script, *rest = called[0]
    assert program == interpreter == sys.executable
    assert Path(script).name == "agent.py"
    assert Path(script).is_file()
    home = str(agent_script.default_home())
    assert rest == [
        "--home",
        home,
        *["--name", "alice", "--help", "-x", "--home", "/elsewhere", "--say"],
        "how are you?",
    ]
    assert names == ["handfast agent"]


def test_the_agent_speaks_of_itself_as_it_was_called() -> None:
    for command, name in (
        ([sys.executable, "-m", "handfast.cli", "agent"], "handfast agent"),
        ([sys.executable, str(agent_script.script_directory() / "agent.py")], "agent.py"),
    ):
        done = subprocess.run(
            [*command, "--name", "../x"], capture_output=True, text=True, timeout=30, check=False
        )
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert done.stderr.startswith(f"{name}: ")


@pytest.mark.parametrize("group", dict.fromkeys(words[0] for words in all_commands() if len(words) == 2))
def test_the_list_of_a_group_says_whole_sentences(group: str) -> None:
    listed = run(group).out.partition("Commands:")[2]
    assert listed
    assert "..." not in listed


def test_a_question_that_nobody_answers_is_one_line_and_status_1(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(*_: object, **__: object) -> int:
        click.confirm("Shall I?", err=True)
        return 0

    monkeypatch.setattr(importlib.import_module("handfast.cli.server"), "main", ask)
    result = run("server")
    assert result.status == 1
    assert "\nhandfast: no answer" in result.err


def test_an_installed_agent_keeps_its_files_in_the_current_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "installed").mkdir()
    (tmp_path / "installed" / "agent.py").touch()
    monkeypatch.setattr(agent_script, "IN_CHECKOUT", tmp_path / "no checkout")
    monkeypatch.setattr(agent_script, "INSTALLED", tmp_path / "installed")
    monkeypatch.chdir(tmp_path)
    assert agent_module.agent_command(["--name", "x"])[1:] == [
        str(tmp_path / "installed" / "agent.py"), "--home", str(tmp_path), "--name", "x",
    ]  # fmt: skip


def test_an_agent_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for place in ("IN_CHECKOUT", "INSTALLED"):
        monkeypatch.setattr(agent_script, place, tmp_path)
    result = run("agent", "--name", "x")
    assert result.status == 2
    assert "missing" in one_line(result)


def test_the_relay_gets_its_arguments_untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    server = importlib.import_module("handfast.cli.server")
    called: list[object] = []
    monkeypatch.setattr(server, "main", lambda arguments, **_: called.append(arguments) or 7)
    assert run("server", "--help", "--port", "0", "-x").status == 7
    assert called == [("--help", "--port", "0", "-x")]


@pytest.mark.parametrize(
    ("error", "status", "says"),
    [
        (OSError(28, "No space left on device"), 1, "handfast: No space left on device\n"),
        (FileNotFoundError(2, "No such file", "x.json"), 2, "handfast: x.json: No such file\n"),
    ],
    ids=["standard output", "a file that was named"],
)
def test_a_failing_output_is_status_1_and_a_file_that_cannot_be_used_is_status_2(
    monkeypatch: pytest.MonkeyPatch, error: OSError, status: int, says: str
) -> None:
    def fail(*_: object, **__: object) -> int:
        raise error

    monkeypatch.setattr(importlib.import_module("handfast.cli.server"), "main", fail)
    result = run("server")
    assert result.status == status
    assert one_line(result) == says


def test_ctrl_c_is_status_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(importlib.import_module("handfast.cli.server"), "main", interrupted)
    assert run("server").status == 130
