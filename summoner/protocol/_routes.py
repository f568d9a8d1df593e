"""`ArrowStyle` and `ParsedRoute`: how a route is written, what it means, and which route answers which (section 5.2)."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any

from summoner.protocol._nodes import Node
from summoner.protocol._signals import Event, Move, Stay, Test

OBJECT_SEPARATOR = ","  # between the nodes of a route without an arrow, whatever the style


@dataclass(frozen=True)
class ArrowStyle:
    """The pieces an arrow is drawn with: `ArrowStyle("-", ("[", "]"), ",", ">")` draws `A --[f,g]--> B`.

    Raises `ValueError` for pieces that could not be told apart.
    """

    stem: str
    brackets: tuple[str, str]
    separator: str
    tip: str

    def __post_init__(self) -> None:
        if not isinstance(self.stem, str) or len(self.stem) != 1:
            raise ValueError(f"the stem must be a single character, not {self.stem!r}")
        if not isinstance(self.brackets, list | tuple) or len(self.brackets) != 2:
            raise ValueError("the brackets must be a pair of strings")
        object.__setattr__(self, "brackets", tuple(self.brackets))
        left, right = self.brackets
        for piece in (left, right, self.separator, self.tip):
            if not isinstance(piece, str) or not piece:
                raise ValueError(f"brackets, separator and tip must be non-empty strings, not {piece!r}")
        for outer, inner in permutations({self.stem * 2, left, right, self.tip}, 2):
            if inner in outer:
                raise ValueError(f"the arrow pieces {inner!r} and {outer!r} cannot be told apart")
        for piece in (self.stem, left, right, self.tip, "(", ")", "/"):
            if piece in self.separator:
                raise ValueError(f"the separator {self.separator!r} must not contain {piece!r}")

    @property
    def opening(self) -> str:
        """What stands between source and label, such as `--[`."""
        return self.stem * 2 + self.brackets[0]

    @property
    def closing(self) -> str:
        """What stands between label and target, such as `]-->`."""
        return self.brackets[1] + self.arrow

    @property
    def arrow(self) -> str:
        """What stands between source and target when there is no label, such as `-->`."""
        return self.stem * 2 + self.tip

    def split(self, text: str) -> tuple[str, str, str] | None:
        """Source, label and target of a text with an arrow of this style; `None` if there is none."""
        source, opened, rest = text.partition(self.opening)
        label, closed, target = rest.partition(self.closing)
        if opened and closed:
            return source, label, target
        source, arrow, target = text.partition(self.arrow)
        return (source, "", target) if arrow else None


@dataclass(frozen=True, eq=False, repr=False)
class ParsedRoute:
    """A route: tuples of nodes before, on and behind its arrow, all but `source` empty for a route without one.

    Two routes are equal if their canonical texts are.
    """

    source: tuple[Node, ...]
    label: tuple[Node, ...] = ()
    target: tuple[Node, ...] = ()
    style: ArrowStyle | None = None
    _text: str = field(init=False)

    def __post_init__(self) -> None:
        for part in ("source", "label", "target"):
            object.__setattr__(self, part, tuple(getattr(self, part)))
        object.__setattr__(self, "_text", self._canonical_text())

    def _canonical_text(self) -> str:
        if self.is_object:
            return _joined(self.source, OBJECT_SEPARATOR)
        if self.style is None:
            raise ValueError("a route with a label or a target needs an arrow style")
        source, label, target = (
            _joined(nodes, self.style.separator) for nodes in (self.source, self.label, self.target)
        )
        return source + self.style.opening + label + self.style.closing + target

    @property
    def has_label(self) -> bool:
        """Whether there is a node on the arrow."""
        return bool(self.label)

    @property
    def is_arrow(self) -> bool:
        """Whether there is a label or a target. `A -->` has neither, it means the same as `A`."""
        return bool(self.label or self.target)

    @property
    def is_object(self) -> bool:
        """Whether the route names states only."""
        return not self.is_arrow

    @property
    def is_initial(self) -> bool:
        """Whether the route starts from nothing, and so runs for every message."""
        return self.is_arrow and not self.source

    def activated_nodes(self, event: Any) -> tuple[Node, ...]:
        """The nodes this route contributes to the tape when its handler returned `event` (section 5.3)."""
        if self.is_object:  # R3: `A -->` counts as an object here
            return self.source if isinstance(event, Event) and not isinstance(event, Test) else ()
        if isinstance(event, Move):
            return self.label + self.target
        if isinstance(event, Stay):
            return self.source
        return self.label if isinstance(event, Test) else ()

    def __eq__(self, other: object) -> bool:
        return self._text == other._text if isinstance(other, ParsedRoute) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._text)

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"\033[94m{self._text}\033[0m"


def route_matches(sender_route: ParsedRoute, receiver_route: ParsedRoute) -> bool:
    """Whether a reactive sender on `sender_route` may answer events of a receiver on `receiver_route` (section 4.8).

    Every node of the sender's source accepts some node of the receiver's source, and so for label and target. An
    empty part of the sender matches anything; a node matches nothing in an empty part.
    """
    return (
        _covers(sender_route.source, receiver_route.source)
        and _covers(sender_route.label, receiver_route.label)
        and _covers(sender_route.target, receiver_route.target)
    )


def _covers(gates: Iterable[Node], states: tuple[Node, ...]) -> bool:
    return all(any(gate.accepts(state) for state in states) for gate in gates)


def _joined(nodes: Iterable[Node], separator: str) -> str:
    return separator.join(map(str, nodes))
