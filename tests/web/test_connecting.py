"""``client.js`` connecting: what fails is said at once, tokens, reconnects; errors without an id.

Pieces run in Node against ``Scripted`` (scripted.py).
"""

from __future__ import annotations

import json

import pytest

from .runtimes import Node


async def test_a_call_while_the_connection_is_closing_waits_for_the_next_one(node: Node) -> None:
    """Between the server's close and the socket's end, it is neither open nor over."""
    told = await node.run("""
      const db = await open();
      sockets[0].readyState = 2;
      await db.ping();
      db.close();
      return [sockets.length, sockets[0].asked.length, sockets[1].asked.length];
    """)
    assert told == [2, 0, 1]


async def test_a_client_that_is_closed_while_it_waits_for_a_token_stays_closed(node: Node) -> None:
    told = await node.run("""
      Scripted.auth = "required";
      let give;
      const getToken = () => new Promise((done) => give = done);
      const failed = await said(open({ timeoutMs: 10, getToken }));
      const timers = process.getActiveResourcesInfo().filter((name) => name === "Timeout").length;
      give("late");
      await turn(10);
      return { failed, timers, asked: sockets.flatMap(({ asked }) => asked) };
    """)
    assert told["failed"].startswith("timeout: ")
    assert "getToken has not answered" in told["failed"]
    assert (told["timers"], told["asked"]) == (0, [])


FAILING = [
    "Promise.reject(new Error('mine'))", "Promise.reject('mine')", "mine()", "Promise.reject(null)",
]  # fmt: skip


@pytest.mark.parametrize("failing", FAILING)
async def test_what_get_token_throws_is_said_at_once(node: Node, failing: str) -> None:
    told = await node.run(f"""
      Scripted.auth = "required";
      const opening = open({{ getToken: () => {failing} }});
      const error = await opening.catch((error) => error);
      return {{ said: error.message, hasCause: "cause" in error, sockets: sockets.length }};
    """)
    assert told["said"].startswith("unauthenticated: getToken: ")
    assert "mine" in told["said"] or "null" in failing
    assert (told["hasCause"], told["sockets"]) == (True, 1)


async def test_a_page_that_was_connected_asks_again_for_a_token_that_cannot_be_had(
    node: Node,
) -> None:
    asked = await node.run("""
      Scripted.auth = "required";
      Scripted.answer = ({ op, token }) =>
        op === "auth" && token === "old" && sockets.length > 1
          ? { error: { code: "unauthenticated", message: "" } } : undefined;
      let asked = 0;
      const tokens = ["old", null, null, null, null, "new"];
      const getToken = () => tokens[asked++] ?? Promise.reject(new Error("away"));
      const db = await open({ getToken, maxRetryMs: 1 });
      sockets[0].drop();
      await db.ping();
      db.close();
      return asked;
    """)
    assert asked == 6


async def test_a_token_is_asked_for_only_when_one_is_needed(node: Node) -> None:
    """Not by a server without keys, not while nobody answers, not while the known one is good."""
    told = await node.run("""
      let asked = 0;
      const options = { getToken: () => { asked += 1; return "good"; }, maxRetryMs: 1 };
      (await open(options)).close();
      const counts = [asked];
      Scripted.auth = "required";
      const db = await open(options);
      counts.push(asked);
      for (let turn = 0; turn < 5; turn++) {
        sockets.at(-1).drop();
        await db.ping();
      }
      counts.push(asked);
      db.close();
      class Deaf extends Scripted {
        constructor() { super(); setTimeout(() => this.drop()); }
        say() {}
      }
      const before = sockets.length;
      const failed = code(open({ ...options, timeoutMs: 1500, WebSocket: Deaf }));
      await when(() => sockets.length > before + 5);
      counts.push(asked);
      return { counts, failed: await failed };
    """)
    assert told == {"counts": [0, 1, 1, 1], "failed": "timeout"}


async def test_calls_of_get_token_are_paced(node: Node) -> None:
    """The gaps double, however often tokens are refused, or run out at once."""
    told = await node.run("""
      Scripted.auth = "required";
      const at = [];
      const getToken = () => { at.push(performance.now()); return "good"; };
      Scripted.answer = ({ op }) => op === "auth" ? { ok: { expires_in_s: 0 } } : undefined;
      const db = await open({ getToken, retryMs: 40 });
      await when(() => at.length >= 4);
      db.close();
      const gaps = at.slice(1).map((one, place) => one - at[place]);
      at.length = 0;
      const error = { code: "unauthenticated", message: "" };
      Scripted.answer = ({ op }) => op === "auth" ? { error } : undefined;
      const refused = await code(open({ getToken, retryMs: 40 }));
      return { gaps, refused, between: at.slice(1).map((one, place) => one - at[place]) };
    """)
    # A timer counts whole milliseconds, so it may be one early, and so may the time that it is for.
    assert min(told["gaps"]) >= 38
    assert told["refused"] == "unauthenticated"
    assert [gap >= 40 * 2**place - 2 for place, gap in enumerate(told["between"])] == [True] * 3


async def test_a_token_that_takes_longer_than_the_server_waits_is_sent_when_it_is_there(
    node: Node,
) -> None:
    told = await node.run("""
      Scripted.auth = "required";
      let give, asked = 0;
      const getToken = () => (asked++, new Promise((done) => give = done));
      const opening = open({ getToken });
      await when(() => give);
      sockets[0].say({ event: "error", code: "unauthenticated", message: "too late" });
      sockets[0].drop(4401);
      await turn(20);
      const waiting = sockets.length;
      give("late but good");
      const db = await opening;
      db.close();
      return { asked, waiting, sockets: sockets.length, sent: sockets[1].asked };
    """)
    assert (told["asked"], told["waiting"], told["sockets"]) == (1, 1, 2)
    assert [one["token"] for one in told["sent"]] == ["late but good"]


@pytest.mark.parametrize("token", ["5", "{}", "Symbol()", "[]", "'x\\ud83d'"])
async def test_a_token_that_is_no_text_is_refused_at_once(node: Node, token: str) -> None:
    told = await node.run(f"""
      Scripted.auth = "required";
      Scripted.answer = ({{ op, token }}) => op === "auth" && typeof token !== "string"
        ? {{ error: {{ code: "bad_request", message: "token: must be a string" }} }} : undefined;
      const ways = [{{ token: {token} }}, {{ getToken: () => {token} }}];
      return Promise.all(ways.map((way) => said(open(way))));
    """)
    assert all("token" in one and not one.startswith("timeout") for one in told), told


async def test_without_a_websocket_the_cause_is_said_at_once(node: Node) -> None:
    told = await node.run("""
      const mine = [null, 5, "WebSocket"];
      const failed = await Promise.all(mine.map((WebSocket) => said(open({ WebSocket }))));
      const own = globalThis.WebSocket;
      globalThis.WebSocket = undefined;
      failed.push(await said(connect("ws://nowhere")));
      globalThis.WebSocket = own;
      return failed;
    """)
    assert [one.startswith("unsupported: there is no WebSocket") for one in told] == [True] * 4


@pytest.mark.parametrize("url", ["'nonsense'", "undefined", "'ftp://localhost/v1'", "Symbol()"])
async def test_an_address_that_is_none_is_said_at_once(node: Node, url: str) -> None:
    told = await node.run(f"return said(connect({url}))")
    assert told.startswith("bad_request: url: ")


async def test_a_timeout_tells_why_it_was_not_connected(node: Node) -> None:
    told = await node.run("""
      const failed = await said(connect("ws://127.0.0.1:9/v1", { timeoutMs: 1500, retryMs: 1 }));
      const db = await open({ retryMs: 60000 });
      sockets.at(-1).drop(4408);
      await when(() => db.state === "waiting");
      const late = await said(db.ping({ timeoutMs: 5 }));
      db.close();
      return { failed, late };
    """)
    assert told["failed"].startswith("timeout: ")
    assert "1006" in told["failed"]
    assert "4408" in told["late"]


async def test_options_that_are_undefined_are_the_default(node: Node) -> None:
    told = await node.run("""
      const db = await open({ timeoutMs: undefined, maxRetryMs: undefined, WebSocket: Scripted });
      const { timeoutMs, maxRetryMs } = db.options;
      db.close();
      return [timeoutMs, maxRetryMs];
    """)
    assert told == [30_000, 10_000]


async def test_a_time_limit_that_no_timer_holds_is_none(node: Node) -> None:
    """A timer of more than 2^31 ms, or of Infinity, would go off at once."""
    told = await node.run("""
      const codes = [];
      for (const timeoutMs of [Infinity, 2 ** 40, 0]) {
        const db = await open({ timeoutMs });
        codes.push(await code(db.ping({ timeoutMs })));
        db.close();
      }
      const db = await open();
      for (const timeoutMs of [NaN, -1, "soon", {}]) codes.push(await said(db.ping({ timeoutMs })));
      db.close();
      return codes;
    """)
    assert told[:3] == [None] * 3
    assert [one.startswith("bad_request: timeoutMs: ") for one in told[3:]] == [True] * 4


@pytest.mark.parametrize("whole", [True, False])
async def test_calls_can_fail_at_once_where_there_is_no_connection(node: Node, whole: bool) -> None:
    told = await node.run(f"""
      const isWhole = {json.dumps(whole)};
      const db = await open({{ retryMs: 60000, failFast: isWhole }});
      const options = isWhole ? undefined : {{ failFast: true }};
      const live = db.live("items", [1, 0]);
      await when(() => live.answer);
      Scripted.answer = ({{ op }}) => op === "count" ? "nothing" : undefined;
      const under = said(db.count("items", options));
      await turn(5);
      sockets[0].drop(4408);
      const codes = [db.ping(options), db.search("items", [1, 0], options),
        db.add("items", [[1, 0]], options), db.get("items", [1], options)];
      const told = await Promise.all([under, ...codes.map(said)]);
      const {{ state }} = live;
      db.online();
      await when(() => live.state === "live");
      const after = await code(db.ping(options));
      db.close();
      return {{ told, state, after }};
    """)
    assert [one.startswith("connection_lost: ") for one in told["told"]] == [True] * 5, told
    assert "4408" in told["told"][1]
    assert (told["state"], told["after"]) == ("lost", None)


async def test_refusals_are_counted_apart_from_failures(node: Node) -> None:
    """A long outage, then one stale token: not yet the end."""
    told = await node.run("""
      Scripted.auth = "required";
      let outage = 0;
      Scripted.answer = ({ op, token }, socket) => {
        if (op !== "auth") return;
        if (outage-- > 0) return void setTimeout(() => socket.drop()) ?? "nothing";
        if (token === "stale") return { error: { code: "unauthenticated", message: "" } };
      };
      let tokens = ["good"];
      const db = await open({ getToken: () => tokens.shift() ?? "good", maxRetryMs: 1 });
      outage = 6;
      tokens = ["a", "b", "c", "d", "e", "f", "stale"];
      sockets[0].drop();
      await db.ping();
      const state = db.state;
      db.close();
      return state;
    """)
    assert told == "open"


async def test_a_call_lives_through_a_token_that_ran_out(node: Node) -> None:
    told = await node.run("""
      Scripted.auth = "required";
      let isOut = true;
      Scripted.answer = ({ op }) => op === "count" && isOut ? "nothing" : undefined;
      const db = await open({ getToken: () => "good" });
      const counting = code(db.count("items"));
      await turn();
      isOut = false;
      sockets[0].say({ event: "error", code: "unauthenticated", message: "expired" });
      sockets[0].drop(4401);
      const told = await counting;
      db.close();
      return told;
    """)
    assert told is None


async def test_several_addresses_are_taken_in_turn_from_any_of_them_on(node: Node) -> None:
    told = await node.run("""
      const urls = ["ws://a/v1", new URL("ws://b/v1"), "ws://c/v1"];
      const taken = [];
      class Named extends Scripted { constructor(url) { super(); taken.push(url); } }
      const db = new Client(urls, { WebSocket: Named, retryMs: 1, maxRetryMs: 1 });
      await db.start();
      for (let count = 1; count <= 3; count++) {
        sockets.at(-1).drop();
        while (sockets.length <= count) await turn(1);
        await db.ping();
      }
      db.close();
      return { taken, url: db.url };
    """)
    names = ["ws://a/v1", "ws://b/v1", "ws://c/v1"]
    first = names.index(told["taken"][0])
    assert told["taken"] == [names[(first + turn) % 3] for turn in range(4)]
    assert told["url"] == told["taken"][-1]


@pytest.mark.parametrize("url", ["[]", "['ws://a/v1', '']", "['ws://a/v1', 7]", "[[]]", "{}"])
async def test_what_is_no_list_of_addresses_is_refused(node: Node, url: str) -> None:
    code = f"try {{ new Client({url}); }} catch (error) {{ return error.code; }}"
    assert await node.run(code) == "bad_request"
