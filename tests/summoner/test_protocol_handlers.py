"""Section 5.7 and 1.3: records, enumerations, events, and the names that other code imports."""

import importlib
from typing import Any

import pytest

from summoner.protocol import Action, Event, Move, Sender, Signal, Stay, Test
from summoner.protocol.process import ClientIntent, Direction, Receiver, TapeType
from summoner.protocol.triggers import extract_signal


async def _send() -> None: ...


OK, ERROR, CHILD = Signal((0,), "ok"), Signal((1,), "error"), Signal((0, 0), "child")


@pytest.mark.parametrize(
    ("module", "names"),
    [
        (
            "summoner.protocol",
            "Signal Event Action Move Stay Test StateTape ParsedRoute Node Sender Receiver Direction Flow",
        ),
        (
            "summoner.protocol.process",
            "Node ArrowStyle ParsedRoute Sender Receiver Direction TapeActivation TapeType StateTape ClientIntent",
        ),
        (
            "summoner.protocol.triggers",
            """Signal Event Move Stay Test Action extract_signal load_triggers build_triggers parse_signal_tree
            parse_signal_tree_lines preprocess_line update_hierarchy simplify_leaves is_valid_varname WORKING_DIR""",
        ),
        ("summoner.protocol.flow", "Flow get_token_list"),
        (
            "summoner.protocol.payload",
            "wrap_with_types recover_with_types RelayedMessage register_envelope_version DEFAULT_VERSION",
        ),
        ("summoner.protocol.validation", "hook_priority_order _check_param_and_return"),
        ("summoner.logger", "get_logger configure_logger Logger"),
        (
            "summoner.utils",
            """remove_last_newline ensure_trailing_newline fully_recover_json load_config is_jsonable format_addr
            get_callable_source extract_annotation_identifiers rebuild_expression_for resolve_import_statement""",
        ),
        ("summoner.settings", "DATABASE_URL SECRET_KEY"),
        ("summoner._version", "__version__"),
    ],
)
def test_the_names_that_agents_and_extensions_import_are_there(module: str, names: str) -> None:
    loaded = importlib.import_module(module)
    missing = [name for name in names.split() if not hasattr(loaded, name)]
    assert missing == []


def test_the_package_names_the_version_it_speaks() -> None:
    assert importlib.import_module("summoner").__version__ == "1.3.0"


@pytest.mark.parametrize(
    ("event", "triggers_only", "actions_only", "both"),
    [
        (Move(OK), True, True, True),
        (Stay(OK), True, False, False),
        (Move(ERROR), False, True, False),
        (Move(CHILD), False, True, False),
        (Event(OK), True, False, False),
        (OK, True, False, False),
        (ERROR, False, False, False),
        (None, False, False, False),
        ("ok", False, False, False),
        (Move([]), False, True, False),  # type: ignore[arg-type]
        (Move, False, False, False),
    ],
)
def test_a_sender_responds_to_what_its_filters_let_through(
    event: Any, triggers_only: bool, actions_only: bool, both: bool
) -> None:
    assert Sender(_send, False, None, {OK}).responds_to(event) is triggers_only
    assert Sender(_send, False, {Move}, None).responds_to(event) is actions_only
    assert Sender(_send, False, {Move, Test}, {OK}).responds_to(event) is both


def test_no_filter_is_no_constraint_and_an_empty_one_lets_nothing_through() -> None:
    assert Sender(_send, False, None, None).responds_to(Move(OK))
    assert not Sender(_send, False, set(), {OK}).responds_to(Move(OK))
    assert not Sender(_send, False, {Move}, set()).responds_to(Move(OK))


def test_two_senders_of_one_function_are_different_and_hashable() -> None:
    one, other = Sender(_send, False, {Move}, {OK}), Sender(_send, False, {Move}, {OK})
    assert len({one, other}) == 2


@pytest.mark.parametrize(
    ("record", "attribute"), [(Sender(_send, False, None, None), "multi"), (Receiver(_send, ()), "priority")]
)
def test_the_records_are_frozen(record: Any, attribute: str) -> None:
    with pytest.raises(AttributeError):
        setattr(record, attribute, None)


def test_events_carry_signal_data_and_whatever_else_is_set() -> None:
    event: Any = Move(OK)
    assert (event.signal, event.data) == (OK, None)
    event.data, event.note = {"a": 1}, "x"
    assert (event.data, event.note) == ({"a": 1}, "x")
    assert Move(OK) != Move(OK)
    assert isinstance(event, Event)


def test_the_repr_of_an_event_shows_signal_and_data() -> None:
    assert repr(Move(OK)) == "Move(<Signal 'ok'>)"
    assert repr(Stay(OK, [1])) == "Stay(<Signal 'ok'>, data=[1])"


def test_the_actions_have_names() -> None:
    assert (Action.MOVE is Move, Action.STAY is Stay, Action.TEST is Test) == (True, True, True)
    assert type(Action.TEST(OK)) is Test
    assert Test.__test__ is False


@pytest.mark.parametrize(("given", "signal"), [(Move(OK), OK), (OK, OK), (None, None)])
def test_a_signal_is_extracted_from_events_and_signals(given: Any, signal: Signal | None) -> None:
    assert extract_signal(given) is signal


@pytest.mark.parametrize("given", ["ok", 5, Move, [OK]])
def test_nothing_else_holds_a_signal(given: Any) -> None:
    with pytest.raises(TypeError):
        extract_signal(given)


def test_the_enumerations_have_their_members() -> None:
    assert {each.name for each in Direction} == {"SEND", "RECEIVE"}
    assert {each.name for each in ClientIntent} == {"QUIT", "TRAVEL", "ABORT"}
    assert {each.name for each in TapeType} == {"SINGLE", "MANY", "INDEX_SINGLE", "INDEX_MANY"}
