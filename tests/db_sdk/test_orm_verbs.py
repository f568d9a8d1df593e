"""The verbs: each alone, and all together against a plain list of dicts."""

import operator
from datetime import UTC, datetime

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from orm_models import Item, session_in_memory

from db_sdk import (
    CheckViolation,
    DatabaseError,
    Field,
    ForeignKeyViolation,
    IntegrityError,
    Model,
    NotNullViolation,
    SchemaError,
    UniqueViolation,
    UsageError,
)


@pytest.fixture
def opened():
    with session_in_memory() as pair:
        yield pair


@pytest.fixture
def session(opened):
    return opened[0]


# One table, few values of each type, so that rows collide and conditions hit.
VALUES = {
    "name": st.sampled_from(["a", "b", "B", "", "\0", "é", "𝄞", "'; DROP TABLE item --"]),
    "number": st.sampled_from([None, 0, 1, -1, 2**63 - 1]),
    "weight": st.sampled_from([None, 0.0, 0.5, -1e300, float("inf")]),
    "data": st.sampled_from([None, b"", b"\0", b"\xff"]),
    "flag": st.sampled_from([None, True, False]),
    "at": st.sampled_from(
        [None, datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 0, 0, 0, 5, tzinfo=UTC)]
    ),
    "order": st.sampled_from([None, [], ["a"], {"a": "b"}, "a"]),
}
BLANK = dict.fromkeys(["id", *VALUES])
ORDERED = {"gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le}


def conditions():
    single = []
    for name, values in VALUES.items():
        some = values.filter(lambda value: value is not None)
        single.append(st.tuples(st.sampled_from([name, f"{name}__ne"]), values))
        single.append(
            st.tuples(st.sampled_from([f"{name}__in", f"{name}__not_in"]), st.lists(values, max_size=3))
        )
        single.append(st.tuples(st.just(f"{name}__is_null"), st.booleans()))
        if name != "order":
            single.append(st.tuples(st.sampled_from([f"{name}__{word}" for word in ORDERED]), some))
    return st.lists(st.one_of(single), max_size=3).map(dict)


def meets(row, where):
    for key, value in where.items():
        name, _, word = key.partition("__")
        held = row[name]
        answer = {
            "": lambda held=held, value=value: held == value,
            "ne": lambda held=held, value=value: held != value,
            "in": lambda held=held, value=value: held in value,
            "not_in": lambda held=held, value=value: held not in value,
            "is_null": lambda held=held, value=value: (held is None) == value,
        }.get(word) or (
            lambda held=held, value=value, word=word: held is not None and ORDERED[word](held, value)
        )
        if not answer():
            return False
    return True


ROWS = st.fixed_dictionaries(
    {"name": VALUES["name"]}, optional={k: v for k, v in VALUES.items() if k != "name"}
)
CHANGES = st.fixed_dictionaries({}, optional=VALUES).filter(bool)
ORDERS = st.lists(
    st.sampled_from([sign + name for name in VALUES if name != "order" for sign in ("", "-")]), max_size=2
)


class AgainstAList(RuleBasedStateMachine):
    """Every verb is done to the table and to a list; both must always hold and answer the same."""

    def __init__(self):
        super().__init__()
        self.opened = session_in_memory()
        self.session, _ = self.opened.__enter__()
        self.rows = []
        self.saved = None

    def teardown(self):
        self.opened.__exit__(None, None, None)

    def named(self, name):
        return next((row for row in self.rows if row["name"] == name), None)

    def add(self, row):
        highest = max((each["id"] for each in self.rows), default=0)
        self.rows.append({**BLANK, **row, "id": highest + 1})
        return highest + 1

    @rule(row=ROWS)
    def insert(self, row):
        if self.named(row["name"]):
            with pytest.raises(UniqueViolation):
                self.session.insert(Item, **row)
        else:
            assert self.session.insert(Item, **row) == self.add(row)

    @rule(row=ROWS)
    def insert_or_ignore(self, row):
        there = self.named(row["name"])
        assert self.session.insert_or_ignore(Item, **row) is (there is None)
        if not there:
            self.add(row)

    @rule(row=ROWS)
    def upsert(self, row):
        self.session.upsert(Item, ["name"], **row)
        if there := self.named(row["name"]):
            there.update(row)
        else:
            self.add(row)

    @rule(row=ROWS)
    def get_or_create(self, row):
        name = row["name"]
        there = self.named(name)
        found, created = self.session.get_or_create(Item, {"name": name}, row)
        if not there:
            self.add(row)
        assert created is (there is None)
        assert found == self.named(name)

    @rule(where=conditions(), changes=CHANGES)
    def update(self, where, changes):
        met = [row for row in self.rows if meets(row, where)]
        everywhere = {} if where else {"all_rows": True}
        there = self.named(changes.get("name"))
        if "name" in changes and met and (len(met) > 1 or there not in (None, met[0])):
            with pytest.raises(UniqueViolation):
                self.session.update(Item, changes, where, **everywhere)
        else:
            assert self.session.update(Item, changes, where, **everywhere) == len(met)
            for row in met:
                row.update(changes)

    @rule(where=conditions())
    def delete(self, where):
        left = [row for row in self.rows if not meets(row, where)]
        everywhere = {} if where else {"all_rows": True}
        assert self.session.delete(Item, where, **everywhere) == len(self.rows) - len(left)
        self.rows = left

    @rule(
        where=conditions(),
        order=ORDERS,
        limit=st.none() | st.integers(0, 3),
        fields=st.none() | st.permutations([*VALUES]),
    )
    def find(self, where, order, limit, fields):
        met = [row for row in self.rows if meets(row, where)]
        for name in reversed([*order, "-id"]):
            column = name.removeprefix("-")
            met.sort(
                key=lambda row, column=column: (row[column] is not None, row[column]),
                reverse=name.startswith("-"),
            )
        chosen = [dict(row) for row in met[:limit]]
        if fields:
            fields = fields[:3]
            chosen = [{name: row[name] for name in fields} for row in chosen]
        assert self.session.find(Item, where, fields, [*order, "-id"], limit) == chosen
        if limit is None:
            assert self.session.first(Item, where, fields, [*order, "-id"]) == (chosen[0] if chosen else None)
            assert self.session.count(Item, where) == len(met)
            assert self.session.exists(Item, where) == bool(met)

    @precondition(lambda self: self.saved is None)
    @rule()
    def begin(self):
        self.saved = self.session.transaction(), [dict(row) for row in self.rows]
        self.saved[0].__enter__()

    @precondition(lambda self: self.saved is not None)
    @rule(keep=st.booleans())
    def end(self, keep):
        scope, before = self.saved
        scope.__exit__(None if keep else ValueError, None, None)
        self.rows, self.saved = self.rows if keep else before, None

    @invariant()
    def holds_the_same(self):
        assert self.session.find(Item, order_by="id") == self.rows


TestAgainstAList = AgainstAList.TestCase
TestAgainstAList.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@pytest.mark.parametrize(
    "where",
    [
        {"nme": 1},
        {"number__": 1},
        {"number__like": "%"},
        {"number__gt__lt": 1},
        {"number__gt": None},
        {"order__gt": ["a"]},
        {"number__in": 5},
        {"name__in": "ab"},
        {"name__in": {"a": 1}},
        {"number__in": range(30_001)},
        {"number__is_null": 1},
        {"number = 1 OR 1": 1},
        {"": 1},
        {5: 1},
        ["number"],
        "number",
    ],
)
def test_a_where_that_cannot_be_meant_is_refused_before_any_sql(opened, where):
    session, texts = opened
    for attempt in (
        lambda: session.find(Item, where),
        lambda: session.first(Item, where),
        lambda: session.count(Item, where),
        lambda: session.exists(Item, where),
        lambda: session.update(Item, {"number": 1}, where),
        lambda: session.delete(Item, where),
    ):
        with pytest.raises(UsageError):
            attempt()
    assert texts == []


@pytest.mark.parametrize(
    "attempt",
    [
        lambda session: session.find(Item, fields=["nme"]),
        lambda session: session.find(Item, fields=[]),
        lambda session: session.find(Item, fields="count(*)"),
        lambda session: session.find(Item, fields=[["name"]]),
        lambda session: session.find(Item, order_by="nme"),
        lambda session: session.find(Item, order_by="--name"),
        lambda session: session.find(Item, order_by="name DESC"),
        lambda session: session.find(Item, order_by=["name", 5]),
        lambda session: session.find(Item, order_by=[""]),
        lambda session: session.find(Item, limit=-1),
        lambda session: session.find(Item, limit=True),
        lambda session: session.find(Item, limit="5"),
        lambda session: session.find(Item, limit=2**63),
        lambda session: session.insert(Item, nme=1),
        lambda session: session.insert_or_ignore(Item, nme=1),
        lambda session: session.update(Item, {"nme": 1}, {"id": 1}),
        lambda session: session.update(Item, {}, {"id": 1}),
        lambda session: session.update(Item, {"number": 1}),
        lambda session: session.update(Item, {"number": 1}, {}),
        lambda session: session.update(Item, {"number": 1}, {"id": 1}, all_rows=True),
        lambda session: session.delete(Item),
        lambda session: session.delete(Item, {}),
        lambda session: session.upsert(Item, [], name="a"),
        lambda session: session.upsert(Item, "name", name="a"),
        lambda session: session.upsert(Item, ["name"], number=1),
        lambda session: session.upsert(Item, ["nme"], nme=1),
        lambda session: session.get_or_create(Item, {"number__gt": 1}),
        lambda session: session.get_or_create(Item, {"name": "a"}, {"nme": 1}),
        lambda session: session.create_index(Item, "x", []),
        lambda session: session.create_index(Item, "x", ["nme"]),
        lambda session: session.create_index(Item, "x] ON item (name); --", ["name"]),
    ],
)
def test_a_call_that_cannot_be_meant_is_refused_before_any_sql(opened, attempt):
    session, texts = opened
    with pytest.raises(UsageError):
        attempt(session)
    assert texts == []


def test_values_never_become_part_of_an_sql_text(opened):
    session, texts = opened
    mark = "mark'; DROP TABLE item; --"
    values = {"name": mark, "data": mark.encode(), "order": [mark], "number": 987654321, "weight": 98765.4321}
    session.insert(Item, **values)
    session.insert_or_ignore(Item, **values)
    session.upsert(Item, ["name"], **values)
    session.get_or_create(Item, values, {"flag": True})
    session.update(Item, values, values)
    session.find(Item, {"name__in": [mark], "name__ne": "x", "number__gt": 987654320}, limit=987654321)
    assert session.count(Item, values) == 1
    session.delete(Item, {"name__not_in": ["x", mark]})
    session.delete(Item, values)
    assert len(texts) > 10
    assert [text for text in texts if "mark" in text or "98765" in text or mark.encode().hex() in text] == []


def test_texts_are_made_once_per_shape_and_not_kept_without_end(opened):
    session, texts = opened
    for number in range(3):
        session.find(Item, {"number": number, "name__in": ["a", str(number)]})
    assert texts[0] is texts[1] is texts[2]
    for length in range(1500):
        session.find(Item, {"number__in": list(range(length))})
    assert len(Item.__table__._texts) <= 512


def test_equality_uses_an_index_like_any_other_database_would(opened):
    session, texts = opened
    session.find(Item, {"name": "a"})
    session.find(Item, {"id": 1})
    plans = [session.execute(f"EXPLAIN QUERY PLAN {text}", ("x", -1))[0]["detail"] for text in texts[:2]]
    assert plans[0].startswith("SEARCH item USING INDEX uq_item_name (name=?")
    assert plans[1].startswith("SEARCH item USING INTEGER PRIMARY KEY")


def test_a_column_that_the_table_lacks_is_an_error_and_not_its_own_name(session):
    session.execute("CREATE TABLE old (id INTEGER)")
    old = type("Old", (Model,), {"__tablename__": "old", "id": Field("INTEGER"), "added": Field("TEXT")})
    session.insert(old, id=1)
    for attempt in (lambda: session.find(old), lambda: session.find(old, {"added": "added"}, ["id"])):
        with pytest.raises(SchemaError, match="no such column"):
            attempt()


def test_each_constraint_has_its_error_and_only_uniqueness_is_ignored(session):
    class Parent(Model):
        __tablename__ = "parent"
        id = Field("INTEGER", primary_key=True)
        role = Field("TEXT", nullable=False, check="role IN ('initiator', 'responder')")

    session.create_table(Parent)
    session.execute("PRAGMA foreign_keys = ON")
    session.execute("CREATE TABLE child (parent_id INTEGER REFERENCES parent(id))")
    child = type("Child", (Model,), {"__tablename__": "child", "parent_id": Field("INTEGER")})
    session.insert(Parent, id=1, role="initiator")
    assert session.insert_or_ignore(Parent, id=1, role="initiator") is False
    for kind, values in (
        (UniqueViolation, {"id": 1, "role": "initiator"}),
        (CheckViolation, {"role": "observer"}),
        (NotNullViolation, {"role": None}),
        (NotNullViolation, {}),
    ):
        with pytest.raises(kind) as raised:
            session.insert(Parent, **values)
        assert isinstance(raised.value, IntegrityError)
        assert raised.value.code.startswith("SQLITE_CONSTRAINT_")
    for values in ({"role": "observer"}, {"role": None}):
        with pytest.raises(IntegrityError):
            session.insert_or_ignore(Parent, **values)
    with pytest.raises(ForeignKeyViolation):
        session.insert(child, parent_id=2)


def test_a_composite_key_is_one_key_and_takes_no_null(session):
    class Pair(Model):
        __tablename__ = "pair"
        one = Field("TEXT", primary_key=True)
        two = Field("INTEGER", primary_key=True)
        state = Field("TEXT")

    session.create_table(Pair)
    for two in (1, 2, 1):
        session.upsert(Pair, ["one", "two"], one="a", two=two, state=f"after {two}")
    session.upsert(Pair, ["one", "two"], one="a", two=2)
    assert session.find(Pair, order_by="two") == [
        {"one": "a", "two": 1, "state": "after 1"},
        {"one": "a", "two": 2, "state": "after 2"},
    ]
    with pytest.raises(NotNullViolation):
        session.insert(Pair, one=None, two=1)


def test_upsert_needs_a_unique_index_on_its_key(session):
    with pytest.raises(SchemaError):
        session.upsert(Item, ["number"], name="a", number=1)


def test_on_update_is_set_by_update_and_upsert_unless_they_are_told_otherwise(session):
    long_ago = datetime(2000, 1, 1, tzinfo=UTC)

    class Touched(Model):
        __tablename__ = "touched"
        id = Field("INTEGER", primary_key=True)
        state = Field("TEXT")
        version = Field("TEXT", on_update="it's changed")
        updated_at = Field("DATETIME", default="CURRENT_TIMESTAMP", on_update="CURRENT_TIMESTAMP")

    session.create_table(Touched)
    for change in (
        lambda: session.update(Touched, {"state": "x"}, {"id": 1}),
        lambda: session.upsert(Touched, ["id"], id=1, state="y"),
    ):
        session.upsert(Touched, ["id"], id=1, updated_at=long_ago, version="1")
        assert session.exists(Touched, {"updated_at": long_ago, "version": "1"})
        change()
        assert session.exists(Touched, {"updated_at__gt": long_ago, "version": "it's changed"})


def test_get_or_create_lets_the_key_win_over_the_defaults(session):
    row, created = session.get_or_create(
        Item, {"name": "a", "number": None}, {"name": "b", "number": 5, "flag": True}
    )
    assert created
    assert (row["name"], row["number"], row["flag"]) == ("a", None, True)
    assert session.get_or_create(Item, {"name": "a", "number": None}) == (row, False)


def test_columns_may_be_called_as_arguments_are(session):
    names = ("self", "model", "where", "key", "values", "database", "db", "session")
    odd = type("Odd", (Model,), {"__tablename__": "select", **{name: Field("TEXT") for name in names}})
    session.create_table(odd)
    row = {name: name for name in names}
    session.insert(odd, **row)
    session.insert_or_ignore(odd, **row)
    assert session.find(odd, row, order_by=names) == [row, row]


def test_a_nested_level_is_undone_alone(session):
    with session.transaction():
        session.insert(Item, name="kept")
        with pytest.raises(UniqueViolation), session.transaction():
            session.insert(Item, name="undone")
            session.insert(Item, name="kept")
        with session.transaction():
            session.insert(Item, name="kept too")
    assert session.find(Item, fields=["name"], order_by="id") == [{"name": "kept"}, {"name": "kept too"}]


def test_a_lost_transaction_is_noticed_before_a_statement_runs_outside_of_it(session):
    with pytest.raises(DatabaseError, match="gone"), session.transaction():
        session.insert(Item, name="first")
        session.execute("ROLLBACK")
        session.insert(Item, name="second")
    assert session.count(Item) == 0
    with pytest.raises(DatabaseError, match="gone"), session.transaction():
        session.execute("ROLLBACK")
    with session.transaction():
        session.insert(Item, name="third")
    assert session.count(Item) == 1


def test_a_commit_that_is_refused_undoes_everything(session):
    session.execute("PRAGMA foreign_keys = ON")
    session.execute(
        "CREATE TABLE late (item_id INTEGER REFERENCES item(id) DEFERRABLE INITIALLY DEFERRED, note TEXT)"
    )
    with pytest.raises(ForeignKeyViolation), session.transaction():
        session.insert(Item, name="a")
        session.execute("INSERT INTO late VALUES (99, 'x')")
    assert session.count(Item) == 0
    session.insert(Item, name="b")
    assert session.count(Item) == 1
