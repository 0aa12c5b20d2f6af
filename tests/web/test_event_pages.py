"""Event streams as pages read them: ``EventSource`` in Chromium, the docs' ``fetch`` in Node."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from omendb_ws.http.api import streams
from omendb_ws.net.server import Server
from tests.project.pages import blocks, page
from tests.server import tokens
from tests.server.raw import client, running

from .running_examples import running as running_example
from .runtimes import PATIENCE_SECONDS, Chromium

#: Lines of the helper that the docs promise at most.
MOST_LINES = 30
MAIN = """
import { events } from "./events.mjs";
const [url, ...given] = process.argv.slice(2);
const nextToken = async () => (given.length > 1 ? given.shift() : given[0]);
const getToken = given.length ? nextToken : undefined;
const fields = { include: ["metadata"] };
try {
  for await (const { name, data } of events(url, { fields, getToken })) {
    console.log(JSON.stringify([name, (data.rows ?? []).map((row) => row.id)]));
  }
  console.log(JSON.stringify(["over", []]));
} catch (error) {
  console.log(JSON.stringify(["refused", [error.code]]));
}
"""


@pytest.fixture(autouse=True)
def comes_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "RETRY_MS", (10, 20))


def helper() -> str:
    (found,) = [
        block.text for block in blocks(page("docs/how-to/events.md"))
        if block.language == "javascript"
    ]  # fmt: skip
    return found


@asynccontextmanager
async def followed(folder: Path, url: str, *given: str) -> AsyncIterator[asyncio.StreamReader]:
    """What the helper makes of a stream, a line an event."""
    (folder / "events.mjs").write_text(helper())
    (folder / "main.mjs").write_text(MAIN)
    process = await asyncio.create_subprocess_exec(
        "node", str(folder / "main.mjs"), url, *given, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield process.stdout
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def said(lines: asyncio.StreamReader) -> tuple[str, list[Any]]:
    async with asyncio.timeout(PATIENCE_SECONDS):
        name, ids = json.loads(await lines.readline())
    return name, ids


def test_the_helper_is_as_short_as_it_is_said_to_be() -> None:
    assert len(helper().strip().splitlines()) <= MOST_LINES


async def test_the_helper_goes_on_with_a_newer_token_where_it_was(tmp_path: Path) -> None:
    given = tokens.with_secret(tmp_path, http_port=0, jwt_leeway_seconds=0.0)
    async with running(Server(given)) as server, client(server, token=tokens.token()) as raw:
        await raw.create(capacity=1000)
        url = f"{server.http_url}/v1/collections/items/feed"
        short = tokens.token(exp=time.time() + 25)
        async with followed(tmp_path, url, short, tokens.token()) as lines:
            assert await said(lines) == ("feed", [])
            got: list[int] = []
            number, names = 0, set()
            while "error" not in names or len(got) < number:
                if "error" not in names:
                    number += 1
                    await raw.add(number)
                if len(got) == 5:
                    tokens.end_tokens(server)
                name, ids = await said(lines)
                names.add(name)
                got += ids
            assert names == {"feed", "expiring", "error"}
            assert got == list(range(1, number + 1))
            await raw.ok("drop", collection="items")
            while (name_ids := await said(lines))[0] != "over":
                assert name_ids in [("ended", []), ("feed", [])]


async def test_the_helper_says_why_it_was_refused(tmp_path: Path) -> None:
    async with running(http_port=0) as server:
        url = f"{server.http_url}/v1/collections/none/feed"
        async with followed(tmp_path, url) as lines:
            assert await said(lines) == ("refused", ["not_found"])


def cut(server: Server) -> None:
    """Be gone, to every client of the HTTP port."""
    listener = server._http._listener
    assert listener is not None
    for one in listener.connections:
        one.transport.abort()


async def test_an_event_source_goes_on_where_it_was_and_stops_at_the_end(
    chromium: Chromium,
) -> None:
    async with running(http_port=0) as server, client(server) as raw:
        await raw.create(capacity=1000)
        async with chromium.page() as tab:
            await tab.open(f"{server.http_url}/v1/collections")
            url = f"{server.http_url}/v1/collections/items/feed"
            await tab.run(
                "globalThis.ids = []; globalThis.opens = 0; globalThis.names = [];"
                f"globalThis.source = new EventSource('{url}');"
                "source.onopen = () => { opens += 1; };"
                "source.addEventListener('feed', ({ data }) => {"
                "  ids.push(...JSON.parse(data).rows.map((row) => row.id)); });"
                "source.addEventListener('ended', () => names.push('ended'));"
            )
            await tab.until("opens === 1")
            number = 0
            for opens in (1, 2, 3):
                await tab.until(f"opens === {opens}")
                number += 1
                await raw.add(number)
                await tab.until(f"ids.length === {number}")
                cut(server)
                number += 1
                await raw.add(number)
            await tab.until(f"ids.length === {number}")
            assert await tab.run("return ids") == list(range(1, number + 1))
            await raw.ok("drop", collection="items")
            await tab.until("names.length === 1 && source.readyState === EventSource.CLOSED")


async def test_the_example_follows_two_streams_and_fits_its_window(chromium: Chromium) -> None:
    with running_example("examples.events") as example:
        async with chromium.page() as tab:
            for width, dark in ((1280, False), (390, True)):
                await tab.look(width=width, height=844, dark=dark, phone=width < 500)
                await tab.open(example.page)
                await tab.until("document.querySelector('#state').dataset.state === 'open'")
                await tab.until("document.querySelectorAll('#nearest canvas').length === 8")
                before = await tab.run("return document.querySelector('#version').value")
                await tab.until(f"document.querySelector('#version').value !== '{before}'")
                await tab.until("document.querySelector('#rows').value !== '0'")
                assert await tab.run("return document.documentElement.scrollWidth") <= width
            assert await tab.nameless({"list", "image", "region", "heading"}) == []
            assert tab.errors == []
            hosts = {url.split("/")[2] for url in tab.requests if not url.startswith("data:")}
            assert {host.split(":")[0] for host in hosts} == {"127.0.0.1"}
            assert len(hosts - example.hosts()) == 1
