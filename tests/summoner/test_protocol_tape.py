"""Sections 5.4, 5.5 and the tape's part of 4.7: which states come in, whom they activate, and what is handed back."""

from collections.abc import Mapping
from typing import Any

import pytest

from summoner.protocol import Event, Flow, Move, Node, Signal, StateTape, Stay, Test
from summoner.protocol.process import Receiver, TapeActivation, TapeType

SIGNAL = Signal((0,), "ok")


def texts(states: Any) -> Any:
    """States with every node replaced by its text."""
    if isinstance(states, dict):
        return {key: texts(nodes) for key, nodes in states.items()}
    return [str(node) for node in states]


def activations(
    states: Any, receivers: dict[str, tuple[int, ...]]
) -> tuple[StateTape, dict[tuple[int, ...], list[TapeActivation]]]:
    flow = Flow().activate()
    flow.add_arrow_style("-", ("[", "]"), ",", ">")
    tape = StateTape(states)
    index = {text: Receiver(_handler, priority) for text, priority in receivers.items()}
    return tape, tape.collect_activations(index, {text: flow.parse_route(text) for text in receivers})


async def _handler(_payload: Any) -> None: ...


def contributions(tape: StateTape, batch: list[TapeActivation], events: Mapping[str, Event]) -> Any:
    """What one batch of handlers adds to an empty tape, each returning the event named for its route."""
    contribution = tape.refresh()
    for activation in batch:
        contribution.extend({activation.key: activation.route.activated_nodes(events[str(activation.route)])})
    return texts(contribution.revert())


@pytest.mark.parametrize(
    ("states", "tape_type", "reverted"),
    [
        ("A", TapeType.SINGLE, ["A"]),
        (Node("/not(a)"), TapeType.SINGLE, ["/not(a)"]),
        (["A", Node("B")], TapeType.MANY, ["A", "B"]),
        (("A", "B"), TapeType.MANY, ["A", "B"]),
        ([], TapeType.MANY, []),
        ({"k": "A", "j": Node("B")}, TapeType.INDEX_SINGLE, {"k": ["A"], "j": ["B"]}),
        ({None: "A"}, TapeType.INDEX_SINGLE, {None: ["A"]}),
        ({"": "A"}, TapeType.INDEX_SINGLE, {"": ["A"]}),
        ({"tape:k": "A"}, TapeType.INDEX_SINGLE, {"tape:k": ["A"]}),
        ({}, TapeType.INDEX_SINGLE, {}),
        ({"k": ["A", "B"], "j": ()}, TapeType.INDEX_MANY, {"k": ["A", "B"], "j": []}),
        ({"k": "AB", "j": ["A"]}, TapeType.INDEX_MANY, {"k": ["AB"], "j": ["A"]}),
        ({"k": Node("AB"), "j": ["A"]}, TapeType.INDEX_MANY, {"k": ["AB"], "j": ["A"]}),
        (None, TapeType.INDEX_MANY, {}),
        (5, TapeType.INDEX_MANY, {}),
        ({"A", "B"}, TapeType.INDEX_MANY, {}),
        ([["A"]], TapeType.INDEX_MANY, {}),
        ([5], TapeType.INDEX_MANY, {}),
        ({1: "A"}, TapeType.INDEX_MANY, {}),
        ({"k": 5}, TapeType.INDEX_MANY, {}),
        ({"k": [["A"]]}, TapeType.INDEX_MANY, {}),
        ({"k": "no node", "j": 5}, TapeType.INDEX_MANY, {}),
        ({"k": "no node", 1: "A"}, TapeType.INDEX_MANY, {}),
        ({"k": "A" * 100, "j": ("A",)}, TapeType.INDEX_MANY, {"k": ["A" * 100], "j": ["A"]}),
    ],
)
def test_reported_states_are_classified_and_given_back_in_their_shape(
    states: Any, tape_type: TapeType, reverted: Any
) -> None:
    tape = StateTape(states)
    assert tape.type is tape_type
    assert texts(tape.revert()) == reverted


@pytest.mark.parametrize("states", ["a-b", ["A", "1"], {"k": "?"}, {"k": ["A", ""]}])
def test_a_state_that_is_no_node_is_refused(states: Any) -> None:
    with pytest.raises(ValueError, match="invalid node"):
        StateTape(states)


def test_a_state_reported_again_is_read_as_the_first_time() -> None:
    for _ in range(2):
        assert StateTape(["A", "/not(a)"]).states == {"tape": [Node("A"), Node("/not(a)")]}
        with pytest.raises(ValueError, match="invalid node"):
            StateTape("no node")


def test_keys_carry_their_prefix_inside_only() -> None:
    _, by_priority = activations({"k": "A", None: "A"}, {"A": ()})
    assert [activation.key for activation in by_priority[()]] == ["tape:k", None]
    _, by_priority = activations(["A"], {"A": ()})
    assert [activation.key for activation in by_priority[()]] == ["tape"]
    assert StateTape({"tape:k": "A"}, with_prefix=False).states == {"tape:k": [Node("A")]}
    assert texts(StateTape({"tape:k": "A"}, with_prefix=False).revert()) == {"k": ["A"]}


def test_a_refreshed_tape_keeps_type_and_keys_and_shares_nothing() -> None:
    tape = StateTape({"k": "A"})
    fresh = tape.refresh()
    fresh.extend({"tape:k": ["B"], None: Node("C")})
    assert fresh.type is TapeType.INDEX_SINGLE
    assert texts(fresh.revert()) == {"k": ["B"], None: ["C"]}
    assert texts(tape.revert()) == {"k": ["A"]}


def test_what_is_given_back_is_a_copy() -> None:
    tape = StateTape({"k": "A"})
    reverted = tape.revert()
    assert isinstance(reverted, dict)
    reverted["k"].clear()
    assert texts(tape.revert()) == {"k": ["A"]}


def test_the_type_of_a_tape_can_be_set() -> None:
    tape = StateTape({"k": "A", "j": "B"})
    assert texts(tape.set_type(TapeType.MANY).revert()) == ["A", "B"]


@pytest.mark.parametrize(
    ("states", "argument"),
    [
        ("A", ["B", "S"]),
        (["A", "B"], ["B", "S"]),
        (("A", "B"), ["B", "S"]),
        ([], ["S"]),
        ({"k": "A"}, {"k": ["B"], None: ["S"]}),
        ({"k": []}, {"k": [], None: ["S"]}),
        ({}, {None: ["S"]}),
        (None, {None: ["S"]}),
        (5, {None: ["S"]}),
        ([["A"]], {None: ["S"]}),
        ({1: "A"}, {None: ["S"]}),
        ("/all", ["B", "S"]),
    ],
)
def test_scenario_25_download_states_gets_what_the_table_says(states: Any, argument: Any) -> None:
    tape, by_priority = activations(states, {"A --> B": (), "--> S": ()})
    moves = dict.fromkeys(["A--[]-->B", "--[]-->S"], Move(SIGNAL))
    assert contributions(tape, by_priority[()], moves) == argument


def test_scenario_25_the_flow_table_holds_step_by_step() -> None:
    receivers = {"A --> B": (2,), "A --[L]--> C": (1,), "B": (1,), "--> S": (1, 0)}
    tape, by_priority = activations({"k1": "A", "k2": ["A", "B"]}, receivers)
    events: dict[str, Event] = {
        "A--[]-->B": Move(SIGNAL),
        "A--[L]-->C": Test(SIGNAL),
        "B": Stay(SIGNAL),
        "--[]-->S": Move(SIGNAL),
    }
    calls = {
        priority: [(str(activation.route), activation.key) for activation in batch]
        for priority, batch in by_priority.items()
    }
    assert sorted(calls) == [(1,), (1, 0), (2,)]
    assert calls[1,] == [("A--[L]-->C", "tape:k1"), ("A--[L]-->C", "tape:k2"), ("B", "tape:k2")]
    assert calls[1, 0] == [("--[]-->S", None)]
    assert calls[2,] == [("A--[]-->B", "tape:k1"), ("A--[]-->B", "tape:k2")]
    assert contributions(tape, by_priority[1,], events) == {"k1": ["L"], "k2": ["L", "B"]}
    assert contributions(tape, by_priority[1, 0], events) == {"k1": [], "k2": [], None: ["S"]}
    assert contributions(tape, by_priority[2,], events) == {"k1": ["B"], "k2": ["B"]}


def test_a_handler_is_called_once_for_each_pair_of_state_and_accepting_gate() -> None:
    _, by_priority = activations(["A", "/all"], {"A, /all": ()})
    assert [str(activation.state) for activation in by_priority[()]] == ["A", "A", "/all", "/all"]


def test_activations_follow_registration_then_key_then_state() -> None:
    _, by_priority = activations({"k": ["A", "B"], "j": "A"}, {"B": (), "A": ()})
    order = [(str(activation.route), activation.key) for activation in by_priority[()]]
    assert order == [("B", "tape:k"), ("A", "tape:k"), ("A", "tape:j")]


def test_an_initial_route_is_activated_once_whatever_the_states() -> None:
    for states in (None, "A", {"k": ["A", "B"]}):
        _, by_priority = activations(states, {"--[f]--> S": ()})
        (activation,) = by_priority[()]
        assert (activation.key, activation.state) == (None, None)


def test_no_state_no_gate_and_no_parsed_route_activate_nothing() -> None:
    assert activations("B", {"A": (), "A --> B": ()})[1] == {}
    assert activations("A", {"": ()})[1] == {}
    assert StateTape("A").collect_activations({"?": Receiver(_handler, ())}, {}) == {}
