"""The oracle of grants, by hand: who sees which rows, and what is wrong with what is written."""

from __future__ import annotations

from typing import Any

import pytest

from tests.filter_oracle import passes

from .grants import deletable, forced, holding, seen, stamped
from .shaping import Refused
from .window import Oracle

MINE, YOURS = {"owner": "me"}, {"owner": "you"}
READER = {"rights": ["read"], "filter": MINE}
WRITER = {"rights": ["read", "write"], "filter": MINE, "stamp": MINE}


def window() -> Oracle:
    """Rows 1 and 2 are mine, 3 is yours, 4 nobody's."""
    made = Oracle(10, "dot", "u64", passes=passes)
    made.add([[1.0]] * 4, [1, 2, 3, 4], [MINE, MINE, YOURS, {}], 0)
    return made


def test_a_grant_is_for_names_that_fit_one_of_its_patterns() -> None:
    grants = [{"rights": ["read"], "collections": ["a-*-z", "it.ms"]}]
    for name, is_held in (("a--z", True), ("a-b-z", True), ("a-z", False), ("it.ms", True),
                          ("items", False), ("xa-b-z", False)):  # fmt: skip
        if is_held:
            assert holding(grants, "read", name) == grants
        else:
            with pytest.raises(Refused, match="forbidden"):
                holding(grants, "read", name)
    with pytest.raises(Refused, match="forbidden"):
        holding(grants, "write", "it.ms")
    assert holding(grants, None, "it.ms")


def test_filters_are_joined_by_or_and_one_without_lifts_them() -> None:
    other = {"rights": ["read"], "filter": YOURS}
    assert sorted(seen(window(), forced([READER], "read", "items")).rows) == [1, 2]
    assert sorted(seen(window(), forced([READER, other], "read", "items")).rows) == [1, 2, 3]
    assert forced([READER, {"rights": ["read"]}], "read", "items") is None
    assert len(seen(window(), None).rows) == 4


@pytest.mark.parametrize(
    ("op", "key", "metadata", "faults"),
    [
        ("add", 9, {}, set()),
        ("add", 9, MINE, set()),
        ("add", 9, YOURS, {("forbidden", 0)}),
        ("add", 9, {"owner": None}, {("forbidden", 0)}),
        ("add", 1, {}, set()),
        ("add", 3, {}, {("forbidden", 0)}),
        ("update", 1, {}, set()),
        ("update", 3, {}, {("not_found", 0)}),
        ("update", 9, YOURS, {("not_found", 0), ("forbidden", 0)}),
    ],
)
def test_what_is_wrong_with_a_row(op: str, key: int, metadata: Any, faults: Any) -> None:
    row = {"key": key, "metadata": metadata}
    made, found = stamped(window(), [WRITER], "items", op, [row])
    assert found == faults
    assert made == [{"key": key, "metadata": {**metadata, **MINE}}]


def test_a_row_must_pass_the_filter_once_it_is_stamped() -> None:
    grant = {"rights": ["write"], "filter": {"level": {"$gt": 1}}, "stamp": {"owner": "me"}}
    rows = [{"key": 8, "metadata": {"level": 2}}, {"key": 9, "metadata": {}}]
    assert stamped(window(), [grant], "items", "add", rows)[1] == {("forbidden", 1)}


def test_the_first_grant_that_may_write_stamps() -> None:
    grants = [READER, {"rights": ["write"], "stamp": YOURS}, WRITER]
    (made,), faults = stamped(window(), grants, "items", "add", [{"key": 9, "metadata": {}}])
    assert (made["metadata"], faults) == (YOURS, set())


def test_rows_that_are_not_there_are_not_deleted() -> None:
    assert deletable(window(), [WRITER], "items", [1, 3, 4, 9]) == [1]
    with pytest.raises(Refused, match="forbidden"):
        deletable(window(), [READER], "items", [1])
