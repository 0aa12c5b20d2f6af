"""The picture of a window in two dimensions, as an async iterator (PROTOCOL section 6, "map").

Keeps the rows that are shown; knows connections, no socket.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from omendb_core.model.types import F32, U64

from ..wire import messages
from ..wire.messages import JsonObject
from . import requests
from .arrays import as_vectors, check_dim
from .connection import Connection
from .descriptions import Opened
from .given import Vectors
from .link import Answer, Link, Push
from .requests import Encode
from .subscriptions import Subscription


@dataclass(frozen=True, slots=True, eq=False)
class Plane:
    """Where vectors lie: ``origin`` float32 (dim,), ``axes`` (2, dim), ``offset`` (2,)."""

    origin: F32
    axes: F32
    offset: F32

    def place(self, vectors: Vectors) -> F32:
        """Where ``vectors`` (n, dim), as the window stores them, lie: float32 (n, 2).

        Raises BadVector, NonFinite, DimMismatch.
        """
        given = as_vectors(vectors)
        check_dim(given, len(self.origin))
        placed = (given - self.origin) @ self.axes.T + self.offset
        return placed.astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """Everything to show at ``version``: rows in seq order; ``places`` float32 (n, 2).

    While ``basis`` stays, rows stay where they are. ``plane`` tells where other vectors lie.
    """

    version: int
    basis: int
    ids: list[int | str]
    seqs: U64
    places: F32
    plane: Plane | None

    def __len__(self) -> int:
        return len(self.seqs)


class MapWatch(Subscription[Picture]):
    """A picture of a collection's window along its principal axes, every ``every_ms``.

    Yields the whole Picture, whenever rows came: always the latest.
    """

    def __init__(self, connection: Connection, collection: str, sample: int, every_ms: int) -> None:
        super().__init__(connection, collection)
        self._fields = {"collection": collection, "sample": sample, "every_ms": every_ms}
        self._has_str_ids = False
        self._rows: dict[int, JsonObject] = {}
        self._latest: JsonObject | None = None
        self._basis = 0
        self._plane: Plane | None = None

    async def _ask(self) -> None:
        await self._connection.call(
            self._request(),
            repeat=True,
            collection=self._collection,
            reads=self._collection,
            accept=self._accept,
            waits=True,
        )

    def _accept(
        self, link: Link, opened: Opened | None, answer: Answer, *, is_wanted: bool
    ) -> None:
        assert opened is not None
        self._has_str_ids = opened.description.ids == "str"
        self._basis = 0
        super()._accept(link, opened, answer, is_wanted=is_wanted)

    def _request(self) -> Encode:
        return requests.plain(messages.Subscribe, kind="map", **self._fields)

    def _keep(self, push: Push, size_bytes: int) -> None:
        if not isinstance(push, messages.Event) or push.event != "map":
            return
        body = push.body
        if body["basis"] != self._basis:
            self._basis = body["basis"]
            self._rows.clear()
        if "plane" in body:
            plane = {name: np.array(one, np.float32) for name, one in body["plane"].items()}
            self._plane = Plane(plane["origin"], plane["axes"], plane["offset"])
        self._rows.update((row["seq"], row) for row in body["rows"])
        for seq in list(self._rows):
            if seq >= body["first_seq"]:
                break
            del self._rows[seq]
        self._latest = body

    def _next_item(self) -> Picture | None:
        latest, self._latest = self._latest, None
        if latest is None:
            return None
        rows = self._rows.values()
        return Picture(
            version=latest["version"],
            basis=self._basis,
            ids=[row["id"] if self._has_str_ids else int(row["id"]) for row in rows],
            seqs=np.array(list(self._rows), np.uint64),
            places=np.array([(row["x"], row["y"]) for row in rows], np.float32).reshape(-1, 2),
            plane=self._plane,
        )
