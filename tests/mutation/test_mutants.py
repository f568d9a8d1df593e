"""The mutation tool itself: what it changes, and that its list of survivors can be read."""

import ast

import pytest
from mutants import mutants_of
from survivors import FILE, read_survivors

SOURCE = '''
LIMIT = 5

def guard(turn) -> bool:
    """Not changed: 7."""
    return turn.count < 5 and turn.ready

def act(turn):
    if turn.late:
        raise ValueError
    turn.change(first=1, second=True)
    turn.emit(One(), Two())
    turn.total += 1
    turn.last = turn.total
    del turn.rest
'''


def changes() -> dict[str, str]:
    return {mutant.name.removeprefix("file.py "): mutant.source for mutant in mutants_of("file.py", SOURCE)}


def test_each_kind_of_slip_is_made_once_at_each_place() -> None:
    assert set(changes()) == {
        "guard: return turn.count < 5 and turn.ready: True",
        "guard: return turn.count < 5 and turn.ready: False",
        "guard: turn.count < 5 and turn.ready: and for or",
        "guard: turn.count < 5 and turn.ready: without turn.count < 5",
        "guard: turn.count < 5 and turn.ready: without turn.ready",
        "guard: turn.count < 5: Lt 0 is LtE",
        "guard: 5: 6 in guard",
        "act: if turn.late: negated",
        "act: if turn.late: its raise left out",
        "act: turn.change(first=1, second=True): left out",
        "act: turn.change(first=1, second=True): without first=1",
        "act: turn.change(first=1, second=True): without second=True",
        "act: turn.emit(One(), Two()): left out",
        "act: turn.emit(One(), Two()): without One()",
        "act: turn.emit(One(), Two()): without Two()",
        "act: turn.total += 1: left out",
        "act: turn.last = turn.total: left out",
        "act: del turn.rest: left out",
        "act: 1: 2 in act",
        "act: 1: 2 in act #2",
        "act: True: False in act",
    }


def test_a_mutant_is_the_file_with_one_line_changed() -> None:
    original = ast.unparse(ast.parse(SOURCE)).splitlines()
    for name, source in changes().items():
        lines = source.splitlines()
        compile(source, "file.py", "exec")
        assert len(lines) == len(original)
        assert sum(one != other for one, other in zip(lines, original, strict=True)) == 1, name
    assert "if not turn.late:" in changes()["act: if turn.late: negated"]
    assert (
        "return turn.count < 5 or turn.ready" in changes()["guard: turn.count < 5 and turn.ready: and for or"]
    )


def test_names_are_unique_where_the_same_change_can_be_made_twice() -> None:
    names = [mutant.name for mutant in mutants_of("file.py", SOURCE)]
    assert len(names) == len(set(names))


def test_every_survivor_has_a_reason() -> None:
    assert FILE.exists()
    assert all(len(reason) > 20 for reason in read_survivors().values())


@pytest.mark.parametrize(
    ("text", "complaint"),
    [("a\n", "no reason"), ("a\n  why\na\n  why\n", "twice"), ("  why\n", "without a mutant")],
)
def test_a_list_of_survivors_that_is_incomplete_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        read_survivors(text)


def test_reasons_may_take_several_lines_and_comments_are_passed_over() -> None:
    assert read_survivors("# why\n\na: b\n  one\n  two\nc\n  three\n") == {"a: b": "one two", "c": "three"}
