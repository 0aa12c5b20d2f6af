"""Snapshots and restores in the console: for whom they are offered, and that they do it."""

from __future__ import annotations

from pathlib import Path

import pytest

from omendb_ws.net.server import Server

from ..server.raw import client
from ..server.tokens import token, with_secret
from .runtimes import Page
from .test_console import filled, home, leave, page, text

__all__ = ["page"]

COPIES = "document.querySelector('#copies')"
SHOWN = f"!{COPIES}.hidden"
#: What is saved is kept, and no file is written.
CAUGHT = """
  globalThis.saved = null;
  const create = URL.createObjectURL;
  URL.createObjectURL = (blob) => { globalThis.blob = blob; return create(blob); };
  HTMLAnchorElement.prototype.click = async function () {
    globalThis.saved = { name: this.download, bytes: await globalThis.blob.arrayBuffer() };
  };
"""
CHOSEN = """
  const { file, as: name } = document.querySelector("#copies form").elements;
  const chosen = new DataTransfer();
  chosen.items.add(new File([BYTES], saved.name));
  file.files = chosen.files;
  file.dispatchEvent(new Event("change"));
  const proposed = name.value;
  name.value = "again";
  document.querySelector("#copies form").requestSubmit();
  return proposed;
"""


async def test_a_snapshot_is_saved_and_restored_under_another_name(
    page: Page, server: Server
) -> None:
    async with client(server) as raw:
        await filled(raw)
        await page.open(home(server))
        await page.until(f"{SHOWN} && {text('#copies [name=save]')} === 'Save a snapshot of items'")
        await page.run(CAUGHT)
        await page.run("document.querySelector('#copies [name=save]').click()")
        await page.until("globalThis.saved !== null")
        assert await page.run("return saved.name") == "items-1.snapshot"
        assert await page.run(CHOSEN.replace("BYTES", "saved.bytes.slice(0, -9)")) == "items"
        await page.until(f"{text('#copies .problem')}.includes('cut off')")
        assert await page.run(CHOSEN.replace("BYTES", "saved.bytes")) == "again"
        await page.until(f"{text('#copies .about')}.startsWith('again: restored, 300 rows')")
        await page.until(f"{text('#collections tbody')}.includes('again')")
        assert await raw.ok("count", collection="again") == {"version": 1, "count": 300}
        assert await page.run(f"return {text('#copies .problem')}") == ""
        await leave(page)


@pytest.mark.parametrize(
    ("grant", "saves", "restores"),
    [
        ({"rights": ["read", "write"]}, False, False),
        ({"rights": ["read", "admin"]}, True, False),
        ({"rights": ["read", "write", "admin"]}, True, True),
        ({"rights": ["read", "write", "admin"], "filter": {"price": 1}}, False, False),
    ],
)
async def test_it_is_offered_to_those_who_may(
    page: Page, tmp_path: Path, grant: dict[str, object], saves: bool, restores: bool
) -> None:
    async with Server(with_secret(tmp_path)) as server:
        async with client(server, token=token()) as raw:
            await filled(raw)
        given = token(grant)
        await page.open(home(server))
        await page.until("document.querySelector('#token').open")
        await page.run(f"""
          const form = document.querySelector("#token form");
          form.elements.token.value = {given!r};
          form.requestSubmit();
        """)
        await page.until(f"{text('#collections tbody')}.includes('items')")
        await page.until("document.querySelector('#collections [aria-current]') !== null")
        told = await page.run(f"""
          const {{ save, file }} = {COPIES}.querySelector("form").elements;
          return [!save.hidden, !file.closest("label").hidden, {SHOWN}];
        """)
        assert told == [saves, restores, saves or restores]
        await leave(page)


async def test_what_is_worked_with_has_a_name(page: Page, server: Server) -> None:
    async with client(server) as raw:
        await filled(raw)
        await page.open(home(server))
        await page.until(SHOWN)
        assert await page.nameless({"button", "textbox"}) == []
        await leave(page)
