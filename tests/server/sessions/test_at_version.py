"""``min_version`` and ``epoch`` over a real socket: reads wait until their window is there.

PROTOCOL section 5.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest

from omendb_ws.net.server import Server
from omendb_ws.wire import binary
from omendb_ws.wire.messages import Results
from tests.patience import UNHURRIED, eventually
from tests.server.raw import Clock, Raw, client, rows, running, settings

V = [1.0, 0.0]
QUEUE_DEADLINE_SECONDS = UNHURRIED["queue_deadline_ms"] / 1000
#: Every request that may ask for a version.
READS: list[dict[str, Any]] = [
    {"op": "search", "vector": V},
    {"op": "search", "vectors": [V, V]},
    {"op": "search", "like": 1},
    {"op": "get", "ids": [1]},
    {"op": "count"},
    {"op": "subscribe", "kind": "live", "vector": V},
    {"op": "subscribe", "kind": "match", "vector": V, "min_score": 0.5},
    {"op": "subscribe", "kind": "feed"},
    {"op": "subscribe", "kind": "novel", "below": 0.5},
    {"op": "subscribe", "kind": "count"},
    {"op": "subscribe", "kind": "stats"},
    {"op": "subscribe", "kind": "map"},
]
IDS = [f"{one['op']} {one.get('kind', '')}{list(one)[1:2]}" for one in READS]


def read(one: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {**one, "collection": "items", **fields}


async def ask(raw: Raw, request: dict[str, Any]) -> int:
    fields = {name: value for name, value in request.items() if name != "op"}
    return await raw.send(request["op"], **fields)


@pytest.mark.parametrize("one", READS, ids=IDS)
async def test_a_read_waits_for_its_version_and_is_answered_at_it(one: dict[str, Any]) -> None:
    async with running() as server, client(server) as raw, client(server) as writer:
        epoch = (await raw.create())["epoch"]
        await writer.add(1)
        id = await ask(raw, read(one, min_version=3, epoch=epoch))
        # An answer that came at once would stand before this one.
        await raw.ok("ping")
        assert raw.replies.get(id) is None
        await writer.add(2)
        await writer.add(3)
        answer = (await raw.reply(id))["ok"]
        assert answer.get("version", 3) == 3


@pytest.mark.parametrize("one", READS, ids=IDS)
async def test_a_version_that_does_not_come_in_time_is_behind(one: dict[str, Any]) -> None:
    clock = Clock()
    async with running(Server(settings(), clock_us=clock)) as server, client(server) as raw:
        epoch = (await raw.create())["epoch"]
        await raw.add(1)
        id = await ask(raw, read(one, min_version=2, epoch=epoch))
        await raw.ok("ping")
        clock.move(QUEUE_DEADLINE_SECONDS + 1)
        assert (await raw.ok("count", collection="items"))["count"] == 1
        error = (await raw.reply(id))["error"]
        assert (error["code"], error["retry"], error["version"]) == ("behind", True, 1)
        assert error["message"].startswith("min_version: ")
        # Nothing of it is left, and the connection goes on.
        assert (await raw.ok("count", collection="items"))["count"] == 1
        (session,) = server._sessions.values()
        assert session.is_idle
        assert not session.subscriptions


@pytest.mark.parametrize("one", READS, ids=IDS)
async def test_another_epoch_is_refused_and_the_same_one_is_not(one: dict[str, Any]) -> None:
    async with running() as server, client(server) as raw:
        epoch = (await raw.create())["epoch"]
        await raw.add(1)
        error = await raw.error(**read(one, min_version=1, epoch="another"))
        assert (error["code"], error["epoch"]) == ("wrong_epoch", epoch)
        error = await raw.error(**read(one, epoch="another"))
        assert (error["code"], error["epoch"]) == ("wrong_epoch", epoch)
        await raw.ok(**read(one, min_version=0, epoch=epoch))
        await raw.ok(**read(one, min_version=1, epoch=epoch))


@pytest.mark.parametrize("one", READS, ids=IDS)
@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"min_version": 1}, "epoch"),
        ({"min_version": -1, "epoch": "EPOCH"}, "min_version"),
        ({"min_version": 1.0, "epoch": "EPOCH"}, "min_version"),
        ({"min_version": "1", "epoch": "EPOCH"}, "min_version"),
        ({"min_version": None, "epoch": "EPOCH"}, "min_version"),
        ({"min_version": 2**53, "epoch": "EPOCH"}, "min_version"),
        ({"min_version": 1, "epoch": 7}, "epoch"),
    ],
)
async def test_what_is_no_version_or_epoch_is_named(
    one: dict[str, Any], fields: dict[str, Any], field: str
) -> None:
    async with running() as server, client(server) as raw:
        epoch = (await raw.create())["epoch"]
        given = {name: epoch if value == "EPOCH" else value for name, value in fields.items()}
        error = await raw.error(**read(one, **given))
        assert error["code"] == "bad_request"
        assert error["message"].startswith(f"{field}: ")


async def test_a_version_needs_a_collection() -> None:
    async with running() as server, client(server) as raw:
        error = await raw.error("subscribe", kind="stats", min_version=1, epoch="e")
        assert error["code"] == "bad_request"
        assert error["message"].startswith("min_version: ")


async def test_binary_searches_and_subscriptions_wait_too() -> None:
    async with running() as server, client(server) as raw, client(server) as writer:
        made = await raw.create()
        asked = {"min_version": 1, "epoch": made["epoch"]}
        vectors = np.array([V], np.float32)
        search, subscribe = raw.next_id(), raw.next_id()
        encode = binary.encode_search, binary.encode_subscribe
        await raw.send_binary(encode[0](search, made["handle"], vectors, shaping=asked))
        await raw.send_binary(encode[1](subscribe, made["handle"], vectors, shaping=asked))
        await raw.ok("ping")
        await writer.add(7)
        for id in (search, subscribe):
            found = await raw.reply(id)
            assert isinstance(found, Results)
            assert (found.version, found.hits.ids.tolist()) == (1, [7])


async def test_a_collection_that_is_dropped_or_made_anew_ends_the_wait() -> None:
    async with running() as server, client(server) as raw, client(server) as writer:
        epoch = (await raw.create())["epoch"]
        id = await ask(raw, read(READS[0], min_version=9, epoch=epoch))
        await raw.ok("ping")
        await writer.ok("drop", collection="items")
        assert (await raw.reply(id))["error"]["code"] == "not_found"
        await writer.create()
        assert await raw.code(**read(READS[0], min_version=0, epoch=epoch)) == "wrong_epoch"


async def test_its_own_changes_before_it_count_and_those_of_later_do_too() -> None:
    async with running() as server, client(server) as raw:
        epoch = (await raw.create())["epoch"]
        await raw.send("add", collection="items", rows=rows(1))
        first = await ask(raw, read(READS[0], min_version=1, epoch=epoch))
        second = await ask(raw, read(READS[0], min_version=2, epoch=epoch))
        await raw.send("add", collection="items", rows=rows(2))
        assert (await raw.reply(first))["ok"]["version"] >= 1
        assert (await raw.reply(second))["ok"]["version"] == 2


async def test_many_waits_end_in_the_order_of_their_versions() -> None:
    async with running() as server, client(server) as raw, client(server) as writer:
        epoch = (await raw.create(capacity=100))["epoch"]
        sent = {
            version: await ask(raw, read({"op": "count"}, min_version=version, epoch=epoch))
            for version in range(40, 0, -1)
        }
        await raw.ok("ping")
        for version in range(1, 41):
            await writer.add(version)
            answer = (await raw.reply(sent[version]))["ok"]
            assert answer["version"] == version


async def test_a_connection_that_leaves_takes_its_waits_with_it() -> None:
    clock = Clock()
    async with running(Server(settings(), clock_us=clock)) as server, client(server) as writer:
        epoch = (await writer.create())["epoch"]
        async with client(server) as raw:
            await ask(raw, read(READS[0], min_version=9, epoch=epoch))
            await raw.ok("ping")
        await eventually(lambda: len(server._sessions) == 1)
        clock.move(QUEUE_DEADLINE_SECONDS + 1)
        assert (await writer.add(1))["version"] == 1
        assert not server.context.engine.tick.version_waits


async def test_while_it_waits_its_id_is_taken_and_a_place_in_flight_is() -> None:
    async with running() as server, client(server) as raw, client(server) as writer:
        epoch = (await raw.create())["epoch"]
        id = await ask(raw, read(READS[0], min_version=1, epoch=epoch))
        text = orjson.dumps({"op": "ping", "id": id}).decode()
        await raw.send_text(text)
        assert (await raw.reply(id))["error"]["code"] == "bad_request"
        await writer.add(1)
        assert (await raw.reply(id))["ok"]["version"] == 1
