"""NATS has no room any more: changes are refused, reads go on, and it goes on by itself once there
is room again."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.nats import NatsServer, nats_server
from tests.patience import PATIENCE_SECONDS, eventually
from tests.server.cluster.nodes import node, served, until_taken
from tests.server.cluster.test_one_node import log_of
from tests.server.raw import Raw, client


def with_room(tmp_path: Path, room: str) -> list[str]:
    """The flags of a server that may store so much."""
    config = tmp_path / "nats.conf"
    config.write_text(f"jetstream {{ {room} }}")
    return ["-c", str(config)]


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServer]:
    more = with_room(tmp_path, "max_file_store: 2M, max_memory_store: 2M")
    with nats_server(tmp_path / "nats", more) as server:
        yield server


WIDE = 512


async def create(raw: Raw, name: str, durability: str = "everysec") -> None:
    await raw.ok("create", collection=name, dim=WIDE, capacity=10_000, durability=durability)


async def fill(raw: Raw, name: str, first: int) -> tuple[list[int], dict[str, Any]]:
    """Rows, until they are refused: those that were acknowledged, and the refusal."""
    taken: list[int] = []
    async with asyncio.timeout(PATIENCE_SECONDS):
        for number in range(first, first + 10_000):
            reply = await raw.ask("add", collection=name, rows=[row(number)])
            if "error" in reply:
                return taken, dict(reply["error"])
            taken.append(number)
    raise AssertionError("it is never full")


def row(number: int) -> dict[str, Any]:
    return {"id": number, "vector": [1.0, *[float(number)] * (WIDE - 1)]}


async def held(raw: Raw, name: str, ids: list[int]) -> list[int]:
    answer = await until_taken(raw, "get", collection=name, ids=ids)
    return [one["id"] for one in answer["rows"] if one is not None]


async def refused(raw: Raw, name: str, *numbers: int) -> set[str]:
    """The codes that these rows are refused with, each in a change of its own, all at once."""
    asked = [await raw.send("add", collection=name, rows=[row(number)]) for number in numbers]
    return {(await raw.reply(one))["error"]["code"] for one in asked}


@pytest.mark.parametrize("durability", ["everysec", "memory"])
async def test_what_there_is_no_room_for_is_storage_full_and_nothing_of_it_is_there(
    nats: NatsServer, durability: str
) -> None:
    async with node(nats) as server, client(server) as raw, client(server) as other:
        await create(raw, "items", durability)
        await create(raw, "others", durability)
        await raw.ok("add", collection="others", rows=[row(number) for number in range(1, 201)])
        ids, error = await fill(raw, "items", 1)
        assert (error["code"], "no room" in error["message"]) == ("storage_full", True)
        assert await refused(other, "items", 1) == {"storage_full"}
        assert await refused(other, "items", *range(5_000, 5_060)) == {"storage_full"}
        assert await refused(other, "others", 5_000) == {"storage_full"}
        large = [row(number) for number in range(6_000, 6_600)]
        reply = await other.ask("add", collection="items", rows=large)
        assert reply["error"]["code"] == "storage_full"
        version = (await raw.ok("describe", collection="items"))["version"]
        assert version == len(ids)
        assert await held(raw, "items", [*ids, 5_000, 5_059, 6_000]) == ids
        assert log_of(server)._jetstream.takeovers == 0
        await raw.ok("drop", collection="others")
        added = await until_taken(raw, "add", collection="items", rows=[row(9_999)])
        assert added["version"] == version + 1
    if durability == "everysec":
        async with served(nats, "two") as raw:
            assert await held(raw, "items", [*ids, 9_999]) == [*ids, 9_999]


@contextmanager
def small_disk(directory: Path) -> Iterator[None]:
    """A file system of 3 MiB there."""
    directory.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(directory)]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True)


async def test_a_disk_that_is_full_under_nats_loses_nothing(tmp_path: Path) -> None:
    """NATS answers nothing then, and wants a restart once there is room."""
    disk = tmp_path / "nats" / "store"
    with (
        small_disk(disk),
        nats_server(tmp_path / "nats", with_room(tmp_path, "max_file_store: 1G")) as nats,
    ):
        async with node(nats) as server, client(server) as raw, client(server) as other:
            await create(raw, "items")
            ids: list[int] = []
            replies: dict[int, Any] = {}

            async def add() -> None:
                for first in range(0, 4_000, 50):
                    many = [row(number) for number in range(first, first + 50)]
                    replies[first] = await raw.ask("add", collection="items", rows=many)
                    if "error" in replies[first]:
                        return
                    ids.extend(range(first, first + 50))

            adding = asyncio.create_task(add())
            await eventually(lambda: log_of(server).error is not None)
            assert await refused(other, "items", 9_000) == {"unavailable"}
            assert await held(other, "items", ids) == ids
            nats.kill()
            subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)  # noqa: ASYNC221
            nats.start()
            await eventually(lambda: log_of(server).error is None)
            await adding
            await until_taken(other, "add", collection="items", rows=[row(9_001)])
            assert await held(other, "items", [*ids, 9_000, 9_001]) == [*ids, 9_001]
            version = (await other.ok("describe", collection="items"))["version"]
        async with served(nats, "two") as raw:
            assert await held(raw, "items", [*ids, 9_001]) == [*ids, 9_001]
            assert (await raw.ok("describe", collection="items"))["version"] == version
