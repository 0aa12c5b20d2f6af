"""Ends in steps: each is taken, once more if it fails, and what failed twice is raised."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from omendb_ws.node.node import Node
from omendb_ws.runtime.endings import Ending, Once
from tests.patience import PATIENCE_SECONDS
from tests.server.raw import settings


class Step:
    """Fails the first ``failures`` times."""

    def __init__(self, failures: int, error: Exception | None = None) -> None:
        self.failures, self.error, self.calls = failures, error or OSError("on purpose"), 0

    def __call__(self) -> None:
        self.calls += 1
        if self.calls <= self.failures:
            raise self.error


def test_a_step_that_fails_is_taken_once_more_and_the_others_are_taken(
    caplog: pytest.LogCaptureFixture,
) -> None:
    once, never, twice, again = Step(1), Step(0), Step(9), Step(9, ValueError("later"))
    ending = Ending()
    with caplog.at_level(logging.ERROR):
        for name, step in {"once": once, "twice": twice, "again": again, "never": never}.items():
            ending.do(name, step)
    assert [one.calls for one in (once, twice, again, never)] == [2, 2, 2, 1]
    assert ending.error is twice.error, "the first that failed twice"
    assert caplog.text.count("while doing: once") == 1
    assert caplog.text.count("while doing: twice") == 2


def test_steps_that_go_well_at_last_are_no_error() -> None:
    ending = Ending()
    ending.do("once", Step(1))
    assert ending.error is None


async def test_a_stop_takes_every_step_and_raises_what_stayed_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("CRITICAL")
    node = Node(settings(data_dir=str(tmp_path)))
    node.start()
    assert node._storage is not None
    closes, close = Step(2), node._storage.close

    def closing() -> None:
        closes()
        close()

    with monkeypatch.context() as patch:
        patch.setattr(node._storage, "close", closing)
        with pytest.raises(OSError, match="on purpose"):
            await node.stop()
    assert closes.calls == 2
    close()
    assert not node.context.engine._thread.is_alive()
    successor = Node(settings(data_dir=str(tmp_path)))
    successor.start()
    await successor.stop()


def test_what_is_done_once_is_waited_for_by_who_comes_meanwhile() -> None:
    once, began, may_end, done = Once(), threading.Event(), threading.Event(), list[str]()

    def step() -> None:
        began.set()
        may_end.wait(PATIENCE_SECONDS)
        done.append("done")

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(once.do, step)
        began.wait(PATIENCE_SECONDS)
        second = threads.submit(lambda: (once.do(step), list(done))[1])
        assert not second.done()
        may_end.set()
        assert second.result(PATIENCE_SECONDS) == ["done"]
        first.result(PATIENCE_SECONDS)
    assert done == ["done"]


def test_after_a_fault_it_is_done_by_who_comes_next() -> None:
    once, done = Once(), list[int]()

    def faulty() -> None:
        raise MemoryError("on purpose")

    with pytest.raises(MemoryError):
        once.do(faulty)
    once.do(lambda: done.append(1))
    once.do(lambda: done.append(2))
    assert done == [1]
