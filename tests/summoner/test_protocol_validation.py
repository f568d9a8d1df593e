"""Sections 4.6 and 4.6.1: what the decorators accept, and what they refuse with which error."""

import functools
import logging
import typing
from collections.abc import Callable
from types import FunctionType
from typing import Any, NewType, TypedDict

import pytest

from summoner.protocol import Direction, Event, Move, Node, Signal, Stay, Test
from summoner.protocol.validation import (
    _check_param_and_return,
    check_direction,
    check_handler,
    check_priority,
    check_route,
    check_send_options,
    hook_priority_order,
)

OK = Signal((0,), "ok")
LOGGER = logging.getLogger("test.validation")


class Message(TypedDict):
    content: str


Payload = NewType("Payload", dict)  # type: ignore[type-arg]


NAMES = (
    vars(typing) | {each.__name__: each for each in (Event, Move, Node, Stay, Message)} | {"Payload": Payload}
)


def handler(text: str) -> Callable[..., Any]:
    """An async function with the given parameters and return annotation, such as `(m: Any) -> None`.

    Made by `exec`, and so without any source text to be found (C11).
    """
    namespace = dict(NAMES)
    exec(f"async def made{text}: ...", namespace)
    made = namespace["made"]
    assert isinstance(made, FunctionType)
    return made


ACCEPTED = {
    "receive": [
        "(m: Any) -> None",
        "(m: dict) -> Optional[Event]",
        "(m: Union[str, dict]) -> Any",
        "(m: str) -> Event",
        "(m: Any = 1) -> None",
        "(*m: Any) -> None",
        # C10: forms the official checker refuses for their spelling only
        "(m: 'dict[str, Any]') -> 'Optional[Move]'",
        "(m: str | dict) -> None",
        "(m: Optional[dict]) -> None",
        "(m: dict[str, Any]) -> None",
        "(m: Dict[str, Any]) -> None",
        "(m: Any) -> Move",
        "(m: Any) -> Optional[Move]",
        "(m: Any) -> Move | Stay | None",
        "(m: Any) -> Optional['Move']",
        "(m: Message) -> None",
        "(m: Payload) -> None",
    ],
    "hook": [
        "(m: Any) -> Optional[dict]",
        "(m: Any) -> Union[str, dict, None]",
        "(m: str) -> str",
        "(m: dict) -> None",
        "(m: Any) -> Any",
        "(m: dict) -> dict[str, Any] | None",
    ],
    "send": [
        "() -> Optional[str]",
        "() -> Union[dict, str]",
        "() -> None",
        "() -> Any",
        "() -> dict[str, Any]",
        "() -> 'str | None'",
    ],
    "send multi": [
        "() -> Any",
        "() -> list",
        "() -> list[str]",
        "() -> list[dict]",
        "() -> list[Union[str, dict]]",
        "() -> List[str]",
        "() -> 'list[dict[str, Any]]'",
    ],
    "send use_data": ["(data: int) -> str", "(data: Move) -> None", "(data) -> Any"],
    "upload_states": [
        "(p: Any) -> dict[str, str]",
        "(p: dict) -> dict[str, list[str]]",
        "(p: str) -> Optional[str]",
        "(p: None) -> None",
        "(p: Any) -> Node",
        "(p: Any) -> list[Node]",
        "(p: Any) -> dict[str, Union[Node, list[Node]]]",
        "(p: Optional[dict]) -> list[Union[str, Node]]",
    ],
    "download_states": [
        "(p: dict[Optional[str], list[Node]]) -> None",
        "(p: list[Node]) -> Any",
        "(p: Node) -> None",
        "(p: None) -> None",
        "(p: Any) -> None",
        "(p: dict) -> None",
        "(p: dict[str, Union[Node, list[Node]]]) -> None",
        "(p: Union[list, dict, None]) -> None",
    ],
}

REFUSED = {
    "receive": [
        "(m: int) -> None",
        "(m: list) -> None",
        "(m: object) -> None",
        "(m: None) -> None",
        "() -> None",
        "(m: Any, n: Any) -> None",
        "(m: Any, n: Any = 1) -> None",
        "(*, m: Any) -> None",
        "(**m: Any) -> None",
        "(m: Any) -> str",
        "(m: Any) -> int",
        "(m: Any) -> Optional[str]",
        "(m: 'int') -> None",
        "(m: str | int) -> None",
        "(m: list[dict]) -> None",
        "(m: 5) -> None",
    ],
    "hook": ["(m: Any) -> int", "(m: Any) -> bool", "(m: int) -> None", "() -> None", "(m: Any) -> list"],
    "send": ["() -> list", "() -> int", "() -> list[str]", "(x: Any) -> str", "() -> 'tuple'"],
    "send multi": ["() -> str", "() -> None", "() -> Optional[list]", "() -> dict", "(x: Any) -> list"],
    "send use_data": ["() -> str", "(data, more) -> str", "(data: Any) -> list"],
    "upload_states": [
        "() -> str",
        "(p: Any) -> tuple",
        "(p: Any) -> set",
        "(p: int) -> str",
        "(p: list) -> str",
    ],
    "download_states": ["(p: str) -> None", "(p: Any) -> dict", "() -> None", "(p: dict | str) -> None"],
}


def rows(table: dict[str, list[str]]) -> list[Any]:
    return [pytest.param(kind, text, id=f"{kind} {text}") for kind, texts in table.items() for text in texts]


def check(kind: str, fn: Any) -> None:
    decorator, _, option = kind.partition(" ")
    check_handler(fn, decorator, LOGGER, multi=option == "multi", use_data=option == "use_data")


@pytest.mark.parametrize(("kind", "text"), rows(ACCEPTED))
def test_these_handlers_are_accepted_in_silence(
    kind: str, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    check(kind, handler(text))
    assert caplog.records == []


@pytest.mark.parametrize(("kind", "text"), rows(REFUSED))
def test_these_handlers_are_refused(kind: str, text: str) -> None:
    with pytest.raises(TypeError, match=f"@{kind.partition(' ')[0]}.*made"):
        check(kind, handler(text))


@pytest.mark.parametrize(
    ("kind", "text", "missing"),
    [
        ("receive", "(m) -> None", "parameter 'm'"),
        ("receive", "(m: Any)", "the return value"),
        ("send", "()", "the return value"),
        ("receive", "(m: 'Unknown') -> None", "parameter 'm'"),
        ("receive", "(m: 'not an expression') -> None", "parameter 'm'"),
    ],
)
def test_a_missing_annotation_is_a_warning(
    kind: str, text: str, missing: str, caplog: pytest.LogCaptureFixture
) -> None:
    check(kind, handler(text))
    assert [missing in record.getMessage() for record in caplog.records] == [True]
    assert caplog.records[0].levelno == logging.WARNING


def test_the_parameter_of_a_data_sender_needs_no_annotation(caplog: pytest.LogCaptureFixture) -> None:
    check("send use_data", handler("(data) -> str"))
    assert caplog.records == []


def test_annotations_deferred_by_a_future_import_are_resolved() -> None:
    namespace = dict(NAMES)
    exec("from __future__ import annotations\nasync def made(m: dict) -> Move | None: ...", namespace)
    check("receive", namespace["made"])
    exec("from __future__ import annotations\nasync def made(m: int) -> None: ...", namespace)
    with pytest.raises(TypeError, match="not int"):
        check("receive", namespace["made"])


def test_the_refusal_names_handler_parameter_and_types() -> None:
    with pytest.raises(TypeError) as caught:
        check("receive", handler("(m: int | None) -> None"))
    assert (
        str(caught.value)
        == "@receive: handler made: parameter 'm' must be declared Any or str or dict, not int"
    )


class Handlers:
    async def method(self, m: Any) -> None: ...

    async def __call__(self, m: "Any") -> None: ...


class Synchronous:
    def __call__(self, m: Any) -> None: ...


def synchronous(m: Any) -> None: ...


async def configured(setting: str, m: "Any") -> None: ...


@pytest.mark.parametrize("fn", [Handlers().method, Handlers(), functools.partial(configured, "x")])
def test_bound_methods_callable_objects_and_partials_may_be_handlers(fn: Any) -> None:
    check("receive", fn)


@pytest.mark.parametrize(
    "fn", [synchronous, Synchronous(), Handlers, print, 5, None, functools.partial(synchronous)]
)
def test_what_is_not_async_is_no_handler(fn: Any) -> None:
    with pytest.raises(TypeError, match="async"):
        check("receive", fn)


def test_a_handler_without_a_name_is_shown() -> None:
    with pytest.raises(TypeError, match=r"handler functools\.partial"):
        check("receive", functools.partial(synchronous))


def test_an_extension_may_check_signatures_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    def checked(text: str, **options: Any) -> None:
        _check_param_and_return(handler(text), "@learn", (list[str],), [None, bytes], LOGGER, **options)

    checked("(a: list, b: list[int]) -> bytes")
    checked("(a: list) -> None", expected_params=1)
    checked("(a: int) -> None", expected_params=1, skip_param_type_check=True)
    with pytest.raises(TypeError, match="2 positional parameters"):
        checked("(a: list) -> None", expected_params=2)
    with pytest.raises(TypeError, match="return value"):
        checked("(a: list) -> str")


def test_a_route_is_stripped_and_must_be_a_string() -> None:
    assert check_route("  A --> B\n", "send") == "A --> B"
    with pytest.raises(TypeError, match=r"@receive.*int"):
        check_route(5, "receive")


@pytest.mark.parametrize(
    ("given", "priority"),
    [(3, (3,)), (-1, (-1,)), (True, (True,)), ((), ()), ((1, -5), (1, -5)), ((True,), (True,))],
)
def test_a_priority_is_an_integer_or_a_tuple_of_integers(given: Any, priority: tuple[int, ...]) -> None:
    assert check_priority(given) == priority


@pytest.mark.parametrize("given", [None, "1", 1.0, [1], (1, "a"), (1.0,), ((1,),)])
def test_any_other_priority_is_refused(given: Any) -> None:
    with pytest.raises(ValueError, match="priority"):
        check_priority(given)


def test_a_direction_is_a_direction() -> None:
    check_direction(Direction.SEND)
    for wrong in ("SEND", 1, None):
        with pytest.raises(TypeError, match="Direction"):
            check_direction(wrong)


def test_priorities_are_ordered_as_tuples_and_strings_first() -> None:
    ordered: list[tuple[Any, ...]] = [
        ("a",),
        ("a", 1),
        ("b", "x"),
        ("b", 1),
        (),
        (-1,),
        (0,),
        (0, "x"),
        (0, 1),
        (1,),
    ]
    shuffled = ordered[::-1]
    assert sorted(shuffled, key=hook_priority_order) == ordered


DEFAULTS: dict[str, Any] = {
    "flow_in_use": True,
    "multi": False,
    "use_data": False,
    "every": None,
    "on_triggers": None,
    "on_actions": None,
    "run_while": None,
    "data_mode": None,
    "when_data": None,
    "logger": LOGGER,
}
DATA = {"use_data": True, "on_triggers": {OK}}


async def asynchronous(data: Any) -> bool:
    return True


@pytest.mark.parametrize(
    ("options", "data_mode"),
    [
        ({}, None),
        ({"multi": True}, None),
        ({"every": 1}, None),
        ({"every": 0.5, "run_while": True}, None),
        ({"every": 0.5, "run_while": lambda: True}, None),
        ({"every": 0.5, "run_while": asynchronous}, None),
        ({"on_triggers": {OK}}, None),
        ({"on_actions": {Move, Stay, Test}}, None),
        ({"on_triggers": set(), "on_actions": {Move}}, None),
        ({"flow_in_use": False, "on_triggers": {OK}}, None),
        ({"flow_in_use": False, "every": 1, "on_triggers": None}, None),
        ({"every": 1, "on_triggers": {OK}}, None),
        (DATA, "live"),
        ({"use_data": True, "on_actions": {Move}, "data_mode": "live"}, "live"),
        ({**DATA, "data_mode": "snapshot"}, "snapshot"),
        ({**DATA, "when_data": lambda data: True}, "live"),
        ({**DATA, "when_data": lambda data, more=1: True}, "live"),
        ({**DATA, "when_data": bool}, "live"),
        ({**DATA, "when_data": {}.get}, "live"),
    ],
)
def test_these_send_options_are_accepted(
    options: dict[str, Any], data_mode: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    assert check_send_options(**DEFAULTS | options) == data_mode
    assert caplog.records == []


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"multi": 1}, TypeError),
        ({"multi": None}, TypeError),
        ({"use_data": "yes"}, TypeError),
        ({"every": True}, TypeError),
        ({"every": "1"}, TypeError),
        ({"every": 0}, ValueError),
        ({"every": -1.5}, ValueError),
        ({"every": float("nan")}, ValueError),
        ({"every": float("inf")}, ValueError),
        ({"on_triggers": [OK]}, TypeError),
        ({"on_triggers": {"ok"}}, TypeError),
        ({"on_triggers": OK}, TypeError),
        ({"on_actions": [Move]}, TypeError),
        ({"on_actions": Move}, TypeError),
        ({"on_actions": {Event}}, TypeError),
        ({"on_actions": {Move, OK}}, TypeError),
        ({"use_data": True}, ValueError),
        ({"use_data": True, "on_triggers": set()}, ValueError),
        ({**DATA, "flow_in_use": False}, RuntimeError),
        ({"every": 1, "on_actions": {Move}, "flow_in_use": False}, RuntimeError),
        ({"run_while": True}, ValueError),
        ({"every": 1, "run_while": 1}, TypeError),
        ({"data_mode": "live"}, ValueError),
        ({**DATA, "data_mode": "copy"}, ValueError),
        ({**DATA, "data_mode": 1}, ValueError),
        ({"when_data": lambda data: True}, ValueError),
        ({**DATA, "when_data": True}, TypeError),
        ({**DATA, "when_data": asynchronous}, TypeError),
        ({**DATA, "when_data": functools.partial(asynchronous)}, TypeError),
        ({**DATA, "when_data": lambda: True}, TypeError),
        ({**DATA, "when_data": lambda data, more: True}, TypeError),
        # the order of the checks
        ({"multi": 1, "every": 0}, TypeError),
        ({"every": 0, "on_triggers": [OK]}, ValueError),
        ({"use_data": True, "flow_in_use": False}, ValueError),
        ({**DATA, "flow_in_use": False, "data_mode": "copy"}, RuntimeError),
        ({"run_while": 1, "data_mode": "live"}, ValueError),
    ],
)
def test_these_send_options_are_refused(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match="@send"):
        check_send_options(**DEFAULTS | options)


@pytest.mark.parametrize(
    "options", [{"on_triggers": set()}, {"on_actions": set()}, {"on_triggers": set(), "on_actions": set()}]
)
def test_empty_filters_are_a_warning(options: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    assert check_send_options(**DEFAULTS | options) is None
    assert "empty" in caplog.text
