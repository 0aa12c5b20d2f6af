"""``client.js`` in Node and in Chromium: the golden frames, and against a real server."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from omendb_ws.net.server import Server

from ..server.raw import client
from .runtimes import Node, Runtime
from .scripted import PLAIN

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
CASES = json.loads((VECTORS / "index.json").read_text("utf-8"))


@pytest.fixture
async def page(runtime: Runtime) -> Runtime:
    await runtime.run(PLAIN)
    return runtime


def golden(name: str) -> str:
    (case,) = [case for case in CASES if case["name"] == name]
    return base64.b64encode((VECTORS / case["file"]).read_bytes()).decode()


def meaning(name: str) -> dict[str, Any]:
    (case,) = [case for case in CASES if case["name"] == name]
    found: dict[str, Any] = case["meaning"]
    return found


# -- golden frames ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", [case["name"] for case in CASES if case["name"].startswith("binary-results")]
)
async def test_results_are_read_as_the_golden_frames_mean_them(page: Runtime, name: str) -> None:
    told = meaning(name)
    read = await page.run(
        f"const {{ answers, ...rest }} = decodeFrame(bytes({golden(name)!r}));"
        "return { ...rest, rows: answers.map(rowsOf), tookUs: answers[0].tookUs };"
    )
    assert (read["id"], read["version"], read["subs"]) == (
        told["id"],
        told["version"],
        told["subs"],
    )
    assert read["tookUs"] == told["took_us"]
    assert [len(rows) for rows in read["rows"]] == told["counts"]
    assert [row for rows in read["rows"] for row in rows] == rows_of(told["hits"])


@pytest.mark.parametrize(
    "name", [case["name"] for case in CASES if case["name"].startswith("binary-rows")]
)
async def test_pushed_rows_are_read_as_the_golden_frames_mean_them(
    page: Runtime, name: str
) -> None:
    told = meaning(name)
    read = await page.run(
        f"const {{ rows, ...rest }} = decodeFrame(bytes({golden(name)!r}));"
        "return { ...rest, rows: rowsOf(rows) };"
    )
    assert read["type"] == told["kind"]
    assert (read["sub"], read["version"], read["toSeq"]) == (
        told["sub"], told["version"], told["to_seq"],
    )  # fmt: skip
    assert read["rows"] == rows_of(told["hits"])


@pytest.mark.parametrize(
    "name", ["binary-added", "binary-added-duplicate", "binary-added-compared"]
)
async def test_acknowledgements_are_read_as_the_golden_frames_mean_them(
    page: Runtime, name: str
) -> None:
    told = meaning(name)
    read = await page.run(f"return decodeFrame(bytes({golden(name)!r}))")
    assert (read["version"], read["firstSeq"], read["lastSeq"], read["duplicate"]) == (
        told["version"], told["first_seq"], told["last_seq"], told["duplicate"],
    )  # fmt: skip
    assert (read.get("skipped"), read.get("near")) == (told["skipped"], told["near"])


async def test_frames_are_written_as_the_golden_ones(page: Runtime) -> None:
    written = await page.run("""
      const floats = (...numbers) => Float32Array.from(numbers);
      return [
        { kind: 3, id: 4294967295, handle: 4294967295, n: 1, dim: 3, k: 10,
          sections: [floats(1, 2, 3)] },
        { kind: 8, id: 7, handle: 3, n: 1, dim: 3, sections: [floats(1, 2, 3)] },
        { kind: 1, id: 6, handle: 3, n: 1, dim: 2, sections: [floats(1, 2)] },
        { kind: 1, id: 6, handle: 1, n: 2, dim: 1, json: { ids: ["a", "é"] },
          sections: [floats(1, 2)] },
      ].map((frame) => base64(encodeFrame(frame)));
    """)
    names = ("binary-search", "binary-move", "binary-add-auto", "binary-add-str")
    assert written == [golden(name) for name in names]


async def test_a_frame_of_another_protocol_is_an_error(page: Runtime) -> None:
    codes = await page.run("""
      return [new ArrayBuffer(8), new ArrayBuffer(64)].map((buffer) => {
        try { decodeFrame(buffer); return null; } catch (error) { return error.code; }
      });
    """)
    assert codes == ["bad_frame", "bad_frame"]


def rows_of(hits: dict[str, Any]) -> list[dict[str, Any]]:
    """Golden hits as rows of an Answer."""
    rows = []
    for place, (id, seq) in enumerate(zip(hits["ids"], hits["seqs"], strict=True)):
        row = {"id": id, "seq": seq}
        for key, name in (
            ("scores", "score"),
            ("near", "near"),
            ("ranks", "rank"),
            ("weights", "weight"),
            ("metadata", "metadata"),
            ("vectors", "vector"),
        ):
            if hits[key] is not None:
                row[name] = hits[key][place]
        rows.append(row)
    return rows


# -- requests -----------------------------------------------------------------------------------


async def test_rows_go_in_and_are_found(page: Runtime) -> None:
    found = await page.run("""
      const db = await connect(url);
      await db.create("items", { dim: 3, capacity: 100, metric: "dot",
        columns: { price: "f64", count: "i64", on: "bool", kind: "str" } });
      const added = await db.add("items", [[1, 0, 0], [0, 1, 0], new Float32Array([0, 0, 1])], {
        ids: [1, 2n ** 63n, 3], metadata: [{ note: "é" }, null, {}],
        columns: { price: [1.5, null, 3], count: [1, -2, 3], on: [true, false, true],
          kind: ["a", null, "b"] },
      });
      const include = ["metadata", "vector"];
      const one = await db.search("items", [1, 0.5, 0], { k: 2, include });
      const many = await db.search("items", [[1, 0, 0], [0, 0, 1]], { k: 1 });
      const narrow = { filter: { kind: "b" }, minScore: 0.5, last: 2 };
      const filtered = await db.search("items", [1, 1, 1], narrow);
      const like = await db.search("items", null, { like: 2n ** 63n, k: 1 });
      const big = (await db.get("items", [2n ** 63n, 7], { include }))[0];
      const counts = [await db.count("items"), await db.count("items", { filter: { on: true } })];
      const deleted = await db.delete("items", [1, 99]);
      const version = await db.update("items", [{ id: 3, metadata: { price: 9 } }]);
      const [description] = await db.list();
      await db.drop("items");
      const left = [await db.list(), await db.listUnavailable()];
      db.close();
      return plain({ added, one: rowsOf(one), many: many.map(rowsOf), filtered: rowsOf(filtered),
        like: rowsOf(like), big, counts, deleted, version, description, left,
        types: [one.ids, one.seqs, one.scores, one.vectors].map((one) => one.constructor.name) });
    """)
    assert found["added"] == {"version": 1, "firstSeq": 1, "lastSeq": 3}
    assert found["one"] == [
        {"id": 1, "seq": 1, "score": 1, "vector": [1, 0, 0],
         "metadata": {"price": 1.5, "count": 1, "on": True, "kind": "a", "note": "é"}},
        {"id": str(2**63), "seq": 2, "score": 0.5, "vector": [0, 1, 0],
         "metadata": {"count": -2, "on": False}},
    ]  # fmt: skip
    assert [[row["id"] for row in rows] for rows in found["many"]] == [[1], [3]]
    assert [row["id"] for row in found["filtered"]] == [3]
    assert [row["id"] for row in found["like"]] == [3]
    assert (found["big"]["id"], found["big"]["seq"]) == (str(2**63), 2)
    assert found["counts"] == [3, 2]
    assert (found["deleted"], found["version"]) == (1, 3)
    assert found["description"]["rows"] == 2
    assert found["left"] == [[], []]
    assert found["types"] == ["BigUint64Array", "Float64Array", "Float32Array", "Float32Array"]


@pytest.mark.parametrize("kind", ["auto", "str"])
async def test_other_kinds_of_ids_are_as_python_has_them(
    page: Runtime, server: Server, kind: str
) -> None:
    ids = {"auto": "undefined", "str": '["a", "9007199254740993"]'}[kind]
    found = await page.run(f"""
      const db = await connect(url);
      await db.create("items", {{ dim: 1, capacity: 10, metric: "dot", ids: "{kind}" }});
      await db.add("items", [[1], [2]], {{ ids: {ids} }});
      const rows = rowsOf(await db.search("items", [1]));
      const got = await db.get("items", [rows[0].id]);
      db.close();
      return {{ rows, got: plain(got) }};
    """)
    expected = {"auto": [2, 1], "str": ["9007199254740993", "a"]}[kind]
    assert [row["id"] for row in found["rows"]] == expected
    assert found["got"][0]["id"] == expected[0]
    async with client(server) as raw:
        told = await raw.ok("search", collection="items", vector=[1])
        assert [row["id"] for row in told["results"]] == expected


async def test_many_rows_go_in_by_frames_and_in_order(page: Runtime) -> None:
    found = await page.run("""
      const db = await connect(url);
      await db.create("items", { dim: 64, capacity: 30000, metric: "dot", ids: "auto" });
      const vectors = new Float32Array(64 * 5000).map((_, place) => place % 64 ? 0 : place / 64);
      const adds = [db.add("items", vectors), db.add("items", vectors)];
      const [first, second] = await Promise.all(adds);
      const best = await db.search("items", new Float32Array(64).fill(1), { k: 3 });
      db.close();
      return { first, second, rows: rowsOf(best) };
    """)
    assert (found["first"]["firstSeq"], found["first"]["lastSeq"]) == (1, 5000)
    assert (found["second"]["firstSeq"], found["second"]["lastSeq"]) == (5001, 10000)
    assert [row["seq"] for row in found["rows"]] == [10000, 5000, 9999]


BAD = {
    "dim_mismatch": "db.add('items', [[1, 2, 3]], { ids: [1] })",
    "bad_vector": "db.search('items', ['x', 'y'])",
    "bad_id": "db.add('items', [[1, 2]], { ids: [-1] })",
    "duplicate_id": "db.add('items', [[1, 2], [1, 2]], { ids: [5, 5] })",
    "non_finite": "db.search('items', [NaN, 1])",
    "bad_filter": "db.count('items', { filter: { none: 1 } })",
    "bad_metadata": "db.add('items', [[1, 2]], { ids: [1], columns: { n: [null] } })",
    "not_found": "db.search('nothing', [1, 2])",
    "exists": "db.create('items', { dim: 2, capacity: 3 })",
    "timeout": "db.call(() => new Promise(() => {}), { timeoutMs: 10 })",
}


async def test_what_is_wrong_is_an_error_with_its_code_and_the_client_lives_on(
    page: Runtime,
) -> None:
    codes = await page.run(f"""
      const db = await connect(url);
      await db.create("items", {{ dim: 2, capacity: 10, metric: "dot", columns: {{ n: "i64" }} }});
      const calls = [{", ".join(f"() => {call}" for call in BAD.values())}];
      const codes = [];
      for (const call of calls) {{
        try {{ await call(); codes.push(null); }}
        catch (error) {{ codes.push(error.code ?? `${{error}}`); }}
      }}
      await db.add("items", [[1, 2]], {{ ids: [1] }});
      codes.push(await db.count("items"));
      db.close();
      return codes;
    """)
    assert codes == [*BAD, 1]


async def test_the_row_at_fault_is_counted_over_all_frames(page: Runtime) -> None:
    row = await page.run("""
      const db = await connect(url);
      await db.create("items", { dim: 64, capacity: 30000, metric: "dot", ids: "auto" });
      const vectors = new Float32Array(64 * 3000);
      vectors[64 * 2500 + 7] = Infinity;
      try { await db.add("items", vectors); } catch (error) {
        const after = await db.add("items", new Float32Array(64));
        db.close();
        return { row: error.row, code: error.code, added: error.details.rows_added, after };
      }
    """)
    assert (row["row"], row["code"]) == (2500, "non_finite")
    assert row["after"]["firstSeq"] == row["added"] + 1


async def test_a_call_can_be_aborted(page: Runtime) -> None:
    names = await page.run("""
      const db = await connect(url);
      const names = [];
      const named = (call) => call.catch((error) => names.push(error.code ?? error.name));
      const aborter = new AbortController();
      const call = db.call(() => new Promise(() => {}), { signal: aborter.signal });
      aborter.abort();
      await named(call);
      await named(db.ping({ signal: AbortSignal.abort() }));
      await db.ping();
      db.close();
      await named(db.ping());
      return names;
    """)
    assert names == [20, 20, "closed"]  # a DOMException of the name AbortError


async def test_no_limit_is_none_and_the_first_attempt_stands(page: Runtime) -> None:
    attempts = await page.run("""
      let attempts = 0;
      class Counted extends WebSocket {
        constructor(...given) { super(...given); attempts += 1; }
      }
      for (let n = 0; n < 5; n++) {
        (await connect(url, { timeoutMs: 0, WebSocket: Counted })).close();
      }
      return attempts;
    """)
    assert attempts == 5


async def test_nobody_at_the_address_is_an_error_in_time() -> None:
    async with Node.started() as node:
        code = await node.run("""
          try { await connect("ws://127.0.0.1:9/v1", { timeoutMs: 200, retryMs: 10 }); }
          catch (error) { return error.code; }
        """)
    assert code == "timeout"
