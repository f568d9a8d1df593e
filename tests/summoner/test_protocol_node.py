"""Section 5.1: which texts are nodes, how they compare, and which gate accepts which state."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from summoner.protocol import Node

STATES = [
    "/all",
    "a",
    "b",
    "/not(a)",
    "/not(b)",
    "/not()",
    "/oneof(a)",
    "/oneof(a,b)",
    "/oneof(b)",
    "/oneof()",
]

ACCEPTS = {  # one letter per state above
    "/all": "TTTTTTTTTT",
    "a": "TT..TTTT..",
    "b": "T.TT.T.TT.",
    "/not(a)": "T.TTTTTTTT",
    "/not(b)": "TT.TTTTTTT",
    "/not()": "TTTTTTTTTT",
    "/oneof(a)": "TT..TTTT..",
    "/oneof(a,b)": "TTTTTTTTT.",
    "/oneof(b)": "T.TT.T.TT.",
    "/oneof()": "T.........",
}


@pytest.mark.parametrize("gate", ACCEPTS)
@pytest.mark.parametrize(("column", "state"), list(enumerate(STATES)), ids=STATES)
def test_a_gate_accepts_the_states_of_the_table(gate: str, column: int, state: str) -> None:
    assert Node(gate).accepts(Node(state)) is (ACCEPTS[gate][column] == "T")


@pytest.mark.parametrize(
    ("text", "kind", "values", "canonical"),
    [
        ("/all", "all", None, "/all"),
        ("  a \n", "plain", ("a",), "a"),
        ("_x1", "plain", ("_x1",), "_x1"),
        ("aé", "plain", ("aé",), "aé"),
        ("all", "plain", ("all",), "all"),
        ("/not(a, b)", "not", ("a", "b"), "/not(a,b)"),
        ("/oneof( a ,, b ,)", "oneof", ("a", "b"), "/oneof(a,b)"),
        ("/oneof(a b)", "oneof", ("a b",), "/oneof(a b)"),
        ("/not(/all)", "not", ("/all",), "/not(/all)"),
        ("/not()", "not", (), "/not()"),
    ],
)
def test_a_node_is_read_from_its_text(
    text: str, kind: str, values: tuple[str, ...] | None, canonical: str
) -> None:
    node = Node(text)
    assert (node.kind, node.values, str(node)) == (kind, values, canonical)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1a",
        "a-b",
        "a.b",
        "/foo",
        "/ALL",
        "/not",
        "/ all",
        "foo(x)",
        "/oneof(a)b",
        "é",
        "/not((a))",
        "/oneof(a",
    ],
)
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="invalid node"):
        Node(text)


@pytest.mark.parametrize("value", [None, 5, ["a"], b"a"])
def test_a_node_is_made_from_a_string_only(value: object) -> None:
    with pytest.raises(TypeError):
        Node(value)  # type: ignore[arg-type]


def test_nodes_compare_by_kind_and_ordered_values_and_never_equal_a_string() -> None:
    assert Node("/oneof(a,b)") == Node("/oneof( a, b )")
    assert hash(Node("/oneof(a,b)")) == hash(Node("/oneof( a, b )"))
    assert Node("/oneof(a,b)") != Node("/oneof(b,a)")
    assert Node("/oneof(a)") != Node("/not(a)")
    assert Node("/oneof(a)") != Node("a")
    text: object = "a"
    assert Node("a") != text


def test_a_gate_accepts_nodes_only() -> None:
    with pytest.raises(TypeError):
        Node("/all").accepts("a")  # type: ignore[arg-type]


def test_the_repr_is_coloured_and_shows_the_text() -> None:
    assert repr(Node("/not(a)")).startswith("\033[")
    assert "/not(a)" in repr(Node("/not(a)"))


def test_a_node_cannot_be_changed_but_copied() -> None:
    node = Node("/oneof(a)")
    with pytest.raises(AttributeError):
        node.kind = "not"  # type: ignore[misc]
    assert copy.deepcopy(node) == node


items = st.text(st.characters(exclude_characters="(),"), max_size=8)
nodes = st.one_of(
    st.just("/all"),
    st.from_regex(r"[A-Za-z_]\w*", fullmatch=True),
    st.builds("/{}({})".format, st.sampled_from(["not", "oneof"]), st.lists(items, max_size=4).map(",".join)),
)


@given(nodes)
def test_the_text_of_a_node_is_read_back_as_the_same_node(text: str) -> None:
    node = Node(text)
    assert Node(str(node)) == node
    assert str(Node(str(node))) == str(node)


@given(nodes, nodes)
def test_acceptance_of_all_is_unconditional(gate: str, state: str) -> None:
    assert Node("/all").accepts(Node(state))
    assert Node(gate).accepts(Node("/all"))
