"""Grants: patterns, what several of them come to, and what cannot be read."""

from __future__ import annotations

import fnmatch
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omendb_ws.access.grants import Grant, GrantError, Scope, matches, parse_grants, scope
from omendb_ws.access.principal import OPEN, Principal

READ, WRITE = frozenset({"read"}), frozenset({"read", "write"})
MINE = {"owner": "me"}
PUBLIC = {"public": True}


@given(
    st.text(st.sampled_from("ab*"), min_size=1, max_size=8),
    st.text(st.sampled_from("ab"), max_size=8),
)
def test_a_star_stands_for_any_characters(pattern: str, name: str) -> None:
    assert matches(pattern, name) == fnmatch.fnmatchcase(name, pattern)


def test_a_pattern_of_many_stars_takes_no_longer_than_its_length() -> None:
    assert not matches("*a" * 60 + "*b", "a" * 64)


def test_a_collection_that_no_pattern_matches_is_forbidden() -> None:
    grants = (Grant(READ, ("clicks-*", "items")),)
    assert scope(grants, "read", "clicks-1") == Scope()
    assert scope(grants, "read", "items") == Scope()
    assert scope(grants, "read", "orders") is None
    assert scope(grants, "write", "items") is None


def test_filters_of_several_grants_are_joined_by_or() -> None:
    grants = (Grant(READ, filter=MINE), Grant(READ, filter=PUBLIC))
    assert scope(grants, "read", "items") == Scope({"$or": [MINE, PUBLIC]}, {}, MINE)


def test_a_grant_without_a_filter_lifts_those_of_others() -> None:
    grants = (Grant(READ, filter=MINE), Grant(READ))
    found = scope(grants, "read", "items")
    assert found is not None
    assert found.filter is None


def test_only_grants_with_the_right_count_towards_its_filter() -> None:
    grants = (Grant(READ), Grant(WRITE, filter=MINE))
    found = scope(grants, "write", "items")
    assert found is not None
    assert found.filter == MINE


def test_the_first_grant_that_may_write_stamps() -> None:
    grants = (
        Grant(READ, stamp={"owner": "reader"}),
        Grant(WRITE, ("items",), MINE, {"owner": "me"}),
        Grant(WRITE, stamp={"owner": "other"}),
    )
    assert scope(grants, "write", "items") == Scope(None, {"owner": "me"}, MINE)
    assert scope(grants, "write", "more") == Scope(None, {"owner": "other"}, None)


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ("read", "grants"),
        ([], "grants"),
        ({}, "grants"),
        ([{"rights": ["read"]}] * 65, "grants"),
        (["read"], "grants[0]"),
        ([{"rights": ["read"]}, {}], "grants[1].rights"),
        ([{"rights": "read"}], "grants[0].rights"),
        ([{"rights": []}], "grants[0].rights"),
        ([{"rights": ["operator"]}], "grants[0].rights"),
        ([{"rights": [["read"]]}], "grants[0].rights"),
        ([{"rights": ["read"], "collections": "*"}], "grants[0].collections"),
        ([{"rights": ["read"], "collections": []}], "grants[0].collections"),
        ([{"rights": ["read"], "collections": ["a", "b?"]}], "grants[0].collections[1]"),
        ([{"rights": ["read"], "filter": []}], "grants[0].filter"),
        ([{"rights": ["read"], "filter": "all"}], "grants[0].filter"),
        ([{"rights": ["read"], "stamp": []}], "grants[0].stamp"),
        ([{"rights": ["read"], "stamp": {"a": None}}], "grants[0].stamp.a"),
        ([{"rights": ["read"], "stamp": {"a": float("nan")}}], "grants[0].stamp.a"),
        ([{"rights": ["read"], "stamp": {"a": ["b"]}}], "grants[0].stamp.a"),
        ([{"rights": ["read"], "colections": ["*"]}], "grants[0]"),
    ],
)
def test_what_cannot_be_read_names_its_field(document: Any, field: str) -> None:
    with pytest.raises(GrantError) as caught:
        parse_grants(document)
    assert str(caught.value).startswith(f"{field}: ")


def test_grants_come_back_as_they_were() -> None:
    document = [
        {"collections": ["a-*"], "rights": ["read", "write"], "filter": MINE, "stamp": {"n": 1}},
        {"collections": ["*"], "rights": ["read"]},
    ]
    assert [grant.as_json() for grant in parse_grants(document)] == document


def test_a_right_everywhere_is_one_on_every_name_and_every_row() -> None:
    assert OPEN.may_everywhere("admin")
    some = Principal("one", "default", (Grant(READ, ("a*",)), Grant(WRITE, filter=MINE)))
    assert some.rights == WRITE
    assert not some.may_everywhere("read")
    assert some.sees("b")
    assert not Principal("one", "default", (Grant(READ, ("a*",)),)).sees("b")
