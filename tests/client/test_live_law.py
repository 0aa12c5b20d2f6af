"""The law over a real server: every answer yielded is what search returns at its version."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from omendb_core.model.errors import NotFound

from omendb_ws.client import Client, LiveAnswer, connect
from omendb_ws.net.server import Server
from tests.server.raw import running

from .fake import PATIENCE_SECONDS, eventually
from .live_reader import DIM, SOON, Reader, held, vectors
from .proxy import Proxy


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with running() as started:
        yield started


@pytest.fixture
async def db(server: Server) -> AsyncIterator[Client]:
    async with connect(server.url) as client:
        yield client


@pytest.mark.parametrize(
    ("metric", "ids", "include"),
    [("cosine", "u64", ()), ("dot", "str", ("metadata",)), ("l2", "auto", ("metadata", "vector"))],
)
async def test_every_answer_is_what_search_returned_at_that_version(
    server: Server, metric: Any, ids: Any, include: tuple[Any, ...]
) -> None:
    """One connection changes the window and searches after every change; others only listen."""
    options: list[dict[str, Any]] = [
        {"k": 1},
        {"k": 5, "min_score": -0.5 if metric != "l2" else -9.0},
        {"k": 40, "filter": {"price": {"$lt": 6}}},
        {"k": 1000},
        {"k": 4, "exclude": ["n3", "n7"] if ids == "str" else [3, 7], "group": {"by": "price"}},
        {"k": 9, "decay": {"half_life": 0.001}},
        {"k": 5, "decay": {"half_life": 2, "column": "price"}, "spread": {"max_similarity": -0.1}},
        {"k": 5, "rank": {"$mul": ["$score", {"$sub": ["price", 5]}]}},
        {"k": 30, "rank": {"$div": ["$score", {"$sub": ["price", 5]}]}, "group": {"by": "price"}},
    ]
    random = np.random.default_rng(7)
    async with connect(server.url) as changer, connect(server.url) as db:
        await changer.create(
            "items", dim=DIM, capacity=30, metric=metric, ids=ids, columns={"price": "i64"}
        )
        question = vectors(1, seed=9)[0]
        queries = [db.live("items", question, include=include, **one) for one in options]
        readers = [Reader(query) for query in queries]
        expected: dict[int, list[dict[str, Any]]] = {}

        async def look() -> int:
            answers = [
                await changer.search("items", question, include=include, **one) for one in options
            ]
            [version] = {one.version for one in answers}
            expected[version] = [held(one) for one in answers]
            return version

        async def change() -> int:
            for turn in range(120):
                await change_at_random(changer, ids, random, turn)
                await look()
            last = np.tile(question, (30, 1))  # all new, in one version: every answer changes
            metadata = [{"price": 1}] * 30
            given = {"auto": None, "u64": range(900, 930), "str": [f"z{i}" for i in range(30)]}
            await changer.add("items", last, ids=given[ids], metadata=metadata)
            return await look()

        async def read(reader: Reader, place: int) -> None:
            while True:
                yielded.append((place, await reader.step(patient=True)))

        await look()
        yielded: list[tuple[int, LiveAnswer]] = []
        reads = [asyncio.create_task(read(*one)) for one in zip(readers, range(9), strict=True)]
        last = await change()
        await eventually(
            lambda: (
                any(one.done() for one in reads)
                or all(reader.answer and reader.answer.version == last for reader in readers)
            )
        )
        for one in reads:
            one.cancel()
        ends = await asyncio.gather(*reads, return_exceptions=True)
        assert [type(one) for one in ends] == [asyncio.CancelledError] * 9
        for place, answer in yielded:
            assert held(answer) == expected[answer.version][place]
        assert len(yielded) > 100


async def change_at_random(db: Client, ids: str, random: Any, turn: int) -> None:
    """One add, update or delete."""
    some = random.integers(0, 25, size=2)
    known = [f"n{one}" for one in some] if ids == "str" else some
    if ids == "auto":
        known = (await db.describe("items")).last_seq - some % 20
        known = known[known > 0]
    action = random.integers(4)
    if action == 0 and turn > 20:
        await db.delete("items", known)
    elif action == 1 and turn > 20:
        rows = [row.id for row in await db.get("items", known) if row is not None]
        rows = list(dict.fromkeys(rows))
        if rows:
            new = [{"price": int(random.integers(12)), "turn": turn} for _ in rows]
            await db.update("items", rows, new)
    else:
        count = int(random.integers(1, 4))
        fresh = [int(one) for one in random.choice(25, size=count, replace=False)]
        given: Any = {"auto": None, "u64": fresh, "str": [f"n{one}" for one in fresh]}[ids]
        rows_given = random.normal(size=(count, DIM)).astype(np.float32)
        metadata = [{"price": int(random.integers(12))} for _ in fresh]
        await db.add("items", rows_given, ids=given, metadata=metadata)


async def test_moves_and_changes_side_by_side_keep_the_law(server: Server) -> None:
    targets = vectors(20, seed=3)
    async with connect(server.url) as changer, connect(server.url) as db:
        await changer.create("items", dim=DIM, capacity=50, metric="dot")
        await changer.add("items", vectors(50), ids=range(50))
        async with db.live("items", targets[0], 5) as query:
            reader = Reader(query)

            async def change() -> None:
                for turn in range(60):
                    await changer.add("items", vectors(1, seed=turn), ids=[turn])

            async def move() -> None:
                for target in targets:
                    await query.move(target)

            async def read() -> None:
                while True:
                    await reader.step(patient=True)

            reading = asyncio.create_task(read())
            await asyncio.gather(change(), move())
            expected = await changer.search("items", targets[-1], 5)
            await eventually(
                lambda: (
                    reading.done()
                    or (reader.answer and reader.answer.seqs.tolist() == expected.seqs.tolist())
                )
            )
            reading.cancel()
            assert reader.answer is not None
            assert held(reader.answer) == held(expected)


async def test_answers_stay_true_however_often_the_connection_is_lost(server: Server) -> None:
    questions = vectors(40, seed=4)
    async with (
        Proxy(server.url, seed=5) as proxy,
        connect(server.url) as changer,
        connect(proxy.url, backoff=SOON) as db,
        asyncio.timeout(PATIENCE_SECONDS),
    ):
        await changer.create("items", dim=DIM, capacity=200, metric="cosine", columns={"n": "i64"})
        queries = [db.live("items", one, 5, include=["metadata"]) for one in questions]
        readers = [Reader(query) for query in queries]
        proxy.mean_bytes = 20_000

        async def read(reader: Reader) -> None:
            while True:
                await reader.step(patient=True)

        reads = [asyncio.create_task(read(reader)) for reader in readers]
        for turn in range(150):
            await changer.add("items", vectors(2, seed=turn), metadata=[{"n": turn}] * 2, ids=[
                turn % 60, 100 + turn % 50,
            ])  # fmt: skip
        proxy.mean_bytes = None
        expected = await changer.search("items", questions, 5, include=["metadata"])

        def are_there() -> bool:
            return any(one.done() for one in reads) or all(
                reader.answer is not None and held(reader.answer) == held(one)
                for reader, one in zip(readers, expected, strict=True)
            )

        await eventually(are_there)
        for one in reads:
            one.cancel()
        ends = await asyncio.gather(*reads, return_exceptions=True)
        assert {type(one) for one in ends} == {asyncio.CancelledError}
        assert proxy.cuts > 5


async def test_what_was_moved_is_asked_again_after_a_lost_connection(server: Server) -> None:
    async with (
        Proxy(server.url) as proxy,
        connect(server.url) as changer,
        connect(proxy.url, backoff=SOON) as db,
        asyncio.timeout(PATIENCE_SECONDS),
    ):
        await changer.create("items", dim=DIM, capacity=60, metric="dot", columns={"n": "i64"})
        await changer.add(
            "items", vectors(60), ids=range(60), metadata=[{"n": n % 9} for n in range(60)]
        )
        question = vectors(1, seed=3)[0]
        shape: dict[str, Any] = {"decay": {"half_life": 2, "column": "n"}, "group": {"by": "n"}}
        asked: dict[str, Any] = {"filter": {"n": {"$gt": 2}}, "exclude": [5, 14], "min_score": -1}
        async with db.live("items", positive=[1, 2], k=9, **shape) as query:
            reader = Reader(query)
            await reader.step()
            await query.move(question, **asked)
            await reader.step()
            for turn in range(5):
                proxy.cut()
                await changer.add("items", vectors(3, seed=turn), ids=[70 + turn, 5, 20])
                expected = await changer.search("items", question, 9, **shape, **asked)
                while held(await reader.step())["ranks"] != held(expected)["ranks"]:
                    pass
                assert held(reader.answer) == held(expected)
            await query.move(exclude=None, positive=[70, 71])
            await reader.step()
            await changer.delete("items", [71])
            proxy.cut()
            with pytest.raises(NotFound, match=r"^positive") as caught:
                await reader.until(1 << 40)
            assert caught.value.row == 1
