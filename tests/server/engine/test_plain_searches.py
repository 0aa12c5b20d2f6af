"""Plain searches over sockets: together in a tick with others, and with some at fault."""

from __future__ import annotations

import random

import numpy as np
from omendb_core.model.types import Include

from omendb_ws.wire import binary
from omendb_ws.wire.messages import Results
from tests.server.raw import batch, client, engine_held, queued, running


async def test_one_at_fault_among_many_harms_no_other() -> None:
    async with running() as server, client(server) as raw:
        handle = (await raw.create(metric="cosine"))["handle"]
        await raw.add_binary(handle, batch(1, 2, 3))
        vectors = {
            10: [[1, 1]], 11: [[0, 0]], 12: [[1, np.nan], [1, 1]], 13: [[3e38, 3e38]],
            14: [[1, 2], [2, 1]], 15: [[1, 1, 1, 1]],
        }  # fmt: skip
        async with engine_held(server):
            for id, asked in vectors.items():
                array = np.array(asked, np.float32)
                await raw.send_binary(binary.encode_search(id, handle, array, 2))
            await queued(server, 5)
        codes = {11: "zero_norm", 12: "non_finite", 13: "non_finite", 15: "dim_mismatch"}
        for id in vectors:
            reply = await raw.reply(id)
            if id in codes:
                assert reply["error"]["code"] == codes[id]
                assert reply["error"].get("row") == (0 if id == 12 else None)
            else:
                assert reply.counts.tolist() == [2] * len(vectors[id])


async def test_each_is_answered_as_if_it_were_alone() -> None:
    numbers = random.Random(2)
    async with running() as server, client(server) as raw:
        handle = (await raw.create(capacity=40))["handle"]
        await raw.add_binary(handle, batch(*range(30)))
        asked = {}
        async with engine_held(server):
            for id in range(100, 160):
                n = numbers.choice((1, 1, 1, 2, 5))
                vectors = np.array(numbers.choices((0.5, -1, 2, 7), k=2 * n), np.float32)
                asked[id] = vectors.reshape(n, 2), numbers.choice((1, 3, 100))
                await raw.send_binary(binary.encode_search(id, handle, *asked[id]))
            await queued(server, 60)
        for id, (vectors, k) in asked.items():
            found = await raw.reply(id)
            assert isinstance(found, Results)
            alone = await raw.search_binary(handle, vectors, k=k, include=Include(metadata=True))
            assert found.counts.tolist() == alone.counts.tolist()
            assert found.hits.seqs.tolist() == alone.hits.seqs.tolist()
            assert found.hits.scores is not None
            assert alone.hits.scores is not None
            assert found.hits.scores.tobytes() == alone.hits.scores.tobytes()
        assert server.metrics.searched == 2 * sum(len(vectors) for vectors, _ in asked.values())


async def test_a_reply_over_the_limit_is_refused_before_the_work() -> None:
    async with running(max_message_bytes=4096) as server, client(server) as raw:
        handle = (await raw.create(capacity=300))["handle"]
        await raw.add_binary(handle, batch(*range(150)))
        found = await raw.search_binary(handle, np.ones((1, 2)), k=190)
        assert len(found.hits.seqs) == 150
        await raw.send_binary(binary.encode_search(7, handle, np.ones((2, 2), np.float32), 110))
        assert (await raw.reply(7))["error"]["code"] == "too_large"


async def test_string_ids_come_back() -> None:
    async with running() as server, client(server) as raw:
        handle = (await raw.create(ids="str"))["handle"]
        await raw.ok("add", collection="items", rows=[{"id": "ä", "vector": [1, 2]}])
        found = await raw.search_binary(handle, np.ones((1, 2)))
        assert found.hits.ids == ["ä"]
