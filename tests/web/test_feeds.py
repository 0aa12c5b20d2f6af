"""Feeds and iterations of ``client.js``: gaps in their place, and a buffer that has an end."""

from __future__ import annotations

import pytest

from .runtimes import Node

#: ``row(seq, bytes)``: the push of one row, with metadata of that size.
ROW = """
globalThis.row = (seq, bytes = 0, id = 4) => {
  const json = bytes ? { metadata: [{ text: "x".repeat(bytes) }] } : {};
  // version, to_seq, id, seq
  const sections = [BigUint64Array.of(...[seq, seq, seq, seq].map(BigInt))];
  return encodeFrame({ kind: 6, id, n: 1, json, sections });
};
globalThis.gap = (from_seq, to_seq, reason = "evicted") =>
  ({ event: "gap", sub: 4, from_seq, to_seq, reason });
Scripted.answer = ({ op, from_seq = 1 }) =>
  op === "subscribe" ? { ok: { sub: 4, epoch: "e", version: 0, to_seq: from_seq - 1 } } : undefined;
"""


@pytest.fixture(autouse=True)
async def rows(node: Node) -> None:
    await node.run(ROW)


async def test_a_count_that_is_what_it_was_after_a_reconnect_is_no_item(node: Node) -> None:
    told = await node.run("""
      let counted = { version: 5, count: 3, by: [{ value: null, count: 3 }], others: 0 };
      const begun = () => ({ ok: { sub: 4, epoch: "e", ...counted } });
      Scripted.answer = ({ op }) => op === "subscribe" ? begun() : undefined;
      const push = (version, count) =>
        sockets.at(-1).say({ event: "count", sub: 4, version, count, by: [], others: count });
      const db = await open();
      const counts = db.watchCount("items", { by: "a" });
      const log = watched(counts);
      await when(() => log.data.length === 1);
      push(6, 4);
      push(7, 4);
      counted = { version: 7, count: 4, by: [], others: 4 };
      sockets[0].close();
      await when(() => sockets.length === 2 && counts.state === "live");
      push(8, 5);
      await when(() => log.data.length > 2);
      const told = log.data.map(({ version, count }) => [version, count]);
      // Who left it and comes again is told what is true.
      counted = { version: 8, count: 5, by: [], others: 5 };
      counts.close();
      const again = db.watchCount("items", { by: "a" });
      for await (const one of again) { told.push([one.version, one.count]); break; }
      for await (const one of again) { told.push([one.version, one.count]); break; }
      db.close();
      return told;
    """)
    assert told == [[5, 3], [6, 4], [8, 5], [8, 5], [8, 5]]


async def test_gaps_stand_in_iterations_where_the_rows_would(node: Node) -> None:
    told = await node.run("""
      const db = await open();
      const feed = db.feed("items");
      const log = watched(feed);
      const reader = feed[Symbol.asyncIterator]();
      const first = reader.next();
      await when(() => feed.state === "live");
      const [socket] = sockets;
      [row(1), gap(2, 5), row(6), row(7), gap(8, 9, "expired")].forEach((one) => socket.say(one));
      const items = [(await first).value];
      while (items.length < 5) items.push(await next(reader));
      db.close();
      const said = ({ version, toSeq, epoch, rows, gap }) =>
        [version, toSeq, epoch, rows.length, gap && plain(gap)];
      const events = [log.data.length, log.gaps.length];
      return { items: items.map(said), events, toSeq: feed.toSeq };
    """)
    assert told["items"] == [
        [1, 1, "e", 1, None],
        [1, 5, "e", 0, {"fromSeq": 2, "toSeq": 5, "reason": "evicted"}],
        [6, 6, "e", 1, None],
        [7, 7, "e", 1, None],
        [7, 9, "e", 0, {"fromSeq": 8, "toSeq": 9, "reason": "expired"}],
    ]
    assert (told["events"], told["toSeq"]) == ([3, 2], 9)


async def test_another_epoch_is_a_gap_in_its_place_and_begins_with_its_first_row(
    node: Node,
) -> None:
    told = await node.run("""
      const asked = [];
      const another = { code: "wrong_epoch", message: "", epoch: "f" };
      Scripted.answer = ({ op, from_seq, epoch }) => {
        if (op !== "subscribe") return;
        asked.push([from_seq, epoch]);
        if (epoch === "e") return { error: another };
        const to_seq = (from_seq ?? 1) - 1;
        return { ok: { sub: 4, epoch: epoch ?? "e", version: 0, to_seq } };
      };
      const db = await open();
      const feed = db.feed("items");
      const reader = feed[Symbol.asyncIterator]();
      const first = reader.next();
      await when(() => feed.state === "live");
      sockets[0].say(row(1));
      sockets[0].drop();
      await when(() => sockets.length > 1 && feed.state === "live");
      sockets[1].say(row(1));
      const items = [(await first).value, await next(reader), await next(reader)];
      db.close();
      const said = ({ toSeq, epoch, gap }) => [toSeq, epoch, gap && plain(gap)];
      return { asked, items: items.map(said) };
    """)
    assert told["asked"] == [[None, None], [2, "e"], [1, "f"]]
    assert told["items"] == [
        [1, "e", None], [0, "f", {"fromSeq": 2, "toSeq": None, "reason": "epoch"}], [1, "f", None],
    ]  # fmt: skip


async def test_a_server_that_says_wrong_epoch_for_ever_ends_the_feed(node: Node) -> None:
    told = await node.run("""
      const error = { code: "wrong_epoch", message: "", epoch: "f" };
      Scripted.answer = ({ op }) => op === "subscribe" ? { error } : undefined;
      const db = await open();
      const feed = db.feed("items", { fromSeq: 3, epoch: "e" });
      await when(() => feed.state === "ended");
      db.close();
      return [feed.error.code, sockets[0].asked.length];
    """)
    assert told == ["wrong_epoch", 2]


@pytest.mark.parametrize("size", [0, 1000, 100_000])
async def test_what_waits_for_an_iteration_is_bounded_by_bytes(node: Node, size: int) -> None:
    """Few of large items wait, and many of small ones, each with what an object takes."""
    told = await node.run(f"""
      const db = await open();
      const feed = db.feed("items", {{ include: ["metadata"] }});
      const reader = feed[Symbol.asyncIterator]();
      const first = reader.next();
      await when(() => feed.state === "live");
      let sent = 0;
      while (feed.link) sockets[0].say(row(++sent, {size}));
      const held = feed.queue.length;
      const seqs = [(await first).value.toSeq];
      while (seqs.length < sent) seqs.push((await next(reader)).toSeq);
      const more = next(reader);
      await when(() => feed.link);
      const resumed = sockets[0].asked.at(-1).from_seq;
      sockets[0].say(row(sent + 1));
      seqs.push((await more).toSeq);
      db.close();
      return {{ sent, held, resumed, inOrder: seqs.every((seq, at) => seq === at + 1) }};
    """)
    least = (4 << 20) / (size + 1024 + 200)
    assert least <= told["held"] <= (4 << 20) / (size + 1024) + 2
    assert told["resumed"] == told["sent"] + 1
    assert told["inOrder"]


async def test_pushes_of_a_map_wait_up_to_as_many_bytes(node: Node) -> None:
    told = await node.run("""
      const db = await open();
      const map = db.map("items");
      const reader = map[Symbol.asyncIterator]();
      const first = reader.next();
      await when(() => map.state === "live");
      const point = (_, at) => ({ id: at, seq: at + 1, x: 0.5, y: 0.25 });
      const rows = Array.from({ length: 1000 }, point);
      const push = { event: "map", sub: 4, version: 1, basis: 1, first_seq: 1, rows };
      for (let version = 1; version < 400; version++) sockets[0].say({ ...push, version });
      const bytes = map.queuedBytes;
      const versions = [(await first).value.version];
      while (map.queue.length) versions.push((await next(reader)).version);
      db.close();
      return { bytes, points: map.points.size, last: versions.at(-1), count: versions.length };
    """)
    assert told["bytes"] <= 4 << 20
    assert (told["points"], told["last"]) == (1000, 399)
    assert 50 < told["count"] < 200


async def test_a_paused_feed_whose_reader_leaves_goes_on_for_its_listeners(node: Node) -> None:
    told = await node.run("""
      const froms = [];
      Scripted.answer = ({ op, from_seq = 1 }) => {
        if (op !== "subscribe") return;
        froms.push(from_seq);
        return { ok: { sub: 4, epoch: "e", to_seq: from_seq - 1 } };
      };
      const db = await open();
      const feed = db.feed("items");
      feed.addEventListener("data", () => {});
      const reader = feed[Symbol.asyncIterator]();
      const first = reader.next();
      await when(() => feed.state === "live");
      for (let seq = 1; feed.link && seq < 9000; seq++) sockets[0].say(row(seq, 1000));
      const wasPaused = feed.link === null;
      await first;
      await reader.return();
      await when(() => feed.link);
      db.close();
      return { wasPaused, resumed: froms[1] === feed.toSeq + 1 };
    """)
    assert told == {"wasPaused": True, "resumed": True}
