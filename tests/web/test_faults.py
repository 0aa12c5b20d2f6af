"""``client.js`` when things go wrong: scripted servers, replies too late, calls given up.

Most pieces run in Node against ``Scripted`` (scripted.py).
"""

from __future__ import annotations

import json

import pytest

from omendb_ws.net.server import Server

from ..server.raw import client
from .runtimes import Node

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


async def test_a_live_query_whose_first_vector_is_refused_lives_with_the_next(node: Node) -> None:
    """Refused, moved to another bad one, then to a good one; each call has its own error."""
    told = await node.run("""
      const bad = { error: { code: "zero_norm", message: "all are 0" } };
      let refused = 2;
      Scripted.answer = ({ op }) => op === 7 && refused-- > 0 ? bad : undefined;
      const db = await open();
      const live = db.live("items", [0, 0]);
      const log = watched(live);
      await when(() => live.state === "ended");
      const found = [await code(live.move([0, 0])), live.state, await code(live.move([1, 0]))];
      found.push(live.state, live.error, live.answer !== null);
      live.close();
      found.push(await code(live.move([1, 0])));
      db.close();
      return { found, states: log.states };
    """)
    assert told["found"] == ["zero_norm", "ended", None, "live", None, True, "closed"]
    assert told["states"] == ["ended", "starting", "ended", "starting", "live", "ended"]


async def test_a_move_that_came_before_the_first_vector_was_refused_has_its_turn(
    node: Node,
) -> None:
    told = await node.run("""
      const asked = [];
      Scripted.answer = ({ op, id }) => op === 7 && asked.push(id) === 1 ? "nothing" : undefined;
      const db = await open();
      const live = db.live("items", [0, 0]);
      const log = watched(live);
      await when(() => asked.length);
      const first = code(live.move([0, 0]));
      const second = code(live.move([1, 0]));
      sockets[0].say({ id: asked[0], error: { code: "zero_norm", message: "" } });
      const told = [await first, await second, live.state];
      db.close();
      return { told, asked: asked.length, states: log.states };
    """)
    # The newest of the moves that waited is asked for, so one answer is for both.
    assert told == {"told": [None, None, "live"], "asked": 2, "states": ["live", "ended"]}


@pytest.mark.parametrize("end", ["dropped", "forbidden", "unavailable"])
async def test_a_live_query_that_the_server_ended_is_not_moved(node: Node, end: str) -> None:
    told = await node.run(f"""
      const db = await open();
      const live = db.live("items", [1, 0]);
      await when(() => live.answer);
      sockets[0].say({{ event: "ended", sub: 3, reason: {json.dumps(end)} }});
      const told = [live.state, await code(live.move([2, 0])), db.subscriptions.size];
      db.close();
      return told;
    """)
    assert told == ["ended", "closed" if end == "dropped" else end, 0]


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
        db.options.timeoutMs = 0;  // all others have as long as they take
        return "nothing";
      };
      const db = await open();
      db.options.timeoutMs = 20;
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


async def test_a_closed_client_ends_what_waits_to_subscribe_again(node: Node) -> None:
    told = await node.run("""
      const error = { code: "rate_limited", message: "", retry: true, retry_after_ms: 60000 };
      Scripted.answer = ({ op }) => op === "subscribe" ? { error } : undefined;
      const db = await open();
      const feed = db.feed("items");
      await when(() => sockets[0].asked.length);
      await turn(5);
      db.close();
      await turn();
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
