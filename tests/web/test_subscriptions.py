"""Subscriptions of ``client.js``: what they show is what search says, through everything."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.typing import Subprotocol

from omendb_ws.net.server import Server

from ..client.proxy import Proxy
from ..server.raw import batch, client, with_keys
from ..torture.process import ServerProcess
from .runtimes import Chromium, JavaScriptError, Node, Runtime
from .scripted import PLAIN, WATCH


@pytest.fixture
async def page(runtime: Runtime) -> Runtime:
    await runtime.run(PLAIN + WATCH)
    return runtime


def held(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(row["id"], row["seq"], float(np.float32(row["score"]))) for row in rows]


async def test_every_live_answer_is_what_search_says_at_its_version(
    page: Runtime, server: Server
) -> None:
    generator = np.random.default_rng(5)
    question = [0.5, -1.0]
    async with client(server) as raw:
        await raw.create(capacity=20, columns={"price": "i64"})
        await page.run(f"""
          globalThis.db = await connect(url);
          const filter = {{ price: {{ $lt: 5 }} }};
          const options = [{{ k: 1 }}, {{ k: 5, minScore: 0 }}, {{ k: 50, filter }}];
          globalThis.logs = options.map((one) => watched(db.live("items", {question}, one)));
          await when(() => logs.every((log) => log.data.length));
        """)
        expected: dict[int, list[Any]] = {}

        async def look() -> int:
            searches = [
                {"k": 1}, {"k": 5, "min_score": 0}, {"k": 50, "filter": {"price": {"$lt": 5}}},
            ]  # fmt: skip
            answers = [
                await raw.ok("search", collection="items", vector=question, **one)
                for one in searches
            ]
            (version,) = {answer["version"] for answer in answers}
            expected[version] = [held(answer["results"]) for answer in answers]
            return int(version)

        await look()
        for turn in range(60):
            row = {
                "id": int(generator.integers(30)),
                "vector": generator.standard_normal(2).tolist(),
                "metadata": {"price": int(generator.integers(9))},
            }
            await raw.ok("add", collection="items", rows=[row])
            if turn % 7 == 3:
                await look()
                await raw.ok("delete", collection="items", ids=[row["id"]])
            await look()
        rows = [{"id": 100 + n, "vector": [1, -5 - n], "metadata": {"price": 1}} for n in range(20)]
        await raw.ok("add", collection="items", rows=rows)
        last = await look()
        seen = await page.run(f"""
          await when(() => logs.every((log) => log.data.at(-1).version === {last}));
          db.close();
          const told = (answer) => ({{ version: answer.version, rows: rowsOf(answer) }});
          return logs.map((log) => log.data.map(told));
        """)
    for place, answers in enumerate(seen):
        assert len(answers) > 1
        for answer in answers:
            assert held(answer["rows"]) == expected[answer["version"]][place]


async def test_changes_say_what_entered_and_left(page: Runtime, server: Server) -> None:
    async with client(server) as raw:
        await raw.create(capacity=8)
        await raw.add(1, 2)
        await page.run("""
          globalThis.db = await connect(url);
          globalThis.log = watched(db.live("items", [1, 0], { k: 2 }));
          await when(() => log.data.length);
        """)
        await raw.add(5)
        changes = await page.run("""
          await when(() => log.data.length > 1);
          db.close();
          return plain([log.data[0].changes, log.data[1].changes, log.data[1].changes.enter]);
        """)
    assert changes[0] is None
    assert changes[1]["leave"] == [{"id": 1, "seq": 1, "reason": "displaced"}]
    assert [row["id"] for row in changes[2]] == [5]


async def test_moves_at_pointer_speed_have_one_request_under_way_and_end_on_the_last(
    page: Runtime, server: Server
) -> None:
    async with client(server) as raw:
        await raw.create(capacity=8)
        await raw.add(1, 2, 3)
        told = await page.run("""
          let under = 0, most = 0, sent = 0;
          const db = await connect(url);
          const live = db.live("items", [1, 0], { k: 1 });
          const log = watched(live);
          await when(() => log.data.length);
          const { socket } = live.link, send = socket.send.bind(socket), take = socket.onmessage;
          socket.send = (message) => { most = Math.max(most, ++under); sent += 1; send(message); };
          socket.onmessage = (message) => { under -= 1; take(message); };
          const moves = [];
          for (let turn = 0; turn < 300; turn++) moves.push(live.move([-turn, turn]));
          const answers = await Promise.all(moves);
          const last = rowsOf(live.answer);
          const search = rowsOf(await db.search("items", [-299, 299], { k: 1 }));
          db.close();
          return { most, sent, last, search, distinct: new Set(answers).size };
        """)
    assert told["most"] == 1
    assert told["sent"] < 20
    assert told["last"] == told["search"]
    assert 1 <= told["distinct"] <= told["sent"]


async def test_a_move_that_is_refused_leaves_the_query_where_it_was(
    page: Runtime, server: Server
) -> None:
    async with client(server) as raw:
        await raw.create(capacity=8)
        await raw.add(1, 2)
        told = await page.run("""
          const db = await connect(url);
          const live = db.live("items", [1, 0], { k: 1 });
          await when(() => live.answer);
          let code;
          try { await live.move([1, 2, 3]); } catch (error) { code = error.code; }
          const answer = await live.move([-1, 0]);
          db.close();
          return { code, rows: rowsOf(answer) };
        """)
    assert told["code"] == "dim_mismatch"
    assert [row["id"] for row in told["rows"]] == [1]


async def test_a_tab_that_was_busy_finds_the_newest_answer(page: Runtime, server: Server) -> None:
    async with client(server) as raw:
        made = await raw.create(capacity=5000)
        await page.run("""
          globalThis.db = await connect(url);
          globalThis.live = db.live("items", [1, 0], { k: 3 });
          globalThis.yielded = [];
          await when(() => live.answer);
          (async () => {
            for await (const answer of live) {
              yielded.push(answer.version);
              await new Promise((done) => setTimeout(done, 20));
            }
          })().catch(() => {});  // closed with the client
        """)

        async def add() -> int:
            added = None
            for first in range(0, 4000, 10):
                added = await raw.add_binary(made["handle"], batch(*range(first, first + 10)))
            assert added is not None
            return added.version

        busy = page.run("const until = Date.now() + 600; while (Date.now() < until);")
        _, last = await asyncio.gather(busy, add())
        told = await page.run(f"""
          await when(() => live.answer.version === {last} && yielded.at(-1) === {last});
          const search = await db.search("items", [1, 0], {{ k: 3 }});
          const same = JSON.stringify(rowsOf(search)) === JSON.stringify(rowsOf(live.answer));
          db.close();
          return {{ same, yielded: yielded.length }};
        """)
    assert told["same"]
    assert told["yielded"] < 400


async def test_a_feed_and_a_match_bring_every_row_once(page: Runtime, server: Server) -> None:
    async with client(server) as raw:
        await raw.create(capacity=50)
        await raw.add(1, 2)
        await page.run("""
          globalThis.db = await connect(url);
          const { epoch } = await db.describe("items");
          globalThis.feed = watched(db.feed("items", { fromSeq: 1, epoch, include: ["vector"] }));
          globalThis.match = watched(db.match("items", [1, 0], 5));
          await when(() => feed.data.length && match.states.includes("live"));
        """)
        for number in range(3, 9):
            await raw.add(number)
        told = await page.run("""
          const rows = (log) => log.data.flatMap(({ rows }) => rowsOf(rows));
          await when(() => rows(feed).length === 8 && rows(match).length === 4);
          db.close();
          return [rows(feed), rows(match)];
        """)
    assert [(row["seq"], row["vector"]) for row in told[0]] == [(n, [n, 1]) for n in range(1, 9)]
    assert [(row["id"], row["score"]) for row in told[1]] == [(n, n) for n in range(5, 9)]


async def test_a_slow_iteration_of_a_feed_pauses_it_and_loses_nothing(
    page: Runtime, server: Server
) -> None:
    async with client(server) as raw:
        await raw.create(capacity=5000)
        await page.run("""
          globalThis.db = await connect(url);
          globalThis.feed = db.feed("items", { include: ["metadata"] });
          globalThis.reader = feed[Symbol.asyncIterator]();
          globalThis.first = reader.next();
          await when(() => feed.state === "live");
        """)
        # More than the client keeps for an iteration.
        rows = [{"vector": [1, 1], "metadata": {"text": "x" * 4000}} for _ in range(100)]
        for first in range(0, 1600, 100):
            named = [{"id": first + place, **row} for place, row in enumerate(rows)]
            await raw.ok("add", collection="items", rows=named)
        told = await page.run("""
          await when(() => feed.link === null);
          const seqs = [...(await first).value.rows.seqs];
          while (seqs.length < 1600) seqs.push(...(await next(reader)).rows.seqs);
          db.close();
          return { inOrder: seqs.every((seq, place) => seq === place + 1), state: feed.state };
        """)
    assert told["inOrder"]


async def test_statistics_and_the_map_come_by_themselves(page: Runtime, server: Server) -> None:
    async with client(server) as raw:
        await raw.create(capacity=50)
        await raw.add(1, 2, 3)
        told = await page.run("""
          const db = await connect(url);
          const found = {};
          for await (const stats of db.watchStats("items", { every: 100 })) {
            found.rows = stats.rows;
            break;
          }
          const map = db.map("items", { every: 100 });
          for await (const push of map) { found.basis = push.basis; break; }
          found.points = [...map.points.values()];
          db.close();
          return found;
        """)
    assert (told["rows"], told["basis"]) == (3, 1)
    assert [point["id"] for point in told["points"]] == [1, 2, 3]


async def test_counts_by_a_column_come_when_they_have_changed(
    page: Runtime, server: Server
) -> None:
    async with client(server) as raw:
        await raw.create(capacity=50, columns={"kind": "str", "on": "bool"})
        kinds = ["a", "b", "a", None, "\U0001d11e"]
        rows = [
            {"id": place, "vector": [1, 0], "metadata": {"kind": kind, "on": place > 0}}
            for place, kind in enumerate(kinds)
        ]
        await raw.ok("add", collection="items", rows=rows)
        told = await page.run("""
          const db = await connect(url);
          const found = {
            all: await db.count("items"),
            some: await db.count("items", { filter: { on: true } }),
            by: await db.count("items", { by: "kind" }),
            few: await db.count("items", { by: "on", limit: 1, filter: { kind: "a" } }),
          };
          const counts = db.watchCount("items", { by: "kind", filter: { on: true }, every: 100 });
          const log = watched(counts);
          const total = db.watchCount("items", { every: 100 })[Symbol.asyncIterator]();
          found.pushed = [];
          const first = next(total);
          for await (const one of counts) {
            found.pushed.push(one);
            if (found.pushed.length > 1) break;
            await first;  // else it may be the count of what is left
            await db.delete("items", [2]);
          }
          found.totals = [await first, await next(total)];
          found.heard = log.data.length;
          db.close();
          return found;
        """)
    others = [{"value": "b", "count": 1}, {"value": "\U0001d11e", "count": 1}]
    null = {"value": None, "count": 1}
    assert told == {
        "all": 5,
        "some": 4,
        "by": {"version": 1, "count": 5, "by": [{"value": "a", "count": 2}, *others, null],
               "others": 0},
        "few": {"version": 1, "count": 2, "by": [{"value": False, "count": 1}], "others": 1},
        "pushed": [
            {"version": 1, "count": 4, "by": [{"value": "a", "count": 1}, *others, null],
             "others": 0},
            {"version": 2, "count": 3, "by": [*others, null], "others": 0},
        ],
        "totals": [{"version": 1, "count": 5}, {"version": 2, "count": 4}],
        "heard": 2,
    }  # fmt: skip


async def test_a_subscription_ends_with_close_and_with_its_collection(
    page: Runtime, server: Server
) -> None:
    async with client(server) as raw:
        await raw.create(capacity=50)
        told = await page.run("""
          const db = await connect(url);
          const [a, b] = [db.feed("items"), db.live("items", [1, 0])];
          const logs = [a, b].map(watched);
          await when(() => logs.every((log) => log.states.includes("live")));
          a.close();
          const over = (async () => { for await (const _ of b); return b.reason; })();
          await db.drop("items");
          const found = { reason: await over, states: logs.map((log) => log.states) };
          const c = db.live("items", [1, 0]);
          try { for await (const _ of c); } catch (error) { found.code = error.code; }
          db.close();
          return { ...found, a: a.reason };
        """)
    assert told == {
        "reason": "dropped", "a": "closed", "code": "not_found",
        "states": [["live", "ended"], ["live", "ended"]],
    }  # fmt: skip


# -- connections that break ---------------------------------------------------------------------


Open = Callable[[str], Awaitable[Runtime]]


@pytest.fixture(params=["node", "chromium"])
async def opened(request: pytest.FixtureRequest) -> AsyncIterator[Open]:
    """Opens a runtime whose page and client come from an address."""
    async with AsyncExitStack() as stack:

        async def open_at(url: str) -> Runtime:
            runtime: Runtime
            if request.param == "node":
                runtime = await stack.enter_async_context(Node.started())
            else:
                browser: Chromium = request.getfixturevalue("chromium")
                page = await stack.enter_async_context(browser.page())
                await page.open(url.replace("ws://", "http://").replace("/v1", "/livez"))
                await page.import_client()
                runtime = page
            await runtime.run(f"globalThis.url = {url!r};" + PLAIN + WATCH)
            return runtime

        yield open_at


async def test_a_server_that_was_killed_and_started_again_is_gone_on_with(
    opened: Open, tmp_path: Path
) -> None:
    process = ServerProcess(tmp_path / "data", tmp_path / "log")
    await process.start()
    try:
        async with Proxy(process.url) as proxy:
            page = await opened(proxy.url)
            await page.run("""
              globalThis.db = await connect(url, { retryMs: 20, maxRetryMs: 100 });
              globalThis.states = [];
              db.addEventListener("state", () => states.push(db.state));
              const definition = { dim: 2, capacity: 100, metric: "dot", durability: "everysec" };
              await db.create("items", definition);
              globalThis.feed = watched(db.feed("items"));
              globalThis.live = db.live("items", [1, 0], { k: 3 });
              globalThis.lives = watched(live);
              await when(() => feed.states.includes("live") && live.answer);
              await db.add("items", [[1, 0], [2, 0]], { ids: [1, 2] });
            """)
            await process.kill()
            proxy.lead_to(None)
            await page.run("""
              globalThis.adding = db.add("items", [[3, 0], [4, 0]], { ids: [3, 4] });
              await when(() => states.includes("waiting"));
            """)
            await process.start()
            proxy.lead_to(process.url)
            told = await page.run("""
              const { lastSeq } = await adding;
              const seqs = () => feed.data.flatMap(({ rows }) => [...rows].map((row) => row.seq));
              await when(() => seqs().length >= 4 && live.answer.length === 3);
              const search = rowsOf(await db.search("items", [1, 0], { k: 3 }));
              const shown = rowsOf(live.answer);
              const found = plain({ lastSeq, seqs: seqs(), gaps: feed.gaps, search, shown, states,
                feed: feed.states, lives: lives.states });
              db.close();
              return found;
            """)
    finally:
        await process.kill()
    assert told["lastSeq"] == 4
    assert told["seqs"] == [1, 2, 3, 4]
    assert told["gaps"] == []
    assert told["shown"] == told["search"]
    assert told["feed"] == ["live", "lost", "live"]
    assert told["lives"] == ["live", "lost", "live"]
    assert "waiting" in told["states"]
    assert told["states"][-1] == "open"


async def test_what_was_missed_is_a_gap(opened: Open, server: Server) -> None:
    async with client(server) as raw, Proxy(server.url) as proxy:
        await raw.create(capacity=4)
        page = await opened(proxy.url)
        await page.run("""
          globalThis.db = await connect(url, { retryMs: 20, maxRetryMs: 100 });
          globalThis.log = watched(db.feed("items"));
          await when(() => log.states.includes("live"));
        """)
        proxy.lead_to(None)
        proxy.cut()
        await raw.add(1, 2, 3, 4)
        await raw.add(5, 6, 7)
        proxy.lead_to(server.url)
        await page.run("await when(() => log.data.length)")
        proxy.lead_to(None)
        proxy.cut()
        await raw.ok("drop", collection="items")
        await raw.create(capacity=4)
        proxy.lead_to(server.url)
        await page.run("await when(() => log.gaps.length > 1 && log.states.at(-1) === 'live')")
        await raw.add(9)
        told = await page.run("""
          await when(() => log.data.length > 1);
          db.close();
          return plain({ gaps: log.gaps, rows: log.data.map(({ rows }) => rows.ids) });
        """)
    assert told["gaps"] == [
        {"fromSeq": 1, "toSeq": 3, "reason": "evicted"},
        {"fromSeq": 8, "toSeq": None, "reason": "epoch"},
    ]
    assert told["rows"] == [["4", "5", "6", "7"], ["9"]]  # u64 are BigInts in arrays


async def test_a_token_is_asked_for_where_the_known_one_is_refused_and_goes_in_no_address(
    opened: Open, tmp_path: Path
) -> None:
    async with Server(with_keys(tmp_path)) as server, Proxy(server.url) as proxy:
        page = await opened(proxy.url)
        codes = await page.run("""
          const codes = [];
          for (const options of [{}, { token: "wrong" }]) {
            try { await connect(url, options); } catch (error) { codes.push(error.code); }
          }
          return codes;
        """)
        assert codes == ["unauthenticated", "unauthenticated"]
        await page.run("""
          globalThis.tokens = ["expired", "token-root"];
          globalThis.asked = 0;
          const getToken = async () => tokens[asked++];
          globalThis.db = await connect(url, { getToken, retryMs: 20, maxRetryMs: 100 });
          await db.ping();
        """)
        proxy.cut()
        told = await page.run("""
          await when(() => db.state !== "open");
          await db.list();
          db.close();
          return { asked, url: db.url };
        """)
    assert told["asked"] == 2
    assert "token" not in told["url"]


async def test_a_token_that_expires_is_refreshed_before(opened: Open, server: Server) -> None:
    """No server of ours gives tokens that expire yet: a WebSocket that says so stands in."""
    tokens: list[str] = []

    async def stub(connection: ServerConnection) -> None:
        hello = {"event": "hello", "protocol": "omendb.v1", "auth": "required", "limits": {}}
        await connection.send(json.dumps(hello))
        async for message in connection:
            asked = json.loads(message)
            tokens.append(asked["token"])
            ok = {"rights": ["read"], "tenant": None, "expires_in_s": 0.1}
            await connection.send(json.dumps({"id": asked["id"], "ok": ok}))

    page = await opened(server.url)
    protocols = [Subprotocol("omendb.v1")]
    async with serve(stub, "127.0.0.1", 0, subprotocols=protocols) as listener:
        port = listener.sockets[0].getsockname()[1]
        await page.run(f"""
          let count = 0;
          const getToken = () => `token-${{count++}}`;
          globalThis.db = await connect("ws://127.0.0.1:{port}/v1", {{ getToken }});
          await when(() => count >= 3);
          db.close();
        """)
    assert tokens[:3] == ["token-0", "token-1", "token-2"]


async def test_javascript_that_throws_fails_its_test(page: Runtime) -> None:
    with pytest.raises(JavaScriptError, match="as it should"):
        await page.run("throw new Error('as it should')")
