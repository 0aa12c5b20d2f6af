"""The synchronous client: threads, interruptions, time-outs, forks, and how it ends."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import pytest

from omendb_ws import errors
from omendb_ws.client import background
from omendb_ws.client.backoff import Backoff
from omendb_ws.sync import Client, connect
from tests.patience import PATIENCE_SECONDS, wait_until
from tests.server.raw import running

from .proxy import Proxy


@pytest.fixture
def db() -> Iterator[Client]:
    with connect("memory://") as client:
        yield client


@pytest.fixture(params=["socket", "memory"])
async def url(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    if request.param == "memory":
        yield f"memory://sync-{request.node.name.split('[')[0]}"
    else:
        async with running() as server:
            yield server.url


def vectors(count: int, dim: int = 4, seed: int = 1) -> Any:
    return np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)


# -- threads ------------------------------------------------------------------------------------


async def test_threads_may_hammer_one_client(url: str) -> None:
    def work(db: Client, number: int) -> list[int]:
        rows = vectors(200, 8, seed=number)
        seen = []
        with db.live("items", rows[0], 1) as live:
            for at in range(0, 200, 10):
                ids = np.arange(number * 1000 + at, number * 1000 + at + 10)
                added = db.add("items", rows[at : at + 10], ids=ids)
                assert added.rows == 10
                seen.append(added.first_seq or 0)
                [row] = db.get("items", [int(ids[3])])
                assert row is not None
                best = db.search("items", rows[at], k=1)
                assert best.ids.tolist() == [ids[0]]
                db.count("items")
            assert live.next(PATIENCE_SECONDS).ids.tolist() == [number * 1000]
        return seen

    def hammer() -> None:
        with connect(url) as db, ThreadPoolExecutor(8) as threads:
            db.create("items", dim=8, capacity=10_000, metric="cosine")
            firsts = list(threads.map(lambda number: work(db, number), range(8)))
            assert all(one == sorted(one) for one in firsts)
            assert sorted(first for one in firsts for first in one) == list(range(1, 1600, 10))
            assert db.count("items") == 1600

    await asyncio.to_thread(hammer)


def test_threads_share_one_subscription_and_each_item_goes_to_one(db: Client) -> None:
    db.create("items", dim=2, capacity=1000, ids="auto")
    with db.feed("items") as feed, ThreadPoolExecutor(4) as threads:
        reading = [threads.submit(lambda: [r for rows in feed for r in rows]) for _ in range(4)]
        for at in range(1, 101):
            db.add("items", [[at, 1]])
        try:
            wait_until(lambda: feed.to_seq == 100)  # what was taken is kept if it is closed now
        finally:
            feed.close()
        seqs = sorted(row.seq for one in reading for row in one.result(PATIENCE_SECONDS))
    assert seqs == list(range(1, 101))


async def test_it_works_inside_a_running_event_loop() -> None:
    with connect("memory://") as db:
        db.create("items", dim=2, capacity=10)
        db.add("items", [[1, 2]], ids=[1])
        assert db.search("items", [1, 2]).ids.tolist() == [1]
        with db.live("items", [1, 0]) as live:
            assert len(next(live)) == 1


def test_the_thread_that_answers_is_not_made_to_wait_for_itself(db: Client) -> None:
    async def call() -> None:
        db.ping()

    with pytest.raises(RuntimeError, match="cannot wait"):
        db._run(call())
    db.ping()


# -- subscriptions ------------------------------------------------------------------------------


def test_a_timeout_loses_nothing_and_the_subscription_goes_on(db: Client) -> None:
    db.create("items", dim=2, capacity=1000, ids="auto")
    with db.feed("items") as feed:
        for timeout in (0, 0.001, 1e-9, -1, -1e9):
            with pytest.raises(TimeoutError, match="nothing came within"):
                feed.next(timeout)
        db.add("items", [[1, 2]])
        assert feed.next(float("inf")).seqs.tolist() == [1]
        seen: list[int] = []
        for at in range(200):
            db.add("items", [[at, 1]])
            with suppress(TimeoutError):
                seen += feed.next(at % 3 * 1e-4).seqs.tolist()
        while len(seen) < 200:
            seen += feed.next(PATIENCE_SECONDS).seqs.tolist()
    assert seen == list(range(2, 202))


def test_iterating_until_quiet_ends_and_can_go_on(db: Client) -> None:
    db.create("items", dim=2, capacity=100, ids="auto")
    with db.feed("items") as feed:
        assert list(feed.until_quiet(0.001)) == []
        db.add("items", [[1, 2], [3, 4]])
        first = feed.next(PATIENCE_SECONDS)
        assert [row.seq for row in first] == [1, 2]
        assert (feed.to_seq, feed.epoch) == (2, first.epoch)
        db.add("items", [[5, 6]])
        second = next(feed.until_quiet(PATIENCE_SECONDS))
        assert second.seqs.tolist() == [3]
    assert list(feed.until_quiet(PATIENCE_SECONDS)) == []
    with pytest.raises(StopIteration):
        feed.next(PATIENCE_SECONDS)


def test_a_subscription_keeps_its_client_and_one_that_is_dropped_is_ended() -> None:
    with connect("memory://sync-kept") as db:
        db.create("items", dim=2, capacity=10, ids="auto")
        feed = connect("memory://sync-kept").feed("items").__enter__()
        gc.collect()
        db.add("items", [[1, 2]])
        assert feed.next(PATIENCE_SECONDS).seqs.tolist() == [1]
        assert db.stats()["connections"] == 2
        del feed
        gc.collect()
        wait_for(lambda: (db.stats()["connections"], db.stats()["subscriptions"]) == (1, 0))
        for rows in db.watch_stats(every_ms=100):
            assert rows["connections"] == 1
            break
        wait_for(lambda: db.stats()["subscriptions"] == 0)


def wait_for(is_true: Callable[[], bool]) -> None:
    """Return when it is; each question takes a round trip."""
    until = time.monotonic() + PATIENCE_SECONDS
    while not is_true():
        assert time.monotonic() < until, "it never was"


async def test_a_lost_connection_is_replaced_under_calls_and_feeds() -> None:
    def work(url: str, cut: Callable[[], None]) -> None:
        with connect(url, backoff=Backoff(0.001, 0.01)) as db:
            db.create("items", dim=4, capacity=1000, ids="auto")
            with db.feed("items") as feed, db.live("items", [1, 0, 0, 0], 1) as live:
                assert len(next(live)) == 0
                seen: list[int] = []
                for at in range(10):
                    db.add("items", vectors(10, seed=at))
                    cut()
                    assert db.count("items") == 10 * at + 10
                while len(seen) < 100:
                    seen += feed.next(PATIENCE_SECONDS).seqs.tolist()
                assert seen == list(range(1, 101))
                answer = live.next(PATIENCE_SECONDS)
                while answer.version < 10:
                    answer = live.next(PATIENCE_SECONDS)
                assert answer.ids.tolist() == db.search("items", [1, 0, 0, 0], 1).ids.tolist()

    loop = asyncio.get_running_loop()
    async with running() as server, Proxy(server.url) as proxy:
        await asyncio.to_thread(work, proxy.url, lambda: loop.call_soon_threadsafe(proxy.cut))
        assert proxy.cuts == 10


# -- interruptions ------------------------------------------------------------------------------


@contextmanager
def interrupted_when(is_waiting: Callable[[], bool]) -> Iterator[None]:
    """Ctrl-C, as soon as ``is_waiting``; the block must raise KeyboardInterrupt."""

    def interrupt() -> None:
        wait_until(is_waiting)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            yield
    finally:
        thread.join()


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy this machine is, an interrupted call has ended before that is raised."""
    monkeypatch.setattr(background, "CANCEL_SECONDS", PATIENCE_SECONDS)


def calls_under_way() -> int:
    """Tasks of callers on the loop of synchronous clients."""
    tasks = asyncio.all_tasks(background.shared().loop)
    return sum("_take" in repr(task) or "Client." in repr(task) for task in tasks)


def test_ctrl_c_ends_a_wait_and_nothing_else(db: Client) -> None:
    db.create("items", dim=2, capacity=100, ids="auto")
    with db.feed("items") as feed:
        for at in range(1, 4):
            with interrupted_when(lambda: calls_under_way() == 1):
                next(feed)
            assert calls_under_way() == 0
            db.add("items", [[at, 1]])
            assert feed.next(PATIENCE_SECONDS).seqs.tolist() == [at]


def test_an_item_that_came_with_the_ctrl_c_is_not_lost(
    db: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    db.create("items", dim=2, capacity=100, ids="auto")
    wait = background._Call.wait

    def wait_too_long(call: Any, timeout_seconds: float = -1) -> None:
        wait(call, timeout_seconds)
        raise KeyboardInterrupt

    with db.feed("items") as feed:
        for at in range(1, 4):
            db.add("items", [[at, 1]])
            with monkeypatch.context() as patch:
                patch.setattr(background._Call, "wait", wait_too_long)
                with pytest.raises(KeyboardInterrupt):
                    next(feed)
            assert feed.to_seq == at
            assert feed.next(0).seqs.tolist() == [at]


def test_ctrl_c_in_a_call_cancels_it() -> None:
    with connect("memory://") as db:
        db.create("items", dim=64, capacity=1000)

        async def never() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(True)

        ended: list[bool] = []
        with interrupted_when(lambda: "never" in repr(asyncio.all_tasks(db._background.loop))):
            db._run(never())
        assert ended == [True]
        db.ping()


# -- the end ------------------------------------------------------------------------------------


def test_closing_twice_is_fine_and_calls_after_it_say_so(db: Client) -> None:
    feed = connect("memory://").feed("items")
    other = connect("memory://")
    other.close()
    other.close()
    with pytest.raises(errors.ConnectionLost, match="closed"):
        other.ping()
    with pytest.raises(errors.ConnectionLost, match="closed"):
        next(other.feed("items"))
    feed.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_is_told_and_can_connect_anew(db: Client) -> None:
    program = """
import os, sys
from omendb_ws.sync import connect
from omendb_ws import ConnectionLost
db = connect("memory://")
db.create("items", dim=2, capacity=10)
feed = db.feed("items").__enter__()
child = os.fork()
if child == 0:
    for call in (db.ping, feed.next, lambda: feed.next(1), feed.close, db.close):
        try:
            call()
        except ConnectionLost as error:
            assert "another process" in error.message
        else:
            sys.exit(3)
    del feed, db
    with connect("memory://") as db:
        db.create("items", dim=2, capacity=10)
        print(db.count("items"), flush=True)
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
db.add("items", [[1, 2]], ids=[1])
print(feed.next(10).ids.tolist())
"""
    assert run(program) == "0\n[1]\n"


#: Its threads end with the interpreter, which is no fault of theirs.
FORGOTTEN = """
import sys, threading
from omendb_ws.sync import connect
db = connect(sys.argv[1])
db.create("items", dim=2, capacity=10, if_exists="ok")
feed = db.feed("items").__enter__()
def wait():
    try:
        next(feed)
    except Exception:
        pass
for _ in range(3):
    threading.Thread(target=wait, daemon=True).start()
others = [connect(sys.argv[1]) for _ in range(3)]
print("end")
"""


async def test_a_program_that_forgets_to_close_ends_at_once(url: str) -> None:
    assert await asyncio.to_thread(run, FORGOTTEN, url) == "end\n"


def run(program: str, *arguments: str) -> str:
    """What a program prints; it must end well, in time, and say nothing on stderr."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout
