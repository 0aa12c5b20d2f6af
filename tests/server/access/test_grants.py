"""What a token reaches: which collections, and which rows of them, in every op (PROTOCOL 9)."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from omendb_ws.access.keyring import key_entry
from omendb_ws.net.server import Server
from omendb_ws.wire import binary
from omendb_ws.wire.opcodes import OPS
from tests.patience import eventually
from tests.server.access.test_rights import REQUESTS
from tests.server.raw import Raw, client, engine_held, running, with_keys
from tests.server.tokens import token, with_secret

COLUMNS = {"owner": "str", "level": "i64"}
MINE = {"owner": "me"}
READER = {"rights": ["read"], "filter": MINE}
WRITER = {"rights": ["read", "write"], "filter": MINE, "stamp": {"owner": "me"}}


async def filled(server: Server) -> None:
    """Collection ``items``: rows 1 to 3 are mine, 4 and 5 another's, 6 is nobody's."""
    async with client(server, token=token()) as root:
        await root.ok("create", collection="items", dim=2, capacity=20, columns=COLUMNS)
        rows = [
            {
                "id": id,
                "vector": [float(id), 1.0],
                "metadata": {} if not owner else {"owner": owner},
            }
            for id, owner in zip(range(1, 7), ["me", "me", "me", "you", "you", None], strict=True)
        ]
        await root.ok("add", collection="items", rows=rows)


@asynccontextmanager
async def both(server: Server, grant: dict[str, Any]) -> AsyncIterator[tuple[Raw, Raw]]:
    """Of a server that is filled, a connection with ``grant`` and one with all rights."""
    await filled(server)
    async with (
        client(server, token=token(grant)) as raw,
        client(server, token=token()) as root,
    ):
        yield raw, root


def ids(reply: dict[str, Any]) -> set[int]:
    return {row["id"] for row in reply["results"]}


# -- who may do what, on which name -----------------------------------------------------------

RIGHTS = (["read"], ["write"], ["admin"], ["read", "write", "admin"])
PATTERNS = (["*"], ["items", "new"], ["it*", "n*w"], ["other-*"])


def is_allowed(op: str, rights: list[str], patterns: list[str]) -> bool:
    """By the table of PROTOCOL section 9, in words of its own."""
    needed = {
        **dict.fromkeys(("search", "get", "count", "subscribe", "stats", "move"), "read"),
        **dict.fromkeys(("add", "delete", "update"), "write"),
        **dict.fromkeys(("create", "drop", "move_owner", "heal"), "admin"),
        "snapshot": "admin read",
        "restore": "admin write",
    }.get(op, "")
    if op in ("ping", "auth", "list", "unsubscribe", "usage"):
        return True
    if op == "evacuate":  # it takes operator besides, which no grant gives
        return False
    if op == "cluster":
        return "admin" in rights and patterns == ["*"]
    if op == "move":  # its collection is that of the subscription, and there is none
        return "read" in rights
    return patterns != ["other-*"] and set(needed.split()) <= set(rights)


@pytest.mark.parametrize("filter_", [None, MINE])
@pytest.mark.parametrize("tenant", ["acme", "other"])
async def test_every_op_by_rights_names_filters_and_tenants(
    filter_: dict[str, Any] | None, tenant: str, tmp_path: Path
) -> None:
    cases = 0
    async with running(Server(with_secret(tmp_path))) as server:
        for rights, patterns in itertools.product(RIGHTS, PATTERNS):
            grant: dict[str, Any] = {"rights": rights, "collections": patterns}
            if filter_ is not None:
                grant["filter"] = filter_
            for op, fields in REQUESTS.items():
                catalog = server.context.catalog
                async with client(server, token=token()) as root:
                    for name in ("items", "new"):
                        if any(one.name == name for one in catalog.of("acme")):
                            await root.ok("drop", collection=name)
                await filled(server)
                mine = token(grant, tenant=tenant)
                async with client(server, token=mine) as raw:
                    given = {**fields, "token": mine} if op == "auth" else fields
                    reply = await raw.ask(op, **given)
                    code = reply.get("error", {}).get("code", "")
                    allowed = is_allowed(op, rights, patterns)
                    said = (op, rights, patterns, tenant, filter_, reply)
                    refused = not allowed or _is_held_back(op, filter_, tenant)
                    assert (code == "forbidden") == refused, said
                    if tenant == "other" and allowed and op in _NAMED:
                        assert code == "not_found", said
                    cases += 1
        for one in server.context.catalog.of("other"):
            assert one.name == "new"
    assert cases == len(OPS) * 16


_NAMED = {
    "open", "describe", "drop", "add", "delete", "update", "get", "count", "search", "subscribe",
    "stats",
}  # fmt: skip


def _is_held_back(op: str, filter_: dict[str, Any] | None, tenant: str) -> bool:
    """An add of a row that does not pass, an update that gives one away, and copies and numbers of
    the cluster, which are of all rows."""
    if op in ("snapshot", "restore", "cluster"):
        return filter_ is not None
    return filter_ is not None and tenant == "acme" and op in ("add", "update")


# -- rows that do not pass are not there ---------------------------------------------------------


async def test_reads_show_rows_that_pass_alone(tmp_path: Path) -> None:
    async with running(Server(with_secret(tmp_path))) as server:
        await filled(server)
        async with client(server, token=token(READER)) as raw:
            handle = (await raw.ok("open", collection="items"))["handle"]
            assert ids(await raw.ok("search", collection="items", vector=[1, 1])) == {1, 2, 3}
            binary_found = await raw.search_binary(handle, [[1.0, 1.0]])
            assert set(np.asarray(binary_found.hits.ids).tolist()) == {1, 2, 3}
            by_filter = {"owner": {"$in": ["you", "me"]}}
            found = await raw.ok("search", collection="items", vector=[1, 1], filter=by_filter)
            assert ids(found) == {1, 2, 3}
            widened = {"$or": [{"owner": "you"}, {}]}
            found = await raw.ok("search", collection="items", vector=[1, 1], filter=widened)
            assert ids(found) == {1, 2, 3}
            assert (await raw.ok("count", collection="items"))["count"] == 3
            by = await raw.ok("count", collection="items", by="owner")
            assert by["by"] == [{"value": "me", "count": 3}]
            got = await raw.ok("get", collection="items", ids=[1, 4, 6, 99])
            assert [row and row["id"] for row in got["rows"]] == [1, None, None, None]
            assert await raw.code("search", collection="items", like=4) == "not_found"
            assert await raw.code("search", collection="items", positive=[4]) == "not_found"
            assert (await raw.ok("search", collection="items", like=1))["results"]


async def test_descriptions_count_what_passes_and_say_no_sizes(tmp_path: Path) -> None:
    async with running(Server(with_secret(tmp_path))) as server:
        await filled(server)
        async with client(server, token=token(READER)) as raw:
            for described in (
                await raw.ok("describe", collection="items"),
                await raw.ok("open", collection="items"),
                (await raw.ok("list"))["collections"][0],
            ):
                assert (described["rows"], described["bytes"]) == (3, None)
            stats = await raw.ok("stats", collection="items")
            assert (stats["rows"], stats["bytes"]) == (3, None)
            assert stats["adds_per_s"] is stats["oldest_age_s"] is None
        narrow = {"rights": ["read"], "collections": ["other"]}
        async with client(server, token=token(narrow)) as raw:
            assert await raw.ok("list") == {"collections": []}


@pytest.mark.parametrize("kind", ["live", "match", "feed"])
async def test_pushes_hold_rows_that_pass_alone(kind: str, tmp_path: Path) -> None:
    async with (
        running(Server(with_secret(tmp_path))) as server,
        both(server, READER) as (raw, root),
    ):
        fields: dict[str, Any] = {} if kind == "feed" else {"vector": [1, 1]}
        if kind == "match":
            fields["min_score"] = 0
        begun = await raw.ok("subscribe", kind=kind, collection="items", **fields)
        if kind == "live":
            assert ids(begun) == {1, 2, 3}
        rows = [
            {"id": 10, "vector": [1, 1], "metadata": {"owner": "you"}},
            {"id": 11, "vector": [1, 1], "metadata": {"owner": "me"}},
        ]
        await root.ok("add", collection="items", rows=rows)
        pushed = await raw.named(kind)
        assert [row["id"] for row in pushed["enter" if kind == "live" else "rows"]] == [11]


async def test_what_is_new_is_judged_by_rows_that_pass_alone(tmp_path: Path) -> None:
    async with (
        running(Server(with_secret(tmp_path))) as server,
        both(server, READER) as (raw, root),
    ):
        await raw.ok("subscribe", kind="novel", collection="items", below=1.1)
        rows = [
            {"id": 10, "vector": [0, 1], "metadata": {"owner": "you"}},
            {"id": 11, "vector": [0, 1], "metadata": {"owner": "me"}},
        ]
        await root.ok("add", collection="items", rows=rows)
        (row,) = (await raw.named("novel"))["rows"]
        # Row 10 is as near as can be, and not there for it.
        assert (row["id"], row["near"]) == (11, 1)


async def test_counts_are_told_of_rows_that_pass_alone(tmp_path: Path) -> None:
    async with (
        running(Server(with_secret(tmp_path))) as server,
        both(server, READER) as (raw, root),
    ):
        fields = {"collection": "items", "by": "owner", "every": 100}
        assert (await raw.ok("subscribe", kind="count", **fields))["count"] == 3
        await root.ok("delete", collection="items", ids=[4])
        await root.ok("delete", collection="items", ids=[1])
        told = await raw.named("count")
        assert told["by"] == [{"value": "me", "count": 2}]


async def test_a_live_query_keeps_to_its_rows_wherever_it_moves(tmp_path: Path) -> None:
    async with running(Server(with_secret(tmp_path))) as server, both(server, READER) as (raw, _):
        begun = await raw.ok("subscribe", kind="live", collection="items", positive=[1])
        assert ids(begun) == {2, 3}
        sub = begun["sub"]
        assert ids(await raw.ok("move", sub=sub, vector=[1, 1], filter={})) == {1, 2, 3}
        by_filter = {"owner": {"$in": ["you", "me"]}}
        assert ids(await raw.ok("move", sub=sub, filter=by_filter)) == {1, 2, 3}
        assert await raw.code("move", sub=sub, positive=[4]) == "not_found"
        assert await raw.code("subscribe", kind="live", collection="items", positive=[4]) == (
            "not_found"
        )


async def test_rows_that_do_not_pass_leave_none_out_of_an_add(tmp_path: Path) -> None:
    async with (
        running(Server(with_secret(tmp_path))) as server,
        both(server, WRITER) as (raw, root),
    ):
        theirs = [{"id": 40, "vector": [0, 1], "metadata": {"owner": "you"}}]
        await root.ok("add", collection="items", rows=theirs)
        mine = [{"id": 41, "vector": [0, 1]}, {"id": 42, "vector": [0, 1]}]
        said = await raw.ok("add", collection="items", rows=mine, unless_near={"score": 0.999})
        assert (said["skipped"], said["near"]) == ([1], [41])
        only_write = {"rights": ["write"]}
        async with client(server, token=token(only_write)) as other:
            code = await other.code("add", collection="items", rows=mine, unless_near={"score": 1})
            assert code == "forbidden"


async def test_a_map_shows_rows_that_pass_alone(tmp_path: Path) -> None:
    async with (
        running(Server(with_secret(tmp_path))) as server,
        both(server, READER) as (raw, root),
    ):
        for one in (raw, root):
            await one.ok("subscribe", kind="map", collection="items", every=100)
        assert {row["id"] for row in (await raw.named("map"))["rows"]} == {1, 2, 3}
        assert {row["id"] for row in (await root.named("map"))["rows"]} == set(range(1, 7))


async def test_writes_are_stamped_and_held_to_the_filter(tmp_path: Path) -> None:
    async with (
        running(Server(with_secret(tmp_path))) as server,
        both(server, WRITER) as (raw, root),
    ):
        new = [{"id": 20, "vector": [1, 1]}, {"id": 21, "vector": [1, 1], "metadata": {"a": 1}}]
        await raw.ok("add", collection="items", rows=new)
        got = await root.ok("get", collection="items", ids=[20, 21], include=["metadata"])
        assert [row["metadata"] for row in got["rows"]] == [MINE, {"a": 1, **MINE}]
        stated = [{"id": 22, "vector": [1, 1], "metadata": {"owner": "you"}}]
        error = await raw.error("add", collection="items", rows=stated)
        assert (error["code"], error["row"]) == ("forbidden", 0)
        theirs = [{"id": 1, "vector": [1, 1]}, {"id": 4, "vector": [1, 1]}]
        error = await raw.error("add", collection="items", rows=theirs)
        assert (error["code"], error["row"]) == ("forbidden", 1)
        assert (await raw.ok("delete", collection="items", ids=[1, 4, 6]))["deleted"] == 1
        update = [{"id": 2, "metadata": {"b": 2}}]
        await raw.ok("update", collection="items", rows=update)
        got = await root.ok("get", collection="items", ids=[2, 4], include=["metadata"])
        assert [row["metadata"] for row in got["rows"]] == [{"b": 2, **MINE}, {"owner": "you"}]
        update = [{"id": 4, "metadata": {}}]
        assert await raw.code("update", collection="items", rows=update) == "not_found"


async def test_a_filter_on_a_column_that_is_not_there_closes_the_collection(tmp_path: Path) -> None:
    grant = {"rights": ["read", "write"], "filter": {"team": "a"}}
    stamp = {"rights": ["write"], "stamp": {"level": "high"}}
    async with running(Server(with_secret(tmp_path))) as server:
        await filled(server)
        async with client(server, token=token(grant)) as raw:
            for op in ("search", "count", "get", "delete", "add", "update", "subscribe", "stats"):
                assert await raw.code(op, **REQUESTS[op]) == "forbidden", op
        async with client(server, token=token(stamp)) as raw:
            for op in ("delete", "add", "update"):
                assert await raw.code(op, **REQUESTS[op]) == "forbidden", op


async def test_producers_are_ones_own(tmp_path: Path) -> None:
    async with running(Server(with_secret(tmp_path))) as server:
        await filled(server)
        one, other = token(sub="one"), token(sub="two")
        async with client(server, token=one) as raw, client(server, token=other) as second:
            for each in (raw, second):
                row = [{"id": 30, "vector": [1, 1]}]
                said = await each.ok("add", collection="items", rows=row, producer="p", batch=1)
                assert "duplicate" not in said
            said = await raw.ok("add", collection="items", rows=row, producer="p", batch=1)
            assert said["duplicate"] is True


async def test_the_servers_own_numbers_need_admin_on_everything(tmp_path: Path) -> None:
    some = {"rights": ["admin"], "collections": ["items"]}
    async with (
        running(Server(with_secret(tmp_path))) as server,
        client(server, token=token(some)) as raw,
    ):
        assert await raw.code("stats") == "forbidden"
        assert await raw.code("subscribe", kind="stats") == "forbidden"


async def test_the_servers_numbers_are_the_tenants_own_unless_one_operates_it(
    tmp_path: Path,
) -> None:
    keys = tmp_path / "keys.toml"
    text = key_entry("root", "default", ("admin",), "a-root") + key_entry(
        "other", "acme", ("admin",), "an-admin"
    )
    keys.write_text(text)
    keys.chmod(0o600)
    async with running(Server(with_secret(tmp_path, api_key_file=str(keys)))) as server:
        await filled(server)
        async with (
            client(server, token=token()) as raw,
            client(server, token="a-root") as root,
            client(server, token=token(tenant="empty")) as empty,
        ):
            await raw.ok("subscribe", kind="feed", collection="items")
            whole, own = await root.ok("stats"), await raw.ok("stats")
            assert whole["rss_bytes"] > 0
            assert whole["connections"] == 3
            assert own.keys() == whole.keys()
            assert own["rss_bytes"] is own["loop_lag_ms"] is own["search_ms"] is None
            assert (own["subscriptions"], own["connections"]) == (1, 1)
            assert (await empty.ok("stats"))["subscriptions"] == 0
            await raw.ok("subscribe", kind="stats")
            assert (await raw.named("stats"))["rss_bytes"] is None
        reader = token({"rights": ["read", "write"]})
        some = token({"rights": ["admin"], "collections": ["items"]})
        filtered = token({"rights": ["admin"], "filter": MINE})
        for name, status in (
            ("a-root", 200), ("an-admin", 200), (token(), 200),
            (reader, 403), (some, 403), (filtered, 403), ("wrong", 401),
        ):  # fmt: skip
            assert await http_status(server, "/metrics", name) == status
            assert await http_status(server, "/stats", name) == status


async def http_status(server: Server, path: str, with_token: str) -> int:
    url = f"http://127.0.0.1:{server.port}{path}"
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {with_token}"})

    def ask() -> int:
        try:
            with urllib.request.urlopen(request) as response:
                status: int = response.status
                return status
        except urllib.error.HTTPError as error:
            error.close()
            return error.code

    return await asyncio.to_thread(ask)


# -- tokens that change, and end ------------------------------------------------------------------


async def test_hello_and_auth_say_what_a_token_may(tmp_path: Path) -> None:
    async with (
        running(Server(with_secret(tmp_path))) as server,
        client(server, token=token(WRITER)) as raw,
    ):
        for said in (raw.hello, await raw.ok("auth", token=token(WRITER))):
            assert said["rights"] == ["read", "write"]
            assert said["tenant"] == "acme"
            assert said["grants"] == [{"collections": ["*"], **WRITER}]
            assert 600 < said["expires_in_s"] < 631


class Wall:
    """The machine's clock as tokens that end see it, ahead by what a test says."""

    def __init__(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead_seconds = 0.0
        self.looks = 0
        server.context.wall_seconds = self
        monkeypatch.setattr("omendb_ws.sessions.identity._LOOK_SECONDS", 0.005)

    def __call__(self) -> float:
        self.looks += 1
        return time.time() + self.ahead_seconds


async def test_a_token_that_ends_is_told_of_and_then_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(Server(with_secret(tmp_path, jwt_leeway_seconds=0.0))) as server:
        wall, ends_at = Wall(server, monkeypatch), time.time() + 10_000
        async with client(server, token=token(exp=ends_at)) as raw:
            assert raw.hello["expires_in_s"] > 5_000
            await raw.ok("ping")
            assert not raw.events
            wall.ahead_seconds = 9_985.0
            assert 0 < (await raw.named("expiring"))["expires_in_s"] <= 15
            await raw.ok("usage")
            wall.ahead_seconds = 10_000.0
            assert (await raw.named("error"))["code"] == "unauthenticated"
            assert await raw.closed() == 4401


async def test_an_end_that_is_near_is_told_after_what_says_who_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``hello`` is the first message, and the reply to ``auth`` comes before its notice."""
    async with running(Server(with_secret(tmp_path, jwt_leeway_seconds=0.0))) as server:
        near = time.time() + 10_000
        monkeypatch.setattr("omendb_ws.sessions.identity.NOTICE_SECONDS", 10_000.0)
        async with client(server, token=token(exp=near), greeted=False) as raw:
            first, second = [json.loads(await raw.socket.recv()) for _ in range(2)]
            assert (first["event"], second["event"]) == ("hello", "expiring")
            await raw.send("auth", token=token(exp=near))
            first, second = [json.loads(await raw.socket.recv()) for _ in range(2)]
            assert first["ok"]["tenant"] == "acme"
            assert second["event"] == "expiring"


async def test_a_newer_token_goes_on_where_the_old_one_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(Server(with_secret(tmp_path, jwt_leeway_seconds=0.0))) as server:
        wall, now = Wall(server, monkeypatch), time.time()
        await filled(server)
        async with client(server, token=token(exp=now + 10_000)) as raw:
            await raw.ok("subscribe", kind="feed", collection="items")
            await raw.ok("auth", token=token(exp=now + 100_000))
            wall.ahead_seconds = 10_001.0  # the old one's end
            # Both would have looked by then, had the old one not been given up.
            looks = wall.looks
            await eventually(lambda: wall.looks > looks + 5)
            assert (await raw.ok("count", collection="items"))["count"] == 6
            assert not [one for one in raw.events if one["event"] in ("ended", "error")]


async def test_a_token_with_another_filter_ends_what_stood_on_the_old_one(tmp_path: Path) -> None:
    async with running(Server(with_secret(tmp_path))) as server:
        await filled(server)
        async with client(server, token=token(READER)) as raw:
            sub = (await raw.ok("subscribe", kind="feed", collection="items"))["sub"]
            await raw.ok("auth", token=token(READER))
            assert not raw.events
            await raw.ok("auth", token=token({"rights": ["read"], "filter": {"owner": "you"}}))
            ended = await raw.named("ended")
            assert ended == {"event": "ended", "sub": sub, "reason": "forbidden"}


async def test_a_handle_is_worth_what_the_token_of_now_allows(tmp_path: Path) -> None:
    async with running(Server(with_secret(tmp_path))) as server:
        await filled(server)
        async with client(server, token=token()) as raw:
            handle = (await raw.ok("open", collection="items"))["handle"]
            await raw.ok("auth", token=token(READER))
            found = await raw.search_binary(handle, [[1.0, 1.0]])
            assert set(np.asarray(found.hits.ids).tolist()) == {1, 2, 3}
            await raw.ok("auth", token=token({"rights": ["read"], "collections": ["other"]}))
            assert await binary_code(raw, handle) == "forbidden"


async def binary_code(raw: Raw, handle: int) -> str:
    id = raw.next_id()
    await raw.send_binary(binary.encode_search(id, handle, np.ones((1, 2), np.float32)))
    code: str = (await raw.reply(id))["error"]["code"]
    return code


async def test_reads_under_the_old_grants_are_answered_before_the_reply(tmp_path: Path) -> None:
    async with (
        running(Server(with_secret(tmp_path))) as server,
        both(server, READER) as (_, raw),
    ):
        async with engine_held(server):
            asked = [await raw.send("count", collection="items") for _ in range(3)]
            auth = await raw.send("auth", token=token(READER))
            behind = await raw.send("count", collection="items")
        order: list[int] = []
        while len(order) < 5:
            message = await raw.message()
            order.append(message["id"])
            if message["id"] == behind:
                assert message["ok"]["count"] == 3
        assert sorted(order[:3]) == asked
        assert order[3:] == [auth, behind]


async def test_tokens_may_follow_each_other_without_waiting(tmp_path: Path) -> None:
    """Each waits for what was asked before it, also where all of it came in one piece."""
    theirs = {"rights": ["read"], "filter": {"owner": "you"}}
    async with running(Server(with_secret(tmp_path))) as server:
        await filled(server)
        async with client(server, token=token()) as raw:
            (session,) = server._sessions.values()
            async with engine_held(server):
                for number, grant in enumerate((READER, theirs, READER)):
                    count = {"id": 2 * number, "op": "count", "collection": "items"}
                    auth = {"id": 2 * number + 1, "op": "auth", "token": token(grant)}
                    session.holds.hear(json.dumps(count))
                    session.holds.hear(json.dumps(auth))
                session.holds.hear(json.dumps({"id": 6, "op": "count", "collection": "items"}))
            replies = [await raw.reply(id) for id in range(7)]
            assert [replies[id]["ok"]["count"] for id in (0, 2, 4, 6)] == [6, 3, 2, 3]
            assert [replies[id]["ok"]["rights"] for id in (1, 3, 5)] == [["read"]] * 3


async def test_a_fault_over_one_session_leaves_no_key_that_is_gone_with_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        running(Server(with_keys(tmp_path))) as server,
        client(server, token="token-root") as raw,
        client(server, token="token-reader") as other,
    ):
        gate, look, left = server.context.gate, server.context.gate.again, [1]

        def again(self: Any, principal: Any) -> Any:
            if left:
                left.clear()
                raise MemoryError
            return look(principal)

        monkeypatch.setattr(type(gate), "again", again)
        (tmp_path / "keys.toml").write_text(key_entry("new", "acme", ("read",), "token-new"))
        await server.node.reloads.look()
        assert await raw.closed() == await other.closed() == 4401
