"""The console and tokens: who one is, what is offered to whom, and what becomes of the page."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from omendb_ws.net.server import Server

from ..server.raw import Raw, client, with_keys
from ..server.tokens import SECRET, token
from .runtimes import Page
from .test_console import filled, home, leave, page, text
from .test_console_states import NAMED, READY, STATE, give_token

__all__ = ["page"]

#: A visitor's: of ``items`` the rows of one price, and of ``other`` none.
VISITOR: list[dict[str, Any]] = [
    {
        "collections": ["it*"],
        "rights": ["read", "write"],
        "filter": {"price": 3},
        "stamp": {"price": 3},
    },
    {"collections": ["other"], "rights": ["write"]},
]
OPEN = "document.querySelector('#token').open"
WHO = text("#who summary")
NOTICED = "!document.querySelector('#notice').hidden"
TRUE = f"{text('#query .about')}.startsWith('True at version')"


@asynccontextmanager
async def served(directory: Path, page: Page) -> AsyncIterator[tuple[Server, Raw]]:
    """A server of keys and of tokens that end when they say, with two collections of ``acme``."""
    secret = directory / "secret"
    secret.write_bytes(SECRET)
    secret.chmod(0o600)
    settings = with_keys(directory, jwt_secret_file=str(secret), jwt_leeway_seconds=0.0)
    async with Server(settings) as server, client(server, token="token-root") as raw:
        await filled(raw, "items")
        await filled(raw, "other")
        await page.open(home(server))
        yield server, raw
        stored = "return localStorage.length + sessionStorage.length + document.cookie.length"
        assert await page.run(stored) == 0
        await leave(page)


def visitor(seconds: float = 600, **claims: Any) -> str:
    return token(*VISITOR, exp=time.time() + seconds, **claims)


def sockets(page: Page) -> int:
    """How many connections it has made; one more for each token that was typed."""
    return sum(url.startswith("ws") for url in page.requests)


def refuse(server: Server, name: str, but: int = 0) -> None:
    """End the connections of a token, as when it ends or its key goes; not the first so many."""
    sessions = [one for one in server._sessions.values() if one.who.known().name == name]
    assert len(sessions) > but
    for session in sessions[but:]:
        session.refuse_connection("the token is not good any more")


async def watching(page: Page) -> None:
    """Have a query stand."""
    await page.until(READY)
    await page.run("""
      const form = document.querySelector("#query form");
      form.elements.vector.value = "1, 0, 0";
      form.requestSubmit();
    """)
    await page.until("document.querySelectorAll('#query tbody tr').length === 10")
    await page.until(TRUE)


async def test_it_says_who_one_is_and_offers_what_one_may(page: Page, tmp_path: Path) -> None:
    async with served(tmp_path, page):
        assert await page.run(f"return {NAMED}") == "protocol client.js"
        await give_token(page, "token-root")
        await page.until(f"{WHO} === 'tenant acme: admin, read, write'")
        await page.until(f"{NAMED} === 'metrics stats protocol client.js'")
        await page.until(f"{text('#charts h2')} === 'Server'")
        # Another token, of an admin of another tenant: its own numbers alone.
        await page.run("document.querySelector('#who button').click()")
        await give_token(page, token(tenant="elsewhere"))
        await page.until(f"{WHO} === 'tenant elsewhere: admin, read, write, ends in 10 min'")
        await page.until(f"{text('#charts h2')} === 'The tenant elsewhere'")
        await page.until(f"{NAMED} === 'protocol client.js'")
        await page.until("!document.querySelector('#collections .empty').hidden")
        await page.until("document.querySelector('#query').hidden")
        hidden = "[...document.querySelectorAll('#charts figure')].filter((one) => one.hidden)"
        assert await page.run(f"return {hidden}.length") == 5


async def test_a_reader_is_offered_what_it_may_and_told_why_not_the_rest(
    page: Page, tmp_path: Path
) -> None:
    async with served(tmp_path, page):
        await give_token(page, "token-reader")
        await page.until(f"{WHO} === 'tenant acme: read'")
        await page.until(f"{text('#charts .about')}.includes('the right operator')")
        await watching(page)
        shown = "[...document.querySelectorAll('#charts figure')].filter((one) => one.offsetParent)"
        assert await page.run(f"return {shown}.length") == 0
        assert await page.run(f"return {NAMED}") == "protocol client.js"


async def test_a_token_that_sees_some_rows_reads_well(page: Page, tmp_path: Path) -> None:
    async with served(tmp_path, page):
        await give_token(page, visitor())
        await page.until(f"{text('#map-about')}.startsWith('43 rows')")
        cells = (
            "[...document.querySelectorAll('#collections tbody tr')]"
            ".map((line) => [...line.cells].map((one) => one.textContent))"
        )
        await page.until(f"{cells}[0][2] === '43 × 3'")
        items, other = await page.run(f"return {cells}")
        assert items == ["items", "", "43 × 3", *["–"] * 6]
        assert other == ["other", "This token may not read it."]
        assert await page.run("return document.querySelectorAll('#collections button')[1].disabled")
        assert "some rows only" in await page.run(f"return {text('#collections .about')}")
        grants = await page.run(
            "return [...document.querySelectorAll('#who li')].map((one) => one.textContent)"
        )
        assert grants == [
            'read, write on it*; rows that pass {"price":3}; what it writes gets {"price":3}',
            "write on other",
        ]
        await watching(page)


async def test_a_token_without_rights_says_so(page: Page, tmp_path: Path) -> None:
    import jwt

    claims = {"sub": "x", "tenant": "acme", "exp": time.time() + 600}
    async with served(tmp_path, page):
        await give_token(page, jwt.encode(claims, SECRET, "HS256"))
        await page.until(f"{WHO}.startsWith('tenant acme: no rights')")
        await page.until(f"{text('#collections .problem')}.includes('no rights')")


async def test_a_wrong_token_is_said_at_once_and_harms_nothing(page: Page, tmp_path: Path) -> None:
    async with served(tmp_path, page) as (_, raw):
        await give_token(page, "token-root")
        await watching(page)
        before = sockets(page)
        await page.run("document.querySelector('#who button').click()")
        await give_token(page, "wrong")
        await page.until(f"{text('#token .problem')}.includes('not known')")
        assert await page.run(f"return [{OPEN}, {STATE}, {TRUE}]") == [True, "open", True]
        await page.press("Escape")
        await page.until(f"!{OPEN}")
        row = {"id": 1000, "vector": [1, 0, 0], "metadata": {"price": 1}}
        version = (await raw.ok("add", collection="items", rows=[row]))["version"]
        await page.until(f"{text('#query .about')}.includes('at version {version}.')")
        assert sockets(page) == before + 1


async def test_a_newer_token_takes_the_place_of_one_that_ends(page: Page, tmp_path: Path) -> None:
    """Where it is given in time, nothing is interrupted."""
    async with served(tmp_path, page):
        await give_token(page, visitor(20))
        await watching(page)
        before = sockets(page)
        await page.until(NOTICED)
        assert await page.run(f"return {text('#notice span')}") == "This token ends soon."
        await page.run("document.querySelector('#notice button').click()")
        await give_token(page, visitor(600))
        await page.until(f"{WHO}.endsWith('ends in 10 min')")
        await page.until(f"!{NOTICED}")
        assert await page.run(f"return [{STATE}, {TRUE}]") == ["open", True]
        assert sockets(page) == before + 1


async def test_a_page_whose_token_has_ended_stays_and_goes_on(page: Page, tmp_path: Path) -> None:
    async with served(tmp_path, page) as (server, raw):
        await give_token(page, visitor())
        await watching(page)
        await page.run("document.querySelector('#query [name=filter]').value = '{\"price\": 3}'")
        refuse(server, "jwt:ann")
        await page.until(OPEN)
        title, about = (text(f"#token {one}") for one in ("h2", ".about"))
        assert await page.run(f"return [{title}, {about}]") == [
            "The token is not good any more",
            "What is shown here stays, and goes on with another one.",
        ]
        lines = "document.querySelectorAll('#query tbody tr').length"
        assert await page.run(f"return {lines}") == 10
        row = {"id": 1000, "vector": [1, 0, 0], "metadata": {"price": 3}}
        version = (await raw.ok("add", collection="items", rows=[row]))["version"]
        await give_token(page, visitor(600))
        await page.until(f"{STATE} === 'open'")
        await page.until(f"{text('#query .about')}.includes('at version {version}.')")
        typed = "document.querySelector('#query [name=filter]').value"
        assert await page.run(f"return {typed}") == '{"price": 3}'


async def test_a_key_that_is_gone_is_asked_for_anew(page: Page, tmp_path: Path) -> None:
    async with served(tmp_path, page) as (server, _):
        await give_token(page, "token-reader")
        await watching(page)
        # One of the same tenant takes its place; the query stands, what is offered follows.
        refuse(server, "reader")
        await page.until(OPEN)
        await give_token(page, "token-boss")
        await page.until(f"{WHO} === 'tenant acme: read, write'")
        await page.until(TRUE)
        refuse(server, "boss")
        await page.until(OPEN)
        await give_token(page, "token-keeper")
        await page.until(f"{WHO} === 'tenant acme: admin'")
        await page.until(f"{text('#collections tbody')}.includes('This token may not read it.')")
        await page.until("document.querySelector('#query').hidden")
        await page.until(f"{text('#charts h2')} === 'The tenant acme'")


async def test_what_is_offered_is_taken_back(page: Page, tmp_path: Path) -> None:
    async with served(tmp_path, page) as (server, _):
        await give_token(page, "token-root")
        await page.until(f"{NAMED} === 'metrics stats protocol client.js'")
        refuse(server, "root", but=1)
        await page.until(OPEN)
        await give_token(page, "token-reader")
        await page.until(f"{WHO} === 'tenant acme: read'")
        await page.until(f"{NAMED} === 'protocol client.js'")
        await page.until(f"{text('#charts .about')}.includes('the right operator')")


async def test_another_token_keeps_what_was_chosen_and_asked(page: Page, tmp_path: Path) -> None:
    async with served(tmp_path, page):
        await give_token(page, "token-root")
        await page.until(READY)
        await page.run("document.querySelectorAll('#collections button')[1].click()")
        await page.until(f"{text('#collections [aria-current]')} === 'other'")
        await watching(page)
        await page.run("document.querySelector('#who button').click()")
        await give_token(page, "token-reader")
        await page.until(f"{WHO} === 'tenant acme: read'")
        await page.until(f"{text('#collections [aria-current]')} === 'other'")
        await page.until(f"document.querySelectorAll('#query tbody tr').length === 10 && {TRUE}")


async def test_no_address_has_a_token(page: Page, tmp_path: Path) -> None:
    given = visitor(600)
    async with served(tmp_path, page):
        await give_token(page, given)
        await watching(page)
        assert await page.run("return document.querySelector('#token [name=token]').value") == ""
        assert await page.run("return location.href") == page.requests[0]
    assert not any(given in url for url in page.requests)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 390])
async def test_it_fits_its_window_with_a_token(
    page: Page, tmp_path: Path, width: int, dark: bool
) -> None:
    async with served(tmp_path, page):
        await page.look(width=width, height=800, dark=dark, phone=width < 500)
        await give_token(page, visitor())
        await page.until(f"{text('#map-about')}.startsWith('43 rows')")
        await page.run("document.querySelector('#who').open = true")
        assert await page.run("return document.documentElement.scrollWidth") <= width
        await page.run("document.querySelector('#who button').click()")
        box = await page.run(
            "const { left, right } = document.querySelector('#token').getBoundingClientRect();"
            "return { left, right }"
        )
        assert 0 <= box["left"] < box["right"] <= width
        assert await page.nameless({"button", "textbox", "dialog"}) == []
