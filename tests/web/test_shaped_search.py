"""Searches of ``client.js`` with what shapes an answer: as the server has it, to the bit."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from omendb_ws.net.server import Server

from ..server.raw import Raw, client
from .runtimes import Runtime
from .scripted import PLAIN

AT = 1_800_000_000.25
SHAPES: list[dict[str, Any]] = [
    {},
    {"exclude": [9, 8]},
    {"decay": {"half_life": 3.5, "column": "n"}, "at": 7.5},
    {"decay": {"half_life": 60}, "group": {"by": "kind", "size": 2}, "at": AT},
    {"rank": {"$mul": ["$age", {"$neg": {"$abs": {"$sub": ["n", 4]}}}]}, "at": AT},
    {"rank": {"$min": ["$score", 5]}, "spread": {"max_similarity": 40}, "at": AT},
    {"mmr": {"lambda": 0.3, "candidates": 8}, "exclude": [7]},
    {"decay": {"half_life": 1, "column": "n"}, "filter": {"n": {"$gt": 90}}, "at": 1},
]
NO_RANKS = {"ranks": None, "weights": None, "at": None}


@pytest.fixture
async def page(runtime: Runtime) -> Runtime:
    await runtime.run(PLAIN + "globalThis.db = await connect(url);")
    return runtime


async def begin(raw: Raw) -> None:
    """Rows n = 0 … 9 at (n, 1), of kinds "even" and "odd", the last without n; dot."""
    await raw.create(capacity=100, columns={"kind": "str", "n": "i64"})
    rows: list[dict[str, Any]] = [
        {"id": n, "vector": [n, 1], "metadata": {"kind": "odd" if n % 2 else "even", "n": n}}
        for n in range(10)
    ]
    del rows[9]["metadata"]["n"]
    await raw.ok("add", collection="items", rows=rows)


def told(reply: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of a reply in JSON, as the client has them."""
    return [row | {"score": float(np.float32(row["score"]))} for row in reply["results"]]


@pytest.mark.parametrize("target", [{"vector": [1, 0.5]}, {"like": 3}])
@pytest.mark.parametrize("shape", SHAPES, ids=json.dumps)
async def test_an_answer_is_what_the_server_says(
    page: Runtime, server: Server, shape: dict[str, Any], target: dict[str, Any]
) -> None:
    async with client(server) as raw:
        await begin(raw)
        expected = await raw.ok("search", collection="items", k=6, **target, **shape)
    vector, like = target.get("vector"), target.get("like")
    found = await page.run(f"""
      const options = {{ k: 6, like: {json.dumps(like)}, ...{json.dumps(shape)} }};
      const answer = await db.search("items", {json.dumps(vector)}, options);
      const {{ ranks, weights, at }} = answer;
      return {{ rows: rowsOf(answer), ranks: ranks && plain(ranks), weights, at }};
    """)
    assert found.pop("rows") == told(expected)
    if "at" not in expected:
        assert found == NO_RANKS
        return
    assert expected["at"] == found["at"] == shape["at"]
    assert found["ranks"] == [row["rank"] for row in expected["results"]]
    weights = [row["weight"] for row in expected["results"]] if "decay" in shape else None
    assert found["weights"] == weights


async def test_many_vectors_are_answered_at_one_time_and_again_alike(
    page: Runtime, server: Server
) -> None:
    async with client(server) as raw:
        await begin(raw)
        shape = {"decay": {"half_life": 2}, "k": 3}
        vectors = [[1, 0], [-1, 0], [0, 1]]
        before = (await raw.ok("stats"))["at"]
        found = await page.run(f"""
          const options = {json.dumps(shape)};
          const answers = await db.search("items", {json.dumps(vectors)}, options);
          const {{ at }} = answers[0];
          const again = await db.search("items", {json.dumps(vectors)}, {{ ...options, at }});
          return [answers, again].map((all) => all.map((one) => [one.at, rowsOf(one)]));
        """)
        after = (await raw.ok("stats"))["at"]
        assert found[0] == found[1]
        assert len({at for at, _ in found[0]}) == 1
        assert before <= found[0][0][0] <= after
        for vector, (at, rows) in zip(vectors, found[0], strict=True):
            reply = await raw.ok("search", collection="items", vector=vector, at=at, **shape)
            assert rows == told(reply)


async def test_examples_are_ids_and_vectors(page: Runtime, server: Server) -> None:
    async with client(server) as raw:
        await begin(raw)
        largest = 2**64 - 1
        await raw.ok("add", collection="items", rows=[{"id": str(largest), "vector": [20, 1]}])
        asked = {"positive": [str(largest), [5, 1], 3], "negative": [[0, 1], 2]}
        expected = await raw.ok("search", collection="items", k=4, exclude=[9], **asked)
    found = await page.run(f"""
      const positive = [{largest}n, Float32Array.of(5, 1), 3];
      const options = {{ k: 4, positive, negative: [[0, 1], 2], exclude: new Set([9n]) }};
      const asked = db.search("items", null, options);
      positive[1].fill(-100);
      const single = await db.search("items", null, {{ k: 1, positive: [{largest}n] }});
      return [rowsOf(await asked), rowsOf(single)];
    """)
    assert found[0] == told(expected)
    assert [row["id"] for row in found[0]] == [8, 7, 6, 5]
    assert [row["id"] for row in found[1]] == [9]


async def test_texts_are_ids_too(page: Runtime) -> None:
    found = await page.run("""
      await db.create("texts", { dim: 2, capacity: 9, metric: "dot", ids: "str" });
      await db.add("texts", [[3, 0], [2, 0], [1, 0]], { ids: ["a", "17", "c"] });
      const ids = async (vector, options) => rowsOf(await db.search("texts", vector, options))
        .map(({ id }) => id);
      return [
        await ids([1, 0], { exclude: ["17"] }),
        await ids(null, { positive: ["17"] }),
        await ids(null, { like: "c", exclude: ["a", "none"], rank: "$score" }),
      ];
    """)
    assert found == [["a", "c"], ["a", "c"], ["17"]]


@pytest.mark.parametrize(
    ("vector", "options", "code", "named"),
    [
        ("null", "{}", "bad_vector", "vector"),
        ("null", "{ exclude: [1] }", "bad_vector", "vector"),
        ("[1, 0]", "{ positive: [1] }", "bad_request", "vector"),
        ("[[1, 0]]", "{ positive: [1] }", "bad_request", "vector"),
        ("null", "{ positive: [1], like: 1 }", "bad_request", "like"),
        ("[1, 0]", "{ negative: [1] }", "bad_request", "negative"),
        ("null", "{ negative: [1], like: 1 }", "bad_request", "negative"),
        ("null", "{ positive: [] }", "bad_request", "positive"),
        ("null", "{ positive: 'ab' }", "bad_request", "positive"),
        ("null", "{ positive: [1.5] }", "bad_id", "positive[0]"),
        ("null", "{ positive: [1, [1, '2']] }", "bad_vector", "positive[1][1]"),
        ("null", "{ positive: [1, 77] }", "not_found", "positive"),
        ("null", "{ positive: [1], negative: [77] }", "not_found", "negative"),
        ("[1, 0]", "{ exclude: 5 }", "bad_id", "exclude"),
        ("[1, 0]", "{ exclude: [1, -1] }", "bad_id", "exclude[1]"),
        ("null", "{ like: 1, exclude: [null] }", "bad_id", "exclude[0]"),
        ("[1, 0]", "{ decay: { half_life: NaN } }", "bad_request", "decay.half_life"),
        ("[1, 0]", "{ decay: { half_life: 0 } }", "bad_request", "decay.half_life"),
        ("[1, 0]", "{ decay: { half_life: 1, column: 'x' } }", "bad_request", "decay.column"),
        ("[1, 0]", "{ rank: { $neg: Infinity } }", "bad_rank", "rank.$neg"),
        ("[1, 0]", "{ rank: { $neg: 'none' } }", "bad_rank", "rank.$neg"),
        ("[1, 0]", "{ rank: 1, decay: { half_life: 1 } }", "bad_request", "decay"),
        ("[1, 0]", "{ group: { by: 'none' } }", "bad_request", "group.by"),
        ("[1, 0]", "{ group: { by: 'kind', size: 0 } }", "bad_request", "group.size"),
        ("[1, 0]", "{ spread: { max_similarity: '1' } }", "bad_request", "spread.max_similarity"),
        ("[1, 0]", "{ mmr: { lambda: 2 } }", "bad_request", "mmr.lambda"),
        ("[1, 0]", "{ mmr: { lambda: () => 1 } }", "bad_request", "mmr.lambda"),
        ("[1, 0]", "{ at: 5 }", "bad_request", "at"),
        ("[1, 0]", "{ rank: 1, at: Infinity }", "bad_request", "at"),
        ("[1, 0]", "{ rank: 1, at: '5' }", "bad_request", "at"),
    ],
)
async def test_what_cannot_be_asked_is_refused_by_name(
    page: Runtime, server: Server, vector: str, options: str, code: str, named: str
) -> None:
    async with client(server) as raw:
        await begin(raw)
    found = await page.run(f"""
      const call = db.search("items", {vector}, {options});
      const told = await call.then(() => null, ({{ code, message }}) => [code, message]);
      return [told, await db.count("items")];
    """)
    assert found[1] == 10
    assert found[0][0] == code, found
    assert found[0][1].startswith(f"{code}: {named}"), found
