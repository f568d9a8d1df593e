"""The checks that the client's decorators make on handlers and their options (sections 4.6 and 4.6.1)."""

import functools
import inspect
import math
import typing
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, Literal

from summoner.logger import Logger
from summoner.protocol._handlers import Direction
from summoner.protocol._nodes import Node
from summoner.protocol._signals import Event, Move, Signal, Stay, Test

DataMode = Literal["live", "snapshot"]

_DATA_MODES: tuple[DataMode, ...] = ("live", "snapshot")
_ACTIONS = frozenset({Move, Stay, Test})


@dataclass(frozen=True)
class _Signature:
    """What a decorator demands of a handler: how many parameters, and the types it may declare."""

    parameters: int
    parameter_types: tuple[Any, ...]
    return_types: tuple[Any, ...]


_SIGNATURES = {
    "receive": _Signature(1, (Any, str, dict), (None, Event, Any)),
    "hook": _Signature(1, (Any, str, dict), (None, str, dict, Any)),
    "send": _Signature(0, (), (None, Any, str, dict)),
    "send(multi=True)": _Signature(0, (), (Any, list)),
    "upload_states": _Signature(1, (None, str, dict, Any), (None, str, Any, Node, list, dict)),
    "download_states": _Signature(1, (None, Node, Any, list, dict), (None, Any)),
}


def check_handler(
    fn: Callable[..., Any], decorator: str, logger: Logger, *, multi: bool = False, use_data: bool = False
) -> None:
    """Raise `TypeError` unless `fn` has the signature that a decorator (its bare name) demands of a handler.

    `multi` and `use_data` are the options of `send`. Missing annotations are warnings to `logger`.
    """
    name = f"{decorator}(multi=True)" if multi else decorator
    signature = _SIGNATURES[name]
    expected = 1 if use_data else signature.parameters
    allowed = (signature.parameter_types, signature.return_types)
    _check_param_and_return(fn, f"@{name}", *allowed, logger, expected, skip_param_type_check=use_data)


def _check_param_and_return(
    fn: Callable[..., Any],
    decorator_name: str,
    allow_param: Iterable[Any],
    allow_return: Iterable[Any],
    logger: Logger,
    expected_params: int | None = None,
    skip_param_type_check: bool = False,
) -> None:
    """Check that `fn` is asynchronous and that its parameters and annotations are allowed; `TypeError` if not.

    The name and the order of parameters are those of the official SDK: an extension of it imports this function.
    """
    handler = f"{decorator_name}: handler {getattr(fn, '__qualname__', None) or repr(fn)}"
    function = _underlying_function(fn)
    if not inspect.iscoroutinefunction(function):
        raise TypeError(f"{handler} must be an async function")
    signature = inspect.signature(fn)
    parameters = list(signature.parameters.values())
    if expected_params is not None:
        _check_count(parameters, expected_params, handler)
    namespace = getattr(inspect.unwrap(function), "__globals__", {})
    allowed = [each for allowed_type in allow_param for each in _members(allowed_type)]
    for parameter in [] if skip_param_type_check else parameters:
        types = list(_members(_resolved(parameter.annotation, namespace)))
        if len(types) > 1:  # C10: `Optional[dict]` declares a dict
            types = [each for each in types if each is not NoneType]
        _check_types(types, allowed, f"{handler}: parameter {parameter.name!r}", logger)
    types = list(_members(_resolved(signature.return_annotation, namespace)))
    allowed = [each for allowed_type in allow_return for each in _members(allowed_type)]
    _check_types(types, allowed, f"{handler}: the return value", logger)


def check_route(route: Any, decorator: str) -> str:
    """The route without surrounding whitespace. `TypeError` if it is no string."""
    if not isinstance(route, str):
        raise TypeError(f"@{decorator}: the route must be a string, not {type(route).__name__}")
    return route.strip()


def check_priority(priority: Any) -> tuple[int, ...]:
    """The priority as a tuple. `ValueError` unless it is an integer or a tuple of integers."""
    if isinstance(priority, int):
        return (priority,)
    if isinstance(priority, tuple) and all(isinstance(item, int) for item in priority):
        return priority
    raise ValueError(f"a priority is an integer or a tuple of integers, not {priority!r}")


def check_direction(direction: Any) -> None:
    """`TypeError` unless it is a `Direction`."""
    if not isinstance(direction, Direction):
        raise TypeError(
            f"@hook: the direction must be Direction.SEND or Direction.RECEIVE, not {direction!r}"
        )


def hook_priority_order(priority: tuple[Any, ...]) -> tuple[Any, ...]:
    """A sort key for priorities: as tuples, those that begin with a string (extensions have such) before all others."""
    begins_with_a_string = bool(priority) and isinstance(priority[0], str)
    return (not begins_with_a_string, tuple((not isinstance(item, str), item) for item in priority))


def check_send_options(
    *,
    flow_in_use: bool,
    multi: Any,
    use_data: Any,
    every: Any,
    on_triggers: Any,
    on_actions: Any,
    run_while: Any,
    data_mode: Any,
    when_data: Any,
    logger: Logger,
) -> DataMode | None:
    """Check the options of `send` in the order of section 4.6.1, and return the data mode they amount to.

    Raises `TypeError` for an option of the wrong type, `ValueError` for a wrong value or combination, `RuntimeError`
    for a combination that needs an active flow.
    """
    for name, flag in (("multi", multi), ("use_data", use_data)):
        if not isinstance(flag, bool):
            raise TypeError(f"@send: {name} must be True or False, not {flag!r}")
    _check_period(every)
    _check_filters(on_triggers, on_actions)
    reactive = bool(on_triggers or on_actions)
    if use_data and not reactive:
        raise ValueError("@send: use_data=True needs on_triggers or on_actions, not empty")
    if not flow_in_use and use_data:
        raise RuntimeError("@send: use_data=True needs an active flow, call flow().activate() first")
    if not flow_in_use and every is not None and reactive:
        raise RuntimeError(
            "@send: every with on_triggers or on_actions needs an active flow, call flow().activate()"
        )
    if not reactive and (on_triggers is not None or on_actions is not None):  # C12
        logger.warning(
            "@send: on_triggers and on_actions are empty, the sender runs as if they were not given"
        )
    _check_run_while(run_while, every)
    mode = _checked_data_mode(data_mode, use_data)
    _check_when_data(when_data, use_data)
    return mode


def _check_period(every: Any) -> None:
    if every is None:
        return
    if isinstance(every, bool) or not isinstance(every, int | float):
        raise TypeError(f"@send: every must be a number of seconds, not {every!r}")
    if not 0 < every < math.inf:
        raise ValueError(f"@send: every must be greater than 0 and finite, not {every!r}")


def _check_filters(on_triggers: Any, on_actions: Any) -> None:
    if on_triggers is not None and not (
        isinstance(on_triggers, AbstractSet) and all(isinstance(each, Signal) for each in on_triggers)
    ):
        raise TypeError("@send: on_triggers must be a set of signals")
    if on_actions is not None and not (isinstance(on_actions, AbstractSet) and on_actions <= _ACTIONS):
        raise TypeError("@send: on_actions must be a set of Move, Stay, Test")


def _check_run_while(run_while: Any, every: Any) -> None:
    if run_while is None:
        return
    if every is None:
        raise ValueError("@send: run_while needs every")
    if not isinstance(run_while, bool) and not callable(run_while):
        raise TypeError(f"@send: run_while must be a bool or a function, not {run_while!r}")


def _checked_data_mode(data_mode: Any, use_data: bool) -> DataMode | None:
    if data_mode is None:
        return "live" if use_data else None
    if not use_data:
        raise ValueError("@send: data_mode needs use_data=True")
    for mode in _DATA_MODES:
        if data_mode == mode:
            return mode
    raise ValueError(f'@send: data_mode must be "live" or "snapshot", not {data_mode!r}')


def _check_when_data(when_data: Any, use_data: bool) -> None:
    if when_data is None:
        return
    if not use_data:
        raise ValueError("@send: when_data needs use_data=True")
    if not callable(when_data) or inspect.iscoroutinefunction(_underlying_function(when_data)):
        raise TypeError("@send: when_data must be a function that is not async")
    try:
        inspect.signature(when_data).bind(None)
    except TypeError:
        raise TypeError("@send: when_data must take the data as its one argument") from None
    except ValueError:  # a built-in that tells nothing of its parameters
        return


def _underlying_function(fn: Any) -> Any:
    while isinstance(fn, functools.partial):
        fn = fn.func
    return fn if inspect.isroutine(fn) else type(fn).__call__


def _check_count(parameters: list[inspect.Parameter], expected: int, handler: str) -> None:
    by_name = [each for each in parameters if each.kind in (each.KEYWORD_ONLY, each.VAR_KEYWORD)]
    if len(parameters) != expected or by_name:
        wanted = f"{expected} positional parameter{'' if expected == 1 else 's'}"
        raise TypeError(f"{handler} must have {wanted}, it has ({', '.join(map(str, parameters))})")


def _check_types(types: list[Any], allowed: list[Any], what: str, logger: Logger) -> None:
    if inspect.Signature.empty in types:
        logger.warning("%s has no annotation that can be checked, expected %s", what, _names(allowed))
    elif not all(_is_allowed(each, allowed) for each in types):
        raise TypeError(f"{what} must be declared {_names(allowed)}, not {_names(types)}")


def _resolved(annotation: Any, namespace: dict[str, Any]) -> Any:
    """The annotation with its strings evaluated (C10); `Signature.empty` for none, or one that cannot be."""
    if annotation is inspect.Signature.empty:
        return annotation

    def holder() -> None: ...

    holder.__annotations__ = {"it": annotation}
    try:
        return typing.get_type_hints(holder, namespace)["it"]
    except Exception:  # noqa: BLE001 - annotations are expressions of others, and only a warning depends on them
        return inspect.Signature.empty


def _members(annotation: Any) -> Iterator[Any]:
    """The plain types an annotation is made of: unions taken apart, `dict[...]` and typed dicts as `dict` (C10)."""
    annotation = getattr(annotation, "__supertype__", annotation)  # NewType
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, UnionType):
        for member in typing.get_args(annotation):
            yield from _members(member)
    elif typing.is_typeddict(annotation):
        yield dict
    else:
        yield NoneType if annotation is None else origin or annotation


def _is_allowed(member: Any, allowed: list[Any]) -> bool:
    if any(member is each for each in allowed):
        return True
    return inspect.isclass(member) and any(
        inspect.isclass(each) and issubclass(member, each) for each in allowed
    )


def _names(types: Iterable[Any]) -> str:
    names = ("None" if each is NoneType else getattr(each, "__name__", repr(each)) for each in types)
    return " or ".join(names)
