"""Servers in this process: whose they are, how long they live, what they take."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
import time
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import omendb_ws
import omendb_ws.sync
from omendb_ws import errors
from omendb_ws.sessions.outbox import Outbox
from tests.client.fake import eventually
from tests.patience import PATIENCE_SECONDS

_names = count(1)


def fresh() -> str:
    """An address that no other test uses."""
    return f"memory://local-{next(_names)}"


def engines() -> int:
    return sum(thread.name == "omendb-engine" for thread in threading.enumerate())


async def test_bare_memory_is_a_server_of_its_own_and_a_name_is_shared() -> None:
    url = fresh()
    async with (
        omendb_ws.connect("memory://") as own,
        omendb_ws.connect("memory://") as another,
        omendb_ws.connect(url) as first,
        omendb_ws.connect(url) as second,
        omendb_ws.connect(fresh()) as elsewhere,
    ):
        for db in (own, first):
            await db.create("items", dim=2, capacity=10)
        assert [len(await db.list()) for db in (own, another, first, second, elsewhere)] == [
            1, 0, 1, 1, 0,
        ]  # fmt: skip


@pytest.mark.parametrize("is_named", [False, True])
async def test_a_server_ends_with_its_last_connection(is_named: bool) -> None:
    url = fresh() if is_named else "memory://"
    before = engines()
    for _ in range(2):
        async with omendb_ws.connect(url) as db:
            await db.create("items", dim=2, capacity=10)
            assert engines() == before + 1
        assert engines() == before
    first, second = await omendb_ws.connect(fresh_url := fresh()), None
    try:
        await first.create("items", dim=2, capacity=10)
        second = await omendb_ws.connect(fresh_url)
    finally:
        await first.close()
    assert second is not None
    assert len(await second.list()) == 1
    await second.close()
    async with omendb_ws.connect(fresh_url) as db:
        assert await db.list() == []
    assert engines() == before


async def test_many_come_and_go_at_the_same_time() -> None:
    url = fresh()

    async def visit(number: int) -> None:
        async with omendb_ws.connect(url) as db:
            await db.create("items", dim=2, capacity=10_000, ids="auto", if_exists="ok")
            await db.add("items", [[number, 1]])

    def block(number: int) -> None:
        with omendb_ws.sync.connect(url) as db:
            db.create("items", dim=2, capacity=10_000, ids="auto", if_exists="ok")
            db.add("items", [[number, 1]])

    async with asyncio.timeout(PATIENCE_SECONDS), omendb_ws.connect(url) as db:
        await db.create("items", dim=2, capacity=10_000, ids="auto")
        calls = [visit(at) for at in range(30)]
        calls += [asyncio.to_thread(block, at) for at in range(30)]
        await asyncio.gather(*calls)
        assert await db.count("items") == 60


@pytest.mark.parametrize(
    ("url", "settings", "said"),
    [
        ("memory://no spaces", None, "a name is"),
        ("memory://a/b", None, "a name is"),
        ("memory://" + "x" * 65, None, "a name is"),
        ("memory://", {"max_k": 0}, "max_k"),
        ("memory://", {"max_k": "many"}, "max_k"),
        ("memory://", {"port": 1}, "port"),
        ("memory://", {"api_key_file": "x"}, "api_key_file"),
        ("memory://", {"nonsense": 1}, "nonsense"),
        ("ws://127.0.0.1:1/v1", {"max_k": 5}, "memory:// only"),
    ],
)
async def test_what_cannot_be_is_refused_by_name(url: str, settings: Any, said: str) -> None:
    with pytest.raises(errors.BadRequest, match=said):
        await omendb_ws.connect(url, server_settings=settings)
    with pytest.raises(errors.BadRequest, match=said):
        omendb_ws.sync.connect(url, server_settings=settings)


async def test_settings_are_the_servers_and_the_first_connections() -> None:
    url = fresh()
    async with omendb_ws.connect(url, server_settings={"max_k": 5}) as db:
        await db.create("items", dim=2, capacity=10)
        with pytest.raises(errors.BadK):
            await db.search("items", [1, 2], k=6)
        async with omendb_ws.connect(url), omendb_ws.connect(url, server_settings={"max_k": 5}):
            pass
        with pytest.raises(errors.BadRequest, match="other settings"):
            await omendb_ws.connect(url, server_settings={"max_k": 6})


@pytest.mark.parametrize("is_named", [False, True])
async def test_with_a_data_directory_the_window_is_there_again(
    tmp_path: Path, is_named: bool
) -> None:
    url = fresh() if is_named else "memory://"
    options: dict[str, Any] = {"server_settings": {"data_dir": str(tmp_path)}}
    async with omendb_ws.connect(url, **options) as db:
        made = await db.create("items", dim=2, capacity=10, metric="dot")
        assert made.durability == "everysec"
        await db.add("items", [[1, 2], [3, 4]], ids=[7, 8])
        with pytest.raises(errors.Unavailable, match="another server"):
            await omendb_ws.connect(fresh(), **options)
    with omendb_ws.sync.connect(url, **options) as again:
        assert again.search("items", [1, 0]).ids.tolist() == [8, 7]
        assert again.describe("items").epoch == made.epoch
        again.add("items", [[5, 6]], ids=[9])

    async def look() -> int:
        async with omendb_ws.connect(url, **options) as db:
            return await db.count("items")

    looks = 8 if is_named else 1
    assert await asyncio.gather(*(look() for _ in range(looks))) == [3] * looks


async def test_a_name_that_just_ended_can_be_taken_again_at_once(tmp_path: Path) -> None:
    url, settings = fresh(), {"data_dir": str(tmp_path)}
    async with asyncio.timeout(PATIENCE_SECONDS):
        for number in range(10):
            db = await omendb_ws.connect(url, server_settings=settings)
            await db.create("items", dim=2, capacity=100, ids="auto", if_exists="ok")
            await db.add("items", [[number, 1]])
            closing = asyncio.ensure_future(db.close())
            await asyncio.sleep(0)
            async with omendb_ws.connect(url, server_settings=settings) as other:
                assert await other.count("items") == number + 1
            await closing


def test_a_program_that_forgets_to_close_keeps_what_was_acknowledged(tmp_path: Path) -> None:
    program = """
import sys
from omendb_ws.sync import connect
db = connect("memory://", server_settings={"data_dir": sys.argv[1]})
db.create("items", dim=2, capacity=1000, ids="auto", if_exists="ok")
for number in range(100):
    db.add("items", [[number, 1]])
print(db.count("items"))
"""
    for expected in (100, 200):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", program, str(tmp_path)],
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
        )
        assert (done.stdout, done.stderr) == (f"{expected}\n", "")


async def test_the_environment_of_the_process_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMENDB_MAX_K", "5")
    monkeypatch.setenv("OMENDB_PORT", "nonsense")
    async with omendb_ws.connect("memory://") as db:
        await db.create("items", dim=2, capacity=10)
        assert len(await db.search("items", [1, 2], k=6)) == 0


async def test_any_token_does_where_there_is_nothing_to_guard() -> None:
    async with omendb_ws.connect("memory://", "token") as db:
        assert (await db.auth("another"))["rights"] == ["admin", "read", "write"]


async def test_the_process_keeps_its_switch_interval() -> None:
    before = sys.getswitchinterval()
    async with omendb_ws.connect("memory://") as db:
        await db.ping()
        assert sys.getswitchinterval() == before


def test_a_loop_that_ends_takes_its_forgotten_clients_along() -> None:
    before = engines()

    async def forget() -> None:
        for url in ("memory://", fresh()):
            db = await omendb_ws.connect(url)
            await db.create("items", dim=2, capacity=10)

    asyncio.run(forget())
    gc.collect()
    asyncio.run(no_more_than(before))


def test_a_loop_that_was_closed_under_its_client_holds_nobody_up() -> None:
    url = fresh()
    loop = asyncio.new_event_loop()

    async def follow() -> Any:
        db = await omendb_ws.connect(url)
        return await db.feed("items", include=["vector"]).__aenter__()

    with omendb_ws.sync.connect(url) as db:
        db.create("items", dim=256, capacity=2000, ids="auto")
        feed = loop.run_until_complete(follow())
        tasks = asyncio.all_tasks(loop)
        loop.close()
        for _ in range(10):
            db.add("items", np.ones((1000, 256)))
        until = time.monotonic() + PATIENCE_SECONDS
        while db.stats()["connections"] > 1:
            assert time.monotonic() < until
    for task in tasks:
        task._log_destroy_pending = False
    del feed


async def no_more_than(engines_before: int) -> None:
    await eventually(lambda: engines() <= engines_before)


async def test_a_fault_of_the_server_ends_the_client_and_does_not_hang_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = engines()
    async with omendb_ws.connect("memory://") as db:
        await db.ping()

        def fail(_: Outbox) -> None:
            raise OSError("a fault")

        with monkeypatch.context() as patch:
            patch.setattr(Outbox, "take", fail)
            with pytest.raises(errors.ConnectionLost):
                await asyncio.wait_for(db.ping(), PATIENCE_SECONDS)
        with pytest.raises(errors.ConnectionLost):
            await db.ping()
    await no_more_than(before)


async def test_a_caller_may_change_its_arrays_once_an_add_has_returned() -> None:
    async with omendb_ws.connect("memory://") as db:
        await db.create("items", dim=2, capacity=10, metric="dot")
        rows = np.array([[1, 2], [3, 4]], np.float32)
        await db.add("items", rows, ids=[1, 2])
        rows[:] = 9
        got = await db.get("items", [1, 2], include=["vector"])
        assert [row.vector.tolist() for row in got if row and row.vector is not None] == [
            [1, 2], [3, 4],
        ]  # fmt: skip


PROGRAM = """
import asyncio, omendb_ws
async def main():
    db = await omendb_ws.connect({url!r})
    await db.create("items", dim=2, capacity=10)
    print(await db.count("items"))
asyncio.run(main())
"""


@pytest.mark.parametrize("url", ["memory://", "memory://name"])
def test_a_program_that_forgets_to_close_ends_quietly(url: str) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", PROGRAM.format(url=url)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    said = [line for line in done.stderr.splitlines() if not line.startswith("Executing <")]
    assert (done.returncode, done.stdout, said) == (0, "0\n", [])
