"""What waits for a log is settled once, whatever fails meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from omendb_core.model.errors import OmenError, Unavailable

from omendb_ws.journal.jetstream.waiting import Waiting
from omendb_ws.journal.local.groups import Queued
from tests.journal.jetstream.messages import add


class Settling:
    """Fails so many times before it takes tags."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.tags: list[Any] = []

    def __call__(self, tags: Sequence[Any], error: OmenError | None) -> None:
        if self.failures:
            self.failures -= 1
            raise MemoryError
        self.tags += tags


def waiting(settling: Settling) -> tuple[Waiting, list[Queued]]:
    one = Waiting(settling)
    queued: list[Queued] = [(add(1, 1, 1), "first", 100), (add(2, 2, 2), "second", 50)]
    for each in queued:
        one.put(each, lambda: None, always=False)
    assert one.pending_bytes == 150
    return one, queued


@pytest.mark.parametrize("error", [None, Unavailable("its node leaves")])
def test_who_waits_is_told_though_telling_fails_once(error: OmenError | None) -> None:
    settling = Settling(1)
    one, queued = waiting(settling)
    if error is None:
        one.settled(queued)
    else:
        one.refuse(queued, error)
    assert settling.tags == ["first", "second"]
    assert one.pending_bytes == 0
    assert one.must_rewind == (error is not None)


def test_bytes_are_counted_off_once_however_often_settling_is_asked_for() -> None:
    one, queued = waiting(Settling(2))
    with pytest.raises(MemoryError):
        one.settled(queued)
    one.settled(queued)
    assert one.pending_bytes == 0


def test_who_sends_is_woken_though_that_fails_once() -> None:
    one, woken = Waiting(Settling(0)), []

    def wake() -> None:
        woken.append(len(one.queue))
        if len(woken) == 1:
            raise MemoryError

    one.put((add(1, 1, 1), "tag", 1), wake, always=False)
    assert woken == [1, 1]
