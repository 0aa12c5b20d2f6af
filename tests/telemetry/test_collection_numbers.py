"""Which collections ``/metrics`` tells one by one, and that the rest's counts never go back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from omendb_ws.telemetry.collection_numbers import (
    OTHERS,
    REVIEW_SECONDS,
    Busiest,
    CollectionNumbers,
    Key,
)

REST = ("_others", OTHERS)


def numbers(**fields: float) -> CollectionNumbers:
    return CollectionNumbers()._replace(**fields)  # type: ignore[arg-type]


def key(name: str, epoch: str = "e") -> Key:
    return "t", name, epoch


class Looking:
    """A server's collections, by name, and one that looks at them."""

    def __init__(self, most: int) -> None:
        self.busiest = Busiest(most, "_others")
        self.there: dict[Key, CollectionNumbers] = {}
        self.now_seconds = 0.0
        self.epochs = 0

    def does(self, name: str, seconds: float, **fields: float) -> None:
        its = self.key(name)
        before = self.there.get(its, CollectionNumbers())
        taken = before.engine_seconds + seconds
        self.there[its] = before._replace(engine_seconds=taken, **fields)  # type: ignore[arg-type]

    def key(self, name: str) -> Key:
        """Of a collection that is there, or of a new one."""
        for one in self.there:
            if one[1] == name:
                return one
        self.epochs += 1
        return key(name, str(self.epochs))

    def look(self, later_seconds: float = 1.0) -> dict[tuple[str, str], CollectionNumbers]:
        self.now_seconds += later_seconds
        return self.busiest.look(self.there.items(), self.now_seconds)

    def named(self, later_seconds: float = 1.0) -> set[str]:
        return {name for _, name in self.look(later_seconds)} - {OTHERS}


def test_all_have_their_own_while_there_is_room_and_the_rest_is_there_from_the_start() -> None:
    looking = Looking(3)
    assert looking.look() == {REST: CollectionNumbers()}
    looking.does("a", 0, rows=5, added_rows=7)
    looking.does("b", 0)
    told = looking.look()
    assert told.keys() == {("t", "a"), ("t", "b"), REST}
    assert told["t", "a"] == numbers(rows=5, added_rows=7)
    assert told[REST] == CollectionNumbers()


def test_beyond_that_the_busiest_have_their_own_and_the_others_are_summed() -> None:
    looking = Looking(1)
    looking.does("idle", 1, rows=2, added_rows=3, journal_unflushed_seconds=0.5)
    looking.does("busy", 9, rows=1)
    looking.does("more", 2, rows=4, added_rows=5, journal_unflushed_seconds=0.25)
    told = looking.look()
    assert told.keys() == {("t", "busy"), REST}
    assert told[REST] == numbers(
        rows=6, added_rows=8, engine_seconds=3, journal_unflushed_seconds=0.5
    )


def test_none_has_its_own_where_the_setting_is_0() -> None:
    looking = Looking(0)
    looking.does("a", 1, rows=2)
    assert looking.look() == {REST: numbers(rows=2, engine_seconds=1)}


def test_places_change_hands_only_at_a_review_and_for_a_clear_lead() -> None:
    looking = Looking(1)
    looking.does("old", 10)
    assert looking.named() == {"old"}
    looking.does("new", 18)
    assert looking.named(REVIEW_SECONDS / 2) == {"old"}, "no review is due"
    assert looking.named(REVIEW_SECONDS) == {"old"}, "not twice as much"
    looking.does("new", 30)
    assert looking.named(1) == {"old"}, "no review is due"
    assert looking.named(REVIEW_SECONDS) == {"new"}


def test_what_was_long_ago_counts_less_and_less() -> None:
    looking = Looking(1)
    looking.does("once", 1_000)
    assert looking.named() == {"once"}
    for _ in range(60):
        looking.does("steady", 10)
        looking.look(REVIEW_SECONDS)
    assert looking.named() == {"steady"}


def test_a_place_is_free_at_once_when_its_collection_is_gone_or_made_anew() -> None:
    looking = Looking(1)
    looking.does("a", 5)
    looking.does("b", 1)
    assert looking.named() == {"a"}
    del looking.there[looking.key("a")]
    assert looking.named() == {"b"}
    looking.there = {key("b", "another epoch"): numbers(added_rows=1)}
    assert looking.look()["t", "b"].added_rows == 1


@given(
    st.lists(
        st.lists(
            st.tuples(st.sampled_from("abcdef"), st.integers(0, 50), st.booleans()), max_size=6
        ),
        max_size=12,
    ),
    st.integers(0, 4),
)
def test_the_rest_never_goes_back_and_nothing_is_told_twice(
    rounds: list[list[tuple[str, int, bool]]], most: int
) -> None:
    looking = Looking(most)
    before = CollectionNumbers()
    named_before: dict[tuple[str, str], CollectionNumbers] = {}
    for changes in rounds:
        was = dict(looking.there)
        for name, seconds, is_dropped in changes:
            looking.does(name, seconds)
            if is_dropped:
                del looking.there[looking.key(name)]
        told = looking.look(REVIEW_SECONDS)
        rest = told.pop(REST)
        assert len(told) <= most
        assert len(told) == min(most, len(looking.there)), "no place is left free"
        assert rest.engine_seconds >= before.engine_seconds
        # Who is not told one by one, before and after, is in the rest with what it did meanwhile.
        unnamed = [
            one for one in looking.there if one[:2] not in told and one[:2] not in named_before
        ]
        least = sum(
            looking.there[one].engine_seconds - was.get(one, CollectionNumbers()).engine_seconds
            for one in unnamed
        )
        assert rest.engine_seconds - before.engine_seconds >= max(least, 0) - 1e-9
        before, named_before = rest, told
