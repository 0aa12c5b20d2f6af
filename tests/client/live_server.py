"""A server of live queries whose answers a test holds by hand, and what tests do with queries."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
from omendb_core.model.errors import Quota, ZeroNorm
from omendb_core.model.types import Hits

from omendb_ws.client.answers import LiveAnswer
from omendb_ws.wire import binary_replies, messages, text
from omendb_ws.wire.frames import Header, pack
from omendb_ws.wire.opcodes import LEAVE_REASONS, MAGIC, PROTOCOL_BYTE

from .fake import PATIENCE_SECONDS, FakeServer, FakeTransport

#: A vector with this value is refused by the server, and only there.
ZERO = 0.0


def hits(seqs: list[int], score: float = 0.0, metadata: list[Any] | None = None) -> Hits:
    """Rows whose ids are ten times their seq, best first; the best has the first seq's score."""
    array = np.array(seqs, np.uint64)
    scores = np.float32(score) + array.astype(np.float32)
    given = None if metadata is None else [text.dumps(one) for one in metadata]
    return Hits(array * np.uint64(10), array, scores, given)


class LiveServer(FakeServer):
    """Every query's answer is ``rows`` (best first), with the vector's first value in the scores.

    ``vectors``: sub -> the vector it stands on now.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rows = [3, 2, 1]
        self.metadata: list[Any] | None = None
        self.version = 1
        self.vectors: dict[int, list[float]] = {}
        self.most = 1_000_000
        self.handlers[messages.Subscribe] = self.subscribe
        self.handlers[messages.Move] = self.move

    def subscribe(self, _: FakeTransport, request: messages.Subscribe) -> Any:
        assert request.vectors is not None
        rows = request.vectors.tolist()
        if len(rows) > self.most:
            return Quota("too many at once")
        for row, vector in enumerate(rows):
            if vector[0] == ZERO:
                return ZeroNorm("zero", row=row)
        first = len(self.vectors) + 1
        subs = list(range(first, first + len(rows)))
        self.vectors.update(zip(subs, rows, strict=True))
        return self.results(request.id, rows, subs)

    def move(self, _: FakeTransport, request: messages.Move) -> Any:
        [vector] = request.vectors.tolist()
        if vector[0] == ZERO:
            return ZeroNorm("zero", row=0)
        self.vectors[request.sub] = vector
        return self.results(request.id, [vector], None)

    def results(self, id: int, vectors: list[list[float]], subs: list[int] | None) -> bytes:
        parts = [hits(self.rows, vector[0], self.metadata) for vector in vectors]
        counts = np.array([len(self.rows)] * len(parts), np.uint32)
        joined = Hits(
            np.concatenate([one.ids for one in parts]),
            np.concatenate([one.seqs for one in parts]),
            np.concatenate([one.scores for one in parts]),  # type: ignore[arg-type]
            None if self.metadata is None else [m for one in parts for m in one.metadata or ()],
        )
        return binary_replies.encode_results(
            id, messages.Results(self.version, counts, joined, 0, subs)
        )

    def push(
        self,
        leave: dict[int, str],
        enter: list[int],
        *,
        sub: int | None = None,
        metadata: list[Any] | None = None,
    ) -> None:
        """Push a change of the newest subscription, or of ``sub``."""
        sub = len(self.vectors) if sub is None else sub
        self.version += 1
        entering = hits(enter, self.vectors[sub][0], metadata)
        json = binary_replies.hits_json(entering, None)
        header = Header(MAGIC, PROTOCOL_BYTE, 5, 0, sub, 0, len(enter), 0, len(leave), len(json), 0)
        reasons = [LEAVE_REASONS.index(one) for one in leave.values()]
        arrays = [
            np.array([self.version], "<u8"), *binary_replies.hit_arrays(entering),
            np.array(list(leave), np.uint64), np.array(reasons, np.uint8),
        ]  # fmt: skip
        self.connection.push(pack(header, json, arrays))

    def answer_moves(self) -> None:
        """Answer the moves that have arrived, and from now on everything at once."""
        self.hold = False
        for move in self.of(messages.Move):
            self.answer(self.connection, move)

    @property
    def batches(self) -> list[int]:
        """How many vectors each SUBSCRIBE had."""
        return [len(one.vectors) for one in self.of(messages.Subscribe)]


async def step(query: Any) -> Any:
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await anext(query)


async def quiet(query: Any) -> bool:
    """Whether nothing comes, as far as one can see."""
    waiting = asyncio.ensure_future(anext(query))
    for _ in range(50):
        await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    return waiting.cancelled()


def seen(answer: LiveAnswer) -> tuple[list[int], list[int], dict[int, str]]:
    """Seqs, seqs that entered, seqs that left and why."""
    left = {one.seq: one.reason for one in answer.left}
    return answer.seqs.tolist(), answer.entered.seqs.tolist(), left


async def all_of(calls: Any) -> list[Any]:
    """What each call returns or raises."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await asyncio.gather(*calls, return_exceptions=True)


async def db_idle(server: FakeServer) -> None:
    """Return when the client has read what was sent."""
    for _ in range(20):
        await asyncio.sleep(0)
