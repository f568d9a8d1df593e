"""Section 6.2: the helper functions that agents and extensions import."""

import functools
import json
import sys
import typing
from fractions import Fraction
from pathlib import Path, PurePosixPath
from types import FunctionType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from summoner.protocol import Node
from summoner.utils import (
    ensure_trailing_newline,
    extract_annotation_identifiers,
    format_addr,
    get_callable_source,
    is_jsonable,
    load_config,
    rebuild_expression_for,
    remove_last_newline,
    resolve_import_statement,
)


@pytest.mark.parametrize(
    ("text", "without", "with_one"),
    [
        ("", "", "\n"),
        ("a", "a", "a\n"),
        ("a\n", "a", "a\n"),
        ("a\n\n", "a\n", "a\n\n"),
        ("a\r\n", "a\r", "a\r\n"),
    ],
)
def test_one_newline_is_removed_or_ensured(text: str, without: str, with_one: str) -> None:
    assert remove_last_newline(text) == without
    assert ensure_trailing_newline(text) == with_one


@given(st.text())
def test_a_text_without_trailing_newline_survives_adding_and_removing_one(text: str) -> None:
    assert remove_last_newline(ensure_trailing_newline(text)) == remove_last_newline(text)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": [1, None]}, True),
        (float("nan"), True),
        ({1: 2}, True),
        ({1}, False),
        ({(1,): 2}, False),
        (b"", False),
    ],
)
def test_jsonable_is_what_the_encoder_accepts(value: Any, expected: bool) -> None:
    assert is_jsonable(value) is expected


def test_a_value_that_contains_itself_is_not_jsonable() -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert not is_jsonable(endless)


@pytest.mark.parametrize(
    ("content", "config"),
    [
        ('{"port": 1}', {"port": 1}),
        ('\xef\xbb\xbf{"a": 1}', {"a": 1}),
        ("[1]", {}),
        ("{", {}),
        ("", {}),
        ("\xff", {}),
        ("[" * 100_000, {}),
        ('{"a": ' + "9" * 5000 + "}", {}),
    ],
    ids=["object", "byte order mark", "list", "broken", "empty", "no utf-8", "deep", "digits"],
)
def test_a_config_file_yields_its_object_or_nothing(
    tmp_path: Path, content: str, config: dict[str, Any]
) -> None:
    file = tmp_path / "config.json"
    file.write_bytes(content.encode("latin-1"))
    assert load_config(file) == config
    assert load_config(str(file)) == config


def test_no_config_file_is_an_empty_config(tmp_path: Path) -> None:
    assert load_config(None) == load_config(tmp_path) == load_config(tmp_path / "missing.json") == {}


def test_debug_prints_one_line_about_the_config_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "good").write_text("{}", encoding="utf-8")
    (tmp_path / "bad").write_text("{\n\n", encoding="utf-8")
    for path in (None, tmp_path, tmp_path / "missing", tmp_path / "good", tmp_path / "bad"):
        load_config(path, debug=True)
        output = capsys.readouterr().out
        assert output.startswith("[DEBUG] ")
        assert output.count("\n") == 1
        load_config(path)
        assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (("1.2.3.4", 5), "1.2.3.4:5"),
        (("::1", 5, 0, 0), "[::1]:5"),
        (("::1", 5), "[::1]:5"),
        (("fe80::1", 5, 0, 2), "[fe80::1%2]:5"),
        (("fe80::1%eth0", 5, 0, 2), "[fe80::1%eth0]:5"),
        (None, "None"),
        ("as is", "as is"),
        (b"caf\xc3\xa9\xff", "café�"),
        ({"b": 1, "a": 2}, "{a=2, b=1}"),
        ({}, "{}"),
        ([1, 2, 3], "[1,2,3]"),
        ((1, 2), "[1,2]"),
        (["1.2.3.4", 5], "[1.2.3.4,5]"),
        (("1.2.3.4", 5, 0), "[1.2.3.4,5,0]"),
        ((), "[]"),
        (range(10), "[0,1,2,3,4,5,6,7,8,9]"),
        (range(11), "[0,1,2,3,4,5,6,7,8,9,...]"),
        ({str(i): i for i in range(12)}, "{0=0, 1=1, 10=10, 11=11, 2=2, 3=3, 4=4, 5=5, 6=6, 7=7, ...}"),
        (5, "5"),
    ],
)
def test_an_address_is_formatted(value: Any, text: str) -> None:
    assert format_addr(value) == text


def test_the_number_of_items_shown_can_be_chosen() -> None:
    assert format_addr(range(5), max_items=2) == "[0,1,...]"


def documented(m: "Any") -> None:
    """A function whose source can be found."""


def test_the_source_of_a_function_is_what_was_given_else_found_else_recorded() -> None:
    assert get_callable_source(documented, "override") == "override"
    assert get_callable_source(documented).startswith('def documented(m: "Any")')
    namespace: dict[str, Any] = {}
    exec("async def made(): ...", namespace)
    namespace["made"].__dna_source__ = "recorded"
    assert get_callable_source(namespace["made"]) == "recorded"


@pytest.mark.parametrize(
    ("text", "name"), [("async def made(): ...", "made"), ("made = lambda: 1", "unknown")]
)
async def test_without_any_source_there_is_a_stub_that_raises(text: str, name: str) -> None:
    namespace: dict[str, Any] = {}
    exec(text, namespace)
    made = namespace["made"]
    assert isinstance(made, FunctionType)
    stub: dict[str, Any] = {}
    exec(get_callable_source(made), stub)
    with pytest.raises(RuntimeError, match="source"):
        await stub[name]()


def test_an_object_without_source_yields_a_stub_too() -> None:
    assert "unknown" in get_callable_source(functools.partial(print))


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("async def f(m: Any) -> Optional[Event]: ...", {"Any", "Optional", "Event"}),
        ("    @hook(x)\n    def f(a: int, /, *b: str, c: t.List[X], **d: 'Y | None') -> None:\n        ...\n",
         {"int", "str", "t", "X", "Y"}),
        ("def f(a, b='not: this'): ...\ndef g(c: Z): ...", set()),
        ("def f(a: 'not valid!', b: X): ...", {"X"}),
        ("def f(a: Literal['not valid!', 'y']): ...", {"Literal", "y"}),
        ("x = 1", set()),
        ("not python", set()),
        ("def f(a: Literal['x']): ...", {"Literal", "x"}),
    ],
)  # fmt: skip
def test_the_names_in_annotations_are_extracted(source: str, names: set[str]) -> None:
    assert extract_annotation_identifiers(source) == names


@pytest.mark.parametrize(
    "value",
    [
        Node("a"),
        Node("/not(a,b)"),
        [Node("a"), Node("b")],
        (Node("a"),),
        set(),
        {Node("a")},
        frozenset({Node("/all")}),
        {"k": Node("a"), None: [Node("b")]},
        [],
        {},
    ],
)
def test_nodes_and_collections_of_them_are_rebuilt_from_text(value: Any) -> None:
    expression = rebuild_expression_for(value, Node)
    assert expression is not None
    assert eval(expression, {"Node": Node}) == value


def test_paths_are_rebuilt_and_other_values_are_not() -> None:
    assert rebuild_expression_for(PurePosixPath("a'b/c")) == """Path("a'b/c")"""
    without_nodes: list[Any] = [Node("a"), [Node("a")], 5, "a"]
    for value in without_nodes:
        assert rebuild_expression_for(value) is None
    foreign: list[Any] = [5, "a", [1], {1: Node("a")}, {"a": 1}, [[Node("a")]]]
    for value in foreign:
        assert rebuild_expression_for(value, Node) is None


@pytest.mark.parametrize(
    ("name", "value", "statement"),
    [
        ("json", json, "import json"),
        ("j", json, "import json as j"),
        ("Fraction", Fraction, "from fractions import Fraction"),
        ("F", Fraction, "from fractions import Fraction as F"),
        ("loads", json.loads, "from json import loads"),
        ("Node", Node, "from summoner.protocol import Node"),
        ("N", Node, "from summoner.protocol import Node as N"),
        ("maxsize", sys.maxsize, "from sys import maxsize"),
        ("inner", Node.accepts, None),
        ("absent", 12345.678, None),
    ],
)
def test_a_value_is_bound_by_an_import(name: str, value: Any, statement: str | None) -> None:
    assert (
        resolve_import_statement(name, value, ["not.loaded", "json", "sys", "summoner.protocol"]) == statement
    )


def test_nothing_is_imported_from_the_main_module(monkeypatch: pytest.MonkeyPatch) -> None:
    main = sys.modules["__main__"]
    monkeypatch.setattr(main, "documented", documented, raising=False)
    monkeypatch.setattr(documented, "__module__", "__main__")
    assert resolve_import_statement("main", main, []) is None
    assert resolve_import_statement("documented", documented, ["__main__"]) is None


def test_typing_forms_are_bound_by_their_own_module() -> None:
    assert resolve_import_statement("Any", typing.Any, []) == "from typing import Any"
