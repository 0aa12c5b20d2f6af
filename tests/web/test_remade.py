"""``client.js`` and collections that were made again, by somebody else, with another definition."""

from __future__ import annotations

from typing import Any

import pytest

from omendb_ws.net.server import Server

from ..server.raw import client
from .runtimes import Runtime
from .scripted import PLAIN, WATCH

BIG = 2**60 + 1


@pytest.fixture
async def page(runtime: Runtime) -> Runtime:
    await runtime.run(PLAIN + WATCH + "globalThis.db = await connect(url);")
    return runtime


async def remake(server: Server, page: Runtime, **shape: Any) -> None:
    """What ``page`` knows well (2 dimensions, ids u64, a column n) is dropped, and made anew."""
    async with client(server) as raw:
        await raw.create(capacity=10, columns={"n": "i64"})
        await page.run("""
          await db.add("items", [[1, 0]], { ids: [1], columns: { n: [1] } });
          await db.get("items", [1]);
          await db.search("items", null, { like: 1 });
        """)
        await raw.ok("drop", collection="items")
        await raw.create(**{"capacity": 10, **shape})


async def test_an_add_finds_another_dimension_and_other_columns(
    page: Runtime, server: Server
) -> None:
    await remake(server, page, dim=3, columns={"n": "f64", "other": "str"})
    rows = await page.run("""
      await db.add("items", [[1, 0, 0]], { ids: [5], columns: { n: [0.5], other: ["x"] } });
      await db.add("items", new Float32Array(3).fill(1), { ids: [6] });
      const answer = await db.search("items", [1, 0, 0], { include: ["metadata"] });
      return rowsOf(answer).map(({ id, metadata }) => [id, metadata]);
    """)
    assert rows == [[6, {}], [5, {"n": 0.5, "other": "x"}]]


async def test_what_fits_neither_is_refused_as_ever(page: Runtime, server: Server) -> None:
    await remake(server, page, dim=3)
    codes = await page.run("""
      const codes = [];
      for (let turn = 0; turn < 2; turn++) {
        await db.add("items", [[1, 0]], { ids: [5] }).catch(({ code }) => codes.push(code));
        await db.add("items", [[1, 0, 0]], { ids: [5], columns: { n: [1] } })
          .catch(({ code }) => codes.push(code));
      }
      return codes;
    """)
    assert codes == ["dim_mismatch", "bad_metadata"] * 2


@pytest.mark.parametrize("id", ["x", "17", str(BIG)])
async def test_ids_that_are_texts_now_are_texts(page: Runtime, server: Server, id: str) -> None:
    await remake(server, page, ids="str")
    told = await page.run(f"""
      const like = db.search("items", null, {{ like: {id!r} }});
      const found = [await like.catch(({{ code }}) => code)];
      await db.add("items", [[1, 0], [2, 0]], {{ ids: [{id!r}, "y"] }});
      found.push((await db.get("items", [{id!r}]))[0].id);
      found.push(rowsOf(await db.search("items", null, {{ like: "y" }}))[0].id);
      found.push(rowsOf(await db.search("items", null, {{ like: {id!r} }}))[0].id);
      const alone = await db.search("items", null, {{ like: {id!r}, minScore: 99 }});
      found.push(Array.isArray(alone.ids));
      return found;
    """)
    assert told == ["not_found", id, id, "y", True]


async def test_ids_that_are_numbers_now_are_numbers(page: Runtime, server: Server) -> None:
    async with client(server) as raw:
        await raw.create(capacity=10, ids="str")
        await page.run(f"""
          await db.add("items", [[1, 0]], {{ ids: ["{BIG}"] }});
          await db.get("items", ["{BIG}"]);
          globalThis.map = db.map("items", {{ every: 100 }});
          await when(() => map.points.size);
        """)
        await raw.ok("drop", collection="items")
        await raw.create(capacity=10)
    told = await page.run(f"""
      await when(() => map.state === "ended");
      await db.add("items", [[1, 0], [2, 0]], {{ ids: [{BIG}n, 5] }});
      const type = (answer) => [...answer].map(({{ id }}) => typeof id);
      const found = [
        type(await db.get("items", [{BIG}n])), type(await db.get("items", [{BIG}n, 5])),
        type(await db.search("items", null, {{ like: 5 }})),
        (await db.search("items", null, {{ like: {BIG}n, minScore: 99 }})).ids.constructor.name,
      ];
      const again = db.map("items", {{ every: 100 }});
      await when(() => again.points.size === 2);
      return [...found, type([...again.points.values()])];
    """)
    both = ["bigint", "number"]
    assert told == [["bigint"], both, ["bigint"], "BigUint64Array", both]


async def test_a_live_query_of_the_old_dimension_can_be_moved_into_the_new_one(
    page: Runtime, server: Server
) -> None:
    await remake(server, page, dim=3)
    told = await page.run("""
      const found = [];
      const live = db.live("items", [1, 0], { k: 3 });
      const log = watched(live);
      const read = async () => { for await (const answer of live) return answer.length; };
      found.push(await read().catch(({ code }) => code), live.error.code);
      await db.add("items", [[1, 0, 0]], { ids: [5] });
      const moved = rowsOf(await live.move([1, 0, 0]));
      found.push(moved[0].id, live.error, live.state, await read());
      await db.add("items", [[2, 0, 0]], { ids: [6] });
      await when(() => live.answer.length === 2);
      db.close();
      return { found, states: log.states };
    """)
    assert told["found"] == ["dim_mismatch", "dim_mismatch", 5, None, "live", 1]
    assert told["states"] == ["ended", "starting", "live", "ended"]
