"""Sections 5.2, 5.3 and 4.8: arrow styles, what a route means, what it activates, and which route answers which."""

from typing import Any

import pytest

from summoner.protocol import Event, Flow, Move, Node, ParsedRoute, Signal, Stay, Test
from summoner.protocol.process import ArrowStyle, route_matches

SIGNAL = Signal((0,), "ok")


def flow() -> Flow:
    flow = Flow().activate()
    flow.add_arrow_style("-", ("[", "]"), ",", ">")
    return flow


@pytest.mark.parametrize(
    "style",
    [
        ("-", ("[", "]"), ",", ">"),
        ("=", ("{", "}"), ";", ")"),
        ("-", ("[", "["), ",", ">"),
        ("-", ("[", "]"), ",", "--"),
        ("-", ("[", "]"), "and", ">"),
        ("-", ["[", "]"], ",", ">"),
    ],
)
def test_these_arrow_styles_are_valid(style: tuple[Any, Any, Any, Any]) -> None:
    assert hash(ArrowStyle(*style)) == hash(ArrowStyle(*style))
    assert ArrowStyle(*style) == ArrowStyle(*style)


@pytest.mark.parametrize(
    "style",
    [
        ("--", ("[", "]"), ",", ">"),
        ("", ("[", "]"), ",", ">"),
        (None, ("[", "]"), ",", ">"),
        ("-", ("[", "]"), ",", "-"),
        ("-", ("[", "]"), ",", "-->"),
        ("-", ("[", "[["), ",", ">"),
        ("-", ("[", ">>"), ",", ">"),
        ("-", ("[", "]"), "-", ">"),
        ("-", ("[", "]"), "[", ">"),
        ("-", ("[", "]"), "a]", ">"),
        ("-", ("[", "]"), "(", ">"),
        ("-", ("[", "]"), ")", ">"),
        ("-", ("[", "]"), "/", ">"),
        ("-", ("[", "]"), ">>", ">"),
        ("-", ("[", "]"), "", ">"),
        ("-", ("", "]"), ",", ">"),
        ("-", ("[", "]"), ",", ""),
        ("-", ("[", None), ",", ">"),
        ("-", ("[",), ",", ">"),
        ("-", None, ",", ">"),
    ],
)
def test_these_arrow_styles_are_refused(style: tuple[Any, Any, Any, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        ArrowStyle(*style)


@pytest.mark.parametrize(
    ("text", "has_label", "is_arrow", "is_initial"),
    [
        ("A", False, False, False),
        ("A --> B", False, True, False),
        ("A --[f]--> B", True, True, False),
        ("--> B", False, True, True),
        ("--[f]--> B", True, True, True),
        ("A --[f]-->", True, True, False),
        ("A -->", False, False, False),
        ("A --[]-->", False, False, False),
        ("", False, False, False),
    ],
)
def test_the_properties_of_a_route_follow_from_its_parts(
    text: str, has_label: bool, is_arrow: bool, is_initial: bool
) -> None:
    route = flow().parse_route(text)
    assert (route.has_label, route.is_arrow, route.is_object, route.is_initial) == (
        has_label,
        is_arrow,
        not is_arrow,
        is_initial,
    )


EVENTS = [Move(SIGNAL), Stay(SIGNAL), Test(SIGNAL), Event(SIGNAL), None, SIGNAL, "other"]

ACTIVATED = {  # what each of the first four events activates; the others activate nothing
    "A--[L]-->B": ("L B", "A", "L", ""),
    "A-->B": ("B", "A", "", ""),
    "-->B": ("B", "", "", ""),
    "A--[L]-->": ("L", "A", "L", ""),
    "A": ("A", "A", "", "A"),
    "A,B": ("A B", "A B", "", "A B"),
    "A-->": ("A", "A", "", "A"),
}


@pytest.mark.parametrize("text", ACTIVATED)
@pytest.mark.parametrize(("index", "event"), list(enumerate(EVENTS)))
def test_an_event_activates_the_nodes_of_the_table(text: str, index: int, event: Any) -> None:
    expected = (*ACTIVATED[text], "", "", "")[index]
    assert flow().parse_route(text).activated_nodes(event) == tuple(map(Node, expected.split()))


def test_a_subclass_of_an_action_activates_what_the_action_does() -> None:
    class Leap(Move):
        pass

    assert flow().parse_route("A-->B").activated_nodes(Leap(SIGNAL)) == (Node("B"),)


RECEIVERS = ["A --[L]--> B", "A --> B", "A", "--> B", "A --[L]-->", "A, C --> B"]

MATCHES = {  # one letter per receiver above
    "A": "TTT.TT",
    "/all": "TTT.TT",
    "A-->B": "TT...T",
    "/all-->/all": "TT...T",
    "A--[L]-->B": "T.....",
    "--[L]-->B": "T.....",
    "/all--[/all]-->/all": "T.....",
    "-->B": "TT.T.T",
    "A--[L]-->": "T...T.",
    "A,C": ".....T",
    "C": ".....T",
    "/not(A)": ".....T",
    "A-->B,D": "......",
    "": "TTTTTT",
}


@pytest.mark.parametrize("sender", MATCHES)
@pytest.mark.parametrize(("column", "receiver"), list(enumerate(RECEIVERS)), ids=RECEIVERS)
def test_scenario_25_a_sender_answers_the_receivers_of_the_matching_table(
    sender: str, column: int, receiver: str
) -> None:
    matches = route_matches(flow().parse_route(sender), flow().parse_route(receiver))
    assert matches is (MATCHES[sender][column] == "T")


def test_routes_compare_by_their_canonical_text() -> None:
    one, other = flow().parse_route("A --> B"), flow().parse_route("A--[ ]-->B")
    assert one == other
    assert hash(one) == hash(other)
    assert one != flow().parse_route("A --[f]--> B")
    assert one != "A--[]-->B"
    assert flow().parse_route("A -->") == flow().parse_route("A")


def test_the_repr_of_a_route_is_coloured_and_shows_the_text() -> None:
    assert repr(flow().parse_route("A --> B")).startswith("\033[")
    assert "A--[]-->B" in repr(flow().parse_route("A --> B"))


def test_a_route_with_an_arrow_cannot_be_built_without_a_style() -> None:
    with pytest.raises(ValueError, match="style"):
        ParsedRoute((Node("A"),), (), (Node("B"),), None)
