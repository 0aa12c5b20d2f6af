"""The console in every state: empty, under a prefix, behind keys, alone, by keyboard."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from omendb_ws.net.server import Server

from ..client.proxy import Proxy
from ..server.fake_store import FakeStore
from ..server.journal.test_durability import durable
from ..server.raw import client, with_keys
from .prefix_proxy import prefixed
from .runtimes import Page
from .test_console import filled, home, leave, page, text

__all__ = ["page"]

STATE = "document.querySelector('#state').dataset.state"
#: What is offered in the head of the page.
NAMED = (
    "[...document.querySelectorAll('nav *')].filter((one) => one.offsetParent)"
    ".map((one) => one.textContent).join(' ')"
)
READY = "document.querySelectorAll('#query button:not(:disabled)').length === 2"


async def give_token(page: Page, token: str) -> None:
    await page.until("document.querySelector('#token').open")
    await page.run(f"""
      const form = document.querySelector("#token form");
      form.elements.token.value = {json.dumps(token)};
      form.requestSubmit();
    """)


async def test_an_empty_server_offers_what_can_be_done(page: Page, server: Server) -> None:
    """No button that does nothing; the hint names this server."""
    await page.open(home(server))
    await page.until("!document.querySelector('#collections .empty').hidden")
    hint = await page.run(f"return {text('#collections .empty code')}")
    assert hint.endswith(f" --url {server.url}")
    shown = await page.run(
        "return [...document.querySelectorAll('button, table, canvas[tabindex], textarea')]"
        ".filter((one) => one.offsetParent).length"
    )
    assert shown == 0
    async with client(server) as raw:
        await filled(raw)
        await page.until(f"{text('#map-about')}.startsWith('300 rows')")
        await page.until(READY)


async def test_the_first_choice_is_a_window_with_rows(page: Page, server: Server) -> None:
    async with client(server) as raw:
        await raw.create("a-window-without-rows", capacity=10)
        await filled(raw, "items")
        await page.open(home(server))
        await page.until(f"{text('#collections [aria-current]')} === 'items'")
        assert await page.run("return document.querySelector('canvas').ariaLabel") == (
            "Map of the window of items"
        )
        await page.run("document.querySelector('#collections button').click()")
        await page.until(READY)
        await page.run("document.querySelector('[name=random]').click()")
        await page.until(f"{text('#query .problem')} === 'The window is empty.'")


async def test_many_quick_clicks_leave_one_query(page: Page, server: Server) -> None:
    async with client(server) as raw:
        await filled(raw)
        await page.open(home(server))
        await page.until(READY)
        await page.run("""
          const [watch, random] = document.querySelectorAll("#query button");
          for (let turn = 0; turn < 8; turn++) {
            if (turn % 3 === 1) watch.click();
            random.click();
          }
        """)
        await page.until("document.querySelectorAll('#query tbody tr').length === 10")
        # A round trip over the page's connection: whatever it still asked for has been answered.
        await page.until(f"{text('#query .about')}.startsWith('True at version')")
        # Statistics of the server and of the collection, the map, the query.
        assert (await raw.ok("stats"))["subscriptions"] == 4


@pytest.mark.parametrize("width", [1440, 1920, 1280, 700])
async def test_charts_stay_in_their_places(page: Page, server: Server, width: int) -> None:
    fits = (
        "[...document.querySelectorAll('#charts figure')].filter((figure) =>"
        " figure.querySelector('canvas').getBoundingClientRect().right"
        " > figure.getBoundingClientRect().right + 1).length"
    )
    await page.look(width=width, height=900, dark=False)
    await page.open(home(server))
    await page.until("document.querySelectorAll('#charts canvas').length === 9")
    await page.until(f"{fits} === 0")
    await page.look(width=width - 250, height=900, dark=False)
    await page.until(f"{fits} === 0")
    filling = (
        "[...document.querySelectorAll('#charts figure')].every((figure) =>"
        " figure.querySelector('canvas').clientWidth > figure.clientWidth - 3)"
    )
    await page.until(filling)


async def test_it_lives_under_a_prefix(page: Page, server: Server) -> None:
    async with client(server) as raw, prefixed(server.url, "/vec/") as address:
        await filled(raw)
        await page.open(address)
        await page.until(f"{text('#map-about')}.startsWith('300 rows')")
        await page.until(READY)
        await page.run("document.querySelector('[name=random]').click()")
        await page.until("document.querySelectorAll('#query tbody tr').length === 10")
        await page.until(f"{text('#server')}.includes('/vec/v1')")
        links = await page.run(
            "return [...document.querySelectorAll('nav a')].map((one) => one.href)"
        )
        statuses = await page.run(f"""
          return Promise.all({json.dumps(links)}.map(async (link) => (await fetch(link)).status));
        """)
        await page.run(f"globalThis.module = await import({json.dumps(address)} + 'client.js')")
        rows = await page.run("""
          const { href } = new URL("v1", document.baseURI);
          const db = await module.connect(href.replace("http", "ws"));
          const count = await db.count("items");
          db.close();
          return count;
        """)
        await leave(page)
    assert {link.removeprefix(address) for link in links} == {
        "metrics", "stats", "asyncapi.yaml", "client.js",
    }  # fmt: skip
    assert (statuses, rows) == ([200] * 4, 300)
    assert {url.split("/")[3] for url in page.requests if url.startswith(("http", "ws"))} == {"vec"}


async def test_with_keys_metrics_and_statistics_are_shown_with_the_token(
    page: Page, tmp_path: Path
) -> None:
    async with Server(with_keys(tmp_path)) as server:
        await page.open(home(server))
        await give_token(page, "token-root")
        await page.until(f"{NAMED} === 'metrics stats protocol client.js'")
        body = text("#plain pre")
        for place, shown in enumerate(("omendb_connections", '"connections": ')):
            await page.run(f"document.querySelectorAll('nav button')[{place}].click()")
            await page.until(f"{body}.includes({json.dumps(shown)})")
            await page.press("Escape")
            await page.until("!document.querySelector('#plain').open")
        await leave(page)
        assert not any("token-root" in url for url in page.requests)


async def test_tokens_that_are_wrong_are_asked_for_again_however_many(
    page: Page, tmp_path: Path
) -> None:
    async with Server(with_keys(tmp_path)) as server:
        await page.open(home(server))
        await page.until("document.querySelector('#token').open")
        # No way past it without a token.
        await page.run("document.querySelector('#token').close()")
        for turn in range(4):
            await give_token(page, f"wrong-{turn}")
            await page.until(f"{text('#token .problem')}.includes('not known')")
            assert await page.run("return document.querySelector('#token').open")
        await give_token(page, "token-root")
        await page.until(f"{STATE} === 'open'")
        await leave(page)


async def test_what_was_true_says_so_when_the_server_is_gone(page: Page, server: Server) -> None:
    async with client(server) as raw, Proxy(server.url) as proxy:
        await filled(raw)
        await page.open(proxy.url.replace("ws://", "http://").removesuffix("v1"))
        await page.until(READY)
        await page.run("document.querySelector('[name=random]').click()")
        await page.until(f"{text('#query .about')}.startsWith('True at version')")
        proxy.lead_to(None)
        proxy.cut()
        await page.until(f"{text('#query .about')}.startsWith('Was true at version')")
        await page.until("document.querySelector('main').classList.contains('stale')")
        assert "not connected" in await page.run(f"return {text('#state')}")
        # What is asked for now is refused now, and works again later.
        await page.run("document.querySelector('[name=random]').click()")
        await page.until(f"{text('#query .problem')}.includes('not connected')")
        proxy.lead_to(server.url)
        await page.until(f"{STATE} === 'open'")
        await page.until("!document.querySelector('main').classList.contains('stale')")
        await page.run("document.querySelector('[name=random]').click()")
        await page.until(f"{text('#query .about')}.startsWith('True at version')")
        await leave(page)
        page.errors.clear()  # of the connections that could not be made


async def test_a_collection_that_is_made_again_is_asked_as_it_is_now(
    page: Page, server: Server
) -> None:
    async with client(server) as raw:
        await filled(raw)
        await page.open(home(server))
        await page.until(READY)
        await page.run("document.querySelector('[name=random]').click()")
        await page.until("document.querySelectorAll('#query tbody tr').length === 10")
        await raw.ok("drop", collection="items")
        await raw.create("items", dim=2, capacity=10, ids="str")
        rows = [{"id": "a b", "vector": [1, 0]}, {"id": "c", "vector": [0, 1]}]
        await raw.ok("add", collection="items", rows=rows)
        await page.until(f"{text('#collections tbody')}.includes('2 × 2')")
        await page.until(READY)
        await page.run("""
          const form = document.querySelector("#query form");
          form.elements.vector.value = "id a b";
          form.requestSubmit();
        """)
        await page.until(f"{text('#query tbody')}.includes('a b')")


async def test_the_map_is_gone_through_by_keyboard(page: Page, server: Server) -> None:
    async with client(server) as raw:
        await filled(raw)
        await page.open(home(server))
        await page.until(f"{text('#map-about')}.startsWith('300 rows')")
        await page.until(READY)
        await page.run("document.querySelector('#map canvas').focus()")
        places = []
        for key in ("ArrowRight", "ArrowRight", "ArrowUp", "ArrowLeft", "ArrowDown"):
            await page.press(key)
            places.append(await page.run(f"return {text('#map-at')}"))
        assert all(place.startswith("id ") for place in places)
        assert len(set(places)) > 2
        await page.press("Enter")
        await page.until("document.querySelectorAll('#query tbody tr').length === 10")
        id = await page.run(f"return {text('#query tbody tr td:nth-child(2)')}")
        assert places[-1].startswith(f"id {id},")
        await page.press("Escape")
        assert await page.run(f"return {text('#map-at')}") == ""


async def test_everything_that_is_worked_with_has_a_name(page: Page, server: Server) -> None:
    async with client(server) as raw:
        await filled(raw)
        await page.open(home(server))
        await page.until(READY)
        await page.run("document.querySelector('[name=random]').click()")
        await page.until("document.querySelectorAll('#query tbody tr').length === 10")
        roles = {
            "button",
            "link",
            "textbox",
            "spinbutton",
            "region",
            "application",
            "form",
            "meter",
        }
        assert await page.nameless(roles) == []


async def test_a_phone_s_table_shows_that_it_goes_on(page: Page, server: Server) -> None:
    async with client(server) as raw:
        await filled(raw)
        await page.look(width=390, height=844, dark=False, phone=True)
        await page.open(home(server))
        await page.until(f"{text('#collections tbody')}.includes('300 × 3')")
        told = await page.run("""
          const box = document.querySelector("#collections .scroll");
          const { backgroundAttachment } = getComputedStyle(box);
          const isWide = box.scrollWidth > box.clientWidth;
          return { isWide, backgroundAttachment, tab: box.tabIndex };
        """)
    assert told == {
        "isWide": True, "tab": 0, "backgroundAttachment": "local, local, scroll, scroll",
    }  # fmt: skip


async def test_collections_that_cannot_be_used_stand_below_with_the_reason(page: Page) -> None:
    store = FakeStore()
    async with durable(store) as server, client(server) as raw:
        await raw.create("items")
        await raw.create("bad")
    store.damaged.add("bad")
    async with durable(store) as server, client(server) as raw:
        await page.open(home(server))
        await page.until(f"{text('#collections tfoot')}.startsWith('badneeds repair: segment-1')")
        assert await page.run(f"return {text('#collections tbody')}.startsWith('items')")
        await raw.ok("drop", collection="bad")
        await page.until(f"{text('#collections tfoot')} === ''")
        assert await page.run(f"return {text('#collections tbody')}.startsWith('items')")
        await page.open("about:blank")
