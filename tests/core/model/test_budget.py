"""A budget is never exceeded, whoever asks, and has everything back when its holders are gone."""

from __future__ import annotations

import gc
import threading

import pytest
from omendb_core.model.budget import Budget, Share
from omendb_core.model.errors import Quota


def test_what_is_not_free_is_refused_and_nothing_is_taken() -> None:
    budget = Budget("max_memory_bytes", 100)
    budget.take(60, "this window takes")
    with pytest.raises(Quota, match="max_memory_bytes: this map takes 41 bytes more and 40 of 100"):
        budget.take(41, "this map takes")
    assert budget.taken_bytes == 60
    budget.take(40, "this map takes")
    budget.give_back(60)
    assert budget.taken_bytes == 40
    budget.take(60, "this window takes")


def test_what_is_about_to_be_given_back_may_be_taken_already() -> None:
    budget = Budget("max_memory_bytes", 100)
    budget.take(80, "a window")
    with pytest.raises(Quota):
        budget.take(101, "another", beyond_bytes=80)
    budget.take(100, "another", beyond_bytes=80)
    with pytest.raises(Quota, match="0 of 100 are free"):
        budget.take(1, "a third")
    budget.give_back(80)
    assert budget.taken_bytes == 100


def test_a_share_grows_shrinks_and_goes_with_its_holder() -> None:
    budget = Budget("max_memory_bytes", 100)
    one, other = Share(budget, "one takes"), Share(budget, "another takes")
    one.resize(70)
    other.resize(30)
    with pytest.raises(Quota, match="another takes"):
        other.resize(31)
    assert (one.taken_bytes, other.taken_bytes, budget.taken_bytes) == (70, 30, 100)
    one.resize(10)
    other.resize(90)
    one.close()
    one.close()
    assert budget.taken_bytes == 90
    gc.disable()
    try:
        del other
        assert budget.taken_bytes == 0
    finally:
        gc.enable()


def test_many_threads_never_take_more_than_there_is() -> None:
    budget = Budget("max_memory_bytes", 10)
    most = [0] * 4
    refused = [0] * 4

    def churn(number: int) -> None:
        for _ in range(2000):
            try:
                budget.take(4, "this takes")
            except Quota:
                refused[number] += 1
                continue
            most[number] = max(most[number], budget.taken_bytes)
            budget.give_back(4)

    threads = [threading.Thread(target=churn, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) <= 10
    assert budget.taken_bytes == 0


def test_a_part_is_not_told_what_the_others_hold() -> None:
    whole = Budget("the server's", 1000)
    mine, other = Budget("mine", 2000, whole), Budget("another's", 2000, whole)
    other.take(777, "theirs takes")
    with pytest.raises(Quota) as caught:
        mine.take(300, "this takes")
    assert str(caught.value) == "the server's: this takes 300 bytes more than there are"
    assert mine.taken_bytes == 0
    mine.take(223, "this takes")
