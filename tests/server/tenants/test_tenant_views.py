"""What is shown of tenants to whom: in ``stats``, at ``/stats`` and at ``/metrics``."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from omendb_ws.access.keyring import key_entry
from omendb_ws.net.server import Server
from omendb_ws.sessions import server_view
from omendb_ws.tenants.limits import Limits, TenantLimits
from tests.patience import eventually
from tests.server.raw import Clock, client, rows, running, settings
from tests.server.tenant_files import limits, with_tenants

V = [1.0, 0.0]


async def got(server: Server, path: str, token: str | None) -> tuple[int, str]:
    """The status and the body of a page."""

    def get() -> tuple[int, str]:
        request = urllib.request.Request(f"http://127.0.0.1:{server.port}{path}")
        if token is not None:
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    return await asyncio.to_thread(get)


def samples(page: str) -> dict[str, float]:
    """Name and labels to value."""
    lines = (line.rsplit(" ", 1) for line in page.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in lines}


def of(tenant: str, page: str) -> dict[str, float]:
    """What a page says of one tenant, by the ends of the names."""
    found = samples(page)
    label = f'{{tenant="{tenant}"}}'
    return {
        name.removesuffix(label).removeprefix("omendb_tenant_").removesuffix("_total"): value
        for name, value in found.items()
        if name.endswith(label)
    }


TWO = limits(max_subscriptions=1) + limits("idle", weight=2)


async def test_operators_see_each_tenant_that_is_named_and_the_rest_together(
    tmp_path: Path,
) -> None:
    async with (
        running(Server(with_tenants(tmp_path, TWO))) as server,
        client(server, token="token-root") as root,
        client(server, token="token-other") as other,
    ):
        await root.create()
        await root.add(1, 2, 3)
        await root.ok("search", collection="items", vectors=[V, V])
        await root.ok("subscribe", kind="feed", collection="items")
        assert await root.code("subscribe", kind="feed", collection="items") == "quota"
        await other.create()
        await other.create("more")
        held = (await root.ok("usage"))["use"]["memory_bytes"]
        status, page = await got(server, "/metrics", "token-root")
        assert status == 200
        acme = of("acme", page)
        assert acme.pop("engine_seconds") > 0
        assert acme == {
            "connections": 1,
            "subscriptions": 1,
            "collections": 1,
            "reserved_bytes": held,
            "rows": 3,
            "queries": 2,
            "messages": 6,
            "rate_limited": 0,
            "rested_seconds": 0,
            "over_quota": 1,
        }
        others = of("_others", page)
        assert (others["connections"], others["collections"], others["messages"]) == (1, 2, 2)
        assert set(of("idle", page).values()) == {0}
        assert of("umbrella", page) == {}
        assert samples(page)["omendb_connections"] == 2
        told = (await root.ok("stats"))["tenants"]
        assert set(told) == {"acme", "umbrella"}
        assert told["acme"]["memory_bytes"] == held
        assert (told["acme"]["over_quota"], told["umbrella"]["over_quota"]) == (1, 0)
        status, page = await got(server, "/stats", "token-root")
        assert set(json.loads(page)["tenants"]) == {"acme", "umbrella"}


async def test_a_tenants_admin_sees_its_own_part_and_nothing_of_others(tmp_path: Path) -> None:
    async with (
        running(Server(with_tenants(tmp_path, TWO))) as server,
        client(server, token="token-root") as root,
        client(server, token="token-other") as other,
    ):
        await root.create("secret-name")
        await root.ok("add", collection="secret-name", rows=rows(*range(7)))
        await other.create()
        await other.add(1, 2)
        await root.ok("subscribe", kind="feed", collection="secret-name")
        own = await other.ok("stats")
        assert own["tenants"].keys() == {"umbrella"}
        assert (own["connections"], own["subscriptions"]) == (1, 0)
        assert own["adds_per_s"] == 2
        status, page = await got(server, "/stats", "token-other")
        assert status == 200
        said = json.loads(page)
        assert said.keys() == own.keys()
        status, page = await got(server, "/metrics", "token-other")
        assert status == 200
        labels = {name.partition("{")[2] for name in samples(page)}
        assert labels == {
            'tenant="umbrella"}',
            'collection="items",tenant="umbrella"}',
            'collection="_others",tenant="umbrella"}',
        }
        assert of("umbrella", page)["rows"] == 2
        for whole in (json.dumps(own), json.dumps(said), page):
            assert "acme" not in whole
            assert "secret" not in whole
            assert '"_others"' not in whole.replace('collection="_others",tenant="umbrella"', "")
        await other.ok("subscribe", kind="stats")
        assert (await other.named("stats"))["tenants"].keys() == {"umbrella"}
        for name in ("token-reader", "token-writer"):
            assert (await got(server, "/stats", name))[0] == 403
            assert (await got(server, "/metrics", name))[0] == 403
        assert (await got(server, "/metrics", None))[0] == 401


@pytest.mark.parametrize("path", ["/stats", "/metrics"])
async def test_a_tenant_that_has_no_connection_sees_that_there_is_nothing(
    path: str, tmp_path: Path
) -> None:
    async with running(Server(with_tenants(tmp_path, ""))) as server:
        status, page = await got(server, path, "token-other")
        assert status == 200
        if path == "/stats":
            assert json.loads(page)["connections"] == 0
        else:
            assert set(of("umbrella", page).values()) == {0}
        assert len(server.context.accounts) == 0, "to look makes no account"


async def test_a_key_that_is_the_operators_and_nothing_else_sees_numbers_and_no_rows(
    tmp_path: Path,
) -> None:
    given = with_tenants(tmp_path, TWO)
    keys = tmp_path / "keys.toml"
    watching = key_entry("watch", "default", ("operator",), "token-watch")
    keys.write_text(f"{keys.read_text()}\n{watching}")
    async with (
        running(Server(given)) as server,
        client(server, token="token-root") as root,
        client(server, token="token-watch") as watch,
    ):
        await root.create()
        assert (await watch.ok("stats"))["connections"] == 2
        await watch.ok("subscribe", kind="stats")
        assert set((await watch.named("stats"))["tenants"]) == {"acme", "default"}
        assert (await watch.ok("usage"))["tenant"] == "default"
        assert await watch.ok("list") == {"collections": []}
        for op, fields in (("create", {"dim": 2, "capacity": 8}), ("open", {}), ("count", {})):
            assert await watch.code(op, collection="items", **fields) == "forbidden"
        assert (await got(server, "/metrics", "token-watch"))[0] == 200


async def test_everybody_of_an_open_server_sees_all_of_it() -> None:
    async with running() as server, client(server) as raw:
        await raw.ok("ping")
        status, page = await got(server, "/metrics", None)
        assert status == 200
        assert of("_others", page)["connections"] == 1
        assert json.loads((await got(server, "/stats", None))[1])["tenants"].keys() == {"default"}


async def test_what_the_rest_has_done_never_goes_back(tmp_path: Path) -> None:
    async with running(Server(with_tenants(tmp_path, ""))) as server:
        accounts = server.context.accounts

        async def others() -> Mapping[str, float]:
            return of("_others", (await got(server, "/metrics", "token-root"))[1])

        async with client(server, token="token-other") as raw:
            await raw.ok("ping")
            assert (await others())["messages"] == 1
        await eventually(lambda: not accounts.of("umbrella").connections)
        accounts.sample()
        assert len(accounts) == 0
        assert (await others())["messages"] == 1
        async with client(server, token="token-other") as raw:
            await raw.ok("ping")
            accounts.change(TenantLimits({"umbrella": Limits()}))
            await raw.ok("ping")
            assert (await others())["messages"] == 2
            accounts.change(TenantLimits())
            await raw.ok("ping")
            assert (await others())["messages"] == 3


async def test_no_more_tenants_are_told_of_than_a_message_has_room_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server_view, "MOST_TENANTS", 3)
    clock = Clock()
    async with running(Server(settings(), clock_us=clock)) as server, client(server) as raw:
        for number in range(9):
            account = server.context.accounts.enter(f"t{number}")
            for _ in range(number):
                account.messages.take(1, clock)
        clock.move(1)
        server.context.accounts.sample()
        told: dict[str, Any] = (await raw.ok("stats"))["tenants"]
        assert list(told) == ["t8", "t7", "t6"]
        assert told["t8"]["messages_per_second"] == 8
