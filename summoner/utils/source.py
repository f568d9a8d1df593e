"""Describing functions and values as source text, the building blocks of a client's DNA (section 7)."""

import ast
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import PurePath
from types import ModuleType
from typing import Any


def get_callable_source(fn: Callable[..., Any], override: str | None = None) -> str:
    """The source text of a function: `override`, else what `inspect` finds, else its attribute `__dna_source__`.

    A function that has none of these yields a stub of its name that raises when called.
    """
    if override is not None:
        return override
    try:
        return inspect.getsource(fn)
    except (OSError, TypeError):  # made by exec, typed at a prompt, or no function at all
        pass
    recorded = getattr(fn, "__dna_source__", None)
    if isinstance(recorded, str):
        return recorded
    name = getattr(fn, "__name__", "unknown")
    stub_name = name if name.isidentifier() else "unknown"
    return (
        f"async def {stub_name}(*args, **kwargs):\n"
        f"    raise RuntimeError({f'the source of {name} is not available'!r})\n"
    )


def extract_annotation_identifiers(src: str) -> set[str]:
    """The names used in the annotations of the first function defined in `src`; none if it does not parse."""
    try:
        tree = ast.parse(textwrap.dedent(src))
    except (SyntaxError, ValueError):
        return set()
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    function = next(functions, None)
    if function is None:
        return set()
    arguments = function.args
    parameters = [
        *arguments.posonlyargs,
        *arguments.args,
        *arguments.kwonlyargs,
        arguments.vararg,
        arguments.kwarg,
    ]
    annotations = [parameter.annotation for parameter in parameters if parameter is not None]
    names: set[str] = set()
    for annotation in (*annotations, function.returns):
        if annotation is not None:
            names |= _names_in(annotation)
    return names


def _names_in(annotation: ast.AST) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(annotation):
        if isinstance(node, ast.Name):
            names.add(node.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):  # a quoted annotation
            with suppress(SyntaxError, ValueError):
                names |= _names_in(ast.parse(node.value, mode="eval"))
    return names


def rebuild_expression_for(value: Any, node_type: type | None = None) -> str | None:
    """An expression that builds `value` anew, for paths and for nodes and collections of nodes; else `None`.

    `node_type` is the class that counts as a node, a type whose `str` its constructor takes back.
    """
    if isinstance(value, PurePath):
        return f"Path({str(value)!r})"
    if node_type is None:
        return None
    if isinstance(value, node_type):
        return f"{node_type.__name__}({str(value)!r})"
    if isinstance(value, dict):
        return _rebuild_mapping(value, node_type)
    if type(value) not in (list, tuple, set, frozenset) or not all(
        isinstance(item, node_type) for item in value
    ):
        return None
    items = ", ".join(f"{node_type.__name__}({text!r})" for text in map(str, value))
    if isinstance(value, list):
        return f"[{items}]"
    return f"{type(value).__name__}([{items}])"


def _rebuild_mapping(value: dict[Any, Any], node_type: type) -> str | None:
    members = []
    for key, item in value.items():
        expression = rebuild_expression_for(item, node_type)
        if not isinstance(key, str | None) or expression is None:
            return None
        members.append(f"{key!r}: {expression}")
    return "{" + ", ".join(members) + "}"


def resolve_import_statement(name: str, value: Any, known_modules: Iterable[str]) -> str | None:
    """An import line that binds `name` to `value`, or `None`; never from `__main__`.

    Tried are `known_modules` in order, then the module that defines `value`, which may be a private one.
    """
    if isinstance(value, ModuleType):
        if value.__name__ == "__main__":
            return None
        return f"import {value.__name__}" + ("" if value.__name__ == name else f" as {name}")
    defined_as = getattr(value, "__qualname__", name)
    for module in (*known_modules, getattr(value, "__module__", None)):
        if module is None or module == "__main__":
            continue
        for original in (name, defined_as):
            if getattr(sys.modules.get(module), original, None) is value:
                return f"from {module} import {original}" + ("" if original == name else f" as {name}")
    return None
