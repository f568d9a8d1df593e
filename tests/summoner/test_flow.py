"""Section 5.2: the flow and its grammar of routes."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from summoner.protocol import Flow, Node
from summoner.protocol.flow import get_token_list

COMMON = ("-", ("[", "]"), ",", ">")
BRACED = ("=", ("{", "}"), ";", ")")


def flow_with(*styles: tuple[Any, Any, Any, Any]) -> Flow:
    flow = Flow()
    for style in styles:
        flow.add_arrow_style(*style)
    return flow


def test_a_flow_is_inactive_until_activated_and_returns_itself() -> None:
    flow = Flow()
    assert not flow.in_use
    activated = flow.activate()
    assert (activated, activated.in_use) == (flow, True)
    deactivated = flow.deactivate()
    assert (deactivated, deactivated.in_use) == (flow, False)


@pytest.mark.parametrize("compilations", [0, 1, 2])
def test_an_inactive_flow_parses_routes_compiled_or_not(compilations: int) -> None:
    flow = flow_with(COMMON)
    for _ in range(compilations):
        flow.compile_arrow_patterns()
    assert str(flow.parse_route("A --> B")) == "A--[]-->B"


def test_ready_is_deprecated() -> None:
    with pytest.warns(DeprecationWarning, match="compile_arrow_patterns"):
        Flow().ready()


def test_there_is_no_default_arrow_style() -> None:
    with pytest.raises(ValueError, match="A --> B"):
        Flow().parse_route("A --> B")


def test_an_invalid_style_is_refused_by_the_flow() -> None:
    with pytest.raises(ValueError, match="stem"):
        Flow().add_arrow_style("--", ("[", "]"), ",", ">")


@pytest.mark.parametrize(
    ("text", "source", "label", "target", "canonical"),
    [
        ("A, B", "A B", "", "", "A,B"),
        ("A --> B", "A", "", "B", "A--[]-->B"),
        ("A --[ f, g ]--> B", "A", "f g", "B", "A--[f,g]-->B"),
        ("A --[]--> B", "A", "", "B", "A--[]-->B"),
        ("--> B", "", "", "B", "--[]-->B"),
        ("--[f]--> B", "", "f", "B", "--[f]-->B"),
        ("A -->", "A", "", "", "A"),
        ("A --[]-->", "A", "", "", "A"),
        ("A --[f]-->", "A", "f", "", "A--[f]-->"),
        ("", "", "", "", ""),
        (",", "", "", "", ""),
        ("A,,B", "A B", "", "", "A,B"),
        ("/oneof(a, b)--[/not(c)]-->d", "/oneof(a,b)", "/not(c)", "d", "/oneof(a,b)--[/not(c)]-->d"),
        ("A\n-->B", "A", "", "B", "A--[]-->B"),
        (" /all ,\tA--[\nf]-->\n/all ", "/all A", "f", "/all", "/all,A--[f]-->/all"),
    ],
)
def test_a_route_is_read_as_the_table_says(
    text: str, source: str, label: str, target: str, canonical: str
) -> None:
    route = flow_with(COMMON).parse_route(text)
    assert route.source == tuple(map(Node, source.split()))
    assert route.label == tuple(map(Node, label.split()))
    assert route.target == tuple(map(Node, target.split()))
    assert str(route) == canonical


@pytest.mark.parametrize(
    "text",
    [
        "-->",
        "--[]-->",
        "--[f]-->",
        "A B",
        "A->B",
        "A<--B",
        "A - -> B",
        "A---->B",
        "A-->B-->C",
        "A--[f-->B",
        "A --[f]->B",
        "A;B-->C",
        "a.b",
        "gm/reply",
        "/A",
        "foo(x,y)",
        "é",
        "A--[f]-->B--[g]-->C",
        "A--[/not(]-->)]-->B",
    ],
)
def test_these_routes_are_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match="route") as caught:
        flow_with(COMMON).parse_route(text)
    assert repr(text) in str(caught.value)


def test_a_refusal_names_the_offending_token() -> None:
    with pytest.raises(ValueError, match=r"'B-->C'"):
        flow_with(COMMON).parse_route("A-->B-->C")


def test_a_route_is_a_string() -> None:
    with pytest.raises(TypeError, match="route"):
        flow_with(COMMON).parse_route(5)  # type: ignore[arg-type]


def test_several_styles_live_side_by_side() -> None:
    routes = flow_with(COMMON, BRACED).parse_routes(["A;B=={f}==)C", "A,B--[f]-->C", "A, B", "A;B==)C"])
    assert list(map(str, routes)) == ["A;B=={f}==)C", "A,B--[f]-->C", "A,B", "A;B=={}==)C"]


@pytest.mark.parametrize("semicolon_first", [True, False])
def test_an_ambiguous_route_is_read_in_the_style_registered_first(semicolon_first: bool) -> None:
    comma, semicolon = ("-", ("[", "]"), ",", ">"), ("-", ("[", "]"), ";", ">")
    styles = (semicolon, comma) if semicolon_first else (comma, semicolon)
    route = flow_with(*styles).parse_route("A-->B")
    assert route.style is not None
    assert route.style.separator == (";" if semicolon_first else ",")
    assert flow_with(*styles).parse_route("A;B-->C").source == (Node("A"), Node("B"))
    assert flow_with(*styles).parse_route("A,B-->C").source == (Node("A"), Node("B"))


def test_registering_a_style_again_does_not_change_its_place() -> None:
    first, second = ("-", ("[", "]"), ";", ">"), ("-", ("[", "]"), ",", ">")
    route = flow_with(first, second, first).parse_route("A-->B")
    assert route.style is not None
    assert route.style.separator == ";"


def test_a_separator_of_several_characters_splits() -> None:
    route = flow_with(("-", ("[", "]"), "::", ">")).parse_route("A::B --[ f:: g ]--> C")
    assert route.source == (Node("A"), Node("B"))
    assert route.label == (Node("f"), Node("g"))
    assert str(route) == "A::B--[f::g]-->C"


@pytest.mark.parametrize(
    ("text", "separator", "tokens"),
    [
        ("a,b(c,d),e", ",", ["a", "b(c,d)", "e"]),
        (" a , ,b ", ",", ["a", "b"]),
        ("", ",", []),
        ("a::b(c::d)::", "::", ["a", "b(c::d)"]),
        ("a(b,c", ",", ["a(b,c"]),
        ("a),b", ",", ["a)", "b"]),
        ("a((x,y),z),b", ",", ["a((x,y),z)", "b"]),
    ],
)
def test_tokens_are_split_outside_parentheses(text: str, separator: str, tokens: list[str]) -> None:
    assert get_token_list(text, separator) == tokens


def test_triggers_come_from_the_dict_then_from_the_flows_own_file(tmp_path: Path) -> None:
    file = tmp_path / "signals.txt"
    file.write_text("from_file\n", encoding="utf-8")
    flow = Flow(triggers_file=file)
    assert hasattr(flow.triggers(), "from_file")
    assert hasattr(flow.triggers({"from_dict": None}), "from_dict")
    assert not hasattr(flow.triggers({}), "from_file")


def test_triggers_come_from_the_default_file_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "TRIGGERS").write_text("by_default\n", encoding="utf-8")
    monkeypatch.setattr("summoner.protocol.triggers.WORKING_DIR", tmp_path)
    assert hasattr(Flow().triggers(), "by_default")


plain = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,5}", fullmatch=True)
group = st.builds(
    "/{}({})".format, st.sampled_from(["not", "oneof"]), st.lists(plain, max_size=3).map(", ".join)
)
node_texts = st.lists(st.one_of(plain, group, st.just("/all")), max_size=3)


@given(
    node_texts,
    st.none() | node_texts,
    node_texts,
    st.sampled_from([COMMON, BRACED, ("_", ("<", "<"), "::", "__")]),
)
def test_the_canonical_text_of_a_route_is_read_back_as_the_same_route(
    source: list[str], label: list[str] | None, target: list[str], style: tuple[Any, Any, Any, Any]
) -> None:
    stem, (left, right), separator, tip = style
    if stem == "_":  # an underscore could belong to a name
        source, label, target = (
            [each.replace("_", "x") for each in part or []] for part in (source, label, target)
        )
    middle = "" if label is None else left + separator.join(label) + right + stem * 2
    text = separator.join(source) + " " + stem * 2 + middle + tip + " " + separator.join(target)
    flow = flow_with(style)
    if not source and not target:
        with pytest.raises(ValueError, match="neither"):
            flow.parse_route(text)
        return
    route = flow.parse_route(text)
    assert [str(node) for node in route.source] == [str(Node(each)) for each in source]
    assert [str(node) for node in route.label] == [str(Node(each)) for each in label or []]
    assert [str(node) for node in route.target] == [str(Node(each)) for each in target]
    assert flow.parse_route(str(route)) == route
    assert str(flow.parse_route(str(route))) == str(route)
