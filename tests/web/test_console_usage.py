"""The console and limits: what one's tenant uses of what it may use, while somebody looks."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from omendb_ws.net.server import Server

from ..client.proxy import Proxy
from ..server.raw import Raw, client
from ..server.tenant_files import limits, with_tenants
from ..server.tokens import SECRET, token
from .runtimes import Page
from .test_console import filled, home, leave, page, text
from .test_console_states import READY, STATE, give_token

__all__ = ["page"]

LIMITED = limits(
    max_connections=10, max_memory_bytes=3 << 30, rows_per_second=0.5, engine_ms_per_second=900
)
WHO = text("#who summary")
PROBLEM = text("#usage .problem")
TITLE = text("#usage h2")
#: What each line says, by what it is called.
SAID = (
    "Object.fromEntries([...document.querySelectorAll('#usage dl div')]"
    ".map((line) => [...line.children].map((one) => one.textContent)))"
)
OPENED = "document.querySelector('#who').open = true"
STALE = "document.querySelector('#usage dl').classList.contains('stale')"
#: From here on: how often it asks, and what shall be done again and again, every so many ms.
COUNTED = """
  globalThis.asked = 0;
  globalThis.every = new Map();
  const { send } = WebSocket.prototype;
  WebSocket.prototype.send = function (data) {
    if (typeof data === "string" && JSON.parse(data).op === "usage") asked += 1;
    return send.call(this, data);
  };
  let last = 1_000_000;
  globalThis.setInterval = (act, ms) => (every.set(++last, { act, ms }), last);
  globalThis.clearInterval = (id) => every.delete(id);
"""


@asynccontextmanager
async def served(directory: Path, page: Page) -> AsyncIterator[tuple[Server, Raw]]:
    """A server whose tenant ``acme`` has limits, and one collection; the page waits for a token."""
    secret = directory / "secret"
    secret.write_bytes(SECRET)
    secret.chmod(0o600)
    settings = with_tenants(directory, "", jwt_secret_file=str(secret))
    (directory / "tenants.toml").write_text(LIMITED)
    async with Server(settings) as server, client(server, token="token-root") as raw:
        await filled(raw, "items")
        await page.open(home(server))
        await page.until("document.querySelector('#token').open")
        yield server, raw
        await leave(page)


async def test_a_reader_sees_what_its_tenant_uses_while_it_looks(
    page: Page, tmp_path: Path
) -> None:
    async with served(tmp_path, page) as (_, raw):
        await page.run(COUNTED)
        await give_token(page, "token-reader")
        await page.until(READY)
        assert await page.run("return [asked, every.size]") == [0, 0]
        await page.run(OPENED)
        await page.until(f"{SAID}.collections === '1, no limit set'")
        assert await page.run("return [asked, [...every.values()].map(({ ms }) => ms)]") == [
            1, [2000],
        ]  # fmt: skip
        said = await page.run(f"return {SAID}")
        assert list(said) == [
            "memory", "connections", "collections", "subscriptions", "rows written", "engine time",
        ]  # fmt: skip
        assert said["memory"].endswith(" KiB of 3 GiB")
        assert said["connections"] == "2 of 10"
        assert said["rows written"].endswith(" of 0.5 a second")
        assert said["engine time"].endswith(" of 900 ms a second")
        assert await page.run(f"return {TITLE}") == (
            "What the tenant acme uses over all its connections"
        )
        assert "the last 10 seconds" in await page.run(f"return {text('#usage .about')}")
        # What says the same stays the same piece of the page.
        await page.run("globalThis.before = document.querySelector('#usage dd').firstChild")
        await raw.create("more", capacity=10)
        await page.run("[...every.values()][0].act()")
        await page.until(f"{SAID}.collections === '2, no limit set'")
        assert await page.run("return document.querySelectorAll('#usage dd')[1].textContent") == (
            "2 of 10"
        )
        await page.run("document.querySelector('#who').open = false")
        await page.until("every.size === 0")
        assert await page.run("return asked") == 2


async def test_it_is_asked_again_by_itself(page: Page, tmp_path: Path) -> None:
    async with served(tmp_path, page) as (_, raw):
        await give_token(page, "token-reader")
        await page.until(READY)
        await page.run(OPENED)
        await page.until(f"{SAID}.collections === '1, no limit set'")
        await raw.create("more", capacity=10)
        await page.until(f"{SAID}.collections === '2, no limit set'")
        # Limits of a moment that is over are not those of now.
        (tmp_path / "tenants.toml").write_text(limits(max_collections=7, messages_per_second=5000))
        await page.until(f"{SAID}.collections === '2 of 7'")
        said = await page.run(f"return {SAID}")
        assert "rows written" not in said
        assert said["messages"].endswith(" of 5,000 a second")


async def test_a_token_that_sees_some_rows_is_told_why_there_is_a_dash(
    page: Page, tmp_path: Path
) -> None:
    grant = {"collections": ["items"], "rights": ["read"], "filter": {"price": 3}}
    async with served(tmp_path, page):
        await give_token(page, token(grant))
        await page.until(f"{WHO}.startsWith('tenant acme: read')")
        await page.run(OPENED)
        await page.until(f"{SAID}.memory === '– of 3 GiB'")
        said = await page.run(f"return {SAID}")
        assert (said["connections"], said["rows written"]) == ("2 of 10", "– of 0.5 a second")
        assert "sees some rows or collections only" in await page.run(
            f"return {text('#usage .about')}"
        )
        # Another one that sees all of them.
        await page.run("document.querySelector('#who button').click()")
        await give_token(page, "token-reader")
        await page.until(f"/[0-9] KiB of/.test({SAID}.memory)")
        assert "some rows only" not in await page.run(f"return {text('#usage .about')}")


async def test_a_token_without_rights_and_a_tenant_without_limits(
    page: Page, tmp_path: Path
) -> None:
    import jwt

    claims = {"sub": "x", "tenant": "acme", "exp": time.time() + 600}
    async with served(tmp_path, page):
        await give_token(page, jwt.encode(claims, SECRET, "HS256"))
        await page.until(f"{WHO}.startsWith('tenant acme: no rights')")
        await page.run(OPENED)
        await page.until(f"{PROBLEM} !== ''")
        assert await page.run(f"return {SAID}") == {}
        await page.run("document.querySelector('#who button').click()")
        await give_token(page, "token-other")
        await page.until(f"{TITLE} === 'What the tenant umbrella uses over all its connections'")
        said = await page.run(f"return {SAID}")
        assert list(said) == ["memory", "connections", "collections", "subscriptions"]
        assert said["collections"] == "0, no limit set"
        assert await page.run(f"return {PROBLEM}") == ""


async def test_on_an_open_server_it_says_so_and_offers_no_token(page: Page, server: Server) -> None:
    async with client(server) as raw:
        await filled(raw)
        await page.open(home(server))
        await page.until(READY)
        assert await page.run(f"return {WHO}") == "no tokens here: everybody may do everything"
        await page.run(OPENED)
        await page.until(f"{SAID}.connections === '2, no limit set'")
        assert not await page.run("return document.querySelector('#who button').offsetParent")


async def test_what_was_true_looks_so_when_the_connection_is_lost(
    page: Page, server: Server
) -> None:
    async with Proxy(server.url) as proxy:
        await page.open(proxy.url.replace("ws://", "http://").removesuffix("v1"))
        await page.until(f"{STATE} === 'open'")
        await page.run(OPENED)
        await page.until(f"{SAID}.connections === '1, no limit set'")
        assert not await page.run(f"return {STALE}")
        proxy.lead_to(None)
        proxy.cut()
        await page.until(STALE)
        assert ", when last heard," in await page.run(f"return {TITLE}")
        assert await page.run(f"return {SAID}.connections") == "1, no limit set"
        proxy.lead_to(server.url)
        await page.until(f"{STATE} === 'open'")
        await page.until(f"!{STALE} && {TITLE}.includes(' uses over ')")
        await leave(page)
        page.errors.clear()  # of the connections that could not be made


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 390])
async def test_it_fits_its_window_and_has_names(
    page: Page, tmp_path: Path, width: int, dark: bool
) -> None:
    async with served(tmp_path, page):
        await page.look(width=width, height=800, dark=dark, phone=width < 500)
        await give_token(page, "token-reader")
        await page.until(READY)
        await page.run(OPENED)
        await page.until(f"{SAID}.connections === '2 of 10'")
        assert await page.run("return document.documentElement.scrollWidth") <= width
        assert await page.nameless({"heading", "button"}) == []
        tree = await page.call("Accessibility.getFullAXTree")
        groups = [one["name"]["value"] for one in tree["nodes"] if one["role"]["value"] == "group"]
        assert "What the tenant acme uses over all its connections" in groups
