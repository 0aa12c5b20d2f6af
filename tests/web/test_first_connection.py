"""The first connection of ``client.js``: where it can never come about, that is said soon.

A browser does not tell a page how an upgrade was refused, so the client asks the same address by
``fetch`` and says what that says. The clients here have no time limit: what is not said hangs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from omendb_ws.net.server import Server

from ..server.raw import settings
from .runtimes import Chromium, Node, Page, Runtime

SAID = """
globalThis.failed = async (...given) => {
  try { await connect(...given); return null; } catch (error) { return `${error}`; }
};
"""


@pytest.fixture
async def page(runtime: Runtime) -> Runtime:
    await runtime.run(SAID)
    return runtime


@pytest.fixture
async def foreign(chromium: Chromium, server: Server) -> AsyncIterator[Page]:
    """A page of another server, to which ``server`` is a foreign one."""
    async with Server(settings()) as other, chromium.page() as page:
        await page.open(other.url.replace("ws://", "http://").replace("/v1", "/livez"))
        await page.import_client()
        await page.run(SAID)
        yield page


@pytest.mark.parametrize("url", ["", "undefined", "null", "''", "5", "{}", "Symbol()", "[]"])
async def test_no_address_is_said_at_once(page: Runtime, url: str) -> None:
    told = await page.run(f"return failed({url})")
    assert told.startswith("OmenError: bad_request: url: must be the address of a server"), told


@pytest.mark.parametrize("url", ["'ftp://localhost/v1'", "'ws://'", "'ws://localhost:99999/v1'"])
async def test_an_address_that_is_none_is_said_at_once(page: Runtime, url: str) -> None:
    told = await page.run(f"return failed({url}, {{ timeoutMs: 0 }})")
    assert told.startswith("OmenError: bad_request: url: "), told


async def test_an_address_may_be_a_url(page: Runtime) -> None:
    assert (
        await page.run("""
      const db = await connect(new URL(url));
      await db.ping();
      db.close();
      return db.state;
    """)
        == "closed"
    )


@pytest.mark.parametrize("path", ["/v2", "/", "", "/livez", "/v1/"])
async def test_a_path_that_is_wrong_is_said(server: Server, path: str) -> None:
    async with Node.started() as node:
        await node.run(SAID)
        address = server.url.replace("/v1", path)
        told = await node.run(f"return failed({address!r}, {{ timeoutMs: 0 }})")
    assert told.startswith(f"OmenError: unsupported: {address} is no endpoint of omendb.v1"), told
    assert "(HTTP 404)" in told or "(HTTP 200)" in told
    assert told.endswith("; addresses end in /v1")


async def test_a_page_of_the_server_is_told_of_a_wrong_path(
    chromium: Chromium, server: Server
) -> None:
    async with chromium.page() as page:
        await page.open(server.url.replace("ws://", "http://").replace("/v1", "/livez"))
        await page.import_client()
        await page.run(SAID)
        address = server.url + "x"
        told = await page.run(f"return failed({address!r}, {{ timeoutMs: 0 }})")
    said = f"OmenError: unsupported: {address} is no endpoint of omendb.v1 (HTTP 404)"
    assert told == f"{said}; addresses end in /v1"


@pytest.mark.parametrize("end", ["", "x"], ids=["the origin is not allowed", "a wrong path"])
async def test_a_page_of_another_server_is_told_that_none_is_taken_there(
    foreign: Page, server: Server, end: str
) -> None:
    """Which of the two it is no page may know."""
    address = server.url + end
    told = await foreign.run(f"return failed({address!r}, {{ timeoutMs: 0, retryMs: 10 }})")
    assert told.startswith(f"OmenError: unsupported: {address} answers, and takes no WebSocket")
    assert "allow_origins" in told


#: What ``fetch`` finds: the code that the first connection fails with, or None to go on.
ANSWERS = {
    200: "unsupported", 204: "unsupported", 400: "unsupported", 404: "unsupported",
    405: "unsupported", 401: "unauthenticated", 403: "forbidden",
    408: None, 425: None, 426: None, 429: None, 500: None, 502: None, 503: None,
}  # fmt: skip
DEAF = """
globalThis.Deaf = class extends Scripted {
  constructor(...given) { super(...given); setTimeout(() => this.drop()); }
  say() {}
};
globalThis.fetched = [];
globalThis.finding = (status, body = "") => globalThis.fetch = async (address) => {
  fetched.push(`${address}`);
  if (!status) throw new TypeError("fetch failed");
  return new Response(status === 204 ? null : body, { status });
};
"""


@pytest.mark.parametrize("status", ANSWERS)
async def test_what_the_address_answers_decides(node: Node, status: int) -> None:
    told = await node.run(f"""
      {DEAF}
      finding({status}, "The reason.\\n");
      const opening = connect("ws://nowhere/v1", {{ WebSocket: Deaf, timeoutMs: 0, retryMs: 1 }});
      const aborted = when(() => fetched.length > 4).then(() => ({{ code: null }}));
      const error = await Promise.race([opening.catch((error) => error), aborted]);
      return [error.code, error.message ?? "", fetched[0]];
    """)
    assert told[0] == ANSWERS[status]
    assert told[2] == "http://nowhere/v1"
    if status == 403:
        assert told[1].endswith("refused the connection (HTTP 403): The reason.")


async def test_nobody_there_is_waited_for(node: Node) -> None:
    told = await node.run(f"""
      {DEAF}
      finding(null);
      const given = {{ WebSocket: Deaf, timeoutMs: 0, retryMs: 1, maxRetryMs: 1 }};
      const opening = connect("wss://nowhere/v1", given);
      await when(() => fetched.length > 5);
      Deaf.prototype.say = Scripted.prototype.say;
      Deaf.prototype.drop = () => {{}};
      const db = await opening;
      db.close();
      return fetched[0];
    """)
    assert told == "https://nowhere/v1"


async def test_a_client_that_was_connected_asks_nobody_else(node: Node) -> None:
    """A server that comes back may answer anything meanwhile."""
    told = await node.run(f"""
      {DEAF}
      finding(404);
      const db = await open({{ maxRetryMs: 1 }});
      db.options.WebSocket = Deaf;
      sockets[0].drop();
      await when(() => sockets.length > 5);
      db.options.WebSocket = Scripted;
      await db.ping();
      db.close();
      return fetched.length;
    """)
    assert told == 0


async def test_where_there_is_no_fetch_it_is_tried_until_the_time_is_over(node: Node) -> None:
    told = await node.run(f"""
      {DEAF}
      globalThis.fetch = undefined;
      return code(open({{ WebSocket: Deaf, timeoutMs: 50 }}));
    """)
    assert told == "timeout"
