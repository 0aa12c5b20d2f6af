"""Streams that are looked at again: each once, in the order of their times, not all at once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from omendb_ws.engine.streams.delayed import LEAST_DELAYED, Delayed


def stream(name: int = 0) -> Any:
    return SimpleNamespace(due_us=None, name=name)


#: Which stream is to be due when; or what is taken by when, and how many at most.
STEPS = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 40)) | st.tuples(st.none(), st.integers(0, 40)),
    max_size=60,
)


@given(STEPS, st.integers(1, 4))
def test_each_is_taken_once_at_its_earliest_time(
    steps: list[tuple[int | None, int]], most: int
) -> None:
    delayed: Delayed[Any] = Delayed()
    streams = [stream(name) for name in range(6)]
    expected: dict[int, int] = {}
    for name, at in steps:
        if name is not None:
            delayed.put(streams[name], at)
            expected[name] = min(expected.get(name, at), at)
            assert streams[name].due_us == expected[name]
            continue
        due = {one for one, time in expected.items() if time <= at}
        taken: list[int] = []
        while found := delayed.take(at, most):
            assert len(found) <= most
            taken += [one.name for one in found]
            assert all(one.due_us is None for one in found)
        assert sorted(taken) == sorted(due)
        times = [expected.pop(one) for one in taken]
        assert times == sorted(times)
    if expected:
        next_due = delayed.next_due_us
        assert next_due is not None
        assert next_due <= min(expected.values())


def test_what_is_due_together_is_taken_in_order_and_some_at_a_time() -> None:
    delayed: Delayed[Any] = Delayed()
    streams = [stream(name) for name in range(10)]
    for one in streams:
        delayed.put(one, 7)
    early = stream(10)
    delayed.put(early, 3)
    assert delayed.take(2, 4) == []
    assert [one.name for one in delayed.take(7, 4)] == [10, 0, 1, 2]
    assert delayed.next_due_us == 7
    assert [one.name for one in delayed.take(7, 100)] == list(range(3, 10))
    assert delayed.next_due_us is None
    assert len(delayed) == 0


def test_those_that_ended_are_let_go_of() -> None:
    delayed: Delayed[Any] = Delayed()
    stays = stream()
    delayed.put(stays, 10**9)
    for number in range(20 * LEAST_DELAYED):
        ended = stream(number)
        delayed.put(ended, 5 + number)
        ended.due_us = None
        assert len(delayed) <= LEAST_DELAYED + 1
    assert delayed.take(10**9, 10**9) == [stays]
