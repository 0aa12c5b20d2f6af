"""A server as a prototype is one: FastAPI, pydantic and numpy. For ``bench_http.py``.

    python -m load_tests.plain_http PORT

The rows are in an array, a search is a product, and ``argpartition``.
"""

from __future__ import annotations

import sys
from typing import Any, Final

import numpy as np
import uvicorn
from fastapi import FastAPI, Request
from pydantic import BaseModel

DIM: Final = 128
CAPACITY: Final = 100_000


class Search(BaseModel):
    """A query."""

    vector: list[float]
    k: int = 10


def make_app() -> FastAPI:
    """The server, without rows."""
    app = FastAPI()
    rows = np.zeros((CAPACITY, DIM), np.float32)
    counted = [0]

    @app.post("/add")
    async def add(request: Request) -> dict[str, int]:
        added = np.frombuffer(await request.body(), "<f4").reshape(-1, DIM)
        at = (counted[0] + np.arange(len(added))) % CAPACITY
        rows[at] = added / np.linalg.norm(added, axis=1, keepdims=True)
        counted[0] += len(added)
        return {"rows": counted[0]}

    @app.post("/search")
    async def search(asked: Search) -> dict[str, Any]:
        query = np.asarray(asked.vector, np.float32)
        scores = rows[: min(counted[0], CAPACITY)] @ (query / np.linalg.norm(query))
        best = np.argpartition(scores, -asked.k)[-asked.k :]
        best = best[np.argsort(-scores[best])]
        return {"results": [{"id": int(n), "score": float(scores[n])} for n in best]}

    return app


if __name__ == "__main__":
    uvicorn.run(
        make_app(), host="127.0.0.1", port=int(sys.argv[1]), log_level="critical", access_log=False
    )
