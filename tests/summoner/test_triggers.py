"""Section 5.6: the tree of signals, where it is read from, and how signals compare."""

import operator
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from summoner.protocol.triggers import (
    Signal,
    build_triggers,
    is_valid_varname,
    load_triggers,
    parse_signal_tree,
    parse_signal_tree_lines,
    preprocess_line,
    simplify_leaves,
    update_hierarchy,
)


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("OK\n  a\n  b\nerror", {"OK": (0,), "a": (0, 0), "b": (0, 1), "error": (1,)}),
        ("OK\n\ta\n\t\tb", {"OK": (0,), "a": (0, 0), "b": (0, 0, 0)}),
        ("OK\n  a # note\n# note\n\n  b#x", {"OK": (0,), "a": (0, 0), "b": (0, 1)}),
        ("OK\n        a\n\tb", {"OK": (0,), "a": (0, 0), "b": (0, 1)}),
        ("OK\n   a\n     b\n   c\nd", {"OK": (0,), "a": (0, 0), "b": (0, 0, 0), "c": (0, 1), "d": (1,)}),
        ("OK\r\n  a\r\n", {"OK": (0,), "a": (0, 0)}),
        ("", {}),
        ("  # only\n\n", {}),
    ],
)
def test_indentation_gives_the_tree(text: str, paths: dict[str, tuple[int, ...]]) -> None:
    trigger: Any = load_triggers(text=text)
    signals = {name: value.path for name, value in vars(trigger).items() if isinstance(value, Signal)}
    assert trigger.__name__ == "Trigger"
    assert signals == paths
    for name, path in paths.items():
        assert getattr(trigger, name).name == name
        assert trigger.name_of(*path) == name
    assert trigger.name_of(9, 9) is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("OK\n    a\n  b", "line 3.*Inconsistent indent"),
        ("OK\n  a\n    b\n   c", "line 4.*Inconsistent indent"),
        ("OK\n  a\n  a", "line 3.*duplicate signal name"),
        ("OK\nOK", "line 2.*duplicate signal name"),
        ("OK\na b", "line 2.*invalid name"),
        ("1a", "line 1.*invalid name"),
        ("\na:", "line 2.*invalid name"),
        ("é", "line 1.*invalid name"),
        ("  OK", "line 1.*Inconsistent indent"),
        ("  OK\nerror", "line 1.*Inconsistent indent"),
        ("class", "reserved or invalid"),
        ("_hidden", "reserved or invalid"),
        ("OK\n  name_of", "reserved or invalid"),
        ("__class__", "reserved or invalid"),
    ],
)
def test_a_faulty_tree_is_refused_with_the_line_at_fault(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        load_triggers(text=text)


@pytest.mark.parametrize("json_dict", [{"class": None}, {"": None}, {5: None}, {"ok": {"_x": {}}}])
def test_names_from_a_dict_must_be_usable_too(json_dict: Any) -> None:
    with pytest.raises(ValueError, match="reserved or invalid"):
        load_triggers(json_dict=json_dict)


def test_a_dict_gives_the_tree_and_its_names_may_be_unusual() -> None:
    trigger: Any = load_triggers(json_dict={"ok": {"a b": None, "c": {}, "d": 5}, "error": None})
    assert trigger.ok.path == (0,)
    assert getattr(trigger, "a b").path == (0, 0)
    assert trigger.c.path == (0, 1)
    assert trigger.d.path == (0, 2)
    assert trigger.error.path == (1,)


def test_of_a_name_in_two_branches_the_last_one_wins_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    trigger: Any = load_triggers(text="a\n  same\nb\n  same\n")
    assert trigger.same.path == (1, 0)
    assert trigger.name_of(0, 0) == trigger.name_of(1, 0) == "same"
    assert ["'same'" in record.getMessage() for record in caplog.records] == [True]


def test_a_branch_seen_later_wins_even_if_it_is_less_deep() -> None:
    trigger: Any = load_triggers(text="a\n  b\n    same\nsame\n")
    assert trigger.same.path == (1,)


def test_text_beats_dict_beats_file(tmp_path: Path) -> None:
    file = tmp_path / "signals"
    file.write_text("\ufefffrom_file\n", encoding="utf-8")
    assert hasattr(load_triggers(file), "from_file")
    assert hasattr(load_triggers(file, json_dict={"from_dict": None}), "from_dict")
    assert hasattr(load_triggers(file, text="from_text", json_dict={"from_dict": None}), "from_text")
    assert not hasattr(load_triggers(file, text="", json_dict={"from_dict": None}), "from_dict")


def test_relative_files_are_looked_up_beside_the_script(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "TRIGGERS").write_text("beside_the_script\n", encoding="utf-8")
    monkeypatch.setattr("summoner.protocol.triggers.WORKING_DIR", tmp_path)
    assert hasattr(load_triggers(), "beside_the_script")
    with pytest.raises(FileNotFoundError, match="OTHER"):
        load_triggers("OTHER")


def test_the_directory_of_the_script_is_the_working_directory(tmp_path: Path) -> None:
    script = tmp_path / "agent.py"
    script.write_text(
        "from summoner.protocol.triggers import WORKING_DIR\nprint(WORKING_DIR)\n", encoding="utf-8"
    )
    output = subprocess.run(
        [sys.executable, script], check=True, timeout=30, capture_output=True, text=True
    ).stdout
    assert output.strip() == str(tmp_path.resolve())


def test_a_fault_in_a_file_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "signals"
    file.write_bytes(b"OK\n\xff\n")
    with pytest.raises(ValueError, match=r"signals: .*utf-8"):
        load_triggers(file)
    file.write_text("OK\n        a\n\tb\n", encoding="utf-8")
    assert parse_signal_tree(file) == {"OK": {"a": None, "b": None}}
    file.write_text("OK\nOK\n", encoding="utf-8")
    with pytest.raises(ValueError, match="signals: line 2"):
        parse_signal_tree(file)


def test_a_bottomless_tree_is_refused() -> None:
    tree: dict[str, Any] = {}
    for _ in range(5000):
        tree = {"a": tree}
    with pytest.raises(ValueError, match="too deep"):
        load_triggers(json_dict=tree)


def test_the_parts_of_the_parser_can_be_used_alone() -> None:
    assert parse_signal_tree_lines(["OK", "    a", "error"], tabsize=4) == {"OK": {"a": None}, "error": None}
    assert preprocess_line("\tname # x", 7, 4) == (7, 4, "name")
    assert preprocess_line("   # x", 7, 4) is None
    assert update_hierarchy(4, []) == 0
    levels = [0]
    assert [update_hierarchy(indent, levels) for indent in (0, 3, 5, 3, 0)] == [0, 1, 2, 1, 0]
    assert levels == [0]
    with pytest.raises(ValueError, match="Inconsistent indent"):
        update_hierarchy(2, [0, 3])
    with pytest.raises(ValueError, match="Inconsistent indent"):
        update_hierarchy(1, [3])
    tree: dict[str, Any] = {"a": {}, "b": {"c": {}, "d": None}}
    simplify_leaves(tree)
    assert tree == {"a": None, "b": {"c": None, "d": None}}
    assert is_valid_varname("_a1")
    assert not is_valid_varname("a1\n")
    assert hasattr(build_triggers({"x": None}), "x")


def test_signals_compare_by_path_alone() -> None:
    assert Signal((0, 1), "a") == Signal((0, 1), "b")
    assert hash(Signal((0, 1), "a")) == hash(Signal((0, 1), "b"))
    assert Signal((0,), "a") != Signal((1,), "a")
    path: object = (0,)
    assert Signal((0,), "a") != path
    assert repr(Signal((0,), "ok")) == "<Signal 'ok'>"


@pytest.mark.parametrize("other", ["ok", 5, None, (0,)])
def test_a_signal_is_in_no_order_with_anything_else(other: Any) -> None:
    signal = Signal((0,), "ok")
    for compare in (operator.lt, operator.le, operator.gt, operator.ge):
        with pytest.raises(TypeError):
            compare(signal, other)


paths = st.lists(st.integers(0, 2), max_size=4).map(tuple)


@given(paths, paths)
def test_an_ancestor_is_greater_and_strangers_are_in_no_order(
    one: tuple[int, ...], other: tuple[int, ...]
) -> None:
    a, b = Signal(one, "a"), Signal(other, "b")
    is_ancestor = one != other and other[: len(one)] == one
    assert (a > b) is is_ancestor
    assert (b < a) is is_ancestor
    assert (a >= b) is (is_ancestor or one == other)
    assert (b <= a) is (is_ancestor or one == other)


def written(shape: list[Any] | None, indent: str, lines: list[str]) -> dict[str, Any] | None:
    """The tree of signals with the given shape; its text is appended to `lines`."""
    if not shape:
        return None
    branch: dict[str, Any] = {}
    for below in shape:
        name = f"s{len(lines)}"
        lines.append(indent + name)
        branch[name] = written(below, indent + indent[:1] * 2 + " ", lines)
    return branch


shapes = st.lists(
    st.recursive(st.none(), lambda below: st.lists(below, min_size=1, max_size=3), max_leaves=12),
    min_size=1,
    max_size=3,
)


@given(shapes)
def test_a_tree_that_was_written_is_read_back(shape: list[Any]) -> None:
    lines: list[str] = []
    tree = written(shape, "", lines)
    assert parse_signal_tree_lines(lines) == tree
