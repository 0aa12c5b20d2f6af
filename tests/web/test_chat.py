"""``examples/chat``: visitors with tokens of their own, in Chromium and at the server itself."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import omendb_ws
from omendb_ws import errors
from tests.project.pages import ROOT

from .running_examples import Example, running
from .runtimes import PATIENCE_SECONDS, Chromium, Node, Page
from .test_examples import fits, text

DIM = 256
INSIDE = "!document.querySelector('#talk').hidden"
LOG = "[...document.querySelectorAll('#log li')].map((line) => line.textContent)"
SIMILAR = "[...document.querySelectorAll('#similar li')].map((line) => line.textContent.trim())"


@pytest.fixture
def chat() -> Iterator[Example]:
    with running("examples.chat") as example:
        yield example


@asynccontextmanager
async def visiting(chromium: Chromium, chat: Example, name: str) -> AsyncIterator[Page]:
    """A tab of a visitor who has come in; nothing may go wrong in it."""
    async with chromium.page() as page:
        await page.look(width=1280, height=900, dark=False)
        await page.open(chat.page)
        await page.run(f"""
          const form = document.querySelector("#enter form");
          form.elements.name.value = {name!r};
          form.requestSubmit();
        """)
        await page.until(INSIDE)
        yield page
        assert page.errors == []
        asked = {url.split("/")[2] for url in page.requests if not url.startswith("data:")}
        assert asked == chat.hosts()
        await page.open("about:blank")


async def say(page: Page, words: str, to: str = "") -> None:
    await page.until(
        f"[...document.querySelector('[name=to]').options].some((one) => one.value === {to!r})"
    )
    await page.run(f"""
      const form = document.querySelector("#write");
      form.elements.text.value = {words!r};
      form.elements.to.value = {to!r};
      form.requestSubmit();
    """)


async def test_each_visitor_sees_what_is_public_or_theirs_live(
    chromium: Chromium, chat: Example
) -> None:
    async with visiting(chromium, chat, "Ann") as ann, visiting(chromium, chat, "Ben") as ben:
        await say(ann, "hello")
        await ben.until(f"{LOG}.join() === 'Ann hello'")
        await say(ben, "hello Ann")
        await ann.until(f"{LOG}.length === 2")
        await say(ann, "a secret of mine", "me")
        await say(ann, "between us two", "Ben")
        await ben.until(f"{LOG}.length === 3")
        await say(ben, "understood")
        everything = ["Ann hello", "Ben hello Ann", "Ann only for youa secret of mine"]
        await ann.until(f"{LOG}.length === 5")
        assert await ann.run(f"return {LOG}") == [
            *everything, "Ann to Benbetween us two", "Ben understood",
        ]  # fmt: skip
        heard = ["Ann hello", "Ben hello Ann", "Ann to youbetween us two", "Ben understood"]
        assert await ben.run(f"return {LOG}") == heard
        # Whoever comes later is told what is public, from the beginning.
        async with visiting(chromium, chat, "Cleo") as cleo:
            await cleo.until(f"{LOG}.length === 3")
            assert await cleo.run(f"return {LOG}") == [heard[0], heard[1], heard[3]]


async def test_what_is_like_what_one_writes_is_shown_while_one_writes(
    chromium: Chromium, chat: Example
) -> None:
    async with visiting(chromium, chat, "Ann") as ann, visiting(chromium, chat, "Ben") as ben:
        await say(ann, "sliding windows are my secret", "me")
        await say(ann, "lunch at noon?")
        await ben.run("""
          const { text } = document.querySelector("#write").elements;
          text.value = "sliding windows";
          text.dispatchEvent(new Event("input", { bubbles: true }));
        """)
        await ben.until(f"{text('#similar p')} === 'Nobody said anything like it.'")
        await say(ann, "do you like sliding windows?")
        await ben.until(f"{SIMILAR}.join() === 'Ann do you like sliding windows?'")


async def test_the_page_renews_its_token_and_goes_on(chromium: Chromium, chat: Example) -> None:
    async with visiting(chromium, chat, "Ann") as ann:
        await ann.until(f"Number({text('#renewals')}) >= 1")
        await say(ann, "still here")
        await ann.until(f"{LOG}.join() === 'Ann still here'")
        assert sum(url.startswith("ws") for url in ann.requests) == 1


# -- behind the page's back -----------------------------------------------------------------------


def post(chat: Example, path: str, body: bytes, kind: str = "application/json") -> tuple[int, Any]:
    headers = {"Content-Type": kind}
    request = urllib.request.Request(chat.page + path, body, headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as refused:
        return refused.code, json.load(refused)


def entered(chat: Example, name: str) -> str:
    """The token of a visitor who has come in."""
    status, told = post(chat, "visitors", json.dumps({"name": name}).encode())
    assert status == 200, told
    status, told = post(chat, "token", json.dumps(told).encode())
    assert status == 200, told
    return str(told["token"])


def vector() -> list[list[float]]:
    return [[1.0] + [0.0] * (DIM - 1)]


async def test_nobody_writes_as_another_or_reads_what_is_anothers(chat: Example) -> None:
    tokens = [await asyncio.to_thread(entered, chat, name) for name in ("Ann", "Ben")]
    async with (
        omendb_ws.connect(chat.server, tokens[0]) as ann,
        omendb_ws.connect(chat.server, tokens[1]) as ben,
    ):
        secret = {"text": "mine", "public": False, "to": "Ann"}
        seq = (await ann.add("messages", vector(), metadata=[secret])).first_seq
        assert seq is not None
        for forged in ({"author": "Ann"}, {"author": None}):
            with pytest.raises(errors.Forbidden):
                await ben.add(
                    "messages", vector(), metadata=[{"text": "x", "public": True} | forged]
                )
        assert await ben.count("messages") == 0
        assert await ben.get("messages", [seq]) == [None]
        assert list(await ben.search("messages", vector()[0], k=5)) == []
        assert await ben.delete("messages", [seq]) == 0
        with pytest.raises(errors.NotFound):
            await ben.search("messages", like=seq, k=5)
        for refused in (ben.drop("messages"), ben.create("more", dim=2, capacity=2), ben.stats()):
            with pytest.raises(errors.Forbidden):
                await refused
        # A row that states nobody is stamped; it is its author's to see and to take back.
        mine = (
            await ben.add("messages", vector(), metadata=[{"text": "y", "public": False}])
        ).first_seq
        assert mine is not None
        (row,) = await ben.get("messages", [mine], include=["metadata"])
        assert row is not None
        assert row.metadata == {"text": "y", "public": False, "author": "Ben"}
        assert await ann.get("messages", [mine]) == [None]
        assert await ann.count("messages") == 1
        assert await ben.delete("messages", [mine]) == 1


async def test_the_backend_gives_tokens_to_its_visitors_alone(chat: Example) -> None:
    def ask(path: str, body: bytes, **options: Any) -> int:
        return post(chat, path, body, **options)[0]

    assert ask("visitors", b'{"name": "Ann"}') == 200
    assert ask("visitors", b'{"name": "ann"}') == 409
    for name in (b"null", b'""', b'"a b"', b'"<b>"', b"5", b'"' + b"a" * 21 + b'"', b'["x"]'):
        assert ask("visitors", b'{"name": ' + name + b"}") == 400
    for body in (b"{}", b'{"pass": "Ann"}', b'{"pass": null}', b"[]", b'{"pass": ["x"]}'):
        assert ask("token", body) == 401
    assert ask("token", b"{") == 400
    assert ask("token", b"[" * 4000) == 400
    assert ask("token", b'"' + b"x" * 5000 + b'"') == 413
    assert ask("token", b"{}", kind="text/plain") == 415
    assert ask("nowhere", b"{}") == 404


async def test_texts_with_words_in_common_are_near(node: Node) -> None:
    module = (ROOT / "examples/chat/page/embedding.js").as_uri()
    near, far, empty = await node.run(f"""
      const {{ embed }} = await import({module!r});
      const unit = (vector) => vector.map((one) => one / Math.hypot(...vector));
      const score = (one, other) => {{
        const [a, b] = [one, other].map((text) => unit(embed(text, 256)));
        return a.reduce((sum, value, place) => sum + value * b[place], 0);
      }};
      return [score("Sliding windows!", "do you like sliding windows"),
        score("Sliding windows!", "lunch at noon"), embed("…", 256).filter(Boolean).length];
    """)
    assert near > 0.5 > 0.2 > abs(far)
    assert empty > 0


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 390])
async def test_the_chat_fits_its_window_and_names_its_controls(
    chromium: Chromium, chat: Example, width: int, dark: bool
) -> None:
    async with visiting(chromium, chat, "Ann") as ann:
        await say(ann, "a" * 400)
        await ann.until(f"{LOG}.length === 1")
        await fits(ann, width=width, dark=dark)
        assert (
            await ann.nameless({"button", "textbox", "combobox", "log", "region", "heading"}) == []
        )


def test_without_the_library_that_signs_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "jwt.py").write_text("raise ModuleNotFoundError('no jwt', name='jwt')")
    ended = subprocess.run(
        [sys.executable, "-m", "examples.chat"],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.endswith("-m pip install 'omendb-ws[jwt]'")
