"""Runtimes for the tests of what runs in browsers."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from omendb_ws.net.server import Server

from ..server.raw import settings
from .runtimes import Chromium, Node, Runtime, browser, missing
from .scripted import NODE


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skipped by name where a program is missing; in CI that is a failure."""
    absent = missing()
    if not absent or os.environ.get("CI"):
        return
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.skip(reason=f"not installed: {', '.join(absent)}"))


@pytest.fixture(scope="session")
def chromium() -> Iterator[Chromium]:
    with browser() as found:
        yield found


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with Server(settings()) as started:
        yield started


@pytest.fixture(params=["node", "chromium"])
async def runtime(request: pytest.FixtureRequest, server: Server) -> AsyncIterator[Runtime]:
    """Node or a page of the server, with ``url`` of the server and the client's names global."""
    if request.param == "node":
        async with Node.started() as node:
            await node.run(f"globalThis.url = {server.url!r}")
            yield node
        return
    browser: Chromium = request.getfixturevalue("chromium")
    async with browser.page() as page:
        await page.open(server.url.replace("ws://", "http://").replace("/v1", "/livez"))
        await page.import_client()
        await page.run(f"globalThis.url = {server.url!r}")
        yield page
        assert page.errors == []


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    """Node with ``Scripted``; nothing may be left that nobody caught."""
    async with Node.started() as started:
        await started.run(NODE)
        yield started
        assert await started.run("await turn(); return uncaught") == []
