"""``subscribe``, ``move``, ``unsubscribe`` that are wrong: an error, and everything else goes on.

Each case is tried on a connection that has a live, a match and a feed subscription; after each of
them these three hear of the next row, and nothing was made or kept for what was refused.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from omendb_core.model.types import Definition
from omendb_core.window import Window

from omendb_ws.net.server import Server
from omendb_ws.wire import binary
from omendb_ws.wire.messages import Results
from tests.patience import eventually
from tests.server.live_view import Matched, View, live, match, views_of
from tests.server.raw import Raw, client, engine_held, queued, rows, running
from tests.server.streams.test_feeds import Follower, follow

V = [1.0, 0.0]
LIVE = {"kind": "live", "collection": "items", "vector": V}
MATCH = {"kind": "match", "collection": "items", "vector": V, "min_score": 0.5}

#: What is changed in a good ``subscribe`` -> the code, and the name that the message begins with.
#: ``...`` takes the field out.
EITHER: list[tuple[dict[str, Any], str, str]] = [
    ({"kind": ...}, "bad_request", "kind"),
    ({"kind": None}, "bad_request", "kind"),
    ({"kind": "LIVE"}, "bad_request", "kind"),
    ({"kind": ["live"]}, "bad_request", "kind"),
    ({"kind": 1}, "bad_request", "kind"),
    ({"collection": ...}, "bad_request", "collection"),
    ({"collection": None}, "bad_request", "collection"),
    ({"collection": 1}, "bad_request", "collection"),
    ({"collection": "nothing"}, "not_found", "collection"),
    ({"vector": ...}, "bad_request", "vector"),
    ({"vector": None}, "bad_vector", "vector"),
    ({"vector": "1,0"}, "bad_vector", "vector"),
    ({"vector": {"0": 1}}, "bad_vector", "vector"),
    ({"vector": ["a", 1]}, "bad_vector", "vector"),
    ({"vector": [True, 1]}, "bad_vector", "vector"),
    ({"vector": [None, 1]}, "bad_vector", "vector"),
    ({"vector": [[1.0, 0.0]]}, "bad_vector", "vector"),
    ({"vector": []}, "dim_mismatch", ""),
    ({"vector": [1.0]}, "dim_mismatch", ""),
    ({"vector": [1.0, 0.0, 0.0]}, "dim_mismatch", ""),
    ({"vector": [1e39, 0.0]}, "non_finite", ""),
    ({"vector": [5e18, 0.0]}, "non_finite", ""),
    ({"vectors": [V]}, "bad_request", "vectors"),
    ({"like": 1}, "bad_request", "like"),
    ({"filter": None}, "bad_filter", "filter"),
    ({"filter": []}, "bad_filter", "filter"),
    ({"filter": {"price": {"$near": 1}}}, "bad_filter", ""),
    ({"filter": {"undeclared": 1}}, "bad_filter", ""),
    ({"filter": {"price": "text"}}, "bad_filter", ""),
    ({"min_score": None}, "bad_request", "min_score"),
    ({"min_score": "0.5"}, "bad_request", "min_score"),
    ({"min_score": True}, "bad_request", "min_score"),
    ({"include": None}, "bad_request", "include"),
    ({"include": "metadata"}, "bad_request", "include"),
    ({"include": ["score"]}, "bad_request", "include"),
    ({"include": [["metadata"]]}, "bad_request", "include"),
    ({"encoding": None}, "bad_request", "encoding"),
    ({"encoding": "cbor"}, "bad_request", "encoding"),
    ({"encoding": 1}, "bad_request", "encoding"),
    ({"last": 5}, "bad_request", "last"),
    ({"sub": 9}, "bad_request", "sub"),
    ({"unheard": 1}, "bad_request", "unheard"),
]
ONLY_LIVE: list[tuple[dict[str, Any], str, str]] = [
    ({"k": None}, "bad_k", "k"),
    ({"k": 0}, "bad_k", "k"),
    ({"k": -1}, "bad_k", "k"),
    ({"k": 1.0}, "bad_k", "k"),
    ({"k": "10"}, "bad_k", "k"),
    ({"k": True}, "bad_k", "k"),
    ({"k": 1001}, "bad_k", "k"),
    ({"decay": None}, "bad_request", "decay"),
    ({"decay": 60}, "bad_request", "decay"),
    ({"decay": {}}, "bad_request", "decay.half_life"),
    ({"decay": {"half_life": "60"}}, "bad_request", "decay.half_life"),
    ({"decay": {"half_life": 0}}, "bad_request", "decay.half_life"),
    ({"decay": {"half_life": 1e-300}}, "bad_request", "decay.half_life"),
    ({"decay": {"half_life": 1e300}}, "bad_request", "decay.half_life"),
    ({"decay": {"half_life": 1, "column": "undeclared"}}, "bad_request", "decay.column"),
    ({"decay": {"half_life": 1, "offset": 5}}, "bad_request", "decay.offset"),
    ({"rank": None}, "bad_rank", "rank"),
    ({"rank": True}, "bad_rank", "rank"),
    ({"rank": "$age"}, "bad_rank", "rank"),
    ({"rank": "undeclared"}, "bad_rank", "rank"),
    ({"rank": {"$add": ["$score", {"$mul": ["price", "$age"]}]}}, "bad_rank", "rank.$add[1].$mul"),
    ({"rank": {"$pow": [1]}}, "bad_rank", "rank.$pow"),
    ({"rank": {"__import__": "os"}}, "bad_rank", "rank"),
    ({"rank": "price", "decay": {"half_life": 1}}, "bad_request", "decay"),
    ({"group": None}, "bad_request", "group"),
    ({"group": "price"}, "bad_request", "group"),
    ({"group": {"by": "undeclared"}}, "bad_request", "group.by"),
    ({"group": {"by": "price", "size": 0}}, "bad_request", "group.size"),
    ({"group": {"by": "price", "size": 1.5}}, "bad_request", "group.size"),
    ({"spread": None}, "bad_request", "spread"),
    ({"spread": 0.5}, "bad_request", "spread"),
    ({"spread": {"max_similarity": "0.5"}}, "bad_request", "spread.max_similarity"),
    ({"spread": {"max_similarity": 0.5, "by": "price"}}, "bad_request", "spread.by"),
    ({"mmr": {"lambda": 0.5}}, "bad_request", "mmr"),
    ({"at": 5, "rank": "price"}, "bad_request", "at"),
    ({"every": None}, "bad_request", "every"),
    ({"every": -1}, "bad_request", "every"),
    ({"every": 60_001}, "bad_request", "every"),
    ({"every": 1.5}, "bad_request", "every"),
    ({"every": True}, "bad_request", "every"),
    ({"from_seq": 1}, "bad_request", "from_seq"),
    ({"epoch": "e"}, "wrong_epoch", "epoch"),
]
ONLY_MATCH: list[tuple[dict[str, Any], str, str]] = [
    ({"min_score": ...}, "bad_request", "min_score"),
    ({"k": 3}, "bad_request", "k"),
    ({"every": 100}, "bad_request", "every"),
    ({"from_seq": 1}, "bad_request", "epoch"),
    ({"from_seq": 0, "epoch": "EPOCH"}, "bad_request", "from_seq"),
    ({"from_seq": -1, "epoch": "EPOCH"}, "bad_request", "from_seq"),
    ({"from_seq": 1.0, "epoch": "EPOCH"}, "bad_request", "from_seq"),
    ({"from_seq": "1", "epoch": "EPOCH"}, "bad_request", "from_seq"),
    ({"from_seq": 2**53, "epoch": "EPOCH"}, "bad_request", "from_seq"),
    ({"from_seq": 2**40, "epoch": "EPOCH"}, "bad_request", "from_seq"),
    ({"from_seq": 1, "epoch": 7}, "bad_request", "epoch"),
    ({"from_seq": 1, "epoch": None}, "bad_request", "epoch"),
    ({"from_seq": 1, "epoch": "another"}, "wrong_epoch", "epoch"),
    ({"epoch": "another"}, "wrong_epoch", "epoch"),
]
#: Of live queries, in ``subscribe`` and in ``move``; without a vector.
EXAMPLES: list[tuple[dict[str, Any], str, str]] = [
    ({"vector": V, "positive": [1]}, "bad_request", "vector"),
    ({"vector": V, "negative": [1]}, "bad_request", "negative"),
    ({"positive": None}, "bad_request", "positive"),
    ({"positive": []}, "bad_request", "positive"),
    ({"positive": 1}, "bad_request", "positive"),
    ({"positive": {"id": 1}}, "bad_request", "positive"),
    ({"positive": [None]}, "bad_request", "positive"),
    ({"positive": [True]}, "bad_request", "positive"),
    ({"positive": [-1]}, "bad_id", "positive"),
    ({"positive": ["one"]}, "bad_id", "positive"),
    ({"positive": [10**6]}, "not_found", "positive"),
    ({"positive": ["1000000"]}, "not_found", "positive"),
    ({"positive": [1, [1.0]]}, "dim_mismatch", "positive"),
    ({"positive": [1, [1.0, "2"]]}, "bad_vector", "positive"),
    ({"positive": [1, [1.0, 1e39]]}, "non_finite", "positive"),
    ({"positive": [1] * 65}, "bad_request", "positive"),
    ({"positive": [1], "negative": None}, "bad_request", "negative"),
    ({"positive": [1], "negative": 7}, "bad_request", "negative"),
    ({"positive": [1], "negative": [1.5]}, "bad_request", "negative"),
    ({"positive": [1], "negative": [1, 10**6]}, "not_found", "negative"),
    ({"positive": [1], "negative": [1] * 65}, "bad_request", "negative"),
    ({"vector": V, "exclude": None}, "bad_request", "exclude"),
    ({"vector": V, "exclude": 1}, "bad_request", "exclude"),
    ({"vector": V, "exclude": [None]}, "bad_id", "exclude"),
    ({"vector": V, "exclude": [1, 1.5]}, "bad_id", "exclude"),
    ({"vector": V, "exclude": [1, "one"]}, "bad_id", "exclude"),
    ({"vector": V, "exclude": list(range(10_001))}, "too_large", "exclude"),
]
SUBSCRIBES = [
    *((LIVE, *case) for case in EITHER + ONLY_LIVE),
    *((MATCH, *case) for case in EITHER + ONLY_MATCH),
    *(({**LIVE, "vector": ...}, *case) for case in EXAMPLES),
]
#: In ``move``; "LIVE", "MATCH" … stand for the number of that subscription.
MOVES: list[tuple[dict[str, Any], str, str]] = [
    ({"sub": ..., "vector": V}, "bad_request", "sub"),
    ({"sub": None, "vector": V}, "bad_request", "sub"),
    ({"sub": "1", "vector": V}, "bad_request", "sub"),
    ({"sub": -1, "vector": V}, "bad_request", "sub"),
    ({"sub": 1.0, "vector": V}, "bad_request", "sub"),
    ({"sub": 2**32, "vector": V}, "bad_request", "sub"),
    ({"sub": 0, "vector": V}, "not_found", "sub"),
    ({"sub": 99, "vector": V}, "not_found", "sub"),
    ({"sub": "MATCH", "vector": V}, "bad_request", "sub"),
    ({"sub": "FEED", "vector": V}, "bad_request", "sub"),
    ({"sub": "STATS", "vector": V}, "bad_request", "sub"),
    ({"sub": "LIVE", "vector": ...}, "bad_request", "vector"),
    ({"sub": "LIVE", "vector": None}, "bad_vector", "vector"),
    ({"sub": "LIVE", "vector": "V"}, "bad_vector", "vector"),
    ({"sub": "LIVE", "vector": [1.0, "2"]}, "bad_vector", "vector"),
    ({"sub": "LIVE", "vector": [V]}, "bad_vector", "vector"),
    ({"sub": "LIVE", "vector": [1.0]}, "dim_mismatch", ""),
    ({"sub": "LIVE", "vector": [1.0, 1e39]}, "non_finite", ""),
    ({"sub": "LIVE", "vector": [5e18, 0.0]}, "non_finite", ""),
    ({"sub": "LIVE", "filter": None}, "bad_filter", "filter"),
    ({"sub": "LIVE", "filter": [1]}, "bad_filter", "filter"),
    ({"sub": "LIVE", "filter": {"undeclared": 1}, "vector": V}, "bad_filter", ""),
    ({"sub": "LIVE", "filter": {"price": "text"}, "exclude": []}, "bad_filter", ""),
    ({"sub": "LIVE", "min_score": "1", "vector": V}, "bad_request", "min_score"),
    ({"sub": "LIVE", "min_score": True}, "bad_request", "min_score"),
    ({"sub": "LIVE", "min_score": [0.5]}, "bad_request", "min_score"),
    ({"sub": "LIVE", "vector": V, "include": []}, "bad_request", "include"),
    ({"sub": "LIVE", "vector": V, "decay": {"half_life": 1}}, "bad_request", "decay"),
    ({"sub": "LIVE", "vector": V, "group": {"by": "price"}}, "bad_request", "group"),
    *(({"sub": "LIVE", **fields}, code, name) for fields, code, name in EXAMPLES),
    ({"sub": "LIVE", "vector": V, "k": 3}, "bad_request", "k"),
    ({"sub": "LIVE", "vector": V, "collection": "items"}, "bad_request", "collection"),
]
UNSUBSCRIBES: list[tuple[dict[str, Any], str, str]] = [
    ({}, "bad_request", "sub"),
    ({"sub": None}, "bad_request", "sub"),
    ({"sub": "1"}, "bad_request", "sub"),
    ({"sub": [1]}, "bad_request", "sub"),
    ({"sub": 2**32}, "bad_request", "sub"),
    ({"sub": 0}, "not_found", "sub"),
    ({"sub": 99}, "not_found", "sub"),
    ({"sub": "LIVE", "kind": "live"}, "bad_request", "kind"),
]


class Others:
    """The subscriptions that a wrong request must not harm, and what the server holds for them."""

    def __init__(self, server: Server, raw: Raw) -> None:
        self.server, self.raw = server, raw
        self.row = 3

    async def begin(self, **fields: Any) -> None:
        made = await self.raw.create(capacity=1000, columns={"price": "f64"}, **fields)
        self.handle, self.epoch = made["handle"], made["epoch"]
        await self.raw.add(1, 2, 3)
        self.view: View = await live(self.raw, V, k=2)
        self.near: Matched = await match(self.raw, V, 0.5)
        self.feed: Follower = await follow(self.raw)
        ok = await self.raw.ok("subscribe", kind="stats", collection="items", every=60_000)
        self.numbers = {
            "LIVE": self.view.sub, "MATCH": self.near.sub, "FEED": self.feed.sub,
            "STATS": ok["sub"],
        }  # fmt: skip
        self.held = self.state()

    def state(self) -> tuple[Any, ...]:
        context = self.server.context
        shard = context.catalog.find("default", "items").shard
        metrics = self.server.metrics
        return (
            context.catalog.reserved_bytes,
            dict(metrics.subscriptions),
            len(shard.window.standing),
            len(context.engine.live.of(shard)),
            len(context.engine.matches.of(shard)),
            len(context.engine.feeds.of(shard)),
            len(shard.listed.subscriptions),
            metrics.faults,
        )

    def given(self, fields: dict[str, Any]) -> dict[str, Any]:
        named = {"EPOCH": self.epoch, **self.numbers}
        return {
            name: named.get(value, value) if isinstance(value, str) else value
            for name, value in fields.items()
            if value is not ...
        }

    async def go_on(self) -> None:
        """They hear of the next row, and nothing is left of what was refused."""
        self.row += 1
        done = await self.raw.add(self.row)
        await self.view.until_version(done["version"])
        assert self.view.answer[0].id == self.row
        await self.near.until(done["last_seq"])
        await self.feed.until(done["last_seq"])
        assert self.near.rows[done["last_seq"]].id == self.row
        assert self.feed.rows[done["last_seq"]] == self.row
        assert self.state() == self.held


@asynccontextmanager
async def others(**fields: Any) -> AsyncIterator[Others]:
    async with running(**fields) as server, client(server) as raw:
        found = Others(server, raw)
        await found.begin()
        yield found


async def hold(op: str, cases: list[tuple[dict[str, Any], dict[str, Any], str, str]]) -> None:
    async with others() as them:
        for good, wrong, code, name in cases:
            error = await them.raw.error(op, **them.given({**good, **wrong}))
            assert error["code"] == code, (wrong, error)
            assert error["message"].startswith(name), (wrong, error)
            assert error["retry"] is False
            if code == "wrong_epoch":
                assert error["epoch"] == them.epoch
            await them.go_on()


@pytest.mark.parametrize("kind", ["live", "match"])
async def test_every_field_of_subscribe_wrong_in_turn(kind: str) -> None:
    await hold("subscribe", [case for case in SUBSCRIBES if case[0]["kind"] == kind])


async def test_every_field_of_move_wrong_in_turn() -> None:
    await hold("move", [({}, *case) for case in MOVES])


async def test_every_field_of_unsubscribe_wrong_in_turn() -> None:
    await hold("unsubscribe", [({}, *case) for case in UNSUBSCRIBES])


async def test_a_query_of_length_zero_under_cosine_is_refused_and_a_move_to_it_moves_nothing() -> (
    None
):
    async with running() as server, client(server) as raw:
        await raw.create(metric="cosine")
        await raw.add(1, 2)
        view = await live(raw, V, k=1)
        before = view.hits
        assert await raw.code("subscribe", **{**LIVE, "vector": [0.0, 0.0]}) == "zero_norm"
        assert await raw.code("subscribe", **{**MATCH, "vector": [0.0, 0.0]}) == "zero_norm"
        assert await raw.code("move", sub=view.sub, vector=[0.0, 0.0]) == "zero_norm"
        await raw.ok("delete", collection="items", ids=[before[0][0]])
        await view.step()
        assert len(view.hits) == 1
        assert len(server.context.catalog.find("default", "items").shard.window.standing) == 1


# -- binary ---------------------------------------------------------------------------------------


def frame_of(them: Others, vectors: Any = None, **fields: Any) -> bytes:
    vectors = np.array([V, V], np.float32) if vectors is None else np.array(vectors, np.float32)
    return binary.encode_subscribe(777, fields.pop("handle", them.handle), vectors, **fields)


def frame_of_examples(them: Others, positive: list[Any]) -> bytes:
    return binary.encode_subscribe(777, them.handle, None, shaping={"positive": positive})


def patched(frame: bytes, offset: int, value: int, width: int = 4) -> bytes:
    return frame[:offset] + value.to_bytes(width, "little") + frame[offset + width :]


def with_json(frame: bytes, text: bytes) -> bytes:
    """The message with another JSON section."""
    json_bytes = int.from_bytes(frame[24:28], "little")
    rest = frame[32 + -(-json_bytes // 8) * 8 :]
    padded = text + b"\0" * (-len(text) % 8)
    return patched(frame[:32], 24, len(text)) + padded + rest


async def test_every_part_of_a_binary_subscribe_wrong_in_turn() -> None:
    async with others() as them:
        good = frame_of(them)
        cases = [
            (frame_of(them, handle=0), "not_found"),
            (frame_of(them, handle=9), "not_found"),
            (frame_of(them, [[1.0], [2.0]]), "dim_mismatch"),
            (frame_of(them, [[1.0, 0.0], [np.nan, 0.0]]), "non_finite"),
            (frame_of(them, [[1.0, 0.0], [np.inf, 0.0]]), "non_finite"),
            (frame_of(them, k=0), "bad_k"),
            (frame_of(them, k=1001), "bad_k"),
            (frame_of(them, filter={"undeclared": 1}), "bad_filter"),
            (frame_of(them, every_ms=60_001), "bad_request"),
            (patched(good, 12, 0), "bad_frame"),  # n
            (patched(good, 12, 3), "bad_frame"),
            (patched(good, 12, 2**32 - 1), "bad_frame"),
            (patched(good, 16, 3), "bad_frame"),  # dim
            (patched(good, 3, 1, 1), "bad_frame"),  # flags
            (patched(good, 28, 1), "bad_frame"),  # took_us
            (patched(good, 2, 9, 1), "bad_frame"),  # kind
            (patched(good, 2, 5, 1), "bad_frame"),
            (good[:-8], "bad_frame"),
            (good + b"\0" * 8, "bad_frame"),
            (with_json(good, b""), "bad_request"),  # kind: missing
            (with_json(good, b"[]"), "bad_request"),
            (with_json(good, b"{"), "bad_request"),
            (with_json(good, b'{"kind":"match"}'), "bad_frame"),  # which has no k
            (with_json(good, b'{"kind":"feed"}'), "bad_request"),
            (with_json(good, b'{"kind":7}'), "bad_request"),
            (with_json(good, b'{"kind":"live","k":3}'), "bad_request"),
            (with_json(good, b'{"kind":"live","collection":"items"}'), "bad_request"),
            (with_json(good, b'{"kind":"live","vector":[1,2]}'), "bad_request"),
            (with_json(good, b'{"kind":"live","from_seq":1}'), "bad_request"),
            (with_json(good, b'{"kind":"live","min_score":"1"}'), "bad_request"),
            (with_json(good, b'{"kind":"live","include":["id"]}'), "bad_request"),
            (with_json(good, b'{"kind":"live","encoding":"xml"}'), "bad_request"),
            (with_json(good, b'{"kind":"live","positive":[1]}'), "bad_frame"),  # and n 2
            (with_json(good, b'{"kind":"live","negative":[1]}'), "bad_request"),
            (with_json(good, b'{"kind":"live","exclude":["x"]}'), "bad_id"),
            (with_json(good, b'{"kind":"live","rank":"$age"}'), "bad_rank"),
            (with_json(good, b'{"kind":"live","mmr":{"lambda":1}}'), "bad_request"),
            (with_json(good, b'{"kind":"live","group":{"by":"x"}}'), "bad_request"),
            (frame_of_examples(them, [10**6]), "not_found"),
            (frame_of_examples(them, [1.5]), "bad_request"),
            (frame_of_examples(them, []), "bad_request"),
        ]
        for frame, code in cases:
            await them.raw.send_binary(frame)
            reply = await them.raw.reply(777)
            assert reply["error"]["code"] == code, (frame, reply)
            await them.go_on()
        await them.raw.send_binary(good)
        results = await them.raw.reply(777)
        assert isinstance(results, Results)
        assert len(views_of(them.raw, results)) == 2


async def test_every_part_of_a_binary_move_wrong_in_turn() -> None:
    async with others() as them:
        sub = them.view.sub

        def move(number: int, vector: Any = V) -> bytes:
            return binary.encode_move(777, number, np.array([vector], np.float32))

        good = move(sub)
        cases = [
            (move(0), "not_found"),
            (move(99), "not_found"),
            (move(them.near.sub), "bad_request"),
            (move(them.feed.sub), "bad_request"),
            (move(them.numbers["STATS"]), "bad_request"),
            (move(sub, [1.0]), "dim_mismatch"),
            (move(sub, [1.0, 0.0, 0.0]), "dim_mismatch"),
            (move(sub, [np.nan, 0.0]), "non_finite"),
            (patched(good, 12, 0), "bad_frame"),
            (patched(good, 12, 2), "bad_frame"),
            (patched(good, 12, 2) + good[32:], "bad_frame"),
            (patched(good, 20, 1), "bad_frame"),  # k
            (patched(good, 24, 2), "bad_frame"),  # json_bytes
            (patched(good, 3, 2, 1), "bad_frame"),
            (good[:-1], "bad_frame"),
        ]
        for frame, code in cases:
            await them.raw.send_binary(frame)
            reply = await them.raw.reply(777)
            assert reply["error"]["code"] == code, (frame, reply)
            await them.go_on()


# -- limits -----------------------------------------------------------------------------------


async def test_more_than_max_subscriptions_makes_none_of_them() -> None:
    async with others(max_subscriptions=6) as them, client(them.server) as other:
        # Four are there; three more at once are too many, and none of them is made.
        for _ in range(3):
            await them.raw.send_binary(frame_of(them, [V, V, V]))
            assert (await them.raw.reply(777))["error"]["code"] == "quota"
            await them.go_on()
        await them.raw.send_binary(frame_of(them))
        pair = views_of(them.raw, await them.raw.reply(777))
        for kind in (LIVE, MATCH, {"kind": "feed", "collection": "items"}):
            assert await them.raw.code("subscribe", **kind) == "quota"
        # Of this connection, that is; and one that goes makes room.
        await live(other, V)
        await them.raw.ok("unsubscribe", sub=pair[0].sub)
        again = await live(them.raw, V)
        assert again.sub not in (pair[0].sub, pair[1].sub)


async def test_more_than_the_server_takes_makes_none_of_them() -> None:
    async with others(max_server_subscriptions=6) as them, client(them.server) as other:
        handle = (await other.ok("open", collection="items"))["handle"]
        await other.send_binary(frame_of(them, [V, V, V], handle=handle))
        assert (await other.reply(777))["error"]["code"] == "quota"
        await them.go_on()
        await other.send_binary(frame_of(them, handle=handle))
        assert len(views_of(other, await other.reply(777))) == 2
        assert await them.raw.code("subscribe", **MATCH) == "quota"


async def test_standing_queries_are_paid_for_and_the_money_comes_back() -> None:
    one = Window(Definition(2, 16)).standing.bytes_for(10)
    async with running() as server, client(server) as raw, client(server) as admin:
        catalog = server.context.catalog
        handle = (await raw.create())["handle"]
        empty = catalog.reserved_bytes
        views = [await live(raw, V) for _ in range(3)]
        near = await match(raw, V, 0.0)
        paid = catalog.reserved_bytes
        assert paid > empty + 3 * one
        # Refused ones cost nothing, whoever refuses them: the loop, the wire, the engine.
        assert await raw.code("subscribe", **{**LIVE, "vector": [5e18, 0.0]}) == "non_finite"
        assert await raw.code("subscribe", **{**LIVE, "vector": [1.0]}) == "dim_mismatch"
        ok = {"epoch": near.epoch, "from_seq": 9}
        assert await raw.code("subscribe", **MATCH, **ok) == "bad_request"
        await eventually(lambda: catalog.reserved_bytes == paid)
        # unsubscribe
        for view in views:
            await raw.ok("unsubscribe", sub=view.sub)
        await raw.ok("unsubscribe", sub=near.sub)
        assert catalog.reserved_bytes == empty
        # a connection that goes
        async with client(server) as other:
            await live(other, V)
            await match(other, V, 0.0)
            await other.send("subscribe", **LIVE)  # and one that is not answered any more
        await eventually(lambda: catalog.reserved_bytes == empty)
        # a drop, with some in the queue
        await live(raw, V)
        async with engine_held(server):
            await raw.send("subscribe", **LIVE)
            await raw.send_binary(
                binary.encode_subscribe(888, handle, np.array([V] * 5, np.float32))
            )
            await raw.send("subscribe", **MATCH)
            await queued(server, 3)
            dropping = await admin.send("drop", collection="items")
        assert (await admin.reply(dropping))["ok"] == {}
        for _ in range(8):
            await raw.named("ended")
        assert catalog.reserved_bytes == 0
        assert server.metrics.subscriptions.total() == 0


async def test_beyond_the_memory_budget_it_is_quota_and_none_is_made() -> None:
    async with running(max_memory_bytes=4 << 20) as server, client(server) as raw:
        catalog = server.context.catalog
        handle = (await raw.create())["handle"]
        view = await live(raw, V, k=1)
        before = catalog.reserved_bytes
        await raw.send_binary(
            binary.encode_subscribe(888, handle, np.array([V] * 5000, np.float32), k=100)
        )
        error = (await raw.reply(888))["error"]
        assert (error["code"], error["retry"]) == ("quota", False)
        assert catalog.reserved_bytes == before
        assert server.metrics.subscriptions["live"] == 1
        # As many as fit are made; then that is that, also for windows.
        made = 0
        while (await raw.ask("subscribe", **LIVE, k=1000)).get("ok"):
            made += 1
            assert made < 200
        assert made > 0
        assert catalog.reserved_bytes <= 4 << 20
        assert (
            await raw.code("create", collection="b", dim=64, capacity=100_000, metric="dot")
            == "quota"
        )
        await raw.add(7)
        await view.step()
        assert view.answer[0].id == 7
        await raw.ok("drop", collection="items")
        assert catalog.reserved_bytes == 0
        await raw.create("b", dim=2, capacity=1000)


async def test_a_push_that_would_not_fit_in_a_message_is_refused_at_once() -> None:
    async with others(max_message_bytes=1 << 20) as them:
        raw, server = them.raw, them.server
        for fields in ({"k": 1000, "include": ["metadata"]}, {"k": 500, "include": ["metadata"]}):
            assert await raw.code("subscribe", **LIVE, **fields) == "too_large"
            await them.go_on()
        await raw.send_binary(
            frame_of(them, k=1000, include=binary.Include(metadata=True, vector=False))
        )
        assert (await raw.reply(777))["error"]["code"] == "too_large"
        await them.go_on()
        view = await live(raw, V, k=1000)
        assert server.metrics.faults == 0
        # The reply of many snapshots may be too large where each push is not: none is made then.
        added = await raw.add(*range(100, 900))
        await view.until_version(4)
        await them.near.until(added["last_seq"])
        handle = (await raw.ok("open", collection="items"))["handle"]
        before = server.context.catalog.reserved_bytes
        standing = server.context.catalog.find("default", "items").shard.window.standing
        count = len(standing)
        many = np.array([V] * 100, np.float32)
        await raw.send_binary(binary.encode_subscribe(888, handle, many, k=900))
        assert (await raw.reply(888))["error"]["code"] == "too_large"
        await eventually(lambda: server.context.catalog.reserved_bytes == before)
        await eventually(lambda: len(standing) == count)


# -- the end, twice -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["LIVE", "MATCH", "FEED", "STATS"])
async def test_unsubscribing_twice_is_not_found_and_so_is_moving_what_is_gone(kind: str) -> None:
    async with others() as them, client(them.server) as other:
        raw, sub = them.raw, them.numbers[kind]
        # Another connection's number is nothing to this one.
        assert await other.code("unsubscribe", sub=sub) == "not_found"
        assert await other.code("move", sub=sub, vector=V) == "not_found"
        await them.go_on()
        assert await raw.ok("unsubscribe", sub=sub) == {}
        assert await raw.code("unsubscribe", sub=sub) == "not_found"
        assert await raw.code("move", sub=sub, vector=V) == "not_found"
        # Twice without waiting is the same.
        ok = await raw.ok("subscribe", **LIVE)
        first = await raw.send("unsubscribe", sub=ok["sub"])
        second = await raw.send("unsubscribe", sub=ok["sub"])
        moved = await raw.send("move", sub=ok["sub"], vector=V)
        assert (await raw.reply(first))["ok"] == {}
        assert (await raw.reply(second))["error"]["code"] == "not_found"
        assert (await raw.reply(moved))["error"]["code"] == "not_found"


@pytest.mark.parametrize("wrong", [{**LIVE, "vector": [5e18, 0.0]}, {**MATCH, "vector": [5e18, 0]}])
async def test_what_was_refused_by_the_engine_cannot_be_moved_or_left(wrong: Any) -> None:
    async with others() as them:
        raw = them.raw
        sub = max(them.numbers.values()) + 1
        async with engine_held(them.server):
            first = await raw.send("subscribe", **wrong)
            moved = await raw.send("move", sub=sub, vector=V)
            left = await raw.send("unsubscribe", sub=sub)
            waiting = 2 if wrong["kind"] == "match" else 3
            await queued(them.server, waiting)
        assert (await raw.reply(first))["error"]["code"] == "non_finite"
        expected = "bad_request" if wrong["kind"] == "match" else "not_found"
        assert (await raw.reply(moved))["error"]["code"] == expected
        assert (await raw.reply(left))["error"]["code"] == "not_found"
        await them.go_on()


async def test_nobody_can_subscribe_to_what_was_dropped_in_between() -> None:
    async with running() as server, client(server) as raw, client(server) as admin:
        await raw.create()
        async with engine_held(server):
            await raw.send("add", id=501, collection="items", rows=rows(1))
            await raw.send("subscribe", id=502, **LIVE)
            await raw.send("subscribe", id=503, **MATCH)
            await queued(server, 3)
            await admin.send("drop", id=504, collection="items")
            await queued(server, 4)
            await raw.send("subscribe", id=505, **LIVE)
        assert (await admin.reply(504))["ok"] == {}
        for id_ in (502, 503):
            assert "ok" in await raw.reply(id_)
        ended = [await raw.named("ended") for _ in range(2)]
        assert [one["reason"] for one in ended] == ["dropped", "dropped"]
        assert (await raw.reply(505))["error"]["code"] == "not_found"
        for sub in (1, 2):
            assert await raw.code("unsubscribe", sub=sub) == "not_found"
            assert await raw.code("move", sub=sub, vector=V) == "not_found"


@pytest.mark.parametrize(
    ("k", "shaping"),
    [
        (1, {}), (10, {}), (100, {}), (None, {}),
        (1, {"decay": {"half_life": 60}}), (30, {"decay": {"half_life": 60}}),
        (10, {"rank": {"$neg": "$score"}, "spread": {"max_similarity": 1e9}}),
        (10, {"exclude": [f"id-{n}" for n in range(2000)]}),
    ],
    ids=str,
)  # fmt: skip
async def test_what_a_subscription_is_charged_covers_what_it_takes(
    k: int | None, shaping: dict[str, Any]
) -> None:
    count = 300
    async with running(max_memory_bytes=1 << 30) as server, client(server) as raw:
        handle = (await raw.create(capacity=2000, ids="str"))["handle"]
        given = [{"id": f"some-id-{n}", "vector": [float(n), 1.0]} for n in range(1000)]
        await raw.ok("add", collection="items", rows=given)
        its = server.context.engine
        for _ in range(2):  # what is imported at the first is no subscription's
            before = server.context.catalog.reserved_bytes
            gc.collect()
            tracemalloc.start()
            if k is not None:
                vectors = np.random.default_rng(1).standard_normal((count, 2)).astype(np.float32)
                await raw.send_binary(
                    binary.encode_subscribe(900, handle, vectors, k=k, shaping=shaping)
                )
                assert isinstance(await raw.reply(900), Results)
            else:
                for _ in range(count):
                    await raw.ok("subscribe", **{**MATCH, "min_score": 1e9})
            raw.order.clear()
            await eventually(lambda: its._is_asleep and not its.depth)
            gc.collect()
            taken, _ = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            charged = server.context.catalog.reserved_bytes - before
        # Spare room of arrays that grow by doubling is not charged, nor a little to begin with.
        assert taken <= 1.7 * charged + (1 << 18)
        assert charged <= 4 * taken
