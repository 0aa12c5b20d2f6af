"""What is new, and what is left out because it is known, by ``client.js``."""

from __future__ import annotations

from .runtimes import Runtime

LARGE = str(2**64 - 1)


async def test_rows_near_others_are_left_out_and_what_is_new_is_told(runtime: Runtime) -> None:
    found = await runtime.run("""
      const db = await connect(url);
      await db.create("news", { dim: 2, capacity: 5000, columns: { kind: "str" } });
      const novel = db.novel("news", 0.999);
      const reader = novel[Symbol.asyncIterator]();
      const first = reader.next();
      const unlessNear = { score: 0.999 };
      const radians = (degrees) => (degrees * Math.PI) / 180;
      const turned = (degrees) => [Math.cos(radians(degrees)), Math.sin(radians(degrees))];
      const add = (ids, degrees, options = {}) =>
        db.add("news", degrees.map(turned), { ids, ...options });
      while (novel.state !== "live") await new Promise((done) => setTimeout(done, 1));
      const one = await add([2n ** 64n - 1n, 2, 3], [0, 60, 1], { unlessNear });
      const told = (await first).value;
      const none = await add([4], [61], { unlessNear });
      const plain = await add([5], [90]);
      const near = { score: 0.999, filter: { kind: "a" } };
      const last = await add([6], [60], { unlessNear: near });
      db.close();
      const rows = [...told.rows].map(({ id, near, score }) => [`${id}`, `${near}`, score > -2]);
      return { one: { ...one, near: one.near.map(String) }, none, plain, last, rows };
    """)
    assert found["one"] == {
        "version": 1, "firstSeq": 1, "lastSeq": 2, "skipped": [2], "near": [LARGE],
    }  # fmt: skip
    assert found["none"] == {
        "version": 1, "firstSeq": None, "lastSeq": None, "skipped": [0], "near": [2],
    }  # fmt: skip
    assert found["plain"] == {"version": 2, "firstSeq": 3, "lastSeq": 3}
    assert found["last"]["skipped"] == []
    assert found["rows"] == [[LARGE, "null", False], ["2", LARGE, True]]


async def test_a_large_add_tells_the_places_of_the_whole_call(runtime: Runtime) -> None:
    found = await runtime.run("""
      const db = await connect(url);
      await db.create("many", { dim: 128, capacity: 5000, ids: "str" });
      const vectors = new Float32Array(1200 * 128);
      for (let row = 0; row < 1200; row++) vectors[row * 128 + (row % 100)] = 1;
      const ids = Array.from({ length: 1200 }, (_, row) => `row ${row}`);
      const options = { ids, unlessNear: { score: 0.9 } };
      const { skipped, near, lastSeq } = await db.add("many", vectors, options);
      db.close();
      return { skipped: [skipped.length, skipped[0], skipped.at(-1)], near: near.at(-1), lastSeq };
    """)
    assert found == {"skipped": [1100, 100, 1199], "near": "row 99", "lastSeq": 100}


async def test_what_is_wrong_is_refused_by_its_name(runtime: Runtime) -> None:
    told = await runtime.run("""
      const db = await connect(url);
      await db.create("news", { dim: 2, capacity: 50 });
      const said = [];
      const note = (error) => said.push([error.code, error.message.split(": ")[1]]);
      const filter = { x: 1 };
      const score = 1;
      for (const unlessNear of [5, {}, { score: "1" }, { score, last: 2 }, { score, filter }]) {
        await db.add("news", [[1, 0]], { ids: [9], unlessNear }).catch(note);
      }
      try { db.novel("news", "1"); } catch (error) { note(error); }
      try { db.novel("news", 1, { k: 5 }); } catch (error) { note(error); }
      const count = await db.count("news");
      db.close();
      return { said, count };
    """)
    assert told["count"] == 0
    assert told["said"] == [
        ["bad_request", "unlessNear"],
        ["bad_request", "unlessNear.score"],
        ["bad_request", "unless_near.score"],
        ["bad_request", "last"],
        ["bad_filter", "unless_near.filter.x"],
        ["bad_request", "below"],
        ["bad_request", "k"],
    ]
