"""``list`` says which collections cannot be used, why, and whether that may pass."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from omendb_core.window import Window

import omendb_ws
from omendb_ws import UnavailableCollection
from omendb_ws.net.server import Server
from tests.patience import PATIENCE_SECONDS
from tests.server.fake_store import FakeStore
from tests.server.journal.test_durability import durable, ready
from tests.server.raw import Raw, client, rows, running, settings
from tests.server.tokens import token, with_secret


async def unavailable(raw: Raw) -> dict[str, tuple[str, bool]]:
    listed = (await raw.ok("list")).get("unavailable", [])
    return {one["collection"]: (one["reason"], one["recovering"]) for one in listed}


async def test_a_damaged_collection_is_named_with_the_reason_until_it_is_dropped() -> None:
    store = FakeStore()
    async with durable(store) as server, client(server) as raw:
        await raw.create("items")
        await raw.create("bad")
        assert "unavailable" not in await raw.ok("list")
    store.damaged.add("bad")
    async with durable(store) as server, client(server) as raw:
        assert [one["collection"] for one in (await raw.ok("list"))["collections"]] == ["items"]
        ((name, (reason, is_recovering)),) = (await unavailable(raw)).items()
        assert name == "bad"
        assert reason.startswith("needs repair: segment-1 at byte 4096: ")
        assert reason in (await raw.error("describe", collection="bad"))["message"]
        assert not is_recovering
        async with omendb_ws.connect(server.url) as db:
            assert await db.list_unavailable() == [UnavailableCollection("bad", reason, False)]
        await raw.ok("drop", collection="bad")
        assert "unavailable" not in await raw.ok("list")


async def test_nobody_hears_of_names_that_no_grant_of_theirs_matches(tmp_path: Path) -> None:
    store = FakeStore()
    policy = with_secret(tmp_path, data_dir="x")
    async with Server(policy, open_store=store) as server, client(server, token=token()) as raw:
        await ready(server)
        await raw.create("bad")
        await raw.create("bad-2")
    store.damaged |= {"bad", "bad-2"}
    some = {"collections": ["bad-*"], "rights": ["read"]}
    async with Server(policy, open_store=store) as server:
        await ready(server)
        async with (
            client(server, token=token()) as every,
            client(server, token=token(some)) as limited,
            client(server, token=token(tenant="other")) as other,
        ):
            assert set(await unavailable(every)) == {"bad", "bad-2"}
            assert set(await unavailable(limited)) == {"bad-2"}
            assert await unavailable(other) == {}


async def test_one_that_is_recovering_is_named_until_it_is_back() -> None:
    store = FakeStore()
    async with durable(store) as server, client(server) as raw:
        await raw.create("items")
        await raw.ok("add", collection="items", rows=rows(1))
    store.recovery_gate.clear()
    try:
        async with (
            Server(settings(data_dir="x"), open_store=store) as server,
            client(server) as raw,
        ):
            ((reason, is_recovering),) = (await unavailable(raw)).values()
            assert reason.startswith("is recovering")
            assert is_recovering
            store.recovery_gate.set()
            async with asyncio.timeout(PATIENCE_SECONDS):
                while await unavailable(raw):
                    await raw.ok("ping")
            assert len((await raw.ok("list"))["collections"]) == 1
    finally:
        store.recovery_gate.set()


async def test_one_that_a_fault_broke_is_in_both_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(*_: Any) -> None:
        raise RuntimeError("on purpose")

    async with running() as server, client(server) as raw:
        await raw.create("items")
        with monkeypatch.context() as patched:
            patched.setattr(Window, "apply", fault)
            assert await raw.code("add", collection="items", rows=rows(1)) == "internal"
        assert [one["collection"] for one in (await raw.ok("list"))["collections"]] == ["items"]
        ((reason, is_recovering),) = (await unavailable(raw)).values()
        assert reason.startswith("needs repair, ")
        assert reason in (await raw.error("count", collection="items"))["message"]
        assert not is_recovering
