"""Floats that make numpy warn: a typed refusal, and no warning in the server (all are errors here).

What stands in a frame may be any bits: signalling NaNs, infinities of both signs, subnormals.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from omendb_core.model.change import RowBatch

from omendb_ws.wire import binary
from tests.server.raw import client, running

SIGNALLING = np.array([0x7FA00000, 0xFFA00000], "<u4").view("<f4")
ODD: list[Any] = [
    SIGNALLING, [np.inf, -np.inf], [-np.inf, np.inf], [np.nan, 1], [np.inf, 1],
    [3.4e38, 3.4e38], [3.4e38, -3.4e38],
]  # fmt: skip


@pytest.mark.parametrize("kernel", [None, "reference"])
@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
async def test_odd_floats_are_refused_and_warn_nobody(
    metric: str, kernel: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kernel is not None:
        monkeypatch.setenv("OMENDB_KERNEL", kernel)
    async with running() as server, client(server) as raw:
        made = await raw.ask("create", collection="a", dim=2, capacity=10, metric=metric)
        handle = made["ok"]["handle"]
        for number, odd in enumerate(ODD, 100):
            vectors = np.array([odd], "<f4") if odd is not SIGNALLING else SIGNALLING.reshape(1, 2)
            rows = RowBatch(np.repeat(vectors, 2, axis=0), np.array([1, 2], np.uint64))
            for message in (
                binary.encode_add(number, handle, rows),
                binary.encode_search(number, handle, vectors),
                binary.encode_subscribe(number, handle, vectors),
            ):
                await raw.send_binary(message)
                reply = await raw.reply(number)
                assert reply["error"]["code"] == "non_finite", (odd, reply)
        for value in (1e39, -1e39, 1e308):
            vector = [value, -value]
            for op, fields in (("add", {"rows": [{"id": 1, "vector": vector}]}),
                               ("search", {"vector": vector})):  # fmt: skip
                reply = await raw.ask(op, collection="a", **fields)
                assert reply["error"]["code"] == "non_finite"
        tiny = np.array([[1e-45, 1e-45]], "<f4")
        await raw.send_binary(binary.encode_add(9, handle, RowBatch(tiny, np.array([1], "<u8"))))
        if metric == "cosine":
            assert (await raw.reply(9))["error"]["code"] == "zero_norm"
        else:
            assert (await raw.reply(9)).version == 1
