"""Snapshots and restores on a server: whose memory they take, what ends them, what is left."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from omendb_core.model.errors import Overloaded, StorageFull

from omendb_ws.journal.local import receiving
from omendb_ws.net.server import Server
from omendb_ws.wire import binary
from omendb_ws.wire.messages import Added, SnapshotBytes
from tests.patience import PATIENCE_SECONDS, eventually
from tests.server.journal.test_durability import ready
from tests.server.raw import Clock, Raw, batch, client, running, settings
from tests.server.tokens import token, with_secret

MANY = 600


async def filled(raw: Raw, name: str = "items", **fields: Any) -> int:
    """A collection of ``MANY`` rows of 256 dimensions; its handle."""
    made = await raw.create(name, **{"dim": 256, "capacity": MANY, **fields})
    await first_batch(raw, made["handle"], *range(MANY))
    return int(made["handle"])


async def first_batch(raw: Raw, handle: int, *ids: int) -> Added:
    """The first batch of a producer."""
    id = raw.next_id()
    await raw.send_binary(binary.encode_add(id, handle, batch(*ids, dim=256), "p", 1))
    reply = await raw.reply(id)
    assert isinstance(reply, Added), reply
    return reply


async def begun(raw: Raw, name: str = "items") -> int:
    return int((await raw.ok("snapshot", collection=name))["snapshot"])


async def piece(raw: Raw, number: int) -> SnapshotBytes:
    found = await raw.reply(await raw.send("snapshot", snapshot=number))
    assert isinstance(found, SnapshotBytes), found
    return found


async def rest(raw: Raw, number: int) -> bytes:
    found = b""
    while True:
        part = await piece(raw, number)
        found += part.data
        if part.is_last:
            return found


async def copied(raw: Raw, name: str = "items") -> bytes:
    return await rest(raw, await begun(raw, name))


async def feed(raw: Raw, number: int, data: bytes) -> dict[str, Any]:
    id = raw.next_id()
    await raw.send_binary(binary.encode_restore(id, number, data))
    found: dict[str, Any] = await raw.reply(id)
    return found


async def restored(raw: Raw, name: str, data: bytes, **fields: Any) -> dict[str, Any]:
    number = (await raw.ok("restore", collection=name, **fields))["restore"]
    found: dict[str, Any] = {}
    for start in range(0, len(data), 100_000):
        found = await feed(raw, number, data[start : start + 100_000])
        assert "ok" in found, found
    made: dict[str, Any] = found["ok"]
    return made


async def seen(raw: Raw, name: str) -> list[tuple[int, int]]:
    """The ids and seqs of all rows."""
    found = await raw.ok("search", collection=name, vector=[1.0] * 256, k=1000)
    return sorted((one["id"], one["seq"]) for one in found["results"])


async def test_what_is_read_while_others_write_is_one_version() -> None:
    """Every state between two adds has all ids of one step: any mixture would show."""
    async with running() as server, client(server) as reader, client(server) as writer:
        handle = await filled(writer)
        stop = asyncio.Event()

        async def write() -> None:
            step = 1
            while not stop.is_set():
                ids = [step * MANY + place for place in range(MANY)]
                await writer.add_binary(handle, batch(*ids, dim=256))
                await writer.ok("delete", collection="items", ids=ids[::7])
                step += 1

        writing = asyncio.create_task(write())
        try:
            for name in ("a", "b", "c"):
                made = await restored(reader, name, await copied(reader))
                ids = [one for one, _ in await seen(reader, name)]
                steps = {one // MANY for one in ids}
                assert len(steps) == 1
                assert made["rows"] == len(ids)
                is_whole = len(ids) == MANY
                assert is_whole or len(ids) == MANY - len(range(0, MANY, 7))
        finally:
            stop.set()
            await writing


async def test_a_durable_copy_lasts(tmp_path: Path) -> None:
    fields = {"data_dir": str(tmp_path / "data")}
    async with running(**fields) as server, client(server) as raw:
        await ready(server)
        await filled(raw, durability="always")
        await raw.ok("delete", collection="items", ids=[3, 4])
        data = await copied(raw)
        made = await restored(raw, "copy", data)
        assert made["durability"] == "always"
        in_memory = await restored(raw, "light", data, durability="memory")
        assert in_memory["durability"] == "memory"
        handle = made["handle"]
        again = await first_batch(raw, handle, 3)
        assert again.duplicate
        await raw.add_binary(handle, batch(9000, dim=256))
        before = await raw.ok("describe", collection="copy"), await seen(raw, "copy")
    async with running(**fields) as server, client(server) as raw:
        await ready(server)
        assert (await raw.ok("describe", collection="copy"), await seen(raw, "copy")) == before
        handle = (await raw.ok("open", collection="copy"))["handle"]
        again = await first_batch(raw, handle, 3)
        assert again.duplicate
        await raw.ok("drop", collection="copy")
        assert await raw.code("describe", collection="light") == "not_found"
    assert [one.name for one in (tmp_path / "data").iterdir() if "copy" in one.name] == []


async def test_a_copy_of_memory_can_be_made_durable(tmp_path: Path) -> None:
    async with running() as server, client(server) as raw:
        await filled(raw)
        data = await copied(raw)
        refused = await raw.code("restore", collection="copy", durability="everysec")
        assert refused == "unsupported"
    fields = {"data_dir": str(tmp_path / "data")}
    async with running(**fields) as server, client(server) as raw:
        await restored(raw, "items", data, durability="everysec")
        before = await seen(raw, "items")
    async with running(**fields) as server, client(server) as raw:
        await ready(server)
        assert await seen(raw, "items") == before


@pytest.mark.parametrize("durability", ["memory", "always"])
async def test_a_restore_that_does_not_come_to_its_end_leaves_nothing(
    tmp_path: Path, durability: str
) -> None:
    data_dir = tmp_path / "data"
    async with running(data_dir=str(data_dir)) as server, client(server) as raw:
        await filled(raw, durability=durability)
        data = await copied(raw)
        held = server.context.catalog.reserved_bytes
        async with client(server) as other:
            number = (await other.ok("restore", collection="copy"))["restore"]
            assert await feed(other, number, data[:-64]) == {"id": 2, "ok": {}}
            assert await raw.code("describe", collection="copy") == "unavailable"
            assert await raw.code("create", collection="copy", dim=2, capacity=2) == "unavailable"
            (told,) = (await raw.ok("list"))["unavailable"]
            assert (told["collection"], told["recovering"]) == ("copy", True)
            assert server.context.catalog.reserved_bytes > held
        await eventually(lambda: server.context.catalog.reserved_bytes == held)
        await eventually(lambda: not server.context.catalog.held.of("default"))
        names = {one.name for one in data_dir.iterdir()}
        assert not any("copy" in name for name in names)
        assert await raw.code("describe", collection="copy") == "not_found"
        assert (await restored(raw, "copy", data))["rows"] == MANY


async def test_a_server_that_stops_in_the_middle_of_a_restore_leaves_nothing(
    tmp_path: Path,
) -> None:
    data_dir = tmp_path / "data"
    async with running(data_dir=str(data_dir)) as server, client(server) as raw:
        await filled(raw, durability="always")
        data = await copied(raw)
        number = (await raw.ok("restore", collection="copy"))["restore"]
        assert "ok" in await feed(raw, number, data[: len(data) - 64])
        during = [one.name for one in data_dir.iterdir()]
        assert any(name.endswith(".new") for name in during)
        kept = tmp_path / "killed"
        kept.mkdir()
        for one in data_dir.iterdir():  # as a machine that loses power leaves it
            if one.is_dir():
                (kept / one.name).mkdir()
                for file in one.iterdir():
                    (kept / one.name / file.name).write_bytes(file.read_bytes())
    async with running(data_dir=str(kept)) as server, client(server) as raw:
        await ready(server)
        assert [one["collection"] for one in (await raw.ok("list"))["collections"]] == ["items"]
        assert not any(one.name.endswith(".new") for one in kept.iterdir())


async def test_a_full_disk_refuses_a_restore_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_dir = tmp_path / "data"
    async with running(data_dir=str(data_dir)) as server, client(server) as raw:
        await filled(raw, durability="always")
        data = await copied(raw)

        def full(self: object, rows: object) -> None:
            raise StorageFull("no room")

        with monkeypatch.context() as patched:
            patched.setattr(receiving.LocalReceiving, "keep", full)
            number = (await raw.ok("restore", collection="copy"))["restore"]
            refused = await feed(raw, number, data)
            assert refused["error"]["code"] == "storage_full"
        assert not any("copy" in one.name for one in data_dir.iterdir())
        assert (await feed(raw, number, data))["error"]["code"] == "not_found"
        await restored(raw, "copy", data)


async def test_rows_kept_for_a_reader_are_its_tenants_and_go_with_its_connection() -> None:
    async with running() as server, client(server) as raw:
        handle = await filled(raw)
        before = server.context.catalog.reserved_bytes
        async with client(server) as reader:
            number = await begun(reader)
            await raw.add_binary(handle, batch(*range(MANY, 2 * MANY), dim=256))
            window_bytes = MANY * 256 * 4
            held = server.context.catalog.reserved_bytes - before
            assert window_bytes <= held <= window_bytes * 1.2
            data = await rest(reader, number)
            assert server.context.catalog.reserved_bytes - before < window_bytes / 2
            number = await begun(reader)
            await raw.add_binary(handle, batch(*range(MANY), dim=256))
        await eventually(lambda: server.context.catalog.reserved_bytes <= before + 4096)
        assert (await restored(raw, "copy", data))["rows"] == MANY


async def test_a_reader_for_whom_there_is_no_room_is_told_and_writers_go_on() -> None:
    async with running(max_memory_bytes=4 << 20) as server, client(server) as raw:
        handle = await filled(raw, capacity=2000)
        for start in range(MANY, 2400, MANY):
            await raw.add_binary(handle, batch(*range(start, start + MANY), dim=256))
        number = await begun(raw)
        for start in range(0, 2400, MANY):
            await raw.add_binary(handle, batch(*range(start, start + MANY), dim=256))
        assert await raw.code("snapshot", snapshot=number) == "quota"
        shard = server.context.catalog.find("default", "items").shard
        assert shard.snapshots == []
        shard.window.check()


async def test_a_dropped_collection_ends_its_snapshots() -> None:
    async with running() as server, client(server) as raw:
        await filled(raw)
        number = await begun(raw)
        await piece(raw, number)
        await raw.ok("drop", collection="items")
        told = await raw.error("snapshot", snapshot=number)
        assert told["code"] == "not_found"
        assert "dropped" in told["message"]


async def test_rows_that_expire_meanwhile_are_in_the_copy_and_older_there() -> None:
    clock = Clock()
    async with (
        Server(settings(), clock_us=clock) as server,
        client(server) as raw,
    ):
        await filled(raw, ttl=100)
        number = await begun(raw)
        clock.move(101)
        # A change wakes the engine, which lets go of what is due.
        await raw.ok("delete", collection="items", ids=[10**6])
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (await raw.ok("describe", collection="items"))["rows"]:
                pass
        data = await rest(raw, number)
        # The restored rows have the age that they had when the snapshot began.
        made = await restored(raw, "copy", data)
        assert (made["rows"], made["ttl"]) == (MANY, 100.0)


async def test_pieces_fit_into_messages() -> None:
    async with running(max_message_bytes=64 << 10) as server, client(server) as raw:
        made = await raw.create(dim=256, capacity=100)
        await raw.add_binary(made["handle"], batch(*range(50), dim=256))
        await raw.add_binary(made["handle"], batch(*range(50, 100), dim=256))
        number = await begun(raw)
        data = b""
        while True:
            part = await piece(raw, number)
            assert len(part.data) <= 64 << 10
            data += part.data
            if part.is_last:
                break
        number = (await raw.ok("restore", collection="copy"))["restore"]
        for start in range(0, len(data), 50_000):
            found = await feed(raw, number, data[start : start + 50_000])
        assert found["ok"]["rows"] == 100


async def test_requests_in_a_row_bring_bytes_in_their_order() -> None:
    async with running() as server, client(server) as raw:
        await filled(raw)
        whole = await copied(raw)
        number = await begun(raw)
        ids = [await raw.send("snapshot", snapshot=number) for _ in range(10)]
        parts = []
        for id in ids:
            found = await raw.reply(id)
            parts.append(found)
            if isinstance(found, SnapshotBytes) and found.is_last:
                break
        data = b"".join(bytes(one.data) for one in parts)
        assert len(data) == len(whole)
        assert (await restored(raw, "copy", data))["rows"] == MANY


#: Grants, and whether a snapshot of "items" and a restore to "copy" are allowed with them.
GRANTS: list[tuple[list[dict[str, Any]], bool, bool]] = [
    ([{"rights": ["read", "write", "admin"]}], True, True),
    ([{"rights": ["admin"]}], False, False),
    ([{"rights": ["read", "write"]}], False, False),
    ([{"rights": ["read", "admin"]}], True, False),
    ([{"rights": ["write", "admin"]}], False, True),
    ([{"collections": ["it*"], "rights": ["read", "write", "admin"]}], True, False),
    ([{"rights": ["read", "write", "admin"], "filter": {"owner": "me"}}], False, False),
    ([{"rights": ["read", "write", "admin"], "stamp": {"owner": "me"}}], True, False),
    (
        [{"rights": ["admin", "write"]}, {"rights": ["read"], "filter": {"owner": "me"}}],
        False,
        True,
    ),
]


@pytest.mark.parametrize(("grants", "may_snapshot", "may_restore"), GRANTS)
async def test_only_who_may_read_or_write_all_of_it_copies_a_collection(
    tmp_path: Path, grants: list[dict[str, Any]], may_snapshot: bool, may_restore: bool
) -> None:
    async with (
        running(Server(with_secret(tmp_path))) as server,
        client(server, token=token()) as root,
        client(server, token=token(*grants)) as raw,
    ):
        await root.create(columns={"owner": "str"})
        await root.add(1, 2)
        data = await copied(root)
        if may_snapshot:
            assert len(await copied(raw)) == len(data)
        else:
            assert await raw.code("snapshot", collection="items") == "forbidden"
            assert await raw.code("snapshot", collection="none") == "forbidden"
        if may_restore:
            assert (await restored(raw, "copy", data))["version"] == 1
        else:
            assert await raw.code("restore", collection="copy") == "forbidden"
        elsewhere = token(tenant="other")
        async with client(server, token=elsewhere) as other:
            assert await other.code("snapshot", collection="items") == "not_found"
            await restored(other, "items", data)
            await other.ok("drop", collection="items")
        assert (await root.ok("describe", collection="items"))["rows"] == 2


async def test_a_right_that_is_taken_ends_what_it_allowed(tmp_path: Path) -> None:
    async with (
        running(Server(with_secret(tmp_path))) as server,
        client(server, token=token()) as raw,
    ):
        await raw.create()
        await raw.add(1, 2)
        data = await copied(raw)
        number = await begun(raw)
        restoring = (await raw.ok("restore", collection="copy"))["restore"]
        await raw.ok("auth", token=token({"rights": ["read"]}))
        assert await raw.code("snapshot", snapshot=number) == "forbidden"
        assert (await feed(raw, restoring, data))["error"]["code"] == "forbidden"


@pytest.mark.parametrize("durability", ["memory", "always"])
async def test_what_is_given_up_has_freed_its_name_once_that_is_answered(
    durability: str, tmp_path: Path
) -> None:
    async with running(data_dir=str(tmp_path)) as server, client(server) as raw:
        await ready(server)
        await filled(raw)
        data = await copied(raw)
        for bytes_before in (0, 100, len(data) // 2, len(data) - 1):
            fields = {"collection": "copy", "durability": durability}
            number = (await raw.ok("restore", **fields))["restore"]
            assert "ok" in await feed(raw, number, data[: bytes_before or 1])
            assert await raw.ok("restore", end=number) == {}
            await raw.create("copy")
            await raw.ok("drop", collection="copy")


async def test_a_name_is_freed_once_where_its_restore_is_given_up_with_the_last_bytes(
    tmp_path: Path,
) -> None:
    async with running(data_dir=str(tmp_path)) as server, client(server) as raw:
        await ready(server)
        await filled(raw)
        data = await copied(raw)
        number = (await raw.ok("restore", collection="copy", durability="memory"))["restore"]
        id = raw.next_id()
        await raw.send_binary(binary.encode_restore(id, number, data))
        end = await raw.send("restore", end=number)
        assert "ok" in await raw.reply(id)
        assert (await raw.reply(end))["ok"] == {}
        assert (await raw.ok("describe", collection="copy"))["rows"] == MANY
        again = await raw.ask("create", collection="copy", dim=2, capacity=2)
        assert again["error"]["code"] == "exists"
        assert server.metrics.faults == 0


async def test_giving_up_that_is_refused_can_be_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running() as server, client(server) as raw:
        number = (await raw.ok("restore", collection="copy"))["restore"]

        def refused(*_: Any) -> None:
            raise Overloaded("not now")

        with monkeypatch.context() as patch:
            patch.setattr(server.context.inbox, "submit", refused)
            assert (await raw.ask("restore", end=number))["error"]["code"] == "overloaded"
        assert await raw.ok("restore", end=number) == {}
        await raw.create("copy")
        assert (await raw.ask("restore", end=number))["error"]["code"] == "not_found"


async def test_without_a_thread_to_give_no_name_is_held_and_every_request_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running() as server, client(server) as raw:

        def none_left(*_: Any) -> None:
            raise RuntimeError("can't start new thread")

        restores = server.context.restores
        with monkeypatch.context() as patch:
            patch.setattr(restores, "do", none_left)
            reply = await raw.ask("restore", collection="copy")
            assert reply["error"]["code"] == "unavailable"
        number = (await raw.ok("restore", collection="copy"))["restore"]
        with monkeypatch.context() as patch:
            patch.setattr(restores, "do", none_left)
            assert (await feed(raw, number, b"x"))["error"]["code"] == "internal"
        assert await raw.ok("restore", end=number) == {}
        await raw.create("copy")


async def test_what_is_copied_is_counted_and_what_comes_to_nothing() -> None:
    async with running() as server, client(server) as raw:
        snapshots, restores = server.metrics.snapshots, server.metrics.restores
        await filled(raw)
        data = await copied(raw)
        assert (snapshots.under_way, snapshots.done, snapshots.failed) == (0, 1, 0)
        assert snapshots.bytes == len(data)
        await restored(raw, "copy", data)
        assert (restores.under_way, restores.done, restores.failed) == (0, 1, 0)
        assert restores.bytes == len(data)
        await begun(raw)
        assert snapshots.under_way == 1
        number = (await raw.ok("restore", collection="other"))["restore"]
        assert restores.under_way == 1
        assert b'omendb_copies_under_way{op="restore"} 1.0' in server.metrics_page().body
        await begun(raw)  # the one before ends
        await eventually(lambda: (snapshots.under_way, snapshots.failed) == (1, 1))
        await raw.ok("restore", end=number)
        assert (restores.under_way, restores.failed) == (0, 1)
        refused = await raw.ask("restore", collection="copy")
        assert refused["error"]["code"] == "exists"
        assert (restores.under_way, restores.failed) == (0, 1)
        await raw.ok("restore", collection="third")
        await raw.ok("drop", collection="items")
    await eventually(lambda: not (snapshots.under_way or restores.under_way))
    assert (snapshots.failed, restores.failed) == (2, 2)
