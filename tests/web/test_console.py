"""The console as a person sees it, in Chromium."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from omendb_ws.net.server import Server

from ..server.raw import Raw, batch, client, with_keys
from .runtimes import Chromium, Page


@pytest.fixture
async def page(chromium: Chromium, server: Server) -> AsyncIterator[Page]:
    """A tab in which nothing may go wrong; it is gone before the fixture ``server`` is."""
    async with chromium.page() as tab:
        await tab.look(width=1280, height=900, dark=False)
        yield tab
        assert tab.errors == []


async def leave(page: Page) -> None:
    """Before the server ends: a page that is still there would say that it cannot connect."""
    await page.open("about:blank")


def home(server: Server) -> str:
    return server.url.replace("ws://", "http://").removesuffix("v1")


async def filled(raw: Raw, name: str = "items") -> int:
    """A collection of 300 rows; its handle."""
    shape = {"dim": 3, "capacity": 1000, "metric": "cosine"}
    made = await raw.create(name, **shape, columns={"price": "i64"})
    generator = np.random.default_rng(3)
    rows = [
        {"id": n, "vector": generator.standard_normal(3).tolist(), "metadata": {"price": n % 7}}
        for n in range(300)
    ]
    await raw.ok("add", collection=name, rows=rows)
    return int(made["handle"])


def text(selector: str) -> str:
    """Its text; the empty one where it is not there yet."""
    return f"(document.querySelector({selector!r})?.textContent ?? '')"


#: How many pixels of the map are neither transparent nor the colour of plain points.
ORANGE = """(() => {
  const canvas = document.querySelector("#map canvas");
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let count = 0;
  for (let at = 0; at < data.length; at += 4) {
    count += data[at + 3] > 200 && data[at] > 180 && data[at + 1] < 120 && data[at + 2] < 60;
  }
  return count;
})()"""


async def test_numbers_move_and_nothing_is_asked_of_others(page: Page, server: Server) -> None:
    async with client(server) as raw:
        handle = await filled(raw)
        await page.open(home(server))
        await page.until("document.querySelector('#state').dataset.state === 'open'")
        await page.until(f"{text('#collections tbody')}.includes('300 × 3')")
        await raw.add_binary(handle, batch(1000, 1001, dim=3))
        await page.until(f"{text('#collections tbody')}.includes('302 × 3')")
        await page.until("document.querySelectorAll('#charts canvas').length === 9")
        await page.until(
            "[...document.querySelectorAll('#charts figure')].every((figure) =>"
            " /[0-9]/.test(figure.querySelector('b').textContent))"
        )
    address = server.url.split("/")[2]
    assert {url.split("/")[2] for url in page.requests if not url.startswith("data:")} == {address}


async def test_a_standing_query_changes_by_itself_and_shows_in_the_map(
    page: Page, server: Server
) -> None:
    async with client(server) as raw:
        handle = await filled(raw)
        await page.open(home(server))
        await page.until(f"{text('#map-about')}.startsWith('300 rows')")
        assert await page.run(f"return {ORANGE}") == 0
        await page.run("""
          const form = document.querySelector("#query form");
          form.elements.vector.value = "1, 0, 0";
          form.elements.k.value = 3;
          form.requestSubmit();
        """)
        await page.until("document.querySelectorAll('#query tbody tr').length === 3")
        await page.until(f"{ORANGE} > 50")
        await raw.add_binary(handle, batch(999, dim=3))
        await page.until(f"{text('#query tbody tr td:nth-child(2)')} === '999'")
        assert await page.run("return document.querySelector('#query tbody tr').className") == "new"


async def test_a_filter_and_the_id_of_a_row_are_understood(page: Page, server: Server) -> None:
    async with client(server) as raw:
        await filled(raw)
        await page.open(home(server))
        await page.until(f"{text('#map-about')}.startsWith('300 rows')")
        await page.run("""
          const form = document.querySelector("#query form");
          form.elements.vector.value = "id 14";
          form.elements.filter.value = '{"price": 0}';
          form.requestSubmit();
        """)
        await page.until("document.querySelectorAll('#query tbody tr').length === 10")
        found = await page.run(
            "return [...document.querySelectorAll('#query tbody tr')].map((row) =>"
            " [row.cells[1].textContent, row.cells[3].textContent])"
        )
    assert found[0] == ["14", '{"price":0}']
    assert {metadata for _, metadata in found} == {'{"price":0}'}


@pytest.mark.parametrize(
    ("vector", "filter_text", "said"),
    [
        ("1, 2", "", "3"),
        ("1, x, 2", "", "no number"),
        ("", "", "Type a vector"),
        ("id 12345", "", "No row"),
        ("id x", "", "No row"),
        ("1 2 3", "{", "no JSON"),
        ("1 2 3", '{"none": 1}', "bad_filter"),
    ],
)
async def test_what_cannot_be_asked_is_said(
    page: Page, server: Server, vector: str, filter_text: str, said: str
) -> None:
    async with client(server) as raw:
        await filled(raw)
        await page.open(home(server))
        await page.until(f"{text('#map-about')}.startsWith('300 rows')")
        await page.run(f"""
          const form = document.querySelector("#query form");
          form.elements.vector.value = {vector!r};
          form.elements.filter.value = {filter_text!r};
          form.requestSubmit();
        """)
        await page.until(f"{text('#query .problem')}.includes({said!r})")


async def test_collections_come_and_go(page: Page, server: Server) -> None:
    async with client(server) as raw:
        await page.open(home(server))
        await page.until("!document.querySelector('#collections .empty').hidden")
        await filled(raw, "first")
        await page.until(f"{text('#collections tbody')}.includes('first')")
        assert await page.run("return document.querySelector('#collections .empty').hidden")
        await filled(raw, "second")
        await page.until("document.querySelectorAll('#collections tbody tr').length === 2")
        await page.run("document.querySelectorAll('#collections button')[1].click()")
        await page.until(f"{text('#collections [aria-current]')} === 'second'")
        await raw.ok("drop", collection="second")
        await page.until("document.querySelectorAll('#collections tbody tr').length === 1")
        await page.until(f"{text('#map-about')}.startsWith('Pick')")


async def test_a_server_with_keys_is_asked_for_with_a_token(page: Page, tmp_path: Path) -> None:
    async with Server(with_keys(tmp_path)) as server:
        await page.open(home(server))
        for token in ("wrong", "token-root"):
            await page.until("document.querySelector('#token').open")
            await page.run(f"""
              const form = document.querySelector("#token form");
              form.elements.token.value = {token!r};
              form.requestSubmit();
            """)
            if token == "wrong":
                await page.until(f"{text('#token .problem')} !== ''")
        await page.until("document.querySelector('#state').dataset.state === 'open'")
        await leave(page)
        assert not any("token-root" in url for url in page.requests)


async def test_a_reader_sees_collections_and_why_not_the_server(page: Page, tmp_path: Path) -> None:
    async with Server(with_keys(tmp_path)) as server, client(server, token="token-root") as raw:
        await filled(raw)
        await page.open(home(server))
        await page.until("document.querySelector('#token').open")
        await page.run("""
          const form = document.querySelector("#token form");
          form.elements.token.value = "token-reader";
          form.requestSubmit();
        """)
        await page.until(f"{text('#collections tbody')}.includes('300 × 3')")
        await page.until(f"{text('#charts .about')}.includes('the right operator')")
        await leave(page)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 390])
async def test_it_fits_its_window_in_both_themes(
    page: Page, server: Server, width: int, dark: bool
) -> None:
    async with client(server) as raw:
        await filled(raw)
        await page.look(width=width, height=800, dark=dark, phone=width < 500)
        await page.open(home(server))
        await page.until(f"{text('#map-about')}.startsWith('300 rows')")
        wide = await page.run("return document.documentElement.scrollWidth")
        ground = await page.run("return getComputedStyle(document.body).backgroundColor")
    assert wide <= width
    assert ground == ("rgb(16, 21, 28)" if dark else "rgb(246, 247, 249)")


async def test_everything_can_be_reached_by_keyboard(page: Page, server: Server) -> None:
    async with client(server) as raw:
        await filled(raw)
        await page.open(home(server))
        await page.until(f"{text('#map-about')}.startsWith('300 rows')")
        reached = set()
        for _ in range(16):
            await page.press("Tab")
            reached.add(
                await page.run(
                    "const { name, textContent, localName } = document.activeElement;"
                    "return name || textContent.trim() || localName"
                )
            )
    assert {"items", "canvas", "vector", "filter", "k", "Watch", "random", "metrics"} <= reached
