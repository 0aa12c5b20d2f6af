"""Ids that live queries leave out, against plain sets; and answers without them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from omendb_core.model.types import IdKind, Ids
from omendb_core.rows import ids
from omendb_core.rows.ids import StrIds
from omendb_core.rows.payloads import Payloads
from omendb_core.standing.exclusions import Exclusions
from omendb_core.standing.table import StandingQuery

from tests.core.standing.streams import Stream
from tests.examples import examples

NUMBERS = st.sampled_from([0, 1, 2, 3, 2**32, 2**63, 2**64 - 1])


class ExclusionsMachine(RuleBasedStateMachine):
    @initialize(is_text=st.booleans())
    def start(self, is_text: bool) -> None:
        self.is_text = is_text
        self.exclusions = Exclusions()
        self.plain: dict[int, set[int]] = {}

    def ids(self, numbers: list[int]) -> Ids:
        if self.is_text:
            return [f"id-{number}" for number in numbers]
        return np.array(numbers, np.uint64)

    @rule(
        handle=st.integers(0, 5),
        numbers=st.one_of(
            st.none(), st.lists(NUMBERS), st.integers(1, 300).map(lambda n: list(range(n)))
        ),
    )
    def put(self, handle: int, numbers: list[int] | None) -> None:
        self.exclusions.put(handle, None if numbers is None else self.ids(numbers))
        self.plain.pop(handle, None)
        if numbers:
            self.plain[handle] = set(numbers)

    @rule(pairs=st.lists(st.tuples(st.integers(0, 6), NUMBERS), min_size=1))
    def ask(self, pairs: list[tuple[int, int]]) -> None:
        handles = np.array([handle for handle, _ in pairs])
        if not len(self.exclusions):
            return
        left_out = self.exclusions.leave_out(handles, self.ids([number for _, number in pairs]))
        assert left_out.tolist() == [
            number in self.plain.get(handle, set()) for handle, number in pairs
        ]

    @invariant()
    def holds_what_it_should(self) -> None:
        self.exclusions.check()
        assert len(self.exclusions) == len(self.plain)
        for handle in range(6):
            kept = self.exclusions.of(handle)
            expected: Any = self.plain.get(handle)
            if expected is None:
                assert kept is None
            else:
                assert kept is not None
                assert sorted(kept) == sorted(self.ids(sorted(expected)))
        said = sum(
            Exclusions.bytes_for(self.ids(sorted(numbers))) for numbers in self.plain.values()
        )
        assert self.exclusions.nbytes <= said + 4 * 64
        if not self.plain:
            assert self.exclusions.nbytes == 0


TestExclusions = ExclusionsMachine.TestCase
TestExclusions.settings = settings(
    max_examples=examples(60), stateful_step_count=30, deadline=None, derandomize=True
)


@pytest.mark.parametrize("kind", ["auto", "u64", "str"])
def test_an_excluded_row_is_left_out_now_and_when_it_comes_later_and_again(kind: IdKind) -> None:
    stream = Stream(capacity=60, asked=[], kind=kind)
    stream.add(stream.rows(20))
    target = stream.rows(1)
    later = [stream.id(30), stream.id(31)]
    stream.ask(target, StandingQuery(5, exclude=stream.ids([3, 4, 30, 31])))
    stream.ask(target, StandingQuery(5))
    for _ in range(4):
        stream.add(np.repeat(target, 15, axis=0))
        stream.catch_up()
    shown = [stream.answer(handle) for handle in stream.handles]
    assert not set(later) & set(shown[0])
    if kind != "auto":
        stream.add(np.repeat(target, 2, axis=0), [30, 31])  # in the place of those that were there
        stream.catch_up()
        assert set(later) <= set(stream.answer(stream.handles[1]))
        assert not set(later) & set(stream.answer(stream.handles[0]))


def test_a_move_changes_what_it_is_given_and_keeps_the_rest() -> None:
    stream = Stream(capacity=60, asked=[])
    stream.add(stream.rows(50))
    handle = stream.ask(stream.rows(1), StandingQuery(4, exclude=stream.ids([1, 2])))
    best = stream.answer(handle)
    stream.move(handle, exclude=np.array(best[:2], np.uint64))
    assert stream.answer(handle)[:2] == best[2:]
    stream.move(handle, vector=stream.rows(1), min_score=0.5)
    assert min(stream.scores(handle), default=0.5) >= 0.5
    stream.move(handle, exclude=None, min_score=None)
    assert len(stream.answer(handle)) == 4
    for _ in range(10):
        stream.add(stream.rows(5))
        stream.catch_up()


def test_a_move_that_fails_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Stream(capacity=60, asked=[])
    stream.add(stream.rows(50))
    handle = stream.ask(stream.rows(1), StandingQuery(4, exclude=stream.ids([1, 2])))
    before = stream.answer(handle)
    standing = stream.window.standing

    def fails(handles: Any) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(standing.lists, "renew_in_pieces", fails)
        with pytest.raises(MemoryError):
            stream.move(handle, vector=stream.rows(1), exclude=stream.ids([5]), min_score=0.9)
    stream.catch_up()
    assert stream.answer(handle) == before
    assert standing.table.asked(np.array([handle]))[0].exclude.tolist() == [1, 2]  # type: ignore[union-attr]


def test_exclusions_go_with_their_query() -> None:
    stream = Stream(capacity=60, asked=[])
    handles = [
        stream.ask(stream.rows(1), StandingQuery(4, exclude=stream.ids([1, 2]))) for _ in range(3)
    ]
    standing = stream.window.standing
    assert len(standing.table.exclusions) == 3
    standing.remove(handles[:1])
    assert len(standing.table.exclusions) == 2
    standing.remove(handles[1:])
    assert not len(standing.table.exclusions)
    assert standing.nbytes == 0


@pytest.mark.parametrize(("kind", "come_again"), [("u64", True), ("str", False), ("str", True)])
def test_fewer_lists_are_made_at_once_where_many_texts_are_compared_for_each(
    kind: IdKind, come_again: bool
) -> None:
    """Ten thousand texts take 5 ms a list; as many numbers a tenth of one, and known texts."""
    stream = Stream(12_000, [], kind=kind)
    target = stream.rows(1)
    stream.add(target + stream.rows(50) / 10)
    stream.catch_up()
    left_out = stream.ids(range(10_000, 20_000))
    stream.ask_many(target + stream.rows(10) / 10, [StandingQuery(2, exclude=left_out)] * 10)
    standing = stream.window.standing
    if come_again:
        stream.add(stream.rows(10_000) / 10 - target, range(10_000, 20_000))  # far below all lists
        stream.catch_up()
    stream.delete(stream.ids(range(48)))
    made = []
    while standing.behind:
        before = standing.lists.renewed
        standing.advance()
        made.append(standing.lists.renewed - before)
    stream.compare()
    assert sum(made) == 10
    assert max(made) == (1 if kind == "str" and come_again else 10)


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many texts of rows are read whenever a query's are looked for."""
    of, find_again, found = Payloads.of, StrIds.find_again, []

    def reads(self: Any, slots: Any) -> Any:
        found.append(len(slots))
        return of(self, slots)

    def looks(self: Any, known: Any) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(Payloads, "of", reads)
            return find_again(self, known)

    monkeypatch.setattr(StrIds, "find_again", looks)
    return found


def test_texts_are_compared_once_with_each_row_that_has_one(compared: list[int]) -> None:
    stream = Stream(200, [], kind="str")
    stream.add(stream.rows(100))
    standing = stream.window.standing
    query = StandingQuery(2, exclude=stream.ids(range(20, 120)))
    handle = stream.ask(stream.rows(1), query)
    own = np.array([handle])
    assert sum(compared) == 80

    def compared_after(*numbers: int) -> int:
        """How many are when such rows came, and the list is made anew, three times."""
        compared.clear()
        if numbers:
            stream.add(stream.rows(len(numbers)), numbers)
        stream.catch_up()
        for _ in range(3):
            list(standing.lists.renew_in_pieces(own))
        stream.compare()
        return sum(compared)

    assert compared_after() == 0
    assert compared_after(*range(90, 120)) == 30  # some in place of others, some for the first time
    stream.delete(stream.ids(range(110, 120)))
    assert compared_after() == 0
    assert compared_after(*range(300, 500)) == 0  # in every slot there is another row now
    assert compared_after(*range(20, 120)) == 100
    # What is left out stays, and what is known of it, when something else is asked.
    vectors = standing.table.vectors[own]
    compared.clear()
    standing.move(own, vectors, [replace(query, min_score=-1.0)])
    assert not sum(compared)
    standing.move(own, vectors, [replace(query, exclude=stream.ids(range(20, 119)))])
    assert sum(compared) == 99


@pytest.mark.parametrize("are_twins", [False, True])
def test_texts_with_one_hash_are_told_apart_each_time(
    are_twins: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row of another text is not left out, nor remembered as one that is."""
    monkeypatch.setattr(
        ids, "_hashed", lambda text: 7 if text in ("id-3", "id-300") else hash(text)
    )
    stream = Stream(50, [], kind="str")
    stream.add(stream.rows(30))  # with id-3
    if are_twins:
        stream.add(stream.rows(1), [300])
    target = stream.rows(1)
    left_out = stream.ids([5, 300])
    handle = stream.ask(target, StandingQuery(40, exclude=left_out))
    for number in (300, 3, 5, 300):
        list(stream.window.standing.lists.renew_in_pieces(np.array([handle])))
        stream.compare()
        assert "id-3" in stream.answer(handle)
        assert not {"id-300", "id-5"} & set(stream.answer(handle))
        stream.add(target, [number])
        stream.catch_up()
