"""Subscriptions of ``client.js`` that are refused for now: tried again, but not for ever."""

from __future__ import annotations

import pytest

from .runtimes import Node

PASSING = ["unavailable", "overloaded", "rate_limited", "draining"]
START = """
globalThis.subscribes = () => sockets.flatMap(({ asked }) => asked)
  .filter(({ op }) => op === "subscribe" || op === 7).length;
globalThis.taking = ({ op }) =>
  op === "subscribe" ? { ok: { sub: 4, epoch: "e", version: 0, to_seq: 0 } } : undefined;
globalThis.refusing = (code, more) => {
  const error = { code, message: "for now", retry: true, retry_after_ms: 5, ...more };
  Scripted.answer = ({ op }) => op === "subscribe" || op === 7 ? { error } : undefined;
};
globalThis.HOUR = 3_600_000;
globalThis.clockStands = () => {
  let now = 0;
  const [start, stop, waiting] = [setTimeout, clearTimeout, new Map()];
  globalThis.setTimeout = (run, ms) => {
    if (!(ms >= HOUR)) return start(run, ms);
    const timer = Symbol();
    waiting.set(timer, { at: now + ms, run });
    return timer;
  };
  globalThis.clearTimeout = (timer) => void (waiting.delete(timer) || stop(timer));
  return (ms) => {
    now += ms;
    for (const [timer, { at, run }] of waiting) if (at <= now && waiting.delete(timer)) run();
  };
};
"""
KINDS = {
    "live": "db.live('items', [1, 0])",
    "feed": "db.feed('items')",
    "match": "db.match('items', [1, 0], 0)",
    "count": "db.watchCount('items')",
    "stats": "db.watchStats()",
    "map": "db.map('items')",
}


@pytest.fixture(autouse=True)
async def start(node: Node) -> None:
    await node.run(START)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_refusal_that_does_not_pass_in_time_is_the_end(node: Node, kind: str) -> None:
    told = await node.run(f"""
      const pass = clockStands();
      refusing("unavailable");
      const db = await open({{ timeoutMs: HOUR }});
      const sub = {KINDS[kind]};
      const reading = (async () => {{ for await (const _ of sub); }})().catch((one) => one);
      await when(() => subscribes() > 2);
      const before = sub.state;
      pass(HOUR);
      const error = await reading;
      const told = [before, error.code, sub.state, sub.error === error];
      db.close();
      return told;
    """)
    assert told == ["starting", "unavailable", "ended", True]


@pytest.mark.parametrize("code", PASSING)
async def test_any_refusal_for_now_has_an_end(node: Node, code: str) -> None:
    """Also one that asks for more time than there is."""
    told = await node.run(f"""
      refusing({code!r}, {{ retry_after_ms: 3600000 }});
      const db = await open();
      db.options.timeoutMs = 400;
      const feed = db.feed("items");
      await when(() => feed.state === "ended");
      db.close();
      return [feed.error.code, subscribes()];
    """)
    assert (told[0], told[1]) == (code, 1)


async def test_a_refusal_that_passes_is_none(node: Node) -> None:
    """And the next one has its own time: three, each longer than half of what there is."""
    told = await node.run("""
      const pass = clockStands();
      const db = await open({ timeoutMs: HOUR, retryMs: 1, maxRetryMs: 1 });
      const feed = db.feed("items");
      const log = watched(feed);
      for (let round = 0; round < 3; round++) {
        refusing("unavailable");
        const seen = subscribes(); await when(() => subscribes() > seen);
        pass(0.6 * HOUR);
        const before = subscribes();
        await when(() => subscribes() > before + 2 || feed.state === "ended");
        Scripted.answer = taking;
        await when(() => feed.state === "live" || feed.state === "ended");
        refusing("unavailable");
        sockets.at(-1).drop();
      }
      Scripted.answer = taking;
      await when(() => feed.state === "live" || feed.state === "ended");
      db.close();
      return log.states;
    """)
    assert told == ["live", "lost", "live", "lost", "live", "lost", "live", "ended"]


async def test_without_a_time_limit_it_is_tried_on(node: Node) -> None:
    told = await node.run("""
      refusing("unavailable");
      const db = await open({ timeoutMs: 0 });
      const feed = db.feed("items");
      await when(() => subscribes() > 8);
      const { state } = feed;
      db.close();
      return state;
    """)
    assert told == "starting"


async def test_the_time_without_a_connection_does_not_count(node: Node) -> None:
    told = await node.run("""
      Scripted.answer = taking;
      const db = await open({ retryMs: 1, maxRetryMs: 1 });
      db.options.timeoutMs = 30;
      class Deaf extends Scripted { say() { queueMicrotask(() => this.drop()); } }
      db.options.WebSocket = Deaf;
      sockets[0].drop();
      const feed = db.feed("items");
      let late = 0;
      while (late < 3) late += (await code(db.ping())) === "timeout";
      const { state } = feed;
      db.options.timeoutMs = 0;
      db.options.WebSocket = Scripted;
      await when(() => feed.state === "live");
      db.close();
      return state;
    """)
    assert told == "starting"


CALLS = {
    "count": "db.count('items')",
    "get": "db.get('items', [1])",
    "delete": "db.delete('items', [1])",
    "add": "db.add('items', [[1, 0]])",
    "search": "db.search('items', [1, 0])",
}


@pytest.mark.parametrize("code", PASSING)
@pytest.mark.parametrize("call", CALLS)
async def test_a_call_waits_until_its_refusal_has_passed(node: Node, call: str, code: str) -> None:
    told = await node.run(f"""
      const error = {{ code: {code!r}, message: "for now", retry: true, retry_after_ms: 1 }};
      let left = 3, asked = 0;
      const numbers = [];
      const rights = {{ get: {{ ok: {{ rows: [] }} }} }};
      Scripted.answer = ({{ op, id, batch }}) => {{
        if (op === "open") return;
        asked += 1;
        if (op === 1) numbers.push(batch);
        if (left-- > 0) return {{ error }};
        return op === 3 ? results(id) : rights[op];
      }};
      const db = await open();
      const failed = await code({CALLS[call]});
      db.close();
      return {{ failed, asked, numbers: [...new Set(numbers)] }};
    """)
    assert (told["failed"], told["asked"]) == (None, 4)
    assert told["numbers"] == ([1] if call == "add" else [])


@pytest.mark.parametrize("code", PASSING)
async def test_a_call_whose_refusal_does_not_pass_ends_with_it(node: Node, code: str) -> None:
    """After as long as a call may take; of a server that is busy after ten attempts."""
    told = await node.run(f"""
      const error = {{ code: {code!r}, message: "for now", retry: true, retry_after_ms: 1 }};
      let asked = 0;
      Scripted.answer = ({{ op }}) => op === "count" ? (asked++, {{ error }}) : undefined;
      const db = await open();
      const timeoutMs = {code!r} === "unavailable" ? 300 : 0;
      const failed = await code(db.count("items", {{ timeoutMs }}));
      db.close();
      return {{ failed, asked }};
    """)
    assert told["failed"] == code
    assert told["asked"] > 1 if code == "unavailable" else told["asked"] == 10


@pytest.mark.parametrize("code", ["overloaded", "rate_limited"])
async def test_those_who_are_refused_together_do_not_come_back_together(
    node: Node, code: str
) -> None:
    """As long as was asked for is the least; above it chance decides, the wider the longer."""
    told = await node.run(f"""
      const error = {{ code: {code!r}, message: "for now", retry: true, retry_after_ms: 41 }};
      let left = 6;
      Scripted.answer = ({{ op }}) => op === "count" && left-- > 0 ? {{ error }} : undefined;
      const db = await open();
      const [start, random, waits] = [setTimeout, Math.random, []];
      Math.random = () => 0.5;
      globalThis.setTimeout = (run, ms) => {{
        const isWait = ms > 41 && ms < 41 + 1001;
        if (isWait) waits.push(ms);
        return start(run, isWait ? 0 : ms);
      }};
      const failed = await code(db.count("items"));
      Object.assign(globalThis, {{ setTimeout: start }});
      Math.random = random;
      db.close();
      return {{ failed, waits }};
    """)
    bounds = [min(41 * 2**attempt, 2000) for attempt in range(6)]
    assert told == {"failed": None, "waits": [41 + bound / 2 for bound in bounds]}


async def test_a_call_that_fails_fast_waits_for_no_refusal_to_pass(node: Node) -> None:
    told = await node.run("""
      const error = { code: "unavailable", message: "for now", retry: true, retry_after_ms: 1 };
      let asked = 0;
      Scripted.answer = ({ op }) => op === "count" ? (asked++, { error }) : undefined;
      const db = await open();
      const failed = await code(db.count("items", { failFast: true }));
      db.close();
      return { failed, asked };
    """)
    assert told == {"failed": "unavailable", "asked": 1}


async def test_what_waits_for_a_refusal_to_pass_ends_with_the_client(node: Node) -> None:
    """Or with its signal; and leaves no timer."""
    told = await node.run("""
      const error = { code: "unavailable", message: "", retry: true, retry_after_ms: 3_600_000 };
      let asked = 0;
      Scripted.answer = ({ op }) => op === "count" ? (asked++, { error }) : undefined;
      const db = await open({ timeoutMs: 0 });
      const aborter = new AbortController();
      const { signal } = aborter;
      const calls = [code(db.count("items")), code(db.count("items", { signal }))];
      await when(() => asked === 2);
      await turn();
      aborter.abort(new OmenError("mine", ""));
      const told = [await calls[1]];
      db.close();
      told.push(await calls[0]);
      await turn();
      told.push(process.getActiveResourcesInfo().filter((one) => one === "Timeout").length);
      return told;
    """)
    assert told == ["mine", "closed", 0]
