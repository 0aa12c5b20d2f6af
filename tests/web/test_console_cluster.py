"""The console and a cluster: who is there, who holds what, and what operators have it do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from omendb_ws.net.server import Server
from tests.nats import NatsServer, nats_server

from ..patience import eventually
from ..server.cluster.nodes import node
from ..server.cluster.test_healing import ask, streams
from ..server.cluster.test_several_nodes import knows, owns
from ..server.raw import client, with_keys
from .runtimes import Page
from .test_console import home, leave, page, text
from .test_console_states import STATE, give_token

__all__ = ["page"]

ABOUT = text("#cluster .about")
SAID = text("#cluster .said")
PROBLEM = text("#moving .problem")
HIDDEN = "document.querySelector('#cluster').hidden"
OPEN = "document.querySelector('#moving').open"
STALE = "document.querySelectorAll('#cluster .stale').length"
#: The texts of both tables, line by line.
NODES, PLACES = (
    f"[...document.querySelectorAll('#cluster .scroll')[{which}].querySelectorAll('tbody tr')]"
    ".map((line) => [...line.cells].map((cell) => cell.textContent))"
    for which in (0, 1)
)


@pytest.fixture
def nats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NatsServer]:
    monkeypatch.setattr("omendb_ws.cluster.agenda.SETTLED_SECONDS", 0.3)
    with nats_server(tmp_path / "nats") as server:
        yield server


@asynccontextmanager
async def pair(nats: NatsServer, page: Page, **fields: Any) -> AsyncIterator[tuple[Server, Server]]:
    """Two nodes that hold a collection, and the page of the first."""
    async with (
        node(nats, "one", **fields) as one,
        node(nats, "two", **fields) as two,
        client(one) as raw,
    ):
        for server in (one, two):
            await knows(server, "one", "two")
        await raw.create("items")
        await raw.add(1, 2, 3)
        await raw.ok("move_owner", collection="items", to="one")
        await page.open(home(one))
        await page.until(f"{PLACES}[0]?.[1] === 'one' && {PLACES}[0][2].startsWith('two')")
        yield one, two
        await leave(page)


def button(name: str) -> str:
    return f"document.querySelector('#cluster button[aria-label=\"{name}\"]')"


async def type_name(page: Page, name: str) -> None:
    """Type a name into the dialog, key by key as far as the page can tell."""
    await page.call("Input.insertText", text=name)


async def test_it_shows_nodes_and_places_and_moves_what_is_confirmed_by_its_name(
    page: Page, nats: NatsServer
) -> None:
    async with pair(nats, page) as (one, two):
        assert await page.run(f"return {ABOUT}") == "As one sees it: 1 collection."
        nodes = await page.run(f"return {NODES}")
        assert [line[:2] for line in nodes] == [["one", "up"], ["two", "up"]]
        assert nodes[0][7] == one.url
        [place] = await page.run(f"return {PLACES}")
        assert (place[0], place[1], place[4], place[5]) == ("items", "one", "", "Move")
        assert "NATS at 127.0.0.1" in await page.run(f"return {text('#cluster .servers')}")

        # By keys alone: to the button, the name, and Enter.
        await page.run(f"{button('Move items')}.focus()")
        await page.press("Enter")
        await page.until(OPEN)
        assert await page.run("return document.activeElement.name") == "typed"
        await type_name(page, "item")
        assert await page.run("return document.querySelector('#moving [name=go]').disabled")
        await type_name(page, "s")
        await page.press("Enter")
        await page.until(f"!{OPEN} && {SAID}.startsWith('items is to be owned by two')")
        await page.until(f"{PLACES}[0][1] === 'two'")
        await eventually(lambda: owns(two))
        focused = "return document.activeElement.getAttribute('aria-label')"
        assert await page.run(focused) == "Move items"

        await page.run(f"{button('Evacuate two')}.click()")
        await page.until(OPEN)
        await page.press("Escape")
        await page.until(f"!{OPEN}")
        assert one.node.caretaker.seen.view.leaving == frozenset()
        await page.run(f"{button('Evacuate two')}.click()")
        await type_name(page, "two")
        await page.press("Enter")
        await page.until(f"{NODES}[1][1] === 'leaving' && {NODES}[1][3] === '0'")
        # The last one that would stay does not go.
        await page.run(f"{button('Evacuate one')}.click()")
        await type_name(page, "one")
        await page.press("Enter")
        await page.until(f"{PROBLEM}.includes('without one nobody')")
        await page.press("Escape")
        await page.run(f"{button('Let it stay two')}.click()")
        await page.until(f"{NODES}[1][1] === 'up' && {SAID}.startsWith('two stays')")


async def test_what_was_true_looks_so_while_nats_is_away(page: Page, nats: NatsServer) -> None:
    async with pair(nats, page):
        assert await page.run(f"return {STALE}") == 0
        nats.kill()
        await page.until(f"{ABOUT} === 'one cannot reach NATS: this is of some time ago.'")
        assert await page.run(f"return {STALE}") == 2
        assert await page.run(f"return {PLACES}[0][0]") == "items"
        nats.start()
        await page.until(f"{STALE} === 0 && {ABOUT}.startsWith('As one sees it')")


async def test_a_server_by_itself_and_a_reader_have_no_such_view(
    page: Page, server: Server, nats: NatsServer, tmp_path: Path
) -> None:
    async with client(server) as raw:
        await page.open(home(server))
        await page.until(f"{STATE} === 'open'")
        await eventually(lambda: not server.metrics.subscriptions["cluster"])
        assert await raw.code("cluster") == "unsupported"
        assert await page.run(f"return {HIDDEN}")
        await leave(page)
    given = with_keys(tmp_path)
    async with node(nats, "one", api_key_file=given.api_key_file) as one:
        await knows(one, "one")
        await page.open(home(one))
        await page.until("document.querySelector('#token').open")
        await give_token(page, "token-reader")
        await page.until(f"{STATE} === 'open'")
        assert await page.run(f"return {HIDDEN}")
        # An admin of a tenant is told of its part, and moves no node.
        await page.run("document.querySelector('#who button').click()")
        await give_token(page, "token-other")
        await page.until(f"!{HIDDEN} && {NODES}.length === 1")
        [line] = await page.run(f"return {NODES}")
        assert (line[0], line[7], line[8]) == ("one", "–", "")
        await leave(page)


async def test_it_fits_its_window_and_has_names(page: Page, nats: NatsServer) -> None:
    async with pair(nats, page):
        for width, dark in ((1280, False), (390, True)):
            await page.look(width=width, height=900, dark=dark, phone=width < 500)
            assert await page.run("return document.documentElement.scrollWidth") <= width
            assert await page.nameless({"heading", "button", "region"}) == []
            await page.run(f"{button('Move items')}.click()")
            await page.until(OPEN)
            dialog = "document.querySelector('#moving').getBoundingClientRect()"
            assert await page.run(f"return {dialog}.right") <= width
            assert await page.nameless({"dialog", "textbox", "combobox", "button"}) == []
            await page.press("Escape")
            await page.until(f"!{OPEN}")


async def test_what_waits_to_be_healed_is_healed_once_its_name_was_typed(
    page: Page, nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("omendb_ws.cluster.agenda.HEAL_SECONDS", 1.0)
    async with pair(nats, page, cluster_heal="ask") as (one, _):
        [stream] = streams(one)
        ask(one, f"STREAM.DELETE.{stream}")
        await page.until(f"{PLACES}[0][4].endsWith('waits to be healed')")
        assert await page.run(f"return {ABOUT}") == (
            "As one sees it: 1 collection, 1 without an owner, 1 waiting to be healed."
        )
        [place] = await page.run(f"return {PLACES}")
        assert (place[1], place[5]) == ("–", "Heal")
        await page.run(f"{button('Heal items')}.click()")
        await type_name(page, "items")
        await page.press("Enter")
        await page.until(f"{SAID} === 'items is to be healed, to version 1.'")
        await page.until(f"{PLACES}[0][4] === '' && {PLACES}[0][1] !== '–'")
