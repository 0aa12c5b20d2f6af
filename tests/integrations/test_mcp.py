"""The MCP server, asked by the SDK's own client: by both ages of the protocol, and as a command."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest
import typer
from mcp import StdioServerParameters
from mcp.client import Client
from mcp.shared.exceptions import MCPError

import omendb_ws
from omendb_ws.cli import mcp as command
from omendb_ws.integrations import mcp_watches
from omendb_ws.integrations.mcp_server import Agents, agents, run_http
from tests.patience import PATIENCE_SECONDS, UNHURRIED
from tests.server.raw import running

PLACES = {"north": [0.0, 1.0], "east": [1.0, 0.0], "south": [0.0, -1.0]}


def embed(texts: list[str]) -> list[list[float]]:
    return [PLACES[one] for one in texts]


@asynccontextmanager
async def serving(embedding: Any = None) -> AsyncIterator[tuple[omendb_ws.Client, Agents]]:
    """North, east and south, and what agents ask about them."""
    async with omendb_ws.connect("memory://", server_settings=UNHURRIED) as db:
        await db.create("places", dim=2, capacity=10, ids="str", columns={"cold": "bool"})
        cold = [{"cold": one == "north"} for one in PLACES]
        await db.add("places", list(PLACES.values()), list(PLACES), cold)
        async with agents(db, embedding) as made:
            yield db, made


async def called(client: Client, tool: str, **arguments: Any) -> Any:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    [content] = result.content
    assert json.loads(content.text) == result.structured_content  # type: ignore[union-attr]
    return result.structured_content


async def refused(client: Client, tool: str, **arguments: Any) -> str:
    result = await client.call_tool(tool, arguments)
    assert result.is_error, result.structured_content
    [content] = result.content
    text: str = content.text  # type: ignore[union-attr]
    return text


def ids(answer: Any) -> list[Any]:
    return [row["id"] for row in answer["rows"]]


async def test_collections_are_listed_described_counted_searched_and_added_to() -> None:
    async with serving() as (db, made), Client(made.server) as client:
        [listed] = (await called(client, "list"))["collections"]
        assert listed == await called(client, "describe", collection="places")
        assert (listed["dim"], listed["rows"], listed["columns"]) == (2, 3, {"cold": "bool"})
        assert await called(client, "count", collection="places", filter=None) == {"count": 3}
        counted = await called(client, "count", collection="places", by="cold")
        assert counted["by"] == [{"value": False, "count": 2}, {"value": True, "count": 1}]
        found = await called(client, "search", collection="places", vector=[0, 1], k=2)
        assert found["rows"][0] == {"id": "north", "score": 1, "metadata": {"cold": True}}
        like = {"positive": ["north"], "negative": ["south"], "filter": {"cold": False}}
        assert ids(await called(client, "search", collection="places", **like)) == ["east"]
        rows = [{"id": "west", "vector": [-1, 0], "metadata": {"cold": False}}]
        assert (await called(client, "add", collection="places", rows=rows))["rows"] == 1
        assert ids(await called(client, "search", collection="places", positive=["west"])) == [
            "south", "north", "east"
        ]  # fmt: skip
        await db.create("numbers", dim=1, capacity=10)
        await called(client, "add", collection="numbers", rows=[{"id": 2**64 - 1, "vector": [1]}])
        found = await called(client, "search", collection="numbers", vector=[1])
        assert ids(found) == [str(2**64 - 1)]


async def test_without_an_embedding_it_says_that_it_takes_no_texts() -> None:
    async with serving() as (_, made), Client(made.server) as client:
        assert "no texts: no embedding is set" in (client.instructions or "")
        tools = {one.name: one for one in (await client.list_tools()).tools}
        assert list(tools) == ["list", "describe", "count", "search", "add", "watch", "unwatch"]
        assert "text" not in tools["search"].input_schema["properties"]
        assert [one.name for one in tools.values() if not one.annotations.read_only_hint] == ["add"]  # type: ignore[union-attr]
        why = await refused(client, "search", collection="places", text="north")
        assert why == "text: no argument of search"


@pytest.mark.parametrize("is_coroutine", [False, True])
async def test_with_one_texts_are_embedded(is_coroutine: bool) -> None:
    async def later(texts: list[str]) -> list[list[float]]:
        return embed(texts)

    async with (
        serving(later if is_coroutine else embed) as (_, made),
        Client(made.server) as client,
    ):
        assert "texts" in (client.instructions or "")
        found = await called(client, "search", collection="places", text="east", k=1)
        assert ids(found) == ["east"]
        rows = [{"id": "again", "text": "south"}]
        await called(client, "add", collection="places", rows=rows)
        watch = await called(client, "watch", collection="places", text="south", k=1)
        assert ids(watch) == ["again"]
        assert "KeyError" in await refused(client, "search", collection="places", text="up")
        both = {"text": "east", "vector": [1, 0]}
        assert "text: give either" in await refused(client, "search", collection="places", **both)


async def test_what_is_wrong_is_said_by_its_name_and_the_server_goes_on() -> None:
    wrong: list[tuple[str, dict[str, Any], str]] = [
        ("search", {"vector": [1, 0]}, "collection: missing"),
        ("search", {"collection": "places"}, "vector: missing"),
        ("search", {"collection": "places", "vector": [1]}, "vectors: have 1 dimensions"),
        ("search", {"collection": "places", "vector": [1, 0], "k": 0}, "k: "),
        ("search", {"collection": "places", "vector": [1, 0], "filter": {"x": 1}}, "filter.x"),
        ("count", {"collection": "nowhere"}, "nowhere"),
        ("add", {"collection": "places", "rows": []}, "rows: must be"),
        ("add", {"collection": "places", "rows": [{"id": "a"}]}, "rows[0]: vector: missing"),
        ("add", {"collection": "places", "rows": [{"vector": [], "x": 1}]}, "rows[0]: no field"),
        ("unwatch", {"uri": "omendb://watch/9"}, "omendb://watch/9: there is no"),
    ]  # fmt: skip
    async with serving() as (db, made), Client(made.server) as client:
        before = await db.describe("places")
        for tool, arguments, why in wrong:
            assert why in await refused(client, tool, **arguments), tool
        with pytest.raises(MCPError, match="no tool"):
            await client.call_tool("drop", {"collection": "places"})
        with pytest.raises(MCPError, match="no such watch"):
            await client.read_resource("omendb://watch/9")
        assert await db.describe("places") == before


async def read(client: Client, uri: str) -> Any:
    [contents] = (await client.read_resource(uri)).contents
    return json.loads(contents.text)  # type: ignore[union-attr]


async def test_whoever_listens_to_a_watch_is_told_when_its_answer_changes() -> None:
    async with serving() as (db, made), Client(made.server) as client:
        asked = {"collection": "places", "vector": [1, 0], "k": 1, "every_ms": 0}
        watch = await called(client, "watch", **asked)
        assert ids(watch) == ["east"]
        [resource] = (await client.list_resources()).resources
        assert resource.uri == watch["uri"]
        async with client.listen(resource_subscriptions=[watch["uri"]]) as events:
            await db.delete("places", ["east"])
            async with asyncio.timeout(PATIENCE_SECONDS):
                event = await anext(aiter(events))
            assert event.uri == watch["uri"]  # type: ignore[union-attr]
            now = await read(client, watch["uri"])
            assert ids(now) == ["south"]
            assert now["left"] == [{"id": "east", "reason": "deleted"}]
        await called(client, "unwatch", uri=watch["uri"])
        assert (await client.list_resources()).resources == []


@pytest.mark.filterwarnings("ignore:resources/(un)?subscribe is removed")
async def test_whoever_subscribed_as_before_is_told_too_and_of_its_end() -> None:
    told: asyncio.Queue[str] = asyncio.Queue()

    async def hear(message: Any) -> None:
        if isinstance(message, types.ResourceUpdatedNotification):
            told.put_nowait(str(message.params.uri))

    async with (
        serving() as (db, made),
        Client(made.server, mode="legacy", message_handler=hear) as client,
    ):
        asked = {"collection": "places", "vector": [1, 0], "k": 1, "every_ms": 0}
        uri = (await called(client, "watch", **asked))["uri"]
        await client.subscribe_resource(uri)
        await db.delete("places", ["east"])
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await told.get() == uri
            assert ids(await read(client, uri)) == ["south"]
            await db.drop("places")
            assert await told.get() == uri
        assert await read(client, uri) == {"ended": "places was dropped"}
        await client.subscribe_resource(uri)
        await client.unsubscribe_resource(uri)
        assert made.subscribers(uri) == 0


async def test_it_speaks_streamable_http() -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    async with serving() as (_, made):
        speaking = asyncio.create_task(run_http(made, listening))
        async with Client(f"http://127.0.0.1:{listening.getsockname()[1]}/mcp") as client:
            found = await called(client, "search", collection="places", vector=[1, 0], k=1)
            assert ids(found) == ["east"]
        speaking.cancel()
        await asyncio.wait([speaking])


async def test_watches_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp_watches, "MAX_WATCHES", 1)
    async with serving() as (_, made), Client(made.server) as client:
        asked = {"collection": "places", "vector": [1, 0]}
        await refused(client, "watch", **{**asked, "k": 0})
        await called(client, "watch", **asked)
        assert "at most 1 watches" in await refused(client, "watch", **asked)


async def test_the_command_speaks_over_its_standard_input_and_output(tmp_path: Path) -> None:
    (tmp_path / "directions.py").write_text(
        f"def embed(texts):\n    return [{PLACES}[t] for t in texts]\n"
    )
    async with running(**UNHURRIED) as server, omendb_ws.connect(server.url) as db:
        await db.create("places", dim=2, capacity=10, ids="str")
        await db.add("places", list(PLACES.values()), list(PLACES))
        started = StdioServerParameters(
            command=sys.executable,
            args=["-m", "omendb_ws", "mcp", "--embed", "directions:embed", "--url", server.url],
            cwd=tmp_path,
        )
        async with Client(started) as client:
            found = await called(client, "search", collection="places", text="south", k=1)
            assert ids(found) == ["south"]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("embed", "must be MODULE:FUNCTION"),
        ("nowhere:embed", "ModuleNotFoundError"),
        ("math:embed", "AttributeError"),
        ("math:pi", "is no function"),
    ],
)
def test_an_embedding_that_is_none_is_one_line(
    given: str, why: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(typer.Exit):
        command.mcp(embed=given)
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"omendb-ws: --embed {given}: ")
    assert why in line


def test_a_port_that_is_taken_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(typer.Exit):
            command._listening(port)
    assert (
        capsys.readouterr().err
        == f"omendb-ws: --http-port {port}: {os.strerror(errno.EADDRINUSE)}\n"
    )
