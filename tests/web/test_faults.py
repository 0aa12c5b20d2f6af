"""``client.js`` when things go wrong: scripted servers, replies too late, calls given up.

Most pieces run in Node against ``Scripted``, a WebSocket without a network, which says exactly what
a test wants, when it wants it.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from omendb_ws.server import Server

from ..server.raw import client
from .runtimes import Node
from .test_client import PLAIN
from .test_subscriptions import WATCH

#: ``Scripted.answer(request, socket)`` gives the reply to a request: ``{ok}``, ``{error}``, a
#: frame; "nothing" for none, undefined for the usual one. ``uncaught``: what nobody caught.
SCRIPTED = """
globalThis.uncaught = [];
process.on("uncaughtException", (error) => uncaught.push(`${error?.stack ?? error}`));
process.on("unhandledRejection", (error) => uncaught.push(`${error?.stack ?? error}`));
globalThis.sockets = [];
globalThis.turn = (ms = 0) => new Promise((done) => setTimeout(done, ms));
globalThis.code = (call) => call.then(() => null, (error) => error.code ?? `${error}`);
const limits = { max_rows: 100, max_text_bytes: 1000, max_message_bytes: 4000 };
const usual = {
  open: { ok: { handle: 1, dim: 2, capacity: 1000, ids: "auto", columns: {} } },
  1: ({ id }) => encodeFrame({ kind: 2, id, n: 1, sections: [BigUint64Array.of(1n, 1n, 1n)] }),
  7: ({ id }) => results(id, { subs: [3] }),
  8: ({ id }) => results(id),
};
globalThis.results = (id, json = {}) =>
  encodeFrame({ kind: 4, id, n: 1, json, sections: [BigUint64Array.of(1n), new Uint32Array(1)] });
function read(message) {
  if (typeof message === "string") return JSON.parse(message);
  const view = new DataView(message);
  const text = new Uint8Array(message, 32, view.getUint32(24, true));
  const json = text.length ? JSON.parse(new TextDecoder().decode(text)) : {};
  const [id, n] = [4, 12].map((offset) => view.getUint32(offset, true));
  return { ...json, op: view.getUint8(2), id, n };
}
globalThis.Scripted = class {
  static auth = "none";
  static answer() {}
  readyState = 1;
  bufferedAmount = 0;
  asked = [];
  constructor() {
    sockets.push(this);
    queueMicrotask(() => this.say({ event: "hello", auth: Scripted.auth, limits }));
  }
  send(message) {
    const request = read(message);
    this.asked.push(request);
    let reply = Scripted.answer(request, this) ?? usual[request.op] ?? { ok: {} };
    if (typeof reply === "function") reply = reply(request);
    if (reply === "nothing") return;
    setTimeout(() => this.say(reply instanceof ArrayBuffer ? reply : { id: request.id, ...reply }));
  }
  say(message) {
    const isRaw = typeof message === "string" || message instanceof ArrayBuffer;
    this.onmessage?.({ data: isRaw ? message : JSON.stringify(message) });
  }
  close() { this.readyState = 3; }
  drop(code = 1006) { this.readyState = 3; this.onclose?.({ code }); }
};
globalThis.open = (options) =>
  connect("ws://nowhere", { WebSocket: Scripted, retryMs: 1, ...options });
"""


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    async with Node.started() as started:
        await started.run(PLAIN + WATCH + SCRIPTED)
        yield started
        assert await started.run("await turn(); return uncaught") == []


# -- connections --------------------------------------------------------------------------------


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
      let give;
      const getToken = () => new Promise((done) => give = done);
      const opening = code(open({ timeoutMs: 10, getToken }));
      const failed = await opening;
      const timers = process.getActiveResourcesInfo().filter((name) => name === "Timeout").length;
      give("late");
      await turn(10);
      return { failed, timers, sockets: sockets.length };
    """)
    assert told == {"failed": "timeout", "timers": 0, "sockets": 0}


@pytest.mark.parametrize("failing", ["Promise.reject()", "Promise.reject(null)", "none.such"])
async def test_a_token_that_cannot_be_had_is_asked_for_again(node: Node, failing: str) -> None:
    asked = await node.run(f"""
      let asked = 0;
      const db = await open({{ getToken: () => ++asked < 3 ? {failing} : "token" }});
      db.close();
      return asked;
    """)
    assert asked == 3


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


@pytest.mark.parametrize(
    "message", ['"{"', '"null"', "new ArrayBuffer(5)", "new ArrayBuffer(32)", "truncated"]
)
async def test_what_cannot_be_read_ends_that_connection_only(node: Node, message: str) -> None:
    told = await node.run(f"""
      const db = await open();
      const truncated = results(1).slice(0, 40);
      sockets[0].say({message});
      await db.ping();
      db.close();
      return sockets.length;
    """)
    assert told == 2


async def test_what_is_not_known_is_passed_over(node: Node) -> None:
    told = await node.run("""
      const db = await open();
      const live = db.live("items", [1, 0]);
      const log = watched(live);
      await when(() => live.answer);
      const [socket] = sockets;
      socket.say({ event: "news", from: "the future" });
      socket.say({ event: "news", sub: 3 });
      socket.say({ id: 4000, ok: {} });
      socket.say(encodeFrame({ kind: 99, id: 3, n: 0, sections: [] }));
      const left = [BigUint64Array.of(2n), BigUint64Array.of(77n), new Uint8Array(1)];
      socket.say(encodeFrame({ kind: 5, id: 3, n: 0, k: 1, sections: left }));
      const version = live.answer.version;
      await db.ping();
      db.close();
      return { version, sockets: sockets.length, data: log.data.length };
    """)
    assert told == {"version": 2, "sockets": 1, "data": 2}


async def test_an_error_event_does_not_stick_to_the_connection(node: Node) -> None:
    told = await node.run("""
      const db = await open();
      Scripted.answer = (_, socket) => socket === sockets[0] ? "nothing" : undefined;
      sockets[0].say({ event: "error", code: "bad_request", message: "no id" });
      const ping = code(db.ping());
      await turn();
      sockets[0].drop();
      const told = await ping;
      db.close();
      return told;
    """)
    assert told is None


async def test_what_is_too_large_is_refused_before_it_is_sent(node: Node) -> None:
    told = await node.run("""
      const db = await open();
      const codes = [
        await code(db.delete("items", Array(900).fill("é"))),
        await code(db.search("items", new Float32Array(2000))),
        await code(db.add("items", [[1, 2]], { metadata: [{ text: "x".repeat(5000) }] })),
      ];
      const metadata = Array.from({ length: 20 }, () => ({ text: "x".repeat(1000) }));
      const added = await code(db.add("items", new Float32Array(40), { metadata }));
      const rows = sockets[0].asked.filter(({ op }) => op === 1).map(({ n }) => n);
      db.close();
      return { codes, added, rows, sockets: sockets.length };
    """)
    assert told["codes"] == ["too_large"] * 3
    assert (told["added"], told["sockets"]) == (None, 1)
    assert sum(told["rows"]) == 20


# -- adds ---------------------------------------------------------------------------------------


async def test_an_add_that_was_given_up_before_it_went_out_does_not_go_out(
    node: Node, server: Server
) -> None:
    """It would take the number of the next one, which then passes for a repetition."""
    async with client(server) as raw:
        await raw.create(capacity=10)
        told = await node.run(f"""
          let isFull = false;
          class Slow extends WebSocket {{
            get bufferedAmount() {{ return isFull ? 1e9 : super.bufferedAmount; }}
          }}
          const db = await connect({server.url!r}, {{ WebSocket: Slow }});
          await db.add("items", [[1, 0]], {{ ids: [1] }});
          isFull = true;
          const first = await code(db.add("items", [[2, 0]], {{ ids: [2], timeoutMs: 20 }}));
          isFull = false;
          await turn(20);
          await db.add("items", [[3, 0]], {{ ids: [3] }});
          const rows = await db.get("items", [2, 3]);
          db.close();
          return {{ first, rows: rows.map((row) => row?.id ?? null) }};
        """)
    assert told == {"first": "timeout", "rows": [None, 3]}


@pytest.mark.parametrize(
    ("failure", "same"), [("internal", False), ("storage_failed", False), ("quota", True)]
)
async def test_a_number_whose_fate_is_unknown_is_not_used_for_other_rows(
    node: Node, failure: str, same: bool
) -> None:
    told = await node.run(f"""
      const adds = [];
      Scripted.answer = (request) => {{
        if (request.op !== 1) return;
        adds.push(`${{request.producer}} ${{request.batch}}`);
        if (adds.length === 1) return {{ error: {{ code: {json.dumps(failure)}, message: "" }} }};
      }};
      const db = await open();
      const codes = [await code(db.add("items", [[1, 2]])), await code(db.add("items", [[3, 4]]))];
      db.close();
      return {{ codes, same: adds[0] === adds[1] }};
    """)
    assert told == {"codes": [failure, None], "same": same}


async def test_an_add_that_waits_for_its_turn_can_be_given_up_at_once(node: Node) -> None:
    told = await node.run("""
      let reply;
      Scripted.answer = ({ op, id }) => op === 1 && !reply ? ((reply = id), "nothing") : undefined;
      const db = await open();
      const first = code(db.add("items", [[1, 2]]));
      await when(() => reply);
      const aborter = new AbortController();
      const second = code(db.add("items", [[3, 4]], { signal: aborter.signal }));
      const third = code(db.add("items", [[5, 6]]));
      aborter.abort(new OmenError("mine", ""));
      const told = [await second, sockets[0].asked.filter(({ op }) => op === 1).length];
      sockets[0].say({ id: reply, error: { code: "quota", message: "" } });
      told.push(await first, await third, sockets[0].asked.filter(({ op }) => op === 1).length);
      db.close();
      return told;
    """)
    assert told == ["mine", 1, "quota", None, 2]


COLUMNS = [
    *('{ f: ["x"] }', '{ f: ["1"] }', "{ i: [1.5] }", '{ i: ["x"] }', '{ b: ["yes"] }'),
    *("{ s: [5] }", "{ f: [1, 2] }", "{ f: [] }"),
]


async def test_values_of_another_type_are_refused_and_not_changed(
    node: Node, server: Server
) -> None:
    async with client(server) as raw:
        columns = {"f": "f64", "i": "i64", "b": "bool", "s": "str"}
        await raw.create(capacity=10, columns=columns)
        told = await node.run(f"""
          const db = await connect({server.url!r});
          const codes = [];
          for (const columns of [{", ".join(COLUMNS)}]) {{
            codes.push(await code(db.add("items", [[1, 2]], {{ ids: [1], columns }})));
          }}
          codes.push(await code(db.add("items", [[1, 2]], {{ ids: [1], metadata: [{{}}, {{}}] }})));
          const columns = {{ f: [1.5], i: [2n], b: [true], s: ["x"] }};
          await db.add("items", [[1, 2]], {{ ids: [1], columns }});
          const [row] = await db.get("items", [1], {{ include: ["metadata"] }});
          db.close();
          return {{ codes, metadata: row.metadata }};
        """)
    assert told["codes"] == ["bad_metadata"] * (len(COLUMNS) + 1)
    assert told["metadata"] == {"f": 1.5, "i": 2, "b": True, "s": "x"}


# -- subscriptions ------------------------------------------------------------------------------


async def test_a_vector_that_is_filled_anew_is_moved_to_each_time(node: Node) -> None:
    moves = await node.run("""
      const db = await open();
      const vector = new Float32Array([1, 0]);
      const live = db.live("items", vector);
      await when(() => live.answer);
      for (let turn = 0; turn < 3; turn++) {
        vector[1] = turn;
        await live.move(vector);
      }
      db.close();
      return sockets[0].asked.filter(({ op }) => op === 8).length;
    """)
    assert moves == 3


async def test_a_bad_move_while_the_connection_is_lost_ends_only_the_move(node: Node) -> None:
    told = await node.run("""
      const refusal = { error: { code: "zero_norm", message: "" } };
      Scripted.answer = (request, socket) => {
        if (request.op === 8) return socket === sockets[0] ? "nothing" : refusal;
      };
      const db = await open();
      const live = db.live("items", [1, 0]);
      await when(() => live.answer);
      const moved = code(live.move([0, 0]));
      await turn();
      sockets[0].drop();
      const told = await moved;
      const { state } = live;
      db.close();
      return { told, state };
    """)
    assert told == {"told": "zero_norm", "state": "live"}


async def test_nothing_is_said_after_the_end(node: Node) -> None:
    told = await node.run("""
      const db = await open();
      const live = db.live("items", [1, 0]);
      const log = watched(live);
      await when(() => live.answer);
      live.move([2, 0]);
      live.move([3, 0]);
      live.close();
      live.close();
      await db.ping();
      await turn(5);
      db.close();
      return { data: log.data.length, states: log.states };
    """)
    assert told == {"data": 1, "states": ["live", "ended"]}


async def test_a_subscription_answered_too_late_is_not_held_twice(node: Node) -> None:
    told = await node.run("""
      let subs = 0;
      const late = [];
      Scripted.answer = ({ op, id }) => {
        if (op === "unsubscribe") return;
        if (op !== "subscribe") return;
        subs += 1;
        if (subs > 1) return { ok: { sub: subs, epoch: "e", to_seq: 0 } };
        late.push(id);
        return "nothing";
      };
      const db = await open({ timeoutMs: 20 });
      const feed = db.feed("items");
      await when(() => feed.state === "live");
      sockets[0].say({ id: late[0], ok: { sub: 1, epoch: "e", to_seq: 0 } });
      await db.ping();
      const ended = sockets[0].asked.filter(({ op }) => op === "unsubscribe").map(({ sub }) => sub);
      const held = [...feed.link.subs.keys()];
      db.close();
      return { ended, held };
    """)
    assert told == {"ended": [1], "held": [2]}


async def test_every_iteration_is_told_the_end(node: Node) -> None:
    ended = await node.run("""
      const db = await open();
      const stats = db.watchStats();
      const readers = [0, 1, 2].map(async () => { for await (const _ of stats); });
      await turn(5);
      stats.close();
      await Promise.all(readers);
      db.close();
      return readers.length;
    """)
    assert ended == 3


async def test_a_paused_feed_whose_reader_leaves_goes_on(node: Node) -> None:
    told = await node.run("""
      const froms = [];
      Scripted.answer = ({ op, from_seq = 1 }) => {
        if (op !== "subscribe") return;
        froms.push(from_seq);
        return { ok: { sub: 4, epoch: "e", to_seq: from_seq - 1 } };
      };
      const db = await open();
      const feed = db.feed("items");
      const reader = feed[Symbol.asyncIterator]();
      const first = reader.next();
      await when(() => feed.state === "live");
      for (let seq = 1n; seq <= 300n; seq++) {
        const sections = [BigUint64Array.of(seq, seq, seq, seq)];  // version to_seq id seq
        sockets[0].say(encodeFrame({ kind: 6, id: 4, n: 1, sections }));
      }
      const wasPaused = feed.link === null;
      await first;
      await reader.return();
      await when(() => feed.link);
      db.close();
      return { wasPaused, resumed: froms[1] === feed.toSeq + 1 };
    """)
    assert told == {"wasPaused": True, "resumed": True}


async def test_a_closed_client_ends_what_waits_to_subscribe_again(node: Node) -> None:
    told = await node.run("""
      const error = { code: "rate_limited", message: "", retry: true, retry_after_ms: 60000 };
      Scripted.answer = ({ op }) => op === "subscribe" ? { error } : undefined;
      const db = await open();
      const feed = db.feed("items");
      await when(() => sockets[0].asked.length);
      await turn(5);
      db.close();
      const timers = process.getActiveResourcesInfo().filter((name) => name === "Timeout").length;
      return { state: feed.state, timers };
    """)
    assert told == {"state": "ended", "timers": 0}


async def test_an_iteration_begun_later_starts_with_the_answer_that_stands(node: Node) -> None:
    told = await node.run("""
      const db = await open();
      const live = db.live("items", [1, 0]);
      await when(() => live.answer);
      const versions = [];
      for (let turn = 0; turn < 2; turn++) {
        for await (const { version } of live) { versions.push(version); break; }
      }
      db.close();
      return versions;
    """)
    assert told == [1, 1]
