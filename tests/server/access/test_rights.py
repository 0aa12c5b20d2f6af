"""Who may do what: tokens, rights and tenants for every op (PROTOCOL sections 1 and 9)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from omendb_ws.net.server import AUTH_SECONDS, Server
from omendb_ws.sessions import long_work, standing_streams
from omendb_ws.wire import binary
from omendb_ws.wire.opcodes import OPS
from tests.server.raw import KEYS, batch, client, rows, running, settings, with_keys

V = [1.0, 0.0]
#: A request of every op that names a collection, or nothing.
REQUESTS: dict[str, dict[str, Any]] = {
    "ping": {},
    "auth": {"token": "token-root"},
    "create": {"collection": "new", "dim": 2, "capacity": 4},
    "open": {"collection": "items"},
    "describe": {"collection": "items"},
    "list": {},
    "drop": {"collection": "items"},
    "add": {"collection": "items", "rows": rows(9)},
    "delete": {"collection": "items", "ids": [1]},
    "update": {"collection": "items", "rows": [{"id": 1, "metadata": {}}]},
    "get": {"collection": "items", "ids": [1]},
    "count": {"collection": "items"},
    "search": {"collection": "items", "vector": V},
    "subscribe": {"kind": "feed", "collection": "items"},
    "move": {"sub": 1, "vector": V},
    "unsubscribe": {"sub": 1},
    "stats": {"collection": "items"},
    "usage": {},
    "cluster": {},
    "move_owner": {"collection": "items", "to": "two"},
    "evacuate": {"node": "two"},
    "heal": {"collection": "items"},
    "snapshot": {"collection": "items"},
    "restore": {"collection": "new"},
}
#: What PROTOCOL section 9 says, in words of its own: op -> the right that it takes.
TAKES = {
    **dict.fromkeys(("search", "get", "count", "subscribe", "stats", "move"), "read"),
    **dict.fromkeys(("add", "delete", "update"), "write"),
    **dict.fromkeys(("create", "drop", "snapshot", "restore"), "admin"),
    **dict.fromkeys(("cluster", "move_owner", "heal"), "admin"),
    "evacuate": "operator",
}
#: What is allowed and not there.
NOT_HERE = {
    ("move", "not_found"), ("cluster", "unsupported"), ("move_owner", "unsupported"),
    ("heal", "unsupported"),
}  # fmt: skip
#: Ops that take another right besides.
TAKES_TOO = {"snapshot": "read", "restore": "write"}


def test_every_op_is_in_these_tables() -> None:
    assert REQUESTS.keys() == OPS.keys()


@pytest.mark.parametrize("name", ["reader", "writer", "keeper"])
async def test_a_token_may_do_what_its_rights_say_and_nothing_else(
    name: str, tmp_path: Path
) -> None:
    _, rights = KEYS[name]
    for op, fields in REQUESTS.items():
        if op in ("ping", "auth", "unsubscribe"):
            continue
        async with (
            running(Server(with_keys(tmp_path))) as server,
            client(server, token="token-root") as root,
            client(server, token=f"token-{name}") as raw,
        ):
            assert raw.hello["auth"] == "ok"
            await root.create()
            await root.add(1, 2)
            before = await root.ok("describe", collection="items")
            reply = await raw.ask(op, **fields)
            if {TAKES.get(op, rights[0]), TAKES_TOO.get(op, rights[0])} <= set(rights):
                # It may move, but has nothing that moves; and there is no cluster.
                code = reply.get("error", {}).get("code")
                assert "ok" in reply or (op, code) in NOT_HERE, (op, reply)
            else:
                assert reply["error"]["code"] == "forbidden", (op, reply)
                assert await root.ok("describe", collection="items") == before


async def test_the_servers_statistics_take_the_right_admin(tmp_path: Path) -> None:
    async with running(Server(with_keys(tmp_path))) as server:
        async with client(server, token="token-reader") as reader:
            assert await reader.code("stats") == "forbidden"
            assert await reader.code("subscribe", kind="stats") == "forbidden"
        async with client(server, token="token-keeper") as keeper:
            assert "uptime_s" in await keeper.ok("stats")
            assert await keeper.ok("subscribe", kind="stats") == {"sub": 1}
            await keeper.ok("create", collection="a", dim=2, capacity=2)
            assert await keeper.code("stats", collection="a") == "forbidden"


async def test_binary_requests_take_rights_too(tmp_path: Path) -> None:
    async with (
        running(Server(with_keys(tmp_path))) as server,
        client(server, token="token-root") as root,
        client(server, token="token-reader") as reader,
        client(server, token="token-writer") as writer,
    ):
        await root.create()
        handle = (await reader.ok("open", collection="items"))["handle"]
        id = reader.next_id()
        await reader.send_binary(binary.encode_add(id, handle, batch(1)))
        assert (await reader.reply(id))["error"]["code"] == "forbidden"
        handle = (await writer.ok("open", collection="items"))["handle"]
        id = writer.next_id()
        await writer.send_binary(binary.encode_search(id, handle, np.ones((1, 2), np.float32)))
        assert (await writer.reply(id))["error"]["code"] == "forbidden"
        assert (await writer.add_binary(handle, batch(1))).version == 1


async def test_another_tenants_names_are_simply_not_there(tmp_path: Path) -> None:
    async with (
        running(Server(with_keys(tmp_path))) as server,
        client(server, token="token-root") as root,
        client(server, token="token-other") as other,
    ):
        await root.create()
        await root.add(1, 2)
        for op, fields in REQUESTS.items():
            if "collection" not in fields or op in ("create", "restore"):
                continue
            error = await other.error(op, **fields)
            none = await other.error(op, **{**fields, "collection": "never"})
            assert error["code"] == none["code"] == "not_found", op
            assert error["message"].replace("items", "never") == none["message"]
        assert await other.ok("list") == {"collections": []}
        assert (await root.ok("describe", collection="items"))["version"] == 1
        # The same name is another collection there.
        await other.create()
        assert (await other.ok("describe", collection="items"))["rows"] == 0
        assert (await root.ok("describe", collection="items"))["rows"] == 2
        await other.ok("drop", collection="items")
        assert (await root.ok("describe", collection="items"))["rows"] == 2


async def test_before_a_token_came_only_auth_and_ping_are_answered(tmp_path: Path) -> None:
    async with running(Server(with_keys(tmp_path))) as server, client(server) as raw:
        assert raw.hello["auth"] == "required"
        assert await raw.ok("ping") == {}
        for op, fields in REQUESTS.items():
            if op not in ("ping", "auth"):
                assert await raw.code(op, **fields) == "unauthenticated", op
        id = raw.next_id()
        await raw.send_binary(binary.encode_search(id, 1, np.ones((1, 2), np.float32)))
        assert (await raw.reply(id))["error"]["code"] == "unauthenticated"
        said = await raw.ok("auth", token="token-reader")
        assert said == {
            "rights": ["read"],
            "tenant": "acme",
            "grants": [{"collections": ["*"], "rights": ["read"]}],
            "expires_in_s": None,
        }
        assert await raw.ok("list") == {"collections": []}


async def test_an_auth_may_be_followed_by_requests_without_waiting(tmp_path: Path) -> None:
    async with running(Server(with_keys(tmp_path))) as server, client(server) as raw:
        first = await raw.send("auth", token="token-root")
        second = await raw.send("create", collection="a", dim=2, capacity=2)
        assert "ok" in await raw.reply(first)
        assert "ok" in await raw.reply(second)


async def test_a_wrong_token_in_an_auth_ends_the_connection(tmp_path: Path) -> None:
    async with running(Server(with_keys(tmp_path))) as server, client(server) as raw:
        assert await raw.code("auth", token="token-nobody") == "unauthenticated"
        assert await raw.closed() == 4401


async def test_a_wrong_token_in_a_header_is_answered_after_the_upgrade(tmp_path: Path) -> None:
    async with (
        running(Server(with_keys(tmp_path))) as server,
        client(server, token="token-nobody", greeted=False) as raw,
    ):
        event = await raw.named("error")
        assert event["code"] == "unauthenticated"
        assert await raw.closed() == 4401
        assert not raw.events


async def test_no_token_in_time_ends_the_connection(tmp_path: Path) -> None:
    async with (
        running(Server(with_keys(tmp_path), auth_seconds=0.05)) as server,
        client(server) as raw,
    ):
        event = await raw.named("error")
        assert event["code"] == "unauthenticated"
        assert await raw.closed() == 4401


async def test_a_token_in_time_keeps_the_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alarms: list[Callable[[], None]] = []
    server = Server(with_keys(tmp_path), auth_seconds=AUTH_SECONDS)
    async with running(server):
        later = server._loop.call_later

        def noted(seconds: float, call: Callable[..., None], *args: Any) -> asyncio.TimerHandle:
            if seconds == AUTH_SECONDS:
                alarms.append(partial(call, *args))
            return later(seconds, call, *args)

        monkeypatch.setattr(server._loop, "call_later", noted)
        async with client(server) as first, client(server) as second:
            await first.ok("auth", token="token-root")
            for time_is_over in alarms:
                time_is_over()
            assert await second.closed() == 4401
            assert await first.ok("list") == {"collections": []}
            assert len(alarms) == 2


async def test_messages_before_a_token_are_small(tmp_path: Path) -> None:
    async with running(Server(with_keys(tmp_path))) as server:
        async with client(server) as raw:
            await raw.send_text(orjson.dumps({"id": 1, "op": "ping", "x": "y" * (64 << 10)}))
            assert await raw.closed() == 1009
        async with client(server) as raw:
            await raw.ok("auth", token="token-root")
            assert await raw.code("ping", x="y" * (64 << 10)) == "bad_request"
        async with client(server, token="token-root") as raw:
            assert await raw.code("ping", x="y" * (64 << 10)) == "bad_request"


async def test_a_new_token_brings_new_rights_and_ends_what_they_forbid(tmp_path: Path) -> None:
    async with running(Server(with_keys(tmp_path))) as server, client(server) as raw:
        await raw.ok("auth", token="token-root")
        handle = (await raw.create())["handle"]
        feed = (await raw.ok("subscribe", kind="feed", collection="items"))["sub"]
        stats = (await raw.ok("subscribe", kind="stats"))["sub"]
        # A reader keeps the feed, and loses the server's statistics.
        await raw.ok("auth", token="token-reader")
        assert await raw.named("ended") == {"event": "ended", "sub": stats, "reason": "forbidden"}
        assert await raw.code("add", collection="items", rows=rows(1)) == "forbidden"
        assert (await raw.search_binary(handle, [V])).version == 0
        # A writer keeps nothing.
        await raw.ok("auth", token="token-writer")
        assert await raw.named("ended") == {"event": "ended", "sub": feed, "reason": "forbidden"}
        id = raw.next_id()
        await raw.send_binary(binary.encode_search(id, handle, np.ones((1, 2), np.float32)))
        assert (await raw.reply(id))["error"]["code"] == "forbidden"
        assert await raw.code("unsubscribe", sub=feed) == "not_found"


async def test_another_tenants_token_is_refused_and_the_connection_goes_on(tmp_path: Path) -> None:
    async with running(Server(with_keys(tmp_path))) as server, client(server) as raw:
        await raw.ok("auth", token="token-root")
        handle = (await raw.create())["handle"]
        assert await raw.code("auth", token="token-other") == "forbidden"
        assert (await raw.search_binary(handle, [V])).version == 0
        assert (await raw.ok("list"))["collections"][0]["collection"] == "items"


async def test_on_an_open_server_everybody_is_everybody() -> None:
    async with running(Server(settings())) as server, client(server, token="whatever") as raw:
        assert raw.hello["auth"] == "none"
        said = await raw.ok("auth", token="anything")
        assert said["tenant"] == "default"
        assert sorted(said["rights"]) == ["admin", "read", "write"]


async def test_thousands_that_a_new_token_may_not_have_end_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(long_work, "SLICE_US", 0)
    many, most = 300, standing_streams.MADE_AT_ONCE
    async with running(Server(with_keys(tmp_path))) as server, client(server) as raw:
        await raw.ok("auth", token="token-root")
        handle = (await raw.create())["handle"]
        vectors = np.ones((many, 2), np.float32)
        id = raw.next_id()
        await raw.send_binary(binary.encode_subscribe(id, handle, vectors, k=3))
        assert (await raw.reply(id)).subs == list(range(1, many + 1))
        (session,) = server._sessions.values()
        there: list[int] = []
        long = server.context.long_requests
        run = long._run

        def counted() -> None:
            run()
            there.append(len(session.subscriptions))

        monkeypatch.setattr(long, "_run", counted)
        authenticated = await raw.send("auth", token="token-writer")
        behind = await raw.send("delete", collection="items", ids=[1])
        assert (await raw.reply(authenticated))["ok"]["rights"] == ["write"]
        assert -np.diff([many, *there]).min() == most  # no turn ends more than a piece of them
        assert not session.subscriptions
        ended = [one for one in raw.events if isinstance(one, dict) and one["event"] == "ended"]
        assert [one["sub"] for one in ended] == list(range(1, many + 1))  # before the reply
        assert {one["reason"] for one in ended} == {"forbidden"}
        assert (await raw.reply(behind))["ok"]["deleted"] == 0
        assert server.metrics.subscriptions["live"] == 0
