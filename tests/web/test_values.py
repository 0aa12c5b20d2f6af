"""Every type that JavaScript has, in every method: in right, or refused at once under its name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from omendb_ws.net.server import Server

from ..server.raw import client
from .runtimes import Runtime
from .scripted import PLAIN

#: ``db``; collections ``u`` (ids u64, columns f, i, b, s), ``s`` (ids str) and ``a`` (auto), of 2
#: dimensions; ``told(call)``: its code and message, or what it gave.
START = """
globalThis.db = await connect(url, { timeoutMs: 20000 });
globalThis.half = "x\\u{1F600}".slice(0, 2);
const columns = { f: "f64", i: "i64", b: "bool", s: "str" };
const shape = { dim: 2, capacity: 100, metric: "dot" };
await db.create("u", { ...shape, columns });
await db.create("s", { ...shape, ids: "str", columns: { k: "str", n: "f64" } });
await db.create("a", { ...shape, ids: "auto" });
await db.add("s", [[1, 0]], { ids: ["a"] });
await db.add("u", [[1, 0]], { ids: [1] });
globalThis.first = (sub) => (async () => { for await (const item of sub) return item; })();
globalThis.told = async (call) => {
  try { return { gave: plain((await call()) ?? null) }; }
  catch (error) {
    const { code = error.name, message: said, row = null } = error;
    return { code, said, row };
  }
};
globalThis.circle = {}; circle.one = { again: circle };
"""


@pytest.fixture
async def page(runtime: Runtime) -> Runtime:
    await runtime.run(PLAIN + START)
    return runtime


async def answers(page: Runtime, calls: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What each piece gave, or threw; the client lives on."""
    pieces = ",".join(f"() => {call}" for call in calls)
    found = await page.run(f"""
      const all = [];
      for (const call of [{pieces}]) all.push(await told(call));
      await db.ping();
      all.push(await db.count("u"), await db.count("s"), await db.count("a"));
      return all;
    """)
    assert found[-3:] == [1, 1, 0]
    return dict(zip(calls, found, strict=False))


#: What is no JSON, wherever JSON goes: what is wrong with it.
NO_JSON = {
    "half": "half a character",
    "{ [half]: 1 }": "half a character",
    "NaN": "NaN",
    "-Infinity": "-Infinity",
    "2n ** 53n": "beyond 2^53",
    "-(2n ** 64n)": "beyond 2^53",
    "[, 1]": "Undefined",
    "[undefined]": "Undefined",
    "() => 1": "Function",
    "Symbol('x')": "Symbol",
    "new Map([[1, 2]])": "Map",
    "new Set([1])": "Set",
    "Promise.resolve(1)": "Promise",
    "new Error('x')": "Error",
    "/x/": "RegExp",
    "new Date(NaN)": "Undefined",
    "new Float64Array(2)": "Float64Array",
    "new Uint8Array(2)": "Uint8Array",
    "new DataView(new ArrayBuffer(2))": "DataView",
    "new ArrayBuffer(2)": "ArrayBuffer",
    "new Proxy(new Map(), {})": "Map",
    "circle": "in a circle",
    "{ toJSON: () => NaN }": "NaN",
    "{ toJSON: () => undefined }": "Undefined",
}
#: Where: the code, and what the message begins with.
PLACES = {
    "db.update('s', [{{ id: 'a', metadata: {{ note: {} }} }}])":
        ("bad_metadata", "rows[0].metadata.note"),
    "db.add('s', [[1, 0]], {{ ids: ['b'], metadata: [{{ note: {} }}] }})":
        ("bad_metadata", "metadata[0].note"),
    "db.count('s', {{ filter: {{ k: {} }} }})": ("bad_filter", "filter.k"),
    "db.search('s', [1, 0], {{ filter: {{ $or: [{{ k: {{ $in: [{}] }} }}] }} }})":
        ("bad_filter", "filter.$or[0].k.$in[0]"),
    "db.search('s', null, {{ like: 'a', filter: {{ k: {} }} }})": ("bad_filter", "filter.k"),
    "db.get('s', ['a'], {{ include: [{}] }})": ("bad_request", "include[0]"),
    "first(db.feed('s', {{ filter: {{ k: {} }} }}))": ("bad_filter", "filter.k"),
    "first(db.match('s', [1, 0], 0, {{ filter: {{ k: {} }} }}))": ("bad_filter", "filter.k"),
    "first(db.live('s', [1, 0], {{ filter: {{ k: {} }} }}))": ("bad_filter", "filter.k"),
    "db.create('n', {{ dim: 2, capacity: 5, ttl: {} }})": ("bad_request", "ttl"),
    "db.create('n', {{ dim: 2, capacity: 5, replicas: {} }})": ("bad_request", "replicas"),
}  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
async def test_what_is_no_json_is_refused_by_its_name(page: Runtime, place: str) -> None:
    found = await answers(page, {place.format(value): why for value, why in NO_JSON.items()})
    for why, told in zip(NO_JSON.values(), found.values(), strict=True):
        code, name = PLACES[place]
        assert (told.get("code"), f" {name}" in told["said"], why in told["said"]) == (
            code, True, True,
        ), (place, told)  # fmt: skip
        assert told["row"] == (0 if code == "bad_metadata" else None), told


async def test_an_undefined_condition_is_no_condition_less(page: Runtime) -> None:
    """JSON would drop it, and every row would pass."""
    found = await answers(page, {"db.count('s', { filter: { k: undefined } })": 0})
    for told in found.values():
        assert (told.get("code"), "filter.k" in told["said"]) == ("bad_filter", True)


async def test_an_add_names_the_row_at_fault_in_a_later_frame_too(page: Runtime) -> None:
    told = await page.run("""
      const dim = 1024, count = 200;
      await db.create("wide", { dim, capacity: 1000, ids: "auto", metric: "dot" });
      const metadata = Array.from({ length: count }, (_, at) => ({ n: at === 150 ? NaN : at }));
      return told(() => db.add("wide", new Float32Array(dim * count), { metadata }));
    """)
    assert (told["code"], told["row"]) == ("bad_metadata", 150)
    assert "metadata[150].n" in told["said"]


#: What JSON has a right way for: as it comes back.
JSON_RIGHT = {
    "'\\u0000 é \\u{1F600}'": "\0 é \U0001f600",
    "-0": 0,
    "2 ** 53": 2**53,
    "12n": 12,
    "-(2n ** 53n - 1n)": -(2**53) + 1,
    "1e300": 1e300,
    "new Date(0)": "1970-01-01T00:00:00.000Z",
    "new Number(3)": 3,
    "new String('x')": "x",
    "new Boolean(false)": False,
    "{ a: [null, { b: [] }], toJSON: undefined, __proto__: { hidden: 1 } }": {
        "a": [None, {"b": []}],
    },
    "{ ['__proto__']: 1 }": {"__proto__": 1},
    "new (class { constructor() { this.x = 1; } })": {"x": 1},
    "new Proxy({ x: [1] }, {})": {"x": [1]},
    "new Proxy([1, 2], {})": [1, 2],
    "new URL('http://localhost/')": "http://localhost/",
    "Object.create(null)": {},
}


async def test_what_json_has_a_way_for_goes_in_and_comes_back(page: Runtime) -> None:
    found = await page.run(f"""
      const all = [];
      const include = ["metadata"];
      const read = async () => (await db.get("s", ["a"], {{ include }}))[0].metadata.note;
      for (const note of [{",".join(f"({one})" for one in JSON_RIGHT)}]) {{
        await db.update("s", [{{ id: "a", metadata: {{ note, gone: undefined }} }}]);
        const updated = JSON.stringify(await read());
        await db.add("s", [[1, 0]], {{ ids: ["a"], metadata: [{{ note, gone: undefined }}] }});
        all.push([updated, JSON.stringify(await read())]);
      }}
      return all;
    """)
    for right, both in zip(JSON_RIGHT.values(), found, strict=True):
        assert [json.loads(one) for one in both] == [right, right]


VECTORS = {
    "null": "vector", "undefined": "vector", "5": "vector", "'ab'": "vector", "[]": "vector",
    "[1, 'x']": "vector[1]", "[1, ,]": "vector[1]", "[1, 2n]": "vector[1]",
    "[true, 1]": "vector[0]",
    "[1, new Number(2)]": "vector[1]", "{ length: 2, 0: 1, 1: 2 }": "vector",
    "(one, two) => 1": "vector", "new BigInt64Array(2)": "vector[0]", "new Map()": "vector",
    "new DataView(new ArrayBuffer(8))": "vector", "new ArrayBuffer(8)": "vector",
    "new Set([1, 2])": "vector", "new Date()": "vector", "Symbol()": "vector",
    "new Float32Array(0)": "vector",
}  # fmt: skip


@pytest.mark.parametrize(
    "method",
    ["db.search('u', {})", "first(db.live('u', {}))", "first(db.match('u', {}, 0))", "move"],
)
async def test_vectors_that_are_none_are_refused(page: Runtime, method: str) -> None:
    await page.run("globalThis.standing = db.live('u', [1, 0]); await first(standing);")
    method = "standing.move({})" if method == "move" else method
    found = await answers(page, {method.format(f"({one})"): one for one in VECTORS})
    for where, told in zip(VECTORS.values(), found.values(), strict=True):
        assert (told.get("code"), f" {where}:" in told["said"]) == ("bad_vector", True), told


async def test_vectors_of_an_add_and_of_many_searches_are_refused_by_row(page: Runtime) -> None:
    calls: dict[str, Any] = {}
    for one in ("[1, 'x']", "null", "undefined", "new DataView(new ArrayBuffer(8))", "'ab'"):
        calls[f"db.add('a', [[1, 2], {one}])"] = ("bad_vector", "vectors[1]", 1)
        calls[f"db.search('u', [[1, 2], {one}])"] = ("bad_vector", "vector[1]", None)
    for one in (
        "null",
        "undefined",
        "5",
        "'ab'",
        "[]",
        "new BigInt64Array(2)",
        "new Float32Array(0)",
    ):
        calls[f"db.add('a', {one})"] = ("bad_vector", "vectors", None)
    calls["db.add('a', [[1, 2], , [1, 2]])"] = ("bad_vector", "vectors[1]", 1)
    calls["db.add('a', [[1, 2], [1]])"] = ("dim_mismatch", "vectors[1]", 1)
    calls["db.add('a', new Float64Array(3))"] = ("dim_mismatch", "vectors", None)
    for call, told in (await answers(page, calls)).items():
        code, where, row = calls[call]
        assert (told.get("code"), told.get("row")) == (code, row), (call, told)
        assert where in told["said"], (call, told)


async def test_typed_arrays_of_numbers_are_vectors(page: Runtime) -> None:
    found = await page.run("""
      const kinds = [Int8Array, Uint8Array, Uint8ClampedArray, Int16Array, Uint16Array, Int32Array,
        Uint32Array, Float32Array, Float64Array];
      const all = [];
      for (const Kind of kinds) {
        const flat = await db.add("a", Kind.of(3, 4, 5, 6));
        const rows = await db.add("a", [Kind.of(7, 8)]);
        const like = { last: 3, k: 3, include: ["vector"] };
        const answer = await db.search("a", Kind.of(1, 0), like);
        all.push(rowsOf(answer).map(({ vector }) => vector));
      }
      return all;
    """)
    assert found == [[[7, 8], [5, 6], [3, 4]]] * 9


IDS = [
    "-1", "1.5", "NaN", "Infinity", "2 ** 53", "-5n", "2n ** 64n", "null", "undefined", "true",
    "{}", "[1]", "Symbol()", "new Date(5)", "new Uint8Array(2)", "() => 1", "new Number(5)",
]  # fmt: skip
ID_METHODS = {
    "db.get('u', [1, {}])": "ids[1]",
    "db.delete('u', [1, {}])": "ids[1]",
    "db.add('u', [[1, 0], [1, 0]], {{ ids: [1, {}] }})": "ids[1]",
    "db.update('u', [{{ id: {}, metadata: {{}} }}])": "rows[0].id",
    "db.search('u', null, {{ like: {} }})": "like",
}


@pytest.mark.parametrize("method", ID_METHODS)
async def test_ids_that_are_none_are_refused(page: Runtime, method: str) -> None:
    wrong = [one for one in IDS if "like" not in method or one not in ("null", "undefined")]
    for told in (await answers(page, {method.format(one): one for one in wrong})).values():
        assert (told.get("code"), ID_METHODS[method] in told["said"]) == ("bad_id", True), told


async def test_lists_that_are_none_are_refused(page: Runtime) -> None:
    lists = ["'ab'", "5", "null", "undefined", "{}", "new DataView(new ArrayBuffer(8))", "() => 1"]
    calls: dict[str, Any] = {}
    for one in lists:
        calls[f"db.get('u', {one})"] = ("bad_id", "ids")
        calls[f"db.delete('u', {one})"] = ("bad_id", "ids")
        calls[f"db.update('u', {one})"] = ("bad_request", "rows")
        if one not in ("null", "undefined"):
            calls[f"db.add('u', [[1, 0], [1, 0]], {{ ids: {one} }})"] = ("bad_id", "ids")
            calls[f"db.add('a', [[1, 0], [1, 0]], {{ metadata: {one} }})"] = (
                "bad_metadata", "metadata",
            )  # fmt: skip
            columns = f"{{ ids: [5, 6], columns: {{ f: {one} }} }}"
            calls[f"db.add('u', [[1, 0], [1, 0]], {columns})"] = ("bad_metadata", "columns.f")
    calls["db.add('u', [[1, 0]], { ids: [5], columns: new Map() })"] = ("bad_metadata", "columns")
    calls["db.add('s', [[1, 0], [1, 0]], { ids: ['x', 5] })"] = ("bad_id", "ids[1]")
    calls["db.add('s', [[1, 0], [1, 0]], { ids: ['x', half] })"] = ("bad_id", "ids[1]")
    for call in ("get('s', [half])", "delete('s', [half])", "search('s', null, { like: half })"):
        calls[f"db.{call}"] = ("bad_id", "like" if "like" in call else "ids[0]")
    for call, told in (await answers(page, calls)).items():
        assert (told.get("code"), calls[call][1] in told["said"]) == (calls[call][0], True), (
            call, told,
        )  # fmt: skip


async def test_lists_of_ids_are_arrays_typed_arrays_and_sets(page: Runtime) -> None:
    found = await page.run("""
      const lists = [[1], [1n], ["1"], BigUint64Array.of(1n), BigInt64Array.of(1n),
        Float64Array.of(1), Uint8Array.of(1), new Set([1]), new Map([[1, 0]]).keys()];
      const all = [];
      for (const ids of lists) all.push((await db.get("u", ids))[0].seq);
      return all;
    """)
    assert found == [1] * 9


COLUMNS = {
    "f": ["'1'", "1n", "true", "{}", "new Date()", "Infinity"],
    "i": [
        "2n ** 53n",
        "2n ** 64n + 5n",
        "-(2n ** 53n)",
        "1.5",
        "'1'",
        "NaN",
        "null",
        "true",
        "2 ** 53",
    ],
    "b": ["2", "'true'", "1n", "null", "NaN"],
    "s": ["5", "{}", "true", "Symbol()"],
}


@pytest.mark.parametrize("column", COLUMNS)
async def test_values_that_a_column_does_not_hold_are_refused(page: Runtime, column: str) -> None:
    calls = {
        f"db.add('u', [[1, 0]], {{ ids: [5], columns: {{ {column}: [{one}] }} }})": one
        for one in COLUMNS[column]
    }
    for call, told in (await answers(page, calls)).items():
        assert (told.get("code"), column in told["said"]) == ("bad_metadata", True), (call, told)
    text = "db.add('u', [[1, 0], [1, 0]], { ids: [5, 6], columns: { s: ['x', half] } })"
    told = (await answers(page, {text: ""}))[text]
    assert (told["code"], told["row"]) == ("bad_metadata", 1)
    assert "columns.s[1]: half a character" in told["said"]


@pytest.mark.parametrize("one", ["5", "'x'", "[]", "[{}]", "new Date(0)", "true"])
async def test_metadata_that_is_no_object_is_refused_with_its_row(page: Runtime, one: str) -> None:
    calls = {
        f"db.add('s', [[1, 0], [1, 0]], {{ ids: ['b', 'c'], metadata: [{{}}, {one}] }})": "",
        f"db.update('s', [{{ id: 'a', metadata: {{}} }}, {{ id: 'a', metadata: {one} }}])": "",
    }
    for told in (await answers(page, calls)).values():
        assert (told.get("code"), told.get("row")) == ("bad_metadata", 1), told


COUNTS = ["0", "-1", "1.5", "NaN", "Infinity", "2 ** 32", "'5'", "5n", "{}", "true"]


@pytest.mark.parametrize(
    "method",
    ["db.search('u', [1, 0], {})", "db.search('u', null, {{ like: 1, ...{} }})",
     "first(db.live('u', [1, 0], {}))"],
)  # fmt: skip
async def test_a_k_that_is_none_is_refused(page: Runtime, method: str) -> None:
    method = method.replace(", {})", ", {{ k: {} }})").replace("...{}", "k: {}")
    for told in (await answers(page, {method.format(one): one for one in COUNTS})).values():
        assert (told.get("code"), " k:" in told["said"]) == ("bad_k", True), told


async def test_other_fields_of_a_wrong_type_are_named(page: Runtime) -> None:
    calls = {
        "db.search('u', [1, 0], { last: 1.5 })": "last",
        "db.search('u', [1, 0], { minScore: '1' })": "min_score",
        "db.search('u', [1, 0], { minScore: NaN })": "minScore",
        "db.search('u', [1, 0], { include: new Set(['vector']) })": "include",
        "first(db.feed('u', { fromSeq: 'x', epoch: 'e' }))": "fromSeq",
        "first(db.feed('u', { fromSeq: NaN, epoch: 'e' }))": "fromSeq",
        "first(db.match('u', [1, 0]))": "min_score",
        "db.count('u', { by: 5 })": "by",
        "db.count('u', { limit: 5 })": "limit",
        "db.count('u', { by: 'a', limit: '5' })": "limit",
        "db.count('u', { by: 'a', limit: 1.5 })": "limit",
        "db.count('u', { by: half })": "by",
        "first(db.watchCount('u', { by: 'nix' }))": "by",
        "first(db.watchCount('u', { limit: 3 }))": "limit",
        "first(db.watchCount('u', { every: 5 }))": "every",
        "first(db.watchStats('u', { every: '5' }))": "every",
        "first(db.map('u', { sample: 5.5 }))": "sample",
        "db.describe(Symbol())": "collection",
        "db.describe(half)": "bad_name: collection",
        "db.list({ timeoutMs: {} })": "timeoutMs",
    }
    for call, told in (await answers(page, calls)).items():
        assert told.get("code", "").startswith("bad"), (call, told)
        assert calls[call] in told["said"], (call, told)
    # Nothing of what was refused goes on by itself.
    assert await page.run("return db.subscriptions.size") == 0


async def test_a_seq_that_is_a_bigint_is_one(page: Runtime, server: Server) -> None:
    async with client(server) as raw:
        epoch = (await raw.ok("describe", collection="u"))["epoch"]
        found = await page.run(f"""
          const {{ rows }} = await first(db.feed("u", {{ fromSeq: 1n, epoch: {epoch!r} }}));
          return plain(rows.seqs);
        """)
    assert found == [1]
