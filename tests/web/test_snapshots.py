"""``snapshots.js`` in Node and in Chromium: whole collections out of a real server, and in."""

from __future__ import annotations

import pytest

from omendb_ws.net.server import Server
from tests.patience import eventually
from tests.server.raw import batch, client

from .runtimes import CLIENT, Node, Runtime

MODULE = CLIENT.parent / "snapshots.js"
ROWS, DIM = 700, 512  # three messages
HELPERS = """
globalThis.db = await connect(url);
globalThis.failed = async (work) => {
  try { return await work; } catch (error) { return [error.code ?? error.name, error.message]; }
};
globalThis.all = async (copy) => {
  const pieces = [];
  for await (const piece of copy) pieces.push(piece);
  return pieces;
};
globalThis.seen = async (name) => {
  const { rows, version, epoch } = await db.describe(name);
  const { ids, seqs } = await db.search(name, new Float32Array(512).fill(1), { k: 1000 });
  return { rows, version, found: Array.from(ids, (id, at) => `${id}:${seqs[at]}`).sort().join() };
};
"""


@pytest.fixture
async def page(runtime: Runtime, server: Server) -> Runtime:
    where = MODULE.as_uri() if isinstance(runtime, Node) else "/snapshots.js"
    await runtime.run(f"Object.assign(globalThis, await import({where!r}));{HELPERS}")
    async with client(server) as raw:
        made = await raw.create("items", dim=DIM, capacity=ROWS)
        await raw.add_binary(made["handle"], batch(*range(ROWS), dim=DIM))
    return runtime


@pytest.mark.parametrize(
    "source",
    [
        "copy.stream()",
        "copy",
        "new Response(copy.stream())",
        "new Blob(await all(copy))",
        "await new Blob(await all(copy)).arrayBuffer()",
        "new Uint8Array(await new Blob(await all(copy)).arrayBuffer())",
        "(await all(copy)).flatMap((one) => [one.subarray(0, 5), one.slice(5).buffer])",
    ],
)
async def test_a_snapshot_is_restored_from_whatever_gives_its_bytes(
    page: Runtime, source: str
) -> None:
    told = await page.run(
        f"""
        const before = await seen("items");
        const copy = await snapshot(db, "items");
        const heard = [];
        const made = await restore(db, "again", {source}, {{ onBytes: (n) => heard.push(n) }});
        const {{ collection, version, rows }} = made;
        return {{ before, after: await seen("again"), heard, bytes: copy.bytes,
          stated: copy.description.version, made: {{ collection, version, rows }} }};
        """
    )
    assert told["before"] == told["after"]
    assert told["made"] == {"collection": "again", "version": told["stated"], "rows": ROWS}
    assert told["heard"][-1] == told["bytes"] > ROWS * DIM * 4
    assert told["heard"] == sorted(told["heard"])


async def test_what_is_wrong_with_a_source_leaves_nothing(page: Runtime) -> None:
    told = await page.run(
        """
        const whole = await new Blob(await all(await snapshot(db, "items"))).arrayBuffer();
        const altered = new Uint8Array(whole.slice());
        altered[whole.byteLength >> 1] ^= 1;
        const sources = [
          whole.slice(0, -10), altered, "text", 7, null, undefined, {}, [7],
          (async function* () { yield whole.slice(0, 1 << 20); throw new Error("mine"); })(),
        ];
        const found = [];
        for (const source of sources) found.push(await failed(restore(db, "again", source)));
        const taken = await failed(restore(db, "items", whole));
        const wrong = await failed(restore(db, "again", whole, { durable: 1 }));
        const alone = await failed(restore(db, "again", whole, { replicas: 2 }));
        const none = await failed(snapshot(db, "none"));
        await restore(db, "again", whole);
        const names = (await db.list()).map((one) => one.collection);
        return { found, taken, wrong, alone, none, names };
        """
    )
    codes = [code for code, _ in told["found"]]
    assert codes == ["bad_request"] * 8 + ["Error"]
    assert told["found"][-1][1] == "mine"
    assert "cut off behind" in told["found"][0][1]
    assert "byte" in told["found"][1][1]
    assert told["taken"][0] == "exists"
    assert told["alone"][0] == "unsupported"
    assert told["wrong"] == [
        "bad_request",
        "bad_request: durable: there is no such option"
        " (but signal, timeoutMs, failFast, durability, replicas, onBytes)",
    ]
    assert told["none"][0] == "not_found"
    assert sorted(told["names"]) == ["again", "items"]


async def test_who_leaves_a_snapshot_ends_it_and_its_memory_is_free(
    page: Runtime, server: Server
) -> None:
    shard = server.node.context.catalog.find("default", "items").shard
    ways = [
        "for await (const piece of copy) break;",
        "const reader = copy.stream().getReader(); await reader.read(); await reader.cancel();",
        "await copy.end(); await copy.end();",
    ]
    for way in ways:
        read = await page.run(
            f"globalThis.copy = await snapshot(db, 'items'); {way} return (await all(copy)).length;"
        )
        assert read == 0, way
        await eventually(lambda: not shard.snapshots)


async def test_it_is_of_its_connection_and_says_so_when_that_is_gone(
    page: Runtime, server: Server
) -> None:
    told = await page.run(
        """
        const copy = await snapshot(db, "items");
        const pieces = copy[Symbol.asyncIterator]();
        const first = (await pieces.next()).value.length;
        const second = await snapshot(db, "items");  // the one before ends
        const ended = await failed(pieces.next());
        const rest = second[Symbol.asyncIterator]();
        await rest.next();
        const other = await connect(url);
        const whole = await all(await snapshot(other, "items"));
        const source = async function* () {
          yield* whole.slice(0, 2);
          db.close();
          yield* whole.slice(2);
        };
        const lost = await failed(restore(db, "again", source()));
        const gone = await failed(rest.next());
        const names = (await other.list()).map((one) => one.collection);
        return { first, ended, lost, gone, names };
        """
    )
    assert told["first"] > 0
    assert told["ended"][0] == "not_found"
    assert told["lost"][0] == "closed"
    assert told["gone"][0] == "closed"
    assert told["names"] == ["items"]
