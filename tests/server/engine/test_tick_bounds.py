"""What one tick does is bounded, so that whoever else asks has a turn: each bound by itself."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from omendb_core.model.change import RowBatch
from omendb_core.scan.choice import choose

from omendb_ws.engine import changing
from omendb_ws.engine.reads import split_scan
from omendb_ws.engine.reads.commands import Count
from omendb_ws.engine.streams import deliveries
from tests.patience import PATIENCE_SECONDS
from tests.server.journal.test_durability import held, waiting
from tests.server.raw import client, engine_held, rows, running
from tests.server.streams.test_feeds import follow


def counted(call: Callable[..., Any], grows: int) -> tuple[Callable[..., Any], list[int]]:
    """``call``, and by how many its argument ``grows``, a list of effects, grew each time."""
    counts: list[int] = []

    def counting(*arguments: Any) -> Any:
        before = len(arguments[grows])
        result = call(*arguments)
        counts.append(len(arguments[grows]) - before)
        return result

    return counting, counts


async def test_changes_land_for_as_long_as_a_tick_has_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with held() as (server, store, one, other):
        ids = [await one.send("add", collection="items", rows=rows(n)) for n in range(1, 6)]
        await waiting(store, 5)
        durability = server.context.engine.tick.changing.durability
        counting, counts = counted(durability.finish_settled, 0)
        monkeypatch.setattr(durability, "finish_settled", counting)
        monkeypatch.setattr(changing, "TICK_CHANGES_US", 0)
        async with engine_held(server):
            store.log("items").let_go()
        for id in ids:
            assert "ok" in await one.reply(id)
        assert sum(counts) == 5
        assert max(counts) == 1, "a tick finished more than it has time for"
        assert (await other.ok("count", collection="items"))["count"] == 5


@pytest.mark.parametrize(("bound", "value", "most"), [("PUSHES", 3, 3), ("PUSH_BYTES", 1, 1)])
async def test_a_tick_makes_so_many_pushes_and_the_next_one_goes_on(
    bound: str, value: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running() as server, client(server) as raw:
        await raw.create()
        readers = [await follow(raw) for _ in range(10)]
        turns = server.context.engine.tick.deliveries
        counting, counts = counted(turns.push, 0)
        monkeypatch.setattr(turns, "push", counting)
        monkeypatch.setattr(deliveries, f"TICK_{bound}", value)
        monkeypatch.setattr(deliveries, "GROUP_STREAMS", 1)
        await raw.add(1)
        for reader in readers:
            await reader.until(1)
        assert sum(counts) == 10
        assert max(counts) <= most


async def test_replies_do_not_wait_for_pushes_that_were_left_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running() as server, client(server) as raw, client(server) as other:
        await raw.create()
        readers = [await follow(raw) for _ in range(10)]
        monkeypatch.setattr(deliveries, "TICK_PUSHES", 1)
        monkeypatch.setattr(deliveries, "GROUP_STREAMS", 1)
        engine = server.context.engine
        push, post, submit = engine.tick.deliveries.push, engine.moment._post, engine.submit
        posted: list[str] = []
        made: list[list[str]] = []
        is_asked = threading.Event()

        def posting(effects: list[Any]) -> None:
            posted.extend(type(one).__name__ for one in effects)
            post(effects)

        def pushing(*arguments: Any) -> None:
            made.append(list(posted))
            if len(made) == 2:
                is_asked.wait(PATIENCE_SECONDS)
            push(*arguments)

        def submitting(work: Any) -> None:
            submit(work)
            if isinstance(work, Count):
                is_asked.set()

        monkeypatch.setattr(engine, "submit", submitting)
        monkeypatch.setattr(engine.moment, "_post", posting)
        monkeypatch.setattr(engine.tick.deliveries, "push", pushing)
        await raw.add(1)
        assert (await other.ok("count", collection="items"))["count"] == 1
        for reader in readers:
            await reader.until(1)
        replies = [before.count("Reply") for before in made]
        # Where the engine is put aside before the second push, the count is there by then, too.
        assert replies[0] == 0
        assert replies[2] == 2, "the count's went before the third push was made"


async def test_a_server_splits_its_scans_over_the_threads_that_are_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    helped: list[int] = []
    help_with = split_scan._helpers.help

    def helping(job: split_scan.Job, count: int) -> None:
        helped.append(count)
        help_with(job, count)

    monkeypatch.setattr(split_scan._helpers, "help", helping)
    vectors = np.random.default_rng(1).standard_normal((12_000, 16)).astype(np.float32)
    for threads, wanted in ((1, []), (2, [1])):
        async with running(scan_threads=threads) as server, client(server) as raw:
            if not choose().keeps_shadow:
                pytest.skip("the scan in numpy is not split")
            made = await raw.create(dim=16, capacity=20_000, metric="cosine")
            ids = np.arange(1, 12_001, dtype=np.uint64)
            await raw.add_binary(made["handle"], RowBatch(vectors, ids))
            found = await raw.search_binary(made["handle"], vectors[:64], k=1)
            assert found.hits.ids.tolist() == ids[:64].tolist()
        assert helped == wanted
