"""A program of 0.1: ``python client.py URL``. It says as one JSON object what it saw."""

from __future__ import annotations

import asyncio
import json
import sys

import omendb_ws
from omendb_ws import sync


async def main(url: str) -> None:
    seen: dict[str, object] = {"client": omendb_ws.__file__}
    async with omendb_ws.connect(url) as db:
        await db.create("things", dim=2, capacity=4, columns={"n": "i64"})
        answers = aiter(db.live("things", [1, 0], k=1, include=["metadata"]))
        seen["snapshot"] = [row.id for row in await anext(answers)]
        added = await db.add("things", [[1, 0], [0, 1]], ids=[1, 2], metadata=[{"n": 1}, {"n": 2}])
        seen["added"] = [added.version, added.first_seq, added.last_seq]
        answer = await anext(answers)
        seen["live"] = [[row.id, row.metadata] for row in answer]
        epoch = (await db.describe("things")).epoch
        pushes = aiter(db.feed("things", from_seq=1, epoch=epoch))
        seen["feed"] = [row.id for row in await anext(pushes)]
        found = await db.search("things", [0, 1], k=2, filter={"n": {"$gte": 2}})
        seen["search"] = [[row.id, row.score] for row in found]
        seen["count"] = await db.count("things")
        try:
            await db.search("absent", [0, 1])
        except omendb_ws.OmenError as error:
            seen["error"] = type(error).__name__
    with sync.connect(url) as db_sync:
        seen["deleted"] = db_sync.delete("things", [1])
        seen["left"] = [None if row is None else row.id for row in db_sync.get("things", [1, 2])]
    print(json.dumps(seen))


asyncio.run(main(sys.argv[1]))
