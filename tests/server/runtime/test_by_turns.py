"""Things that are done some in each turn of the loop: in order, each once, whatever one does."""

from __future__ import annotations

import asyncio

import pytest

from omendb_ws.runtime.by_turns import ByTurns
from tests.patience import eventually


async def test_so_many_are_done_in_a_turn_in_order_also_what_comes_meanwhile() -> None:
    done: list[int] = []
    of_each_turn: list[int] = []

    def turn() -> None:
        of_each_turn.append(len(done))
        if len(done) < 10:
            asyncio.get_running_loop().call_soon(turn)

    turns = ByTurns(done.append, 3, pytest.fail)
    turns.give(range(5))
    assert done == [0, 1, 2]
    assert turns
    turns.give(range(5, 10))
    assert done == [0, 1, 2], "what came later overtook what was there"
    turn()
    await eventually(lambda: not turns)
    assert done == list(range(10))
    assert of_each_turn == [3, 6, 9, 10]


async def test_what_fails_is_tried_once_more_and_the_others_have_their_turn() -> None:
    tried: list[int] = []
    faults: list[Exception] = []

    def do(number: int) -> None:
        tried.append(number)
        if number == 1 or (number == 3 and tried.count(3) == 1):
            raise RuntimeError(f"fault of {number}")

    turns = ByTurns(do, 2, faults.append)
    turns.give(range(5))
    await eventually(lambda: not turns)
    assert tried == [0, 1, 1, 2, 3, 3, 4]
    assert list(map(str, faults)) == ["fault of 1", "fault of 1", "fault of 3"]


async def test_what_one_gives_while_it_is_done_comes_behind_the_others() -> None:
    done: list[int] = []

    def do(number: int) -> None:
        done.append(number)
        if number == 0:
            turns.give([7])

    turns = ByTurns(do, 9, pytest.fail)
    turns.give([0, 1])
    await eventually(lambda: not turns)
    assert done == [0, 1, 7]
