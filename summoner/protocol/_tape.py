"""`StateTape`: the states an agent reports for one message, and the handlers they activate (sections 5.4 and 5.5)."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache
from typing import Any

from summoner.protocol._handlers import Receiver
from summoner.protocol._nodes import Node
from summoner.protocol._routes import ParsedRoute

_PREFIX = "tape"
_SCALAR = (str, Node)
_LONGEST_KEPT = 64

States = dict[str | None, list[Node]]


class TapeType(Enum):
    """The shape in which states were reported, and in which they are given back."""

    SINGLE = auto()
    MANY = auto()
    INDEX_SINGLE = auto()
    INDEX_MANY = auto()


@dataclass(frozen=True)
class TapeActivation:
    """One call to make: `fn` of the receiver on `route`, because `state` lies under `key`. `None` twice for a route
    that starts from nothing."""

    key: str | None
    state: Node | None
    route: ParsedRoute
    fn: Callable[..., Any]


class StateTape:
    """States by key. Keys carry the prefix `tape:` inside, so that they are told from the key `None`, which holds
    what initial routes contribute; a tape without keys has the one key `tape`.

    `states` may be a node or its text, a list or tuple of them, or a dict of either under string keys or `None`;
    anything else makes an empty indexed tape. `ValueError` for a text that is no node. `with_prefix=False` takes the
    keys of a dict as they are.
    """

    def __init__(self, states: Any = None, with_prefix: bool = True) -> None:
        self.type, self.states = _classify(states, with_prefix)

    def set_type(self, tape_type: TapeType) -> "StateTape":
        """Change the shape in which the states are given back."""
        self.type = tape_type
        return self

    def refresh(self) -> "StateTape":
        """A new tape of the same type and keys, without states."""
        tape = StateTape.__new__(StateTape)
        tape.type, tape.states = self.type, {key: [] for key in self.states}
        return tape

    def extend(self, states: Any) -> None:
        """Append states given in any shape of the constructor, under keys that have their prefix already."""
        for key, nodes in _classify(states, with_prefix=False)[1].items():
            self.states.setdefault(key, []).extend(nodes)

    def revert(self) -> list[Node] | States:
        """The states in the shape of the tape's type: a list, or lists by key without the prefix."""
        if self.type in (TapeType.SINGLE, TapeType.MANY):
            return [node for nodes in self.states.values() for node in nodes]
        return {
            key and key.removeprefix(_PREFIX + ":"): list(nodes)  # R5: the key None stays None
            for key, nodes in self.states.items()
        }

    def collect_activations(
        self, receiver_index: Mapping[str, Receiver], parsed_routes: Mapping[str, ParsedRoute]
    ) -> dict[tuple[int, ...], list[TapeActivation]]:
        """The handlers to call, by priority. Both mappings go by the text under which a route was registered.

        A receiver is called once for each pair of a state and a gate that accepts it (C22), and not at all if its
        route is not among the parsed ones.
        """
        activations: dict[tuple[int, ...], list[TapeActivation]] = {}
        for text, receiver in receiver_index.items():
            route = parsed_routes.get(text)
            if route is None:
                continue
            for key, state in [(None, None)] if route.is_initial else self._accepted(route):
                activation = TapeActivation(key, state, route, receiver.fn)
                activations.setdefault(receiver.priority, []).append(activation)
        return activations

    def _accepted(self, route: ParsedRoute) -> Iterator[tuple[str | None, Node]]:
        for key, states in self.states.items():
            for state in states:
                for gate in route.source:
                    if gate.accepts(state):
                        yield key, state


def _classify(states: Any, with_prefix: bool) -> tuple[TapeType, States]:
    if isinstance(states, dict):
        return _classify_dict(states, with_prefix)
    if isinstance(states, _SCALAR):
        return TapeType.SINGLE, {_PREFIX: [_node(states)]}
    if _is_sequence(states):
        return TapeType.MANY, {_PREFIX: [_node(item) for item in states]}
    return TapeType.INDEX_MANY, {}


def _classify_dict(states: dict[Any, Any], with_prefix: bool) -> tuple[TapeType, States]:
    scalars_only = True
    for key, item in states.items():  # the shape first: it decides whether a text that is no node matters
        if not (key is None or isinstance(key, str)):
            return TapeType.INDEX_MANY, {}
        if not isinstance(item, _SCALAR):
            if not _is_sequence(item):
                return TapeType.INDEX_MANY, {}
            scalars_only = False
    indexed = {
        f"{_PREFIX}:{key}" if with_prefix and key is not None else key: (
            [_node(item)] if isinstance(item, _SCALAR) else [_node(each) for each in item]  # R4: one state
        )
        for key, item in states.items()
    }
    return TapeType.INDEX_SINGLE if scalars_only else TapeType.INDEX_MANY, indexed


def _is_sequence(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(item, _SCALAR) for item in value)


def _node(value: str | Node) -> Node:
    if isinstance(value, Node):
        return value
    return _kept_node(value) if type(value) is str and len(value) <= _LONGEST_KEPT else Node(value)


@lru_cache(maxsize=256)
def _kept_node(text: str) -> Node:
    """The node of a text; the same few states are reported for every message, and nodes never change."""
    return Node(text)
