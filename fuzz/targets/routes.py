"""The grammar of routes and tapes: a text is a route or `ValueError`, and its canonical text is the same route.

A style that is accepted can be told apart: routes written in it are read back. Groups may list anything (the official
SDK does not check it, and we keep that), so this holds where they list names.
"""

import contextlib

from summoner.protocol import Action, Flow, Node, ParsedRoute, Signal, StateTape

IS_JSON = False
WORDS = (
    "--",
    "-->",
    "--[",
    "]-->",
    "=={",
    "}==)",
    "/all",
    "/not(",
    "/oneof(",
    "(",
    ")",
    ",",
    ";",
    "A",
    "b_1",
    " ",
    "\n",
)

_STYLES = (("-", ("[", "]"), ",", ">"), ("=", ("{", "}"), ";", ")"))
_EVENTS = [kind(Signal((0,), "s")) for kind in (Action.MOVE, Action.STAY, Action.TEST)]


def check(data: bytes) -> None:
    """Read `data` as a route; where it has six lines, the first five are the pieces of an arrow."""
    text = data.decode("utf-8", "replace")
    flow = Flow()
    pieces = text.split("\n", 5)
    if len(pieces) == 6:
        stem, left, right, separator, tip, text = pieces
        with contextlib.suppress(ValueError):
            flow.add_arrow_style(stem, (left, right), separator, tip)
    for style in _STYLES:
        flow.add_arrow_style(*style)
    try:
        node = Node(text)
    except ValueError:
        pass
    else:
        _check_node(text, node)
    try:
        route = flow.parse_route(text)
    except ValueError as error:
        assert repr(text) in str(error)
        return
    _check_route(flow, route)


def _check_node(text: str, node: Node) -> None:
    assert Node(str(node)) == node
    tape = StateTape({"peer": [text, node], None: str(node)})
    assert tape.revert() == {"peer": [node, node], None: [node]}
    assert isinstance(node.accepts(node), bool)


def _check_route(flow: Flow, route: ParsedRoute) -> None:
    assert route.is_object is not route.is_arrow
    own = route.source + route.label + route.target
    listed = [name for node in own for name in node.values or ()]
    for event in _EVENTS:
        assert set(route.activated_nodes(event)) <= set(own)
    if not all(map(str.isidentifier, listed)):
        return
    again = flow.parse_route(str(route))
    assert str(again) == str(route)
    assert (again.source, again.label, again.target) == (route.source, route.label, route.target)
