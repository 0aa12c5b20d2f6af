"""Budgets of tenants over sockets: they hold whoever asks at once, and come free again."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omendb_core.model.errors import Quota

from omendb_ws.access.keyring import key_entry
from omendb_ws.net.server import Server
from omendb_ws.tenants.limits import Limits
from omendb_ws.wire import binary
from tests.patience import eventually
from tests.server.raw import Raw, client, running
from tests.server.tenant_files import limits, with_tenants
from tests.server.tokens import token, with_secret

FEED = {"kind": "feed", "collection": "items"}


async def use(raw: Raw) -> dict[str, Any]:
    found: dict[str, Any] = (await raw.ok("usage"))["use"]
    return found


# -- connections ----------------------------------------------------------------------------------


async def came_in(server: Server, with_token: str, stack: AsyncExitStack) -> Raw | None:
    """A connection, or None where it was refused as it must be."""
    raw = await stack.enter_async_context(client(server, token=with_token, greeted=False))
    first = await raw.event()
    if first["event"] == "hello":
        return raw
    assert first["code"] == "quota"
    assert first["message"] == "max_connections: this tenant has 3 of 3"
    assert not first["retry"]
    assert await raw.closed() == 1013
    return None


async def test_no_more_connections_come_in_than_a_tenant_may_have(tmp_path: Path) -> None:
    async with running(Server(with_tenants(tmp_path, limits(max_connections=3)))) as server:
        async with AsyncExitStack() as stack:
            names = ["token-root", "token-reader", "token-writer", "token-keeper"] * 5
            found = await asyncio.gather(*(came_in(server, name, stack) for name in names))
            inside = [one for one in found if one is not None]
            assert len(inside) == 3
            assert (await use(inside[0]))["connections"] == 3
            for _ in range(5):  # others are not held to it
                assert await came_in(server, "token-other", stack) is not None
            await inside[0].socket.close()
            account = server.context.accounts.of("acme")
            await eventually(lambda: account.connections == 2)
            assert await came_in(server, "token-reader", stack) is not None
            assert await came_in(server, "token-reader", stack) is None
        await eventually(lambda: account.connections == 0)


async def test_an_auth_beyond_a_tenants_connections_is_refused_and_closes(tmp_path: Path) -> None:
    async with (
        running(Server(with_tenants(tmp_path, limits(max_connections=2)))) as server,
        AsyncExitStack() as stack,
    ):
        strangers = [await stack.enter_async_context(client(server)) for _ in range(12)]
        asked = [await raw.send("auth", token="token-root") for raw in strangers]
        replies = [await raw.reply(id) for raw, id in zip(strangers, asked, strict=True)]
        refused = [raw for raw, reply in zip(strangers, replies, strict=True) if "error" in reply]
        assert len(refused) == 10
        assert {reply["error"]["code"] for reply in replies if "error" in reply} == {"quota"}
        for raw in refused:
            assert await raw.closed() == 1013
        (one, other) = (raw for raw in strangers if raw not in refused)
        assert "ok" in await one.ask("auth", token="token-reader"), "it has its place already"
        assert (await use(other))["connections"] == 2


async def test_wrong_tokens_take_no_place_and_make_no_account(tmp_path: Path) -> None:
    async with running(Server(with_tenants(tmp_path, "", max_tenants=2))) as server:
        for number in range(5):
            async with client(server, token=f"wrong-{number}", greeted=False) as raw:
                assert await raw.closed() == 4401
        assert len(server.context.accounts) == 0


async def test_beyond_max_tenants_only_those_come_in_that_have_a_place(tmp_path: Path) -> None:
    path = tmp_path / "tenants.toml"
    path.write_text(limits("named", weight=2))
    given = with_secret(tmp_path, tenants_file=str(path), max_tenants=3)
    async with running(Server(given)) as server, AsyncExitStack() as stack:

        async def comes(tenant: str) -> Raw:
            raw = client(server, token=token(tenant=tenant), greeted=False)
            return await stack.enter_async_context(raw)

        for name in ("a", "b", "a", "named"):
            assert (await (await comes(name)).event())["event"] == "hello"
        refused = await comes("c")
        assert (await refused.event())["message"] == "max_tenants: this server has 3 already"
        assert await refused.closed() == 1013
        assert {one.tenant for one in server.context.accounts} == {"a", "b", "named"}


# -- subscriptions and collections ----------------------------------------------------------------


async def test_subscriptions_are_counted_over_all_connections_of_a_tenant(tmp_path: Path) -> None:
    given = with_tenants(tmp_path, limits(max_subscriptions=7))
    async with running(Server(given)) as server, client(server, token="token-root") as root:
        handle = (await root.create())["handle"]
        async with AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(client(server, token=name))
                for name in ("token-root", "token-reader", "token-reader")
            ]
            asked = [(raw, await raw.send("subscribe", **FEED)) for raw in clients * 4]
            replies = [(raw, await raw.reply(id)) for raw, id in asked]
            refused = [reply["error"] for _, reply in replies if "error" in reply]
            assert [one["code"] for one in refused] == ["quota"] * 5
            assert refused[0]["message"] == "max_subscriptions: this tenant has 7 of 7"
            assert (await use(root))["subscriptions"] == 7
            raw, reply = next((raw, reply) for raw, reply in replies if "ok" in reply)
            await raw.ok("unsubscribe", sub=reply["ok"]["sub"])
            many = binary.encode_subscribe(9, handle, np.ones((2, 2), np.float32), k=1)
            await root.send_binary(many)
            assert (await root.reply(9))["error"]["code"] == "quota", "all of them, or none"
            assert (await root.ok("subscribe", kind="stats"))["sub"] == 1
            assert (await use(root))["subscriptions"] == 7
        await eventually(lambda: server.context.accounts.of("acme").subscriptions == 1)


async def test_thousands_that_are_being_made_have_their_places(tmp_path: Path) -> None:
    given = with_tenants(tmp_path, limits(max_subscriptions=250))
    async with (
        running(Server(given)) as server,
        client(server, token="token-root") as one,
        client(server, token="token-reader") as two,
    ):
        handle = (await one.create())["handle"]
        other_handle = (await two.ok("open", collection="items"))["handle"]
        vectors = np.ones((200, 2), np.float32)
        await one.send_binary(binary.encode_subscribe(50, handle, vectors, k=1))
        await two.send_binary(binary.encode_subscribe(50, other_handle, vectors, k=1))
        replies = [await one.reply(50), await two.reply(50)]
        assert sum(isinstance(reply, dict) for reply in replies) == 1
        account = server.context.accounts.of("acme")
        assert (account.subscriptions, account.subscriptions_to_come) == (200, 0)


async def test_collections_are_a_tenants_own_number(tmp_path: Path) -> None:
    given = with_tenants(tmp_path, limits(max_collections=3))
    async with (
        running(Server(given)) as server,
        client(server, token="token-root") as one,
        client(server, token="token-keeper") as two,
        client(server, token="token-other") as other,
    ):
        definition = {"dim": 2, "capacity": 8}
        asked = [
            (raw, await raw.send("create", collection=f"c{place}-{number}", **definition))
            for number in range(5)
            for place, raw in enumerate((one, two))
        ]
        replies = [await raw.reply(id) for raw, id in asked]
        refused = [reply["error"] for reply in replies if "error" in reply]
        assert len(refused) == 7
        assert {one["code"] for one in refused} == {"quota"}
        assert {one["message"] for one in refused} == {"max_collections: this tenant has 3 of 3"}
        assert (await use(one))["collections"] == 3
        for number in range(4):
            await other.create(f"c{number}")
        assert (await use(other))["collections"] == 4
        name = (await one.ok("list"))["collections"][0]["collection"]
        # Asked at once: what takes effect at its receipt is free at once.
        dropped = await one.send("drop", collection=name)
        made = await one.send("create", collection="anew", **definition)
        assert "ok" in await one.reply(dropped)
        assert "ok" in await one.reply(made)


# -- memory ---------------------------------------------------------------------------------------


async def test_memory_is_refused_beyond_a_tenants_part_whoever_asks(tmp_path: Path) -> None:
    given = with_tenants(tmp_path, limits(max_memory_bytes=2_000_000))
    async with (
        running(Server(given)) as server,
        client(server, token="token-root") as one,
        client(server, token="token-keeper") as two,
        client(server, token="token-other") as other,
    ):
        definition = {"dim": 16, "capacity": 4000}
        asked = [
            (raw, await raw.send("create", collection=f"c{place}-{number}", **definition))
            for number in range(6)
            for place, raw in enumerate((one, two))
        ]
        replies = [await raw.reply(id) for raw, id in asked]
        made = [reply["ok"] for reply in replies if "ok" in reply]
        refused = [reply["error"] for reply in replies if "error" in reply]
        assert made
        assert refused
        assert all("max_memory_bytes of this tenant: " in error["message"] for error in refused)
        held = (await use(one))["memory_bytes"]
        assert held == sum(one["bytes"] for one in (await one.ok("list"))["collections"])
        assert held <= 2_000_000 < held + made[0]["bytes"]
        await other.create("large", dim=64, capacity=40_000)
        assert (await use(one))["memory_bytes"] == held
        budget = server.context.catalog.budget
        assert budget.taken_bytes == held + (await use(other))["memory_bytes"]
        for description in made:
            await one.ok("drop", collection=description["collection"])
        assert (await use(one))["memory_bytes"] == 0
        await one.create("again", **definition)


@pytest.mark.parametrize("kind", ["live", "match", "feed", "novel", "count", "stats", "map"])
async def test_what_a_subscription_takes_is_its_tenants_and_comes_back(
    kind: str, tmp_path: Path
) -> None:
    fields: dict[str, Any] = {
        "live": {"vector": [1, 0], "filter": {"x": {"$gt": 1}}, "exclude": [1, 2]},
        "match": {"vector": [1, 0], "min_score": 0.5},
        "novel": {"below": 0.5},
    }.get(kind, {})
    async with (
        running(Server(with_tenants(tmp_path, ""))) as server,
        client(server, token="token-root") as raw,
        client(server, token="token-other") as other,
    ):
        await raw.create(columns={"x": "f64"})
        await raw.add(1, 2, 3)
        before = (await use(raw))["memory_bytes"]
        others = (await use(other))["memory_bytes"]
        async with client(server, token="token-reader") as reader:
            for _ in range(3):
                await reader.ok("subscribe", kind=kind, collection="items", **fields)
            taken = (await use(raw))["memory_bytes"] - before
            assert taken > 0
            assert (await use(other))["memory_bytes"] == others
            account, whole = server.context.accounts.of("acme"), server.context.catalog.budget
            # All maps look at their samples one after the other, in the server's memory.
            sample = server.context.looks._share.taken_bytes
            assert (sample > 0) == (kind == "map")
            assert whole.taken_bytes == account.memory.taken_bytes + others + sample
            account.change(Limits(max_memory_bytes=before + taken + 8), 0)
            assert (
                await reader.code(
                    "subscribe", kind=kind, collection="items", **{**fields, **_other(kind)}
                )
                == "quota"
            )
        await eventually(lambda: account.memory.taken_bytes == before)
        await eventually(lambda: whole.taken_bytes == before + others)


def _other(kind: str) -> dict[str, Any]:
    """What makes a map or count another than those that share theirs."""
    return {"map": {"sample": 500}, "count": {"by": "x"}}.get(kind, {})


async def test_metadata_is_refused_beyond_a_tenants_part_and_fits_again_after_a_delete(
    tmp_path: Path,
) -> None:
    async with (
        running(Server(with_tenants(tmp_path, limits(max_memory_bytes=300_000)))) as server,
        client(server, token="token-root") as raw,
        client(server, token="token-other") as other,
    ):
        await raw.create(capacity=1000)
        texts = {"text": "x" * 3000}
        added = 0
        while True:
            row = {"id": added, "vector": [1, 1], "metadata": texts}
            reply = await raw.ask("add", collection="items", rows=[row])
            if "error" in reply:
                break
            added += 1
        assert reply["error"]["code"] == "quota"
        assert added > 10
        assert (await use(raw))["memory_bytes"] <= 300_000
        assert (await raw.ok("count", collection="items"))["count"] == added
        await other.create(capacity=1000)
        await other.ok(
            "add",
            collection="items",
            rows=[{"id": id, "vector": [1, 1], "metadata": texts} for id in range(300)],
        )
        await raw.ok("delete", collection="items", ids=list(range(added)))
        await raw.ok("add", collection="items", rows=[row])


async def test_a_smaller_budget_takes_no_rows_away_at_a_restart(tmp_path: Path) -> None:
    given = {"data_dir": str(tmp_path / "data")}
    async with (
        running(Server(with_tenants(tmp_path, limits(max_collections=2), **given))) as server,
        client(server, token="token-root") as raw,
    ):
        for name in ("items", "more"):
            await raw.create(name, durability="always", capacity=1000)
        await raw.add(1, 2, 3)
        held = (await use(raw))["memory_bytes"]
    text = limits(max_memory_bytes=held // 2, max_collections=1)
    async with (
        running(Server(with_tenants(tmp_path, text, **given))) as server,
        client(server, token="token-root") as raw,
    ):
        await eventually(lambda: server.status() == "ok")
        assert (await raw.ok("count", collection="items"))["count"] == 3
        taken = await use(raw)
        assert (taken["collections"], taken["memory_bytes"]) == (2, held)
        assert await raw.code("create", collection="new", dim=2, capacity=8) == "quota"
        await raw.ok("drop", collection="more")
        await raw.ok("drop", collection="items")
        await raw.create("new")


async def test_names_that_are_coming_back_count_among_a_tenants_collections(
    tmp_path: Path,
) -> None:
    async with running(Server(with_tenants(tmp_path, limits(max_collections=2)))) as server:
        catalog = server.context.catalog
        catalog.held.hold("acme", "stored", "is recovering")
        catalog.held.hold("umbrella", "stored", "is recovering")
        async with client(server, token="token-root") as raw:
            await raw.create()
            assert await raw.code("create", collection="new", dim=2, capacity=8) == "quota"
            assert (await use(raw))["collections"] == 2


# -- usage ----------------------------------------------------------------------------------------


async def test_usage_says_the_limits_and_what_there_is_and_nothing_of_other_tenants(
    tmp_path: Path,
) -> None:
    text = "[default]\nmax_connections = 9\n" + limits(weight=2.5, rows_per_second=100)
    async with (
        running(Server(with_tenants(tmp_path, text))) as server,
        client(server, token="token-root") as raw,
        client(server, token="token-writer") as writer,
        client(server, token="token-other") as other,
    ):
        await raw.create()
        await raw.add(1, 2, 3)
        nothing = await other.ok("usage")
        assert nothing["tenant"] == "umbrella"
        assert nothing["limits"] == {
            "weight": 1,
            "max_connections": 9,
            "max_subscriptions": None,
            "max_collections": None,
            "max_memory_bytes": None,
            "rows_per_second": None,
            "queries_per_second": None,
            "messages_per_second": None,
            "engine_ms_per_second": None,
        }
        assert nothing["use"].pop("messages_per_second") == 1
        assert nothing["use"].pop("connections") == 1
        assert set(nothing["use"].values()) == {0}
        said = await writer.ok("usage")
        assert said["tenant"] == "acme"
        assert (said["limits"]["weight"], said["limits"]["rows_per_second"]) == (2.5, 100)
        taken = said["use"]
        assert (taken["connections"], taken["collections"]) == (2, 1)
        assert taken["engine_ms_per_second"] > 0.0
        assert taken["rows_per_second"] == 3
        assert taken["memory_bytes"] == (await raw.ok("describe", collection="items"))["bytes"]


async def test_usage_waits_for_the_changes_that_its_connection_sent_before(tmp_path: Path) -> None:
    async with (
        running(Server(with_tenants(tmp_path, ""))) as server,
        client(server, token="token-root") as raw,
    ):
        await raw.create(capacity=1000)
        before = (await use(raw))["memory_bytes"]
        row = {"id": 1, "vector": [1, 1], "metadata": {"text": "x" * 1000}}
        await raw.send("add", collection="items", rows=[row])
        asked = await raw.send("usage")
        assert (await raw.reply(asked))["ok"]["use"]["memory_bytes"] > before
        await raw.send("drop", collection="items")
        asked = await raw.send("usage")
        found = (await raw.reply(asked))["ok"]["use"]
        assert (found["memory_bytes"], found["collections"]) == (0, 0)


async def test_usage_tells_nothing_of_rows_and_collections_to_whom_only_some_are_shown(
    tmp_path: Path,
) -> None:
    mine = {"rights": ["read"], "filter": {"who": "ann"}}
    named = {"rights": ["read", "admin"], "collections": ["a-*"]}
    all_of_it = {"rights": ["write"]}
    async with running(Server(with_secret(tmp_path))) as server:
        for grants in ([mine], [named], [mine, named], [mine, all_of_it], [named, all_of_it]):
            async with client(server, token=token(*grants)) as raw:
                found = await use(raw)
                is_whole = all_of_it in grants
                assert found["connections"] == 1
                assert (found["collections"] is None) == (grants == [named])
                of_rows = {name for name in found if name.endswith(("_bytes", "_per_second"))}
                assert len(of_rows) == 5
                assert all((found[name] is not None) == is_whole for name in of_rows)


# -- the file is read again -----------------------------------------------------------------------


async def test_limits_that_change_hold_at_once_and_take_nothing_away(tmp_path: Path) -> None:
    async with (
        running(Server(with_tenants(tmp_path, limits(max_connections=1)))) as server,
        client(server, token="token-root") as raw,
    ):
        path = tmp_path / "tenants.toml"
        async with AsyncExitStack() as stack:
            path.write_text(limits(max_connections=3, max_subscriptions=2))
            await server.node.reloads.look()
            one = await came_in(server, "token-reader", stack)
            two = await came_in(server, "token-reader", stack)
            assert one is not None
            assert two is not None
            await raw.create()
            await one.ok("subscribe", **FEED)
            await two.ok("subscribe", **FEED)
            path.write_text(limits(max_connections=3, max_subscriptions=1, max_memory_bytes=1))
            await server.node.reloads.all()  # as at a hangup
            assert await one.code("subscribe", **FEED) == "quota"
            await raw.add(1)
            for reader in (one, two):
                assert (await reader.named("feed"))["rows"][0]["id"] == 1
            assert await raw.code("create", collection="new", dim=2, capacity=8) == "quota"
            said = (await raw.ok("usage"))["limits"]
            assert (said["max_memory_bytes"], said["max_subscriptions"]) == (1, 1)
        assert server.metrics.reload_failures == 0


@pytest.mark.parametrize(
    "text", ["[tenants.acme]\nmax_connections = 0", "= =", "[tenants.acme]\nmax_rows = 1"]
)
async def test_a_file_that_cannot_be_used_changes_nothing(
    text: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        running(Server(with_tenants(tmp_path, limits(max_connections=1)))) as server,
        client(server, token="token-root") as raw,
    ):
        path = tmp_path / "tenants.toml"
        path.write_text(text)
        await server.node.reloads.look()
        assert server.metrics.reload_failures == 1
        assert f"tenants: not read again, what was read before stays: tenants_file {path}" in (
            caplog.text
        )
        path.unlink()
        await server.node.reloads.look()
        assert server.metrics.reload_failures == 2
        assert (await raw.ok("usage"))["limits"]["max_connections"] == 1
        async with client(server, token="token-root", greeted=False) as other:
            assert (await other.event())["code"] == "quota"


async def test_a_server_does_not_start_with_a_file_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\[tenants\.acme\]: weight = 0"):
        Server(with_tenants(tmp_path, limits(weight=0)))


async def test_a_key_that_is_given_to_another_tenant_closes_its_connections(
    tmp_path: Path,
) -> None:
    async with (
        running(Server(with_tenants(tmp_path, ""))) as server,
        client(server, token="token-root") as raw,
    ):
        handle = (await raw.create())["handle"]
        assert handle
        (tmp_path / "keys.toml").write_text(
            key_entry("root", "umbrella", ("read", "write", "admin"), "token-root")
        )
        await server.node.reloads.look()
        assert (await raw.named("error"))["code"] == "unauthenticated"
        assert await raw.closed() == 4401
        await eventually(lambda: server.context.accounts.of("acme").connections == 0)


async def test_a_refused_connection_leaves_nothing_behind(tmp_path: Path) -> None:
    async with running(Server(with_tenants(tmp_path, limits(max_connections=1)))) as server:
        async with client(server, token="token-root") as raw:
            for _ in range(20):
                async with client(server, token="token-root", greeted=False) as refused:
                    assert await refused.closed() == 1013
            assert (await use(raw))["connections"] == 1
        account = server.context.accounts.of("acme")
        await eventually(lambda: account.connections == 0 and server.metrics.connections == 0)
        with pytest.raises(Quota):
            [account.enter() for _ in range(2)]
