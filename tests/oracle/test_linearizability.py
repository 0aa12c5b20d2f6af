"""The judge of histories is judged: it tells those that have an order from those that have none."""

from __future__ import annotations

import itertools
import random

import pytest

from tests.oracle.linearizability import NEVER, Operation, is_linearizable


def write(value: int | None, called: float, returned: float = NEVER) -> Operation:
    return Operation(True, value, called, returned)


def read(value: int | None, called: float, returned: float) -> Operation:
    return Operation(False, value, called, returned)


GOOD = {
    "nothing": [],
    "read what was written": [write(1, 0, 1), read(1, 2, 3)],
    "nothing was written": [read(None, 0, 1), write(1, 2, 3)],
    "a read beside a write sees either": [write(1, 0, 9), read(None, 1, 2), read(1, 3, 4)],
    "an unknown write happens late": [write(1, 0), read(None, 1, 2), read(1, 3, 4)],
    "an unknown write never happens": [write(1, 0), read(None, 1, 2)],
    "writes beside each other": [write(1, 0, 9), write(2, 0, 9), read(2, 10, 11), read(2, 12, 13)],
    "deleted": [write(1, 0, 1), write(None, 2, 3), read(None, 4, 5)],
}
BAD = {
    "stale": [write(1, 0, 1), read(None, 2, 3)],
    "back": [write(1, 0, 9), read(1, 1, 2), read(None, 3, 4)],
    "of nobody": [read(1, 0, 1)],
    "lost": [write(1, 0, 1), write(2, 2, 3), read(1, 4, 5)],
    "back and forth": [write(1, 0, 9), write(2, 0, 9), read(1, 10, 11), read(2, 12, 13)],
    "an unknown write happens once": [write(1, 0), read(1, 1, 2), read(None, 3, 4)],
    "before its call": [read(1, 0, 1), write(1, 2, 3)],
}


@pytest.mark.parametrize("name", GOOD)
def test_it_takes_what_has_an_order(name: str) -> None:
    assert is_linearizable(GOOD[name])


@pytest.mark.parametrize("name", BAD)
def test_it_refuses_what_has_none(name: str) -> None:
    assert not is_linearizable(BAD[name])


def by_trying_all(history: list[Operation]) -> bool:
    """The definition, order by order."""
    done = [one for one in history if one.returned < NEVER]
    unknown = [one for one in history if one.returned == NEVER]
    for count in range(len(unknown) + 1):
        for extra in itertools.combinations(unknown, count):
            for order in itertools.permutations([*done, *extra]):
                if _explains(order):
                    return True
    return False


def _explains(order: tuple[Operation, ...]) -> bool:
    value, latest_call = None, float("-inf")
    for one in order:
        if one.returned < latest_call or not (one.is_write or one.value == value):
            return False
        latest_call = max(latest_call, one.called)
        value = one.value
    return True


def test_it_says_what_trying_all_orders_says() -> None:
    draw = random.Random(1)
    told = []
    for _ in range(400):
        history = []
        for _ in range(draw.randint(1, 5)):
            called = draw.random()
            is_write = draw.random() < 0.5
            returned = called + draw.random()
            if is_write and draw.random() < 0.2:
                returned = NEVER
            value = draw.choice([1, 2] if is_write else [None, 1, 2])
            history.append(Operation(is_write, value, called, returned))
        told.append(is_linearizable(history))
        assert told[-1] == by_trying_all(history), history
    assert 50 < sum(told) < 350
