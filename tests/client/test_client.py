"""The asyncio client against a real server: what only it does. See ``common`` for the rest."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import omendb_ws
from omendb_ws import errors
from omendb_ws.client import Client, connect
from omendb_ws.net.server import Server
from tests.certificates import make_certificate
from tests.server.raw import running, with_keys


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with running() as started:
        yield started


@pytest.fixture
async def db(server: Server) -> AsyncIterator[Client]:
    async with connect(server.url) as client:
        yield client


def vectors(count: int, dim: int = 4, seed: int = 1) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)


async def test_adds_of_many_tasks_all_go_in_in_the_order_of_the_calls(db: Client) -> None:
    await db.create("items", dim=4, capacity=10_000, metric="dot")
    rows = vectors(10)
    calls = [db.add("items", rows, ids=range(at * 10, at * 10 + 10)) for at in range(300)]
    added = await asyncio.gather(*calls)
    assert [one.first_seq for one in added] == [1 + 10 * at for at in range(300)]


async def test_named_batches_of_many_tasks_go_in_in_the_order_of_the_calls(db: Client) -> None:
    await db.create("items", dim=4, capacity=10_000, metric="dot")
    rows = vectors(10)
    calls = [
        db.add("items", rows, ids=range(at * 10, at * 10 + 10), producer="file", batch=at + 1)
        for at in range(100)
    ]
    added = await asyncio.gather(*calls)
    assert [one.first_seq for one in added] == [1 + 10 * at for at in range(100)]


# -- tokens --------------------------------------------------------------------------------------


async def test_a_token_gives_its_rights_and_no_more(tmp_path: Path) -> None:
    async with Server(with_keys(tmp_path)) as server:
        async with connect(server.url, "token-root") as root:
            await root.create("items", dim=4, capacity=10)
            rights = await root.auth("token-root")
            assert rights["tenant"] == "acme"
            async with connect(server.url, "token-reader") as reader:
                assert len(await reader.list()) == 1
                assert await reader.count("items") == 0
                with pytest.raises(errors.Forbidden):
                    await reader.add("items", vectors(1), ids=[1])
                with pytest.raises(errors.Forbidden):
                    await reader.drop("items")
            async with connect(server.url, "token-other") as other:
                assert await other.list() == []
                with pytest.raises(errors.NotFound):
                    await other.add("items", vectors(1), ids=[1])
        for wrong in ("wrong", None):
            with pytest.raises(errors.Unauthenticated):
                async with connect(server.url, wrong):
                    pass


async def test_a_token_that_cannot_be_a_header_is_refused_here(server: Server) -> None:
    for token in ("new\nline", "ü€", ""):
        with pytest.raises(errors.Unauthenticated):
            async with connect(server.url, token):
                pass


# -- where there is no server --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("ws://127.0.0.1:1/v1", errors.ConnectionLost),
        ("http://127.0.0.1:1/v1", errors.BadRequest),
        ("nonsense", errors.BadRequest),
    ],
)
async def test_a_server_that_is_not_there_is_said_so(
    url: str, error: type[errors.OmenError]
) -> None:
    with pytest.raises(error):
        async with connect(url):
            pass


async def test_a_path_that_is_no_endpoint_is_unsupported(server: Server) -> None:
    with pytest.raises(errors.Unsupported):
        async with connect(server.url.replace("/v1", "/v7")):
            pass


async def test_a_server_that_takes_no_more_connections_may_take_one_later() -> None:
    async with running(max_connections=1) as server:
        async with connect(server.url):
            with pytest.raises(errors.ConnectionLost, match="503"):
                await connect(server.url)
        async with connect(server.url) as db:
            await db.ping()


async def test_tls_is_trusted_only_as_told(tmp_path: Path) -> None:
    files = make_certificate(tmp_path)
    tls = {"tls_certificate_file": files.certificate_file, "tls_key_file": files.key_file}
    async with running(**tls) as server:
        assert server.url.startswith("wss://")
        async with connect(server.url, tls=files.trusting()) as db:
            await db.create("items", dim=4, capacity=10)
            await db.add("items", vectors(2), ids=[1, 2])
            assert len(await db.search("items", [1, 0, 0, 0])) == 2
        with pytest.raises(errors.ConnectionLost, match="certificate"):
            await connect(server.url)


async def test_a_client_can_be_awaited_and_closed(server: Server) -> None:
    db = await connect(server.url)
    await db.ping()
    await db.close()
    await db.close()
    with pytest.raises(errors.ConnectionLost):
        await db.ping()


# -- the package ---------------------------------------------------------------------------------


def _is_part(name: str) -> bool:
    """Whether a name is a module of the package, which importing it puts there."""
    return f"omendb_ws.{name}" in sys.modules


def test_the_package_gives_connect_and_every_error_by_name() -> None:
    for name in omendb_ws.__all__:
        assert getattr(omendb_ws, name) is not None
        assert name in dir(omendb_ws)
    names = {name for name in dir(omendb_ws) if not name.startswith("__")}
    assert names == set(omendb_ws.__all__)
    here = [name for name in vars(omendb_ws) if not name.startswith("_")]
    assert {name for name in here if not _is_part(name)} <= names
    for error in errors.OmenError.__subclasses__():
        assert getattr(omendb_ws, error.__name__) is getattr(errors, error.__name__)
    with pytest.raises(AttributeError):
        _ = omendb_ws.nothing


def test_the_package_is_imported_without_numpy_or_websockets() -> None:
    program = (
        "import sys, omendb_ws\n"
        "assert not {'numpy', 'websockets', 'asyncio'} & set(sys.modules)\n"
        "assert omendb_ws.errors.NotFound is omendb_ws.NotFound\n"
        "omendb_ws.connect\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    ("url", "unneeded"),
    [
        (
            "ws://127.0.0.1:1/v1",
            ("omendb_ws.node.local", "omendb_ws.engine.engine", "omendb_core.window"),
        ),
        ("memory://", ("websockets",)),
    ],
)
def test_a_client_loads_what_its_address_needs(url: str, unneeded: tuple[str, ...]) -> None:
    program = (
        "import sys, omendb_ws.sync\n"
        "try:\n"
        f"    omendb_ws.sync.connect({url!r}).create('items', dim=2, capacity=10)\n"
        "except omendb_ws.ConnectionLost:\n"
        f"    assert {url!r}.startswith('ws')\n"
        f"assert not set({unneeded!r}) & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)
