"""Small wrong changes to guards, checks and actions: what a slip of the hand would make of them.

A mutant changes one place of one function. Its name says file, function and change, and no line, so that it stays the same
while the file around it moves. The rows of the conversation's tables are mutated by tests/model.
"""

import ast
import copy
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

# off by one; what turns a comparison around is what negates a condition, or returns the other truth value
_OTHER: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
}

# methods of a turn whose arguments are so many separate effects
_GATHERING = ("change", "emit")

Function = ast.FunctionDef | ast.AsyncFunctionDef
Change = Callable[[ast.AST], None]


@dataclass(frozen=True)
class Mutant:
    """One changed place.

    Attributes:
        path: the file, relative to the repository.
        name: file, function and change in words.
    """

    path: str
    name: str
    _tree: ast.Module = field(repr=False)
    _number: int  # of the changed node, in the order of `ast.walk`
    _change: Change = field(repr=False)

    @property
    def source(self) -> str:
        """The whole file with the change."""
        mutated = copy.deepcopy(self._tree)
        self._change(list(ast.walk(mutated))[self._number])
        return ast.unparse(ast.fix_missing_locations(mutated))


def mutants_of(path: str, source: str) -> list[Mutant]:
    """Every mutant of a file."""
    tree = ast.parse(source)
    found: list[Mutant] = []
    names: Counter[str] = Counter()
    owners = _owners(tree)
    for number, node in enumerate(ast.walk(tree)):
        owner = owners.get(node)
        for words, change in _changes(node, owner) if owner is not None else ():
            name = f"{path} {_title(owner)}: {words}"
            names[name] += 1
            if names[name] > 1:
                name += f" #{names[name]}"
            found.append(Mutant(path, name, tree, number, change))
    return found


def _title(owner: Function | None) -> str:
    return "" if owner is None else owner.name


def _owners(tree: ast.AST) -> dict[ast.AST, Function]:
    """The innermost function around each node in a body; signatures and decorators belong to none."""
    owners: dict[ast.AST, Function] = {}

    def visit(node: ast.AST, owner: Function | None) -> None:
        if owner is not None:
            owners[node] = owner
        if isinstance(node, Function):
            for statement in node.body:
                visit(statement, node)
        else:
            for child in ast.iter_child_nodes(node):
                visit(child, owner)

    visit(tree, None)
    return owners


def _changes(node: ast.AST, owner: Function) -> Iterator[tuple[str, Change]]:
    match node:
        case ast.If(test=test):
            yield f"if {_shown(test)}: negated", _negate
            if isinstance(node.body[-1], ast.Raise) and not node.orelse:
                yield f"if {_shown(test)}: its raise left out", _empty_body
        case ast.IfExp(test=test):
            yield f"{_shown(node)}: condition negated", _negate
        case ast.Compare(ops=ops):
            for index, operator in enumerate(ops):
                other = _OTHER.get(type(operator))
                if other is None:
                    continue
                yield (
                    f"{_shown(node)}: {type(operator).__name__} {index} is {other.__name__}",
                    _with_operator(index, other),
                )
        case ast.BoolOp(values=values):
            yield f"{_shown(node)}: and for or", _other_connective
            for index, value in enumerate(values):
                yield f"{_shown(node)}: without {_shown(value)}", _without_operand(index)
        case ast.Return(value=ast.expr() as value) if _returns_bool(owner):
            for constant in (True, False):
                if not (isinstance(value, ast.Constant) and value.value is constant):
                    yield f"return {_shown(value)}: {constant}", _returning(constant)
        case ast.Expr(value=ast.Call() as call):
            yield f"{_shown(call)}: left out", _to_nothing
            if isinstance(call.func, ast.Attribute) and call.func.attr in _GATHERING:
                yield from _parts_left_out(call)
        case ast.Constant(value=bool() as value):
            yield f"{value}: {not value} in {owner.name}", _with_constant(not value)
        case ast.Constant(value=int() as value):
            yield f"{value}: {value + 1} in {owner.name}", _with_constant(value + 1)
        case ast.AugAssign():
            yield f"{_shown(node)}: left out", _to_nothing
        case ast.Assign(targets=[target]) if owner.name != "__init__" and _is_kept(target):
            yield f"{_shown(node)}: left out", _to_nothing
        case ast.Delete(
            targets=[ast.Subscript() | ast.Attribute()]
        ):  # `del name` only tells linters that it is unused
            yield f"{_shown(node)}: left out", _to_nothing
        case _:
            pass


def _parts_left_out(call: ast.Call) -> Iterator[tuple[str, Change]]:
    if len(call.args) + len(call.keywords) > 1:
        for index, argument in enumerate(call.args):
            yield f"{_shown(call)}: without {_shown(argument)}", _without_argument(index)
        for index, keyword in enumerate(call.keywords):
            yield f"{_shown(call)}: without {_shown(keyword)}", _without_keyword(index)


def _is_kept(target: ast.expr) -> bool:
    """Whether what is assigned outlives the function: a member of something, or several of them."""
    if isinstance(target, ast.Tuple):
        return all(_is_kept(part) for part in target.elts)
    return isinstance(target, ast.Attribute | ast.Subscript)


def _shown(node: ast.AST) -> str:
    return ast.unparse(node)


def _returns_bool(owner: Function) -> bool:
    return isinstance(owner.returns, ast.Name) and owner.returns.id == "bool"


# ---- what is done to the copy of a node; each is told only what it needs --------------------------------------------


def _negate(node: ast.AST) -> None:
    assert isinstance(node, ast.If | ast.IfExp)
    node.test = ast.UnaryOp(ast.Not(), node.test)


def _empty_body(node: ast.AST) -> None:
    assert isinstance(node, ast.If)
    node.body = [ast.Pass()]


def _with_operator(index: int, other: type[ast.cmpop]) -> Change:
    def change(node: ast.AST) -> None:
        assert isinstance(node, ast.Compare)
        node.ops[index] = other()

    return change


def _other_connective(node: ast.AST) -> None:
    assert isinstance(node, ast.BoolOp)
    node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()


def _without_operand(index: int) -> Change:
    def change(node: ast.AST) -> None:
        assert isinstance(node, ast.BoolOp)
        del node.values[index]

    return change


def _returning(constant: bool) -> Change:
    def change(node: ast.AST) -> None:
        assert isinstance(node, ast.Return)
        node.value = ast.Constant(constant)

    return change


def _to_nothing(node: ast.AST) -> None:
    # a statement cannot be taken out of its list from here; one that does nothing is the same
    if isinstance(node, ast.Expr):
        node.value = ast.Constant(None)
    elif isinstance(node, ast.AugAssign):
        node.value = ast.Constant(0)
    elif isinstance(node, ast.Assign):
        node.targets = [ast.Name("_", ast.Store())]
    else:
        assert isinstance(node, ast.Delete)
        node.targets = [ast.Tuple([], ast.Del())]


def _with_constant(value: int) -> Change:
    def change(node: ast.AST) -> None:
        assert isinstance(node, ast.Constant)
        node.value = value

    return change


def _without_argument(index: int) -> Change:
    def change(node: ast.AST) -> None:
        assert isinstance(node, ast.Expr)
        assert isinstance(node.value, ast.Call)
        del node.value.args[index]

    return change


def _without_keyword(index: int) -> Change:
    def change(node: ast.AST) -> None:
        assert isinstance(node, ast.Expr)
        assert isinstance(node.value, ast.Call)
        del node.value.keywords[index]

    return change
