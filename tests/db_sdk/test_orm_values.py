"""Values: what goes in comes out unchanged, or is refused before SQLite sees it."""

import json
import math
import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from orm_models import Item, session_in_memory

from db_sdk import BadValue, Corrupt, DatabaseError, Field, Model, UsageError

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
INTEGERS = st.integers(-(2**63), 2**63 - 1)
MOMENTS = st.datetimes(
    datetime(2, 1, 1),
    datetime(9998, 1, 1),
    timezones=st.builds(timezone, st.timedeltas(timedelta(hours=-23), timedelta(hours=23))),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
ROWS = st.fixed_dictionaries(
    {"name": TEXTS},
    optional={
        "number": st.none() | INTEGERS,
        "weight": st.none() | st.floats(allow_nan=False),
        "data": st.none() | st.binary(),
        "flag": st.none() | st.booleans(),
        "at": st.none() | MOMENTS,
        "order": JSON,
    },
)


@given(ROWS)
def test_a_row_comes_back_as_it_went_in(row):
    with session_in_memory() as (session, _):
        session.insert(Item, **row)
        found = session.first(Item, where=row)
        everything = dict.fromkeys(("number", "weight", "data", "flag", "at", "order")) | row | {"id": 1}
        assert found == everything
        assert {name: type(value) for name, value in found.items()} == {
            name: type(value) for name, value in everything.items()
        }


@given(MOMENTS, MOMENTS)
def test_moments_sort_as_moments_whatever_their_zone_and_fraction(one, other):
    with session_in_memory() as (session, _):
        session.insert(Item, name="one", at=one)
        assert session.exists(Item, {"at__lt": other}) == (one < other)
        assert session.exists(Item, {"at__gte": other}) == (one >= other)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("number", 2**63),
        ("number", -(2**63) - 1),
        ("number", 1.0),
        ("number", "1"),
        ("weight", math.nan),
        ("weight", 2**53 + 1),
        ("weight", 10**400),
        ("weight", "1.0"),
        ("name", 5),
        ("name", b"bytes"),
        ("name", "\ud800"),
        ("data", "text"),
        ("flag", 1),
        ("flag", "true"),
        ("at", datetime(2026, 1, 1)),
        ("at", "2026-01-01"),
        ("at", datetime.max.replace(tzinfo=timezone(timedelta(hours=-1)))),
        ("order", math.inf),
        ("order", {1, 2}),
        ("order", {"a": 1, 2: 3}),
        ("order", b"bytes"),
    ],
)
def test_a_value_that_would_come_back_changed_is_refused_before_any_sql(field, value):
    with session_in_memory() as (session, texts):
        for attempt in (
            lambda: session.insert(Item, **{"name": "x", field: value}),
            lambda: session.update(Item, {field: value}, {"id": 1}),
            lambda: session.find(Item, {field: value}),
            lambda: session.find(Item, {f"{field}__in": [value]}),
        ):
            with pytest.raises(BadValue, match=f"^{field}: "):
                attempt()
        assert texts == []


def test_json_that_nests_too_deep_is_refused():
    nested: list[object] = []
    for _ in range(200_000):
        nested = [nested]
    with session_in_memory() as (session, _), pytest.raises(BadValue):
        session.insert(Item, name="x", order=nested)


def test_json_texts_that_look_like_numbers_stay_texts():
    with session_in_memory() as (session, _):
        for name, value in (("a", 1e2), ("b", 100), ("c", "1e2"), ("d", 10**30)):
            session.insert(Item, name=name, order=value)
        values = [row["order"] for row in session.find(Item, order_by="name")]
        assert json.dumps(values) == json.dumps([1e2, 100, "1e2", 10**30])


def test_equal_json_objects_are_found_whatever_the_order_of_their_keys():
    with session_in_memory() as (session, _):
        session.insert(Item, name="x", order={"b": 1, "a": [None]})
        assert session.count(Item, {"order": {"a": [None], "b": 1}}) == 1


@pytest.mark.parametrize(
    ("field", "stored"),
    [
        ("flag", 2),
        ("flag", "yes"),
        ("at", "yesterday"),
        ("at", 5),
        ("order", "{"),
        ("order", "[" * 200_000),
        ("order", b"\xff"),
    ],
)
def test_a_stored_value_of_another_type_is_an_error_that_names_its_field_and_not_the_value(field, stored):
    with session_in_memory() as (session, _):
        session.execute(f"INSERT INTO item (name, [{field}]) VALUES ('x', ?)", (stored,))
        with pytest.raises(Corrupt, match=f"^{field}: ") as raised:
            session.find(Item)
        assert str(stored)[:20] not in str(raised.value)


@pytest.fixture
def far_from_utc(monkeypatch):
    monkeypatch.setenv("TZ", "UTC-9")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("far_from_utc")
@pytest.mark.parametrize(
    "text", ["2026-11-21 08:15:46", "2026-11-21T08:15:46+00:00", "2026-11-21T10:15:46+02:00"]
)
def test_moments_of_the_first_generation_are_read_in_each_of_their_forms_wherever_we_are(text):
    with session_in_memory() as (session, _):
        session.execute("INSERT INTO item (name, at) VALUES ('x', ?)", (text,))
        assert session.find(Item, fields=["at"]) == [{"at": datetime(2026, 11, 21, 8, 15, 46, tzinfo=UTC)}]


def test_defaults_of_every_type_are_filled_in_by_sqlite():
    moment = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
    defaults = {
        "number": -5,
        "weight": 0.1,
        "name": 'it\'s [a] "default" ?',
        "data": b"\x00'\xff",
        "flag": False,
        "at": moment,
        "order": {"it's": [1]},
    }

    class Filled(Model):
        __tablename__ = "filled"
        number = Field("INTEGER", default=-5)
        weight = Field("REAL", default=0.1)
        name = Field("TEXT", default=defaults["name"])
        data = Field("BLOB", default=defaults["data"])
        flag = Field("BOOLEAN", default=False)
        at = Field("DATETIME", default=moment)
        order = Field("JSON", default=defaults["order"])
        now = Field("DATETIME", default="CURRENT_TIMESTAMP")

    with session_in_memory() as (session, _):
        session.create_table(Filled)
        session.insert(Filled)
        row = session.first(Filled)
        now = row.pop("now")
        assert row == defaults
        assert now.tzinfo is UTC
        assert session.exists(Filled, {"now__gt": moment})


@pytest.mark.parametrize(
    ("kind", "default"),
    [
        ("REAL", math.inf),
        ("TEXT", "a\0b"),
        ("INTEGER", 2**63),
        ("INTEGER", "5"),
        ("TEXT", 5),
        ("NUMBER", None),
    ],
)
def test_a_field_that_cannot_be_meant_is_refused_where_it_is_written(kind, default):
    with pytest.raises(UsageError):
        Field(kind, default=default)


@pytest.mark.parametrize("name", ["find", "__table__", "a__b", "ж", "sqlite_x"])
def test_a_field_name_that_would_hide_something_is_refused_where_it_is_written(name):
    with pytest.raises(UsageError):
        type("Wrong", (Model,), {"__tablename__": "wrong", name: Field("TEXT")})


@pytest.mark.parametrize("name", ["", "a b", "x]; DROP TABLE item --", "sqlite_master", "a" * 64, 5, None])
def test_a_table_name_that_is_none_is_refused_where_it_is_written(name):
    with pytest.raises(UsageError):
        type("Wrong", (Model,), {"__tablename__": name, "id": Field("INTEGER")})


def test_a_model_needs_a_table_name_and_a_field():
    with pytest.raises(UsageError):
        type("Nameless", (Model,), {"id": Field("INTEGER")})
    with pytest.raises(UsageError):
        type("Empty", (Model,), {"__tablename__": "empty"})


def test_fields_are_inherited():
    class Timed:
        at = Field("DATETIME")

    class Event(Timed, Model):
        __tablename__ = "event"
        id = Field("INTEGER", primary_key=True)

    with session_in_memory() as (session, _):
        session.create_table(Event)
        session.insert(Event, at=None)
        assert session.find(Event) == [{"at": None, "id": 1}]


def test_raw_sql_is_held_to_the_same_limits():
    with session_in_memory() as (session, _):
        for value in (2**63, "\ud800", {}, object()):
            with pytest.raises(DatabaseError):
                session.execute("SELECT ?", (value,))
