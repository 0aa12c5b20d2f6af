"""Chroma: its server as a child on a free loopback port, asked over HTTP by its Python client.

It writes to disk (a directory of its own), so it can do more than what is measured here.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import chromadb
import numpy as np
from chromadb.config import Settings
from omendb_core.model.types import F32

from .peer import BUILD_EFFORT, LINKS, Ints, Peer

NAME = "peers"
READY_SECONDS = 30.0


class ChromaServer:
    """A server with one collection."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="chroma-")
        self._collection: Any = None
        self._start()

    def _start(self) -> None:
        port = _free_port()
        beside = Path(sys.executable).parent / "chroma"
        command = str(beside) if beside.exists() else shutil.which("chroma") or "chroma"
        self._server = subprocess.Popen(
            [command, "run", "--path", self._folder.name, "--host", "127.0.0.1",
             "--port", str(port)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.process_id = self._server.pid
        self._client: Any = self._connected(port)

    def _stop(self) -> None:
        self._server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._server.wait(10)
        self._server.kill()
        self._server.wait()

    def _connected(self, port: int) -> Any:
        end = time.monotonic() + READY_SECONDS
        while True:
            try:
                return chromadb.HttpClient(
                    host="127.0.0.1", port=port, settings=Settings(anonymized_telemetry=False)
                )
            except Exception:
                if self._server.poll() is not None or time.monotonic() > end:
                    raise
                time.sleep(0.1)

    def open(self, dim: int, capacity: int, threads: int) -> None:
        graph = {"space": "ip", "max_neighbors": LINKS, "ef_construction": BUILD_EFFORT,
                 "num_threads": threads}  # fmt: skip
        self._collection = self._client.create_collection(
            NAME, configuration={"hnsw": graph}, embedding_function=None
        )
        self._most = self._client.get_max_batch_size()

    def add(self, ids: Ints, vectors: F32) -> None:
        for start in range(0, len(ids), self._most):
            part = slice(start, start + self._most)
            self._collection.add(ids=[str(one) for one in ids[part]], embeddings=vectors[part])

    def settle(self) -> None:
        pass

    def set_effort(self, effort: int) -> None:
        """Start the server anew: a graph that it holds in memory keeps its old ``ef_search``."""
        self._collection.modify(configuration={"hnsw": {"ef_search": effort}})
        self._stop()
        self._start()
        self._collection = self._client.get_collection(NAME)

    def search(self, queries: F32, k: int) -> Ints:
        answers = self._collection.query(query_embeddings=queries, n_results=k, include=[])
        found = np.full((len(queries), k), -1, np.int64)
        for row, ids in zip(found, answers["ids"], strict=True):
            row[: len(ids)] = [int(one) for one in ids]
        return found

    def close(self) -> None:
        self._stop()
        self._folder.cleanup()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def make() -> Peer:
    return ChromaServer()
