"""Leaving an iteration of ``client.js``: nothing stays on the server, and it may be begun again.

As in Python: what nobody reads any more is unsubscribed, and who still holds it can read on.
"""

from __future__ import annotations

import asyncio

import pytest

from omendb_ws.net.server import Server

from ..server.raw import client
from .runtimes import PATIENCE_SECONDS, Node, Runtime
from .test_feeds import ROW

WAYS = {
    "break": "for await (const _ of sub) break;",
    "return": "await (async () => { for await (const _ of sub) return; })();",
    "throw": "await (async () => { for await (const _ of sub) throw 1; })().catch(() => {});",
    "return()": "const reader = sub[Symbol.asyncIterator](); await reader.next();"
    " await reader.return();",
    "return() before the first": "await sub[Symbol.asyncIterator]().return();",
    # What is waited for never comes: the iteration is over all the same.
    "return() while it waits": "const reader = sub[Symbol.asyncIterator](); await reader.next();"
    " const waiting = reader.next(); await reader.return();"
    " if (!(await waiting).done) throw Error('not done');",
}
KINDS = {
    "live": "db.live('items', [1, 0])",
    "feed": "db.feed('items', { fromSeq: 1, epoch })",
    "match": "db.match('items', [1, 0], -9, { fromSeq: 1, epoch })",
    "count": "db.watchCount('items')",
    "stats": "db.watchStats('items')",
    "map": "db.map('items')",
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", WAYS)
async def test_an_iteration_that_is_left_leaves_nothing_on_the_server(
    runtime: Runtime, server: Server, kind: str, way: str
) -> None:
    async with client(server) as raw:
        await raw.create(capacity=8)
        await raw.add(1, 2, 3)
        epoch = (await raw.ok("describe", collection="items"))["epoch"]
        told = await runtime.run(f"""
          const epoch = {epoch!r};
          globalThis.db = await connect(url);
          const sub = {KINDS[kind]};
          {WAYS[way]}
          return [sub.state, sub.reason, sub.error, db.subscriptions.size];
        """)
        assert told == ["ended", "left", None, 0]
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (await raw.ok("stats"))["subscriptions"]:  # noqa: ASYNC110 - polled
                await asyncio.sleep(0.01)
        await runtime.run("db.close()")


@pytest.mark.parametrize("name", ["data", "gap"])
async def test_what_is_listened_to_stays_until_close(node: Node, name: str) -> None:
    told = await node.run(f"""
      const db = await open();
      const live = db.live("items", [1, 0]);
      live.addEventListener({name!r}, () => {{}});
      for await (const _ of live) break;
      const states = [live.state];
      live.close();
      states.push(live.state, live.reason);
      db.close();
      return states;
    """)
    assert told == ["live", "ended", "closed"]


async def test_one_reader_of_two_leaves_the_other_what_it_reads(node: Node) -> None:
    told = await node.run(
        ROW
        + """
      const db = await open();
      const feed = db.feed("items");
      const [stays, leaves] = [feed[Symbol.asyncIterator](), feed[Symbol.asyncIterator]()];
      const [first, other] = [stays.next(), leaves.next()];
      await when(() => feed.state === "live");
      await leaves.return();
      sockets[0].say(row(1));
      const seqs = [(await first).value.toSeq];
      sockets[0].say(row(2));
      seqs.push((await next(stays)).toSeq);
      const told = [seqs, (await other).done, feed.state];
      await stays.return();
      told.push(feed.state);
      db.close();
      return told;
    """
    )
    assert told == [[1, 2], True, "live", "ended"]


async def test_a_feed_that_was_left_goes_on_where_its_reader_was(node: Node) -> None:
    """What had come in and was not taken is there; what comes meanwhile is asked for."""
    told = await node.run(
        ROW
        + """
      const froms = [];
      Scripted.answer = ({ op, from_seq = 1 }) => {
        if (op !== "subscribe") return;
        froms.push(from_seq);
        return { ok: { sub: 4, epoch: "e", version: 0, to_seq: from_seq - 1 } };
      };
      const db = await open();
      const feed = db.feed("items");
      const seqs = [];
      const reading = (async () => {
        for await (const { toSeq } of feed) { seqs.push(toSeq); break; }
      })();
      await when(() => feed.state === "live");
      [row(1), row(2), row(3)].forEach((one) => sockets[0].say(one));
      await reading;
      const states = [feed.state];
      sockets[0].say(row(4));  // sent before the server knew
      const again = (async () => {
        for await (const { toSeq } of feed) { seqs.push(toSeq); if (toSeq === 4) break; }
      })();
      await when(() => feed.state === "live");
      states.push(feed.reason);
      sockets[0].say(row(4));
      await again;
      db.close();
      return { seqs, froms, states };
    """
    )
    assert told == {"seqs": [1, 2, 3, 4], "froms": [1, 4], "states": ["ended", None]}


@pytest.mark.parametrize(
    "again",
    ["await next(live[Symbol.asyncIterator]())", "await live.move([0, 1])",
     "await event(live, 'data')"],
)  # fmt: skip
async def test_a_live_query_that_was_left_begins_again(node: Node, again: str) -> None:
    told = await node.run(f"""
      const db = await open();
      const live = db.live("items", [1, 0]);
      for await (const _ of live) break;
      const old = live.answer;
      {again};
      const told = [live.state, live.reason, live.answer !== old];
      db.close();
      return told;
    """)
    assert told == ["live", None, True]


@pytest.mark.parametrize("kind", KINDS)
async def test_what_was_left_and_closed_then_stays_ended(node: Node, kind: str) -> None:
    told = await node.run(f"""
      const db = await open();
      const epoch = "e";
      const sub = {KINDS[kind]};
      await sub[Symbol.asyncIterator]().return();
      const reasons = [sub.reason];
      sub.close();
      sub.addEventListener("data", () => {{}});
      for await (const _ of sub) reasons.push("an item");
      reasons.push(sub.reason, sub.state, db.subscriptions.size);
      db.close();
      return reasons;
    """)
    assert told == ["left", "closed", "ended", 0]


async def test_what_was_closed_or_dropped_stays_ended(node: Node) -> None:
    told = await node.run("""
      const db = await open();
      const all = [];
      for (const end of ["closed", "dropped"]) {
        const live = db.live("items", [1, 0]);
        await when(() => live.answer);
        if (end === "closed") live.close();
        else sockets[0].say({ event: "ended", sub: 3, reason: "dropped" });
        for await (const _ of live) all.push("an item");
        live.addEventListener("data", () => {});
        all.push([live.state, live.reason]);
      }
      const left = db.live("items", [1, 0]);
      for await (const _ of left) break;
      db.close();
      all.push(await code((async () => { for await (const _ of left) all.push("an item"); })()));
      all.push([left.state, await code(left.move([1, 0]))]);
      return all;
    """)
    assert told == [["ended", "closed"], ["ended", "dropped"], "closed", ["ended", "closed"]]
