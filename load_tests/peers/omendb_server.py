"""This project's server as a child, over its wire, through the Python client."""

from __future__ import annotations

import asyncio

import numpy as np
from omendb_core.model.types import F32

import omendb_ws
from omendb_ws.runtime.event_loops import choose

from ..simulation.server import serving
from .peer import Ints, Peer


class OmendbServer:
    """A server with one collection, in memory."""

    def __init__(self) -> None:
        self._serving = serving()
        server = self._serving.__enter__()
        assert server.process_id is not None
        self.process_id = server.process_id
        self._runner = asyncio.Runner(loop_factory=choose().new_loop)
        self._connecting = omendb_ws.connect(server.url)
        self._db = self._runner.run(self._connected())

    async def _connected(self) -> omendb_ws.Client:
        return await self._connecting.__aenter__()

    def open(self, dim: int, capacity: int, threads: int) -> None:
        self._runner.run(self._db.create("peers", dim=dim, capacity=capacity, metric="dot"))

    def add(self, ids: Ints, vectors: F32) -> None:
        self._runner.run(self._db.add("peers", vectors, ids=ids))

    def settle(self) -> None:
        pass

    def set_effort(self, effort: int) -> None:
        pass

    def search(self, queries: F32, k: int) -> Ints:
        answers = self._runner.run(self._db.search("peers", queries, k=k))
        found = np.full((len(queries), k), -1, np.int64)
        for row, answer in zip(found, answers, strict=True):
            row[: len(answer)] = answer.ids
        return found

    def close(self) -> None:
        self._runner.run(self._connecting.__aexit__(None, None, None))
        self._runner.close()
        self._serving.__exit__(None, None, None)


def make() -> Peer:
    return OmendbServer()
