"""`Flow`: whether routes are more than labels, the styles their arrows are drawn in, and how they are read (5.2)."""

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from summoner.protocol._nodes import Node
from summoner.protocol._routes import OBJECT_SEPARATOR, ArrowStyle, ParsedRoute
from summoner.protocol.triggers import load_triggers


class Flow:
    """The routing rules of one client. Inactive at first, and without any arrow style."""

    def __init__(self, triggers_file: str | Path | None = None) -> None:
        self.triggers_file = triggers_file
        self.in_use = False
        self._styles: dict[ArrowStyle, None] = {}  # R1: tried in the order of registration

    def activate(self) -> "Flow":
        """Let routes be parsed and choose the handlers to run. Returns the flow."""
        self.in_use = True
        return self

    def deactivate(self) -> "Flow":
        """Let every receiver run for every message. Returns the flow."""
        self.in_use = False
        return self

    def add_arrow_style(self, stem: str, brackets: tuple[str, str], separator: str, tip: str) -> None:
        """Register a way to draw arrows; see `ArrowStyle`. `ValueError` if its pieces could not be told apart."""
        self._styles.setdefault(ArrowStyle(stem, brackets, separator, tip))

    def compile_arrow_patterns(self) -> None:
        """Nothing: styles are ready when registered. Agents of the official SDK call it."""

    def ready(self) -> None:
        """Deprecated name of `compile_arrow_patterns`."""
        warnings.warn("Flow.ready() is now compile_arrow_patterns()", DeprecationWarning, stacklevel=2)
        self.compile_arrow_patterns()

    def parse_route(self, text: str) -> ParsedRoute:
        """The route that a text describes, in the first style in which it makes sense.

        `ValueError` names the part that does not, as the first style whose arrow occurs in the text reads it.
        """
        if not isinstance(text, str):
            raise TypeError(f"a route is a string, not {type(text).__name__}")
        problem: ValueError | None = None
        for style in self._styles:
            parts = style.split(text)
            if parts is None:
                continue
            try:
                return _parse_arrow(text, parts, style)
            except ValueError as error:
                problem = problem or error
        if problem is not None:
            raise problem
        return ParsedRoute(_parse_nodes(text, OBJECT_SEPARATOR, text))

    def parse_routes(self, routes: Iterable[str]) -> list[ParsedRoute]:
        """`parse_route` for each of several texts."""
        return [self.parse_route(route) for route in routes]

    def triggers(self, json_dict: dict[str, Any] | None = None) -> type:
        """The signals of `json_dict`, else of the flow's own file, else of the file `TRIGGERS`; see `load_triggers`."""
        return load_triggers(self.triggers_file, json_dict=json_dict)


def get_token_list(text: str, separator: str) -> list[str]:
    """The trimmed, non-empty pieces of `text` between separators that stand outside parentheses.

    >>> get_token_list("a, b(c,d), e", ",")
    ['a', 'b(c,d)', 'e']
    """
    tokens: list[str] = []
    depth = start = position = 0
    while position < len(text):
        if depth <= 0 and text.startswith(separator, position):  # R2: of any length
            tokens.append(text[start:position])
            start = position = position + len(separator)
            continue
        depth += {"(": 1, ")": -1}.get(text[position], 0)
        position += 1
    tokens.append(text[start:])
    return [token.strip() for token in tokens if token.strip()]


def _parse_arrow(text: str, parts: tuple[str, str, str], style: ArrowStyle) -> ParsedRoute:
    source, label, target = (_parse_nodes(part, style.separator, text) for part in parts)
    if not source and not target:
        raise ValueError(f"route {text!r} has an arrow but neither source nor target")
    return ParsedRoute(source, label, target, style)


def _parse_nodes(part: str, separator: str, route: str) -> tuple[Node, ...]:
    nodes = []
    for token in get_token_list(part, separator):
        try:
            nodes.append(Node(token))
        except ValueError:
            raise ValueError(f"invalid token {token!r} in route {route!r}") from None
    return tuple(nodes)
