"""``client.js`` asks, on a new connection, for what it has seen: time does not run backwards."""

from __future__ import annotations

import pytest

from .runtimes import Node

#: A collection of which every answer says ``version`` and, where it says it, ``epoch``.
COLLECTION = """
  Object.assign(globalThis, { version: 7, epoch: "e1" });
  const ok = (more) => ({ ok: { version, ...more } });
  const found = ({ id }) =>
    encodeFrame({ kind: 4, id, n: 1, json: { subs: [3] },
                  sections: [BigUint64Array.of(BigInt(version)), new Uint32Array(1)] });
  Scripted.answer = (request) => {
    const { op, epoch: asked } = request;
    if (asked && asked !== epoch) return { error: { code: "wrong_epoch", message: "", epoch } };
    return {
      open: { ok: { handle: 1, dim: 2, capacity: 9, ids: "u64", columns: {}, version, epoch } },
      count: ok({ count: 1 }), get: ok({ rows: [null] }), search: ok({ results: [] }),
      delete: ok({ deleted: 1 }), subscribe: ok({ sub: 3, epoch, to_seq: 3, count: 1 }),
      3: found, 7: found,
    }[op];
  };
  const db = await open();
  const settled = () => turn(5);
  /** What each request since then asked for, but `open` and `unsubscribe`. */
  const asked = () => sockets.flatMap((one) => one.asked)
    .filter(({ op }) => !["open", "unsubscribe"].includes(op))
    .map(({ min_version: least = null, epoch = null }) => [least, epoch]);
"""
READS = {
    "count": 'await db.count("items")',
    "get": 'await db.get("items", [1])',
    "search": 'await db.search("items", [1, 0])',
    "search by a row": 'await db.search("items", null, { like: 1 })',
    "live": 'const sub = db.live("items", [1, 0]); await event(sub, "data"); sub.close()',
    "feed": 'const sub = db.feed("items"); await settled(); sub.close()',
    "watch count": 'const sub = db.watchCount("items"); await settled(); sub.close()',
}


@pytest.mark.parametrize("name", READS)
async def test_reads_ask_for_the_version_that_was_seen_until_one_is_there(
    node: Node, name: str
) -> None:
    asked = await node.run(f"""{COLLECTION}
      const read = async () => {{ {READS[name]}; await settled(); }};
      await read();
      await read();
      sockets[0].drop();
      await read();
      await read();
      db.close();
      return asked();
    """)
    assert asked == [[None, None], [None, None], [7, "e1"], [None, None]]


@pytest.mark.parametrize(
    "change", ['db.add("items", [[1, 0]], { ids: [1] })', 'db.delete("items", [1])']
)
async def test_what_a_client_wrote_it_asks_for_elsewhere(node: Node, change: str) -> None:
    asked = await node.run(f"""{COLLECTION}
      await {change};
      await settled();
      sockets[0].drop();
      await db.count("items");
      db.close();
      return asked();
    """)
    assert asked[-1] == [1 if "add" in change else 7, "e1"]


async def test_a_collection_that_began_anew_is_read_as_it_is(node: Node) -> None:
    asked = await node.run(f"""{COLLECTION}
      await db.count("items");
      await settled();
      Object.assign(globalThis, {{ version: 1, epoch: "e2" }});
      sockets[0].drop();
      await db.count("items");
      await settled();
      sockets[1].drop();
      await db.count("items");
      db.close();
      return asked();
    """)
    assert asked == [[None, None], [7, "e1"], [None, None], [1, "e2"]]


async def test_an_answer_that_is_not_there_yet_is_waited_for(node: Node) -> None:
    asked = await node.run(f"""{COLLECTION}
      await db.count("items");
      await settled();
      const usual = Scripted.answer;
      let late = 3;
      Scripted.answer = (request) => request.op === "count" && late-- > 0
        ? {{ error: {{ code: "behind", message: "", retry: true, version: 5 }} }} : usual(request);
      sockets[0].drop();
      await db.count("items");
      db.close();
      return asked();
    """)
    assert asked == [[None, None], *[[7, "e1"]] * 4]


async def test_a_feed_of_an_epoch_that_is_over_is_told_so(node: Node) -> None:
    told = await node.run(f"""{COLLECTION}
      await db.count("items");
      await settled();
      sockets[0].drop();
      const feed = db.feed("items", {{ fromSeq: 4, epoch: "e0" }});
      const log = watched(feed);
      await when(() => log.gaps.length);
      db.close();
      return {{ reasons: log.gaps.map(({{ reason }}) => reason), first: asked()[1] }};
    """)
    assert told == {"reasons": ["epoch"], "first": [None, "e0"]}
