"""A server over real log files whose disk fails, fills up, or hangs."""

from __future__ import annotations

import asyncio
import errno
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from omendb_ws.catalog import recovery
from omendb_ws.journal.local.store import LocalStore
from omendb_ws.net.server import Server
from tests.patience import PATIENCE_SECONDS
from tests.server.faulty_files import FaultyFiles
from tests.server.raw import Clock, client, rows, settings


class Seconds:
    """A clock for the journal: stands until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def over(
    data_dir: Path, files: FaultyFiles, seconds: Seconds | None = None, **fields: Any
) -> AsyncIterator[Server]:
    """A server on ``data_dir`` through ``files``, everything back."""
    clock = {} if seconds is None else {"seconds": seconds}
    server = Server(
        settings(data_dir=str(data_dir), **fields),
        open_store=lambda path: LocalStore(path, files, **clock),
    )
    async with server:
        await ready(server)
        yield server


async def ready(server: Server) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while server.status() == "recovering":  # noqa: ASYNC110 - polled, as a probe does
            await asyncio.sleep(0)


DURABILITIES = pytest.mark.parametrize("durability", ["everysec", "always"])


@DURABILITIES
async def test_a_write_that_fails_ends_acknowledging_and_searches_go_on(
    durability: str, tmp_path: Path
) -> None:
    files = FaultyFiles()
    async with over(tmp_path, files) as server, client(server) as one:
        await one.create("items", durability=durability)
        await one.create("other", durability=durability)
        await one.add(1, 2)
        journal = (await one.ok("stats", collection="items"))["journal"]
        assert journal["written_bytes"] > 0
        assert journal["changes"] == 0
        files.write_error = errno.EIO
        assert await one.code("add", collection="items", rows=rows(3)) == "storage_failed"
        files.write_error = None
        assert await one.code("delete", collection="items", ids=[1]) == "storage_failed"
        found = await one.ok("search", collection="items", vector=[1, 0])
        assert sorted(row["id"] for row in found["results"]) == [1, 2]
        assert server.status() == "storage_failed"
        await one.add(9, name="other")
    async with over(tmp_path, FaultyFiles()) as server, client(server) as one:
        assert server.status() == "ok"
        got = await one.ok("get", collection="items", ids=[1, 2])
        assert None not in got["rows"]
        assert (await one.ok("count", collection="other"))["count"] == 1


async def test_a_flush_that_fails_acknowledges_nothing_under_always(tmp_path: Path) -> None:
    files = FaultyFiles()
    async with over(tmp_path, files) as server, client(server) as one:
        await one.create("items", durability="always")
        await one.add(1)
        files.sync_error = errno.EIO
        ids = [await one.send("add", collection="items", rows=rows(n)) for n in (2, 3, 4)]
        for id in ids:
            assert (await one.reply(id))["error"]["code"] == "storage_failed"
        files.sync_error = None
        assert await one.code("add", collection="items", rows=rows(5)) == "storage_failed"
        assert (await one.ok("count", collection="items"))["count"] == 1


@DURABILITIES
async def test_a_full_disk_refuses_until_there_is_room_and_nothing_is_half_there(
    durability: str, tmp_path: Path
) -> None:
    files = FaultyFiles()
    fields = {"collection": "items", "producer": "p"}
    async with over(tmp_path, files) as server, client(server) as one:
        await one.create("items", durability=durability, capacity=1000)
        await one.ok("add", rows=rows(1), batch=1, **fields)
        files.room_bytes = 100
        ids = [await one.send("add", rows=rows(n), batch=n, **fields) for n in (2, 3)]
        for id in ids:
            error = (await one.reply(id))["error"]
            assert error["code"] in ("storage_full", "out_of_order")
        assert await one.code("delete", collection="items", ids=[1]) == "storage_full"
        assert (await one.ok("count", collection="items"))["count"] == 1
        assert server.status() == "ok"
        files.room_bytes = None
        added = await one.ok("add", rows=rows(2), batch=2, **fields)
        assert added == {"version": 2, "first_seq": 2, "last_seq": 2}
        await one.ok("add", rows=rows(3), batch=3, **fields)
    async with over(tmp_path, FaultyFiles()) as server, client(server) as one:
        assert (await one.ok("describe", collection="items"))["version"] == 3
        again = await one.ok("add", rows=rows(3), batch=3, **fields)
        assert again["duplicate"]


async def test_a_create_on_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    files = FaultyFiles()
    async with over(tmp_path, files) as server, client(server) as one:
        files.room_bytes = 0
        assert await one.code("create", collection="items", dim=2, capacity=8) == "storage_full"
        files.room_bytes = None
        assert (await one.ok("list"))["collections"] == []
        await one.create("items")
    async with over(tmp_path, FaultyFiles()) as server, client(server) as one:
        assert len((await one.ok("list"))["collections"]) == 1


@DURABILITIES
@pytest.mark.parametrize("what", ["write", "allocate", "create"])
async def test_after_a_restart_on_a_full_disk_what_is_there_is_served(
    what: str,
    durability: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(recovery, "_SPACE_SECONDS", 0.01)
    files = FaultyFiles()
    fields = {"collection": "items", "producer": "p"}
    async with over(tmp_path, files) as server, client(server) as one:
        epoch = (await one.create("items", durability=durability, ttl=3600))["epoch"]
        await one.ok("add", rows=rows(1, 2), batch=1, **fields)
    files.full = what
    async with over(tmp_path, files) as server, client(server) as one:
        assert server.status() == "ok"
        found = await one.ok("search", collection="items", vector=[1, 0], k=5)
        assert len(found["results"]) == 2
        again = await one.ok("add", rows=rows(1, 2), batch=1, **fields)
        assert again["duplicate"]
        for _ in range(3):
            ids = [await one.send("add", rows=rows(n), batch=n, **fields) for n in (2, 3)]
            codes = [(await one.reply(id))["error"]["code"] for id in ids]
            assert set(codes) <= {"storage_full", "out_of_order"}
            assert await one.code("delete", collection="items", ids=[1]) == "storage_full"
        described = await one.ok("describe", collection="items")
        assert (described["epoch"], described["version"], described["rows"]) == (epoch, 1, 2)
        assert caplog.text.count("nothing is acknowledged") == 1
        files.full = None
        added: dict[str, Any] = {}
        async with asyncio.timeout(PATIENCE_SECONDS):
            while "ok" not in added:
                id = await one.send("add", rows=rows(3), batch=2, **fields)
                added = await one.reply(id)
        assert added["ok"] == {"version": 2, "first_seq": 3, "last_seq": 3}
        assert (await one.ok("delete", collection="items", ids=[1]))["deleted"] == 1
    async with over(tmp_path, files) as server, client(server) as one:
        described = await one.ok("describe", collection="items")
        assert (described["epoch"], described["version"], described["rows"]) == (epoch, 3, 2)


@pytest.mark.parametrize("action", ["drop", "leave"])
async def test_what_is_served_from_a_full_disk_can_be_dropped_and_left(
    action: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "_SPACE_SECONDS", 0.001)
    files = FaultyFiles()
    async with over(tmp_path, files) as server, client(server) as one:
        await one.create("items")
        await one.add(1)
    files.full = "create"
    async with over(tmp_path, files) as server, client(server) as one:
        assert await one.code("add", collection="items", rows=rows(2)) == "storage_full"
        if action == "drop":
            await one.ok("drop", collection="items")
            assert await one.code("describe", collection="items") == "not_found"
            files.full = None
            await one.create("items")
    async with over(tmp_path, FaultyFiles()) as server, client(server) as one:
        described = await one.ok("describe", collection="items")
        assert described["rows"] == (0 if action == "drop" else 1)


async def test_a_disk_that_fails_at_the_start_serves_what_is_there_and_says_so(
    tmp_path: Path,
) -> None:
    files = FaultyFiles()
    async with over(tmp_path, files) as server, client(server) as one:
        await one.create("items")
        await one.add(1)
    files.write_error = errno.EIO
    async with over(tmp_path, files) as server, client(server) as one:
        assert (await one.ok("count", collection="items"))["count"] == 1
        assert await one.code("add", collection="items", rows=rows(2)) == "storage_failed"
        assert server.status() == "storage_failed"


async def test_a_collection_whose_end_cannot_be_made_to_last_is_not_shown_before_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "_SPACE_SECONDS", 0.01)
    data, copy = tmp_path / "data", tmp_path / "copy"
    files = FaultyFiles()
    async with over(data, files) as server, client(server) as one:
        epoch = (await one.create("items"))["epoch"]
        files.gate.clear()  # no flush
        await one.add(1, 2)
        shutil.copytree(data, copy)  # as a kill leaves it
        files.gate.set()
    files.room_bytes = 0
    server = Server(settings(data_dir=str(copy)), open_store=lambda path: LocalStore(path, files))
    async with server, client(server) as one:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while "space" not in (await one.error("describe", collection="items"))["message"]:
                pass
        assert server.status() == "recovering"
        assert await one.code("create", collection="items", dim=2, capacity=8) == "unavailable"
        files.room_bytes = None
        await ready(server)
        described = await one.ok("describe", collection="items")
        assert (described["epoch"], described["rows"]) == (epoch, 2)
        await one.add(3)


async def test_leaving_while_a_collection_waits_for_space_leaves_it_as_it_was(
    tmp_path: Path,
) -> None:
    data, copy = tmp_path / "data", tmp_path / "copy"
    files = FaultyFiles()
    async with over(data, files) as server, client(server) as one:
        await one.create("items")
        files.gate.clear()  # no flush
        await one.add(1, 2)
        shutil.copytree(data, copy)  # as a kill leaves it
        files.gate.set()
    files.room_bytes = 0
    server = Server(settings(data_dir=str(copy)), open_store=lambda path: LocalStore(path, files))
    async with server, client(server) as one:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while "space" not in (await one.error("describe", collection="items"))["message"]:
                pass
    files.room_bytes = None
    async with over(copy, files) as server, client(server) as one:
        assert (await one.ok("count", collection="items"))["count"] == 2


async def test_a_flush_that_hangs_holds_acknowledgements_back_and_reads_go_on(
    tmp_path: Path,
) -> None:
    files, seconds = FaultyFiles(), Seconds()
    async with (
        over(tmp_path, files, seconds) as server,
        client(server) as one,
        client(server) as other,
    ):
        await one.create("items")
        await one.add(1)
        files.gate.clear()
        seconds.now += 1.5
        assert (await one.add(2))["version"] == 2  # late, and not yet too late
        seconds.now += 1.5
        late = await one.send("add", collection="items", rows=rows(3))
        (shard,) = server.context.catalog.shards()
        assert shard.pending is not None
        log = shard.pending.log
        assert log is not None
        async with asyncio.timeout(PATIENCE_SECONDS):
            # The journal's own thread gets there.
            while (  # noqa: ASYNC110
                log.numbers().unflushed_seconds < 2 or not shard.pending.changes
            ):
                await asyncio.sleep(0)
        assert (await other.ok("count", collection="items"))["count"] == 2
        assert late not in one.replies
        files.gate.set()
        assert (await one.reply(late))["ok"]["version"] == 3


async def test_leaving_flushes_what_was_acknowledged_and_says_that_the_stop_was_clean(
    tmp_path: Path,
) -> None:
    files = FaultyFiles()
    async with over(tmp_path, files) as server, client(server) as one:
        epoch = (await one.create("items"))["epoch"]
        await one.add(1, 2, 3)
    # Another boot: after a stop that was not clean the epoch would change.
    server = Server(
        settings(data_dir=str(tmp_path)),
        open_store=lambda path: LocalStore(path, files, boot="another"),
    )
    async with server, client(server) as one:
        await ready(server)
        described = await one.ok("describe", collection="items")
        assert (described["epoch"], described["rows"]) == (epoch, 3)


async def test_expired_rows_stay_gone_and_times_go_on_across_a_restart(tmp_path: Path) -> None:
    clock = Clock()

    async def described() -> dict[str, Any]:
        server = Server(settings(data_dir=str(tmp_path)), clock_us=clock)
        async with server, client(server) as one:
            await ready(server)
            if not (await one.ok("list"))["collections"]:
                await one.create("items", ttl=10)
                await one.add(1)
                clock.move(6)
                await one.add(2)
            clock.move(5)
            while (await one.ok("count", collection="items"))["count"] > 1:
                pass
            return await one.ok("describe", collection="items")

    first = await described()
    assert (first["rows"], first["first_seq"]) == (1, 2)
    again = await described()
    assert again["last_seq"] == 2
    assert again["rows"] <= 1


@pytest.mark.parametrize(("durability", "same"), [("everysec", False), ("always", True)])
async def test_after_a_reboot_without_a_clean_stop_the_epoch_says_what_may_be_lost(
    durability: str, same: bool, tmp_path: Path
) -> None:
    data, copy = tmp_path / "data", tmp_path / "copy"
    async with over(data, FaultyFiles()) as server, client(server) as one:
        epoch = (await one.create("items", durability=durability))["epoch"]
        await one.add(1, 2, 3)
        shutil.copytree(data, copy)  # as a machine that stops here leaves it
    server = Server(
        settings(data_dir=str(copy)), open_store=lambda path: LocalStore(path, boot="another")
    )
    async with server, client(server) as one:
        await ready(server)
        described = await one.ok("describe", collection="items")
        assert (described["rows"], described["version"]) == (3, 1)
        assert (described["epoch"] == epoch) is same
        asked = {"kind": "feed", "collection": "items", "from_seq": 2, "epoch": epoch}
        if same:
            await one.ok("subscribe", **asked)
            rows_after = (await one.named("feed"))["rows"]
            assert [row["seq"] for row in rows_after] == [2, 3]
        else:
            assert await one.code("subscribe", **asked) == "wrong_epoch"


async def test_a_start_says_why_a_collection_goes_on_under_another_epoch(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with over(tmp_path, FaultyFiles()) as server, client(server) as one:
        epoch = (await one.create("items", durability="always"))["epoch"]
        await one.add(1)
    async with over(tmp_path, FaultyFiles()) as server, client(server) as one:
        assert (await one.ok("describe", collection="items"))["epoch"] == epoch
    assert "another epoch" not in caplog.text
    for note in list(tmp_path.glob("*+items+*/NOTE")):  # noqa: ASYNC240 - nobody else is there
        note.unlink()
    async with over(tmp_path, FaultyFiles()) as server, client(server) as one:
        again = (await one.ok("describe", collection="items"))["epoch"]
        assert again != epoch
    assert f"items goes on under another epoch, {again}: its NOTE is missing" in caplog.text
