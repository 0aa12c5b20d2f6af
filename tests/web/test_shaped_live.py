"""Live queries of ``client.js`` with what shapes an answer, and moves of all that they ask."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from omendb_ws.net.server import Server

from ..server.raw import Raw, client
from .runtimes import Runtime
from .scripted import PLAIN, WATCH

SHAPES: list[dict[str, Any]] = [
    {"exclude": [9, 8]},
    {"decay": {"half_life": 0.5, "column": "n"}},
    {"decay": {"half_life": 60}, "group": {"by": "kind", "size": 2}},
    {"rank": {"$neg": {"$abs": {"$sub": ["n", 4]}}}},
    {"rank": {"$min": ["$score", 5]}, "spread": {"max_similarity": 40}},
]


@pytest.fixture
async def page(runtime: Runtime) -> Runtime:
    await runtime.run(PLAIN + WATCH + "globalThis.db = await connect(url);")
    return runtime


async def begin(raw: Raw) -> None:
    """Rows n = 0 … 9 at (n, 1), of kinds "even" and "odd"; dot."""
    await raw.create(capacity=100, columns={"kind": "str", "n": "i64"})
    await add(raw, *range(10))


async def add(raw: Raw, *numbers: int) -> None:
    rows = [
        {"id": n, "vector": [n, 1], "metadata": {"kind": "odd" if n % 2 else "even", "n": n}}
        for n in numbers
    ]
    await raw.ok("add", collection="items", rows=rows)


def held(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [
        (row["id"], row["seq"], float(np.float32(row["score"])), row.get("rank")) for row in rows
    ]


async def test_every_shaped_answer_is_what_search_says(page: Runtime, server: Server) -> None:
    async with client(server) as raw:
        await begin(raw)
        await page.run(f"""
          const shapes = {json.dumps(SHAPES)};
          const begun = (one) => watched(db.live("items", [1, 0], {{ k: 4, ...one }}));
          globalThis.logs = shapes.map(begun);
          await when(() => logs.every((log) => log.data.length));
        """)
        for turn in range(5):
            for place, shape in enumerate(SHAPES):
                ok = await raw.ok("search", collection="items", vector=[1, 0], k=4, **shape)
                expected = held(ok["results"])
                found = await page.run(f"""
                  const wanted = "{",".join(str(row[1]) for row in expected)}";
                  const last = () => rowsOf(logs[{place}].data.at(-1));
                  await when(() => last().map(({{ seq }}) => seq).join() === wanted);
                  return last();
                """)
                assert held(found) == expected
            await raw.ok("delete", collection="items", ids=[8 - turn])
            await add(raw, 20 + turn)


async def test_moves_change_what_they_hold_and_nothing_else(page: Runtime, server: Server) -> None:
    async with client(server) as raw:
        await begin(raw)
    found = await page.run("""
      const live = db.live("items", [1, 0], { k: 3, exclude: [9], group: { by: "kind", size: 2 } });
      const ids = (answer) => rowsOf(answer).map(({ id }) => id);
      const found = [ids(await live.move([1, 0]))];
      for (const [vector, options] of [
        [null, { filter: { n: { $lt: 8 } } }],
        [[-1, 0], { minScore: -3 }],
        [undefined, { exclude: [0, 1], minScore: null }],
        [null, { exclude: null, filter: null }],
        [null, { positive: [9, [5, 1]], negative: [[0, 1]] }],
        [[1, 0]],
      ]) found.push(ids(await live.move(vector, options)));
      live.close();
      return found;
    """)
    assert found == [
        [8, 7, 6], [7, 6, 5], [0, 1, 2], [2, 3, 4], [0, 1, 2], [8, 7, 6], [9, 8, 7],
    ]  # fmt: skip


async def test_moves_of_different_things_are_all_made(page: Runtime, server: Server) -> None:
    async with client(server) as raw:
        await begin(raw)
    found = await page.run("""
      const live = db.live("items", null, { k: 3, positive: [0] });
      const moves = [
        live.move(null, { exclude: [9] }),
        live.move(null, { filter: { undeclared: 1 } }),
        live.move(null, { minScore: 5 }),
        live.move([1, 0]),
        live.move(null, { filter: { kind: "even" } }),
      ];
      const ends = await Promise.allSettled(moves);
      await when(() => rowsOf(live.answer).map(({ id }) => id).join() === "8,6");
      const told = ends.map(({ status, reason }) => reason?.code ?? status);
      live.close();
      return told;
    """)
    assert found == ["fulfilled", "bad_filter", "fulfilled", "fulfilled", "fulfilled"]


async def test_a_row_whose_rank_changed_is_updated_and_one_without_is_filtered(
    page: Runtime, server: Server
) -> None:
    async with client(server) as raw:
        await begin(raw)
        await page.run("""
          globalThis.log = watched(db.live("items", [1, 0], { k: 2, rank: { $neg: "n" } }));
          await when(() => log.data.length);
        """)
        await raw.ok("update", collection="items", rows=[{"id": 0, "metadata": {"n": -5}}])
        await raw.ok("update", collection="items", rows=[{"id": 1, "metadata": {}}])
        leaves = await page.run("""
          await when(() => rowsOf(log.data.at(-1)).map(({ id }) => id).join() === "0,2");
          return log.data.slice(1).flatMap(({ changes }) => changes.leave);
        """)
    assert sorted((one["id"], one["reason"]) for one in leaves) == [(0, "updated"), (1, "filtered")]


async def test_rows_without_a_rank_come_last_and_have_null(page: Runtime, server: Server) -> None:
    async with client(server) as raw:
        await begin(raw)
        await raw.ok("update", collection="items", rows=[{"id": 9, "metadata": {}}])
        rows = await page.run("""
          const live = db.live("items", [1, 0], { k: 12, decay: { half_life: 9, column: "n" } });
          globalThis.log = watched(live);
          await when(() => log.data.length);
          const told = ({ id, rank, weight }) => [id, rank === null, weight === null];
          return rowsOf(log.data[0]).map(told);
        """)
        assert rows == [
            *([n, False, False] for n in range(8, 0, -1)),
            [9, True, True],
            [0, True, False],
        ]
        await add(raw, 10)
        rows = await page.run("""
          await when(() => log.data.at(-1).length === 11);
          const { ranks, weights, at } = log.data.at(-1);
          const ids = rowsOf(log.data.at(-1)).map(({ id }) => id);
          return [ids, Number.isNaN(ranks[10]), weights, at];
        """)
        assert rows == [[10, *range(8, 0, -1), 9, 0], True, None, None]
        await raw.ok("delete", collection="items", ids=[*range(11)])
        ranks = await page.run("""
          await when(() => log.data.at(-1).length === 0);
          return plain(log.data.at(-1).ranks);
        """)
        assert ranks == []


@pytest.mark.parametrize(
    ("call", "code", "named"),
    [
        ("db.live('items', null, {})", "bad_vector", "vector"),
        ("db.live('items', null, { exclude: [1] })", "bad_vector", "vector"),
        ("db.live('items', [1, 0], { positive: [1] })", "bad_request", "vector"),
        ("db.live('items', [1, 0], { negative: [1] })", "bad_request", "negative"),
        ("db.live('items', null, { positive: 5 })", "bad_request", "positive"),
        ("db.live('items', null, { positive: [null] })", "bad_id", "positive[0]"),
        ("db.live('items', null, { positive: [[1, 'x']] })", "bad_vector", "positive[0][1]"),
        ("db.live('items', [1, 0], { exclude: [1.5] })", "bad_id", "exclude[0]"),
        (
            "db.live('items', [1, 0], { decay: { half_life: NaN } })",
            "bad_request",
            "decay.half_life",
        ),
        ("db.live('items', [1, 0], { rank: { $neg: Infinity } })", "bad_rank", "rank.$neg"),
        ("db.live('items', [1, 0], { mmr: { lambda: 1 } })", "bad_request", "mmr"),
    ],
)
async def test_what_no_request_can_hold_is_refused_by_name(
    page: Runtime, server: Server, call: str, code: str, named: str
) -> None:
    async with client(server) as raw:
        await begin(raw)
    found = await page.run(f"""
      try {{
        for await (const answer of {call}) return [answer.length];
      }} catch ({{ code, message }}) {{
        return [code, message];
      }}
    """)
    assert found[0] == code, found
    assert found[1].startswith(f"{code}: {named}"), found
