"""A window over a stream: filled, searched, slid. Start a server first: ``make run``."""

import asyncio

import numpy as np

import omendb_ws


async def main() -> None:
    vectors = np.random.default_rng(0).standard_normal((2_000, 64), dtype=np.float32)
    async with omendb_ws.connect("ws://127.0.0.1:8765/v1") as db:
        await db.create("quickstart", dim=64, capacity=1_000, if_exists="ok")
        await db.add("quickstart", vectors, ids=np.arange(2_000))
        answer = await db.search("quickstart", vectors[1_999], k=3)
        print(answer.ids, answer.scores)  # first the row itself: 1999, with score 1.0
        print(await db.count("quickstart"), "rows")  # 1000: the newest of the 2,000
        print(await db.get("quickstart", [0]))  # [None]: the first one has left the window


try:
    asyncio.run(main())
except (omendb_ws.ConnectionLost, TimeoutError) as error:
    raise SystemExit(f"{error}; omendb-ws serve starts one") from None
