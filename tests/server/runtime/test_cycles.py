"""When the old generation is looked at: when it pays, and never for more than its share."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator

import pytest

from omendb_ws.runtime.cycles import MIDDLE, PAYS_AFTER, PAYS_AFTER_SECONDS, Cycles
from tests.patience import PATIENCE_SECONDS


class Process:
    """Connections that go, a clock that is moved, and collections that take as long as they say."""

    def __init__(self) -> None:
        self.gone = 0
        self.now_seconds = 50.0
        self.takes_seconds = 0.0
        self.collections = 0

    def collect(self) -> int:
        self.collections += 1
        self.now_seconds += self.takes_seconds
        return 0

    def cycles(self) -> Cycles:
        return Cycles(lambda: self.gone, lambda: self.now_seconds, self.collect)


@pytest.fixture
def as_it_was() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)
    gc.freeze()  # as `tests.conftest` left it


def test_it_is_not_looked_at_before_enough_connections_have_gone() -> None:
    process = Process()
    cycles = process.cycles()
    for _ in range(3):
        process.gone += PAYS_AFTER - 1
        process.now_seconds += 1
        assert not cycles.look()
        process.gone += 1
        assert cycles.look()
    assert process.collections == 3


def test_it_is_looked_at_after_long_enough() -> None:
    process = Process()
    cycles = process.cycles()
    process.now_seconds += PAYS_AFTER_SECONDS - 1
    assert not cycles.look()
    process.now_seconds += 1
    assert cycles.look()
    assert not cycles.look()


def test_it_takes_no_more_than_a_thousandth_of_the_time() -> None:
    process = Process()
    process.takes_seconds = 0.2
    cycles = process.cycles()
    began_seconds = process.now_seconds
    for _ in range(1000):
        process.gone += PAYS_AFTER
        process.now_seconds += 1
        cycles.look()
    assert process.collections > 1
    spent = (process.collections - 1) * process.takes_seconds
    assert spent <= (process.now_seconds - began_seconds) / 1000


@pytest.mark.usefixtures("as_it_was")
def test_what_is_there_at_the_start_is_put_aside_and_given_back() -> None:
    before = gc.get_threshold()
    cycles = Process().cycles()
    cycles.start()
    assert gc.get_freeze_count() > 1000
    assert gc.get_threshold()[:2] == (before[0], MIDDLE)
    assert gc.get_threshold()[2] > 1_000_000
    cycles.stop()
    assert gc.get_freeze_count() == 0
    assert gc.get_threshold() == before


SERVED = """
    import gc, os, signal, threading
    from omendb_ws.cli import serve
    from omendb_ws.node.config import Settings
    from omendb_ws.runtime.cycles import Cycles

    start = Cycles.start
    def started(self):
        start(self)
        lists = [[] for _ in range(300_000)]  # Python itself would have looked at them all
        found["frozen"] = gc.get_freeze_count() > 1000
        found["old"] = gc.get_stats()[2]["collections"] - before
        os.kill(os.getpid(), signal.SIGTERM)
    found = {}
    gc.collect()
    before = gc.get_stats()[2]["collections"] + 1  # that of the start
    Cycles.start = started
    serve.run(Settings(port=0))
    print(found["old"], found["frozen"], gc.get_freeze_count())
"""


def test_a_server_of_its_own_takes_it_over() -> None:
    code = textwrap.dedent(SERVED)
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "0 True 0", json.dumps(done.stderr)
