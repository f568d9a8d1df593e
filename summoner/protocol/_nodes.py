"""`Node`: the gates and states that routes and tapes are made of (section 5.1)."""

import re
from dataclasses import dataclass
from typing import Literal

NodeKind = Literal["plain", "all", "not", "oneof"]

_PLAIN = re.compile(r"[A-Za-z_]\w*")
_GROUP = re.compile(r"/(not|oneof)\(([^()]*)\)")


@dataclass(frozen=True, slots=True, init=False, repr=False)
class Node:
    """A name, or a set of names: `a`, `/all`, `/not(a, b)`, `/oneof(a, b)`.

    In a route a node is a gate, on a tape it is a state. `values` are the names it lists, `None` for `/all`. Raises
    `ValueError` for any other text.
    """

    kind: NodeKind
    values: tuple[str, ...] | None

    def __init__(self, text: str) -> None:
        kind, values = _parse(text)
        object.__setattr__(self, "kind", kind)
        object.__setattr__(self, "values", values)

    def accepts(self, state: "Node") -> bool:
        """Whether this gate lets `state` pass. `TypeError` if `state` is no node."""
        if not isinstance(state, Node):
            raise TypeError(f"a gate accepts nodes only, not {type(state).__name__}")
        if self.values is None or state.values is None:
            return True
        if self.kind == state.kind == "plain":  # nearly every pair
            return self.values == state.values
        gate, given = set(self.values), set(state.values)
        if state.kind == "not":
            return self.kind == "not" or not gate <= given
        if self.kind == "not":
            return state.kind == "oneof" or not gate & given  # R6: /not(a) accepts even /oneof(a)
        return bool(gate & given)

    def __str__(self) -> str:
        """The canonical text, which `Node` takes back."""
        if self.values is None:
            return "/all"
        if self.kind == "plain":
            return self.values[0]
        return f"/{self.kind}({','.join(self.values)})"

    def __repr__(self) -> str:
        return f"\033[96m{self}\033[0m"


def _parse(text: str) -> tuple[NodeKind, tuple[str, ...] | None]:
    if not isinstance(text, str):
        raise TypeError(f"a node is made from a string, not {type(text).__name__}")
    text = text.strip()
    if _PLAIN.fullmatch(text):
        return "plain", (text,)
    if text == "/all":
        return "all", None
    group = _GROUP.fullmatch(text)
    if group is None:
        raise ValueError(f"invalid node {text!r}")
    items = (item.strip() for item in group[2].split(","))
    kind: NodeKind = "not" if group[1] == "not" else "oneof"
    return kind, tuple(item for item in items if item)
