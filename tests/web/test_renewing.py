"""``client.js`` and the end of a token: renewed in time, or said and tried again, at a pace.

Pieces run in Node against ``Scripted`` (scripted.py); the last against a server.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from omendb_ws.net.server import Server

from ..server.tokens import ALL, SECRET, with_secret
from .runtimes import Node
from .scripted import WATCH

#: ``tenants`` by token (else acme), and what a connection answers to a second ``auth``.
START = """
  Scripted.auth = "required";
  globalThis.tenants = {};
  globalThis.asked = 0;
  globalThis.expiresIn = 600;
  globalThis.getToken = () => `t${++asked}`;
  Scripted.answer = ({ op, token }, socket) => {
    if (op !== "auth") return;
    const tenant = tenants[token] ?? "acme";
    const isFirst = socket.asked.filter((one) => one.op === "auth").length === 1;
    const error = { code: "forbidden", message: "another tenant" };
    if (!isFirst && tenant !== "acme") return { error };
    return { ok: { tenant, rights: ["read"], grants: [], expires_in_s: expiresIn } };
  };
  globalThis.expiring = (socket) => socket.say({ event: "expiring", expires_in_s: 30 });
  globalThis.shown = (socket) => socket.asked.flatMap(({ token }) => token ?? []);
  globalThis.errors = [];
  globalThis.begin = async (options) => {
    const db = await open({ getToken: () => getToken(), maxRetryMs: 4, ...options });
    db.addEventListener("error", ({ detail }) => errors.push(detail.message));
    return db;
  };
"""


@pytest.fixture
async def paced(node: Node) -> Node:
    """Node in which more than half of a token's time has gone whenever its end is told of."""
    await node.run(START)
    await node.run("""
      const now = performance.now.bind(performance);
      let passed = 0;
      performance.now = () => passed + now();
      const tell = expiring;
      globalThis.expiring = (socket) => { passed += 400_000; tell(socket); };
    """)
    return node


async def test_an_end_that_is_announced_is_answered_by_a_newer_token(paced: Node) -> None:
    told = await paced.run("""
      const db = await begin();
      const live = db.live("items", [1, 0]);
      await when(() => live.answer);
      const states = watched(live).states;
      for (const count of [2, 3]) {
        expiring(sockets[0]);
        await when(() => shown(sockets[0]).length === count);
        await db.ping();
      }
      const { state } = live;
      db.close();
      const told = { shown: shown(sockets[0]), sockets: sockets.length, errors };
      return { ...told, state, states: states.slice(0, -1) };
    """)
    assert told == {
        "shown": ["t1", "t2", "t3"], "sockets": 1, "state": "live", "states": [], "errors": [],
    }  # fmt: skip


async def test_a_token_shorter_than_the_notice_is_used_for_half_of_its_time(node: Node) -> None:
    """The server announces its end as soon as it is shown."""
    await node.run(START)
    told = await node.run("""
      const own = setTimeout;
      const waits = [];
      globalThis.setTimeout = (work, ms) => { waits.push(ms); return own(work, ms); };
      const told = [];
      for (expiresIn of [20, 600, 0, 1e9]) {
        waits.length = 0;
        const db = await begin({ retryMs: 250, timeoutMs: 0 });
        expiring(sockets.at(-1));
        told.push(waits.filter((ms) => ms > 900 && ms !== 30000).map(Math.round));
        db.close();
      }
      globalThis.setTimeout = own;
      return { told, asked };
    """)
    rounded = [[round(ms, -2) for ms in one] for one in told["told"]]
    assert rounded == [
        [16_000, 10_000], [480_000, 300_000], [1000, 1000], [2_147_483_600, 2_147_483_600],
    ]  # fmt: skip
    assert told["asked"] == 4


async def test_one_that_throws_is_said_and_asked_again(paced: Node) -> None:
    told = await paced.run("""
      const db = await begin();
      const good = getToken;
      let left = 3;
      getToken = () => { if (left-- > 0) throw new Error("away"); return good(); };
      expiring(sockets[0]);
      await when(() => shown(sockets[0]).length === 2);
      db.close();
      return { errors, shown: shown(sockets[0]), sockets: sockets.length };
    """)
    assert told == {
        "errors": ["unauthenticated: getToken: away"] * 3, "shown": ["t1", "t2"], "sockets": 1,
    }  # fmt: skip


async def test_one_that_throws_after_the_connection_ended_is_said_and_asked_again(
    paced: Node,
) -> None:
    told = await paced.run("""
      const db = await begin();
      const good = getToken;
      let left = 3;
      getToken = () => { if (left-- > 0) throw new Error("logged out"); return good(); };
      sockets[0].say({ event: "error", code: "unauthenticated", message: "expired" });
      sockets[0].drop(4401);
      await db.ping();
      db.close();
      return { errors, shown: shown(sockets.at(-1)) };
    """)
    assert told == {"errors": ["unauthenticated: getToken: logged out"] * 3, "shown": ["t2"]}


async def test_one_that_does_not_answer_is_waited_for_and_said(paced: Node) -> None:
    told = await paced.run("""
      const db = await begin();
      let give, calls = 0;
      getToken = () => (calls++, new Promise((done) => (give = done)));
      expiring(sockets[0]);
      await when(() => give);
      expiring(sockets[0]);
      sockets[0].say({ event: "error", code: "unauthenticated", message: "expired" });
      sockets[0].drop(4401);
      await when(() => db.state !== "open");
      const late = await said(db.ping({ timeoutMs: 5 }));
      give("at last");
      await db.ping();
      db.close();
      return { late, calls, shown: sockets.map(shown) };
    """)
    assert "getToken has not answered" in told["late"]
    assert (told["calls"], told["shown"]) == (1, [["t1"], ["at last"]])


async def test_a_token_of_another_tenant_is_said_and_another_is_asked_for(paced: Node) -> None:
    told = await paced.run("""
      const db = await begin();
      for (const one of ["t2", "t3", "t5", "t6"]) tenants[one] = "other";
      expiring(sockets[0]);
      await when(() => shown(sockets[0]).length === 4);
      const before = sockets.length;
      // A new connection would take it, but the subscriptions are of the first tenant.
      sockets[0].say({ event: "error", code: "unauthenticated", message: "expired" });
      sockets[0].drop(4401);
      const late = await said(db.ping({ timeoutMs: 0 }));
      const { tenant } = db.identity;
      db.close();
      const open = sockets.map((one) => one.readyState);
      return { before, errors, late, tenant, shown: sockets.map(shown), open };
    """)
    assert (told["before"], told["late"], told["tenant"]) == (1, None, "acme")
    late = "unauthenticated: getToken: a token of the tenant other, not acme"
    assert told["errors"] == [*["forbidden: another tenant"] * 2, late, late]
    assert told["shown"] == [["t1", "t2", "t3", "t4"], ["t5"], ["t6"], ["t7"]]
    assert told["open"] == [3] * 4


async def test_tokens_that_end_at_once_are_asked_for_less_and_less(node: Node) -> None:
    """They are accepted, and over with the next request."""
    await node.run(START)
    told = await node.run("""
      const db = await begin({ retryMs: 16, maxRetryMs: 10_000 });
      const own = setTimeout;
      const waits = [];
      globalThis.setTimeout = (work, ms) => { waits.push(ms); return own(work, ms); };
      Math.random = () => 1;
      for (let turn = 0; turn < 5; turn++) {
        const { length } = sockets;
        sockets.at(-1).say({ event: "error", code: "unauthenticated", message: "expired" });
        sockets.at(-1).drop(4401);
        await when(() => sockets.length > length && db.state === "open");
      }
      db.close();
      return { paces: waits.filter((ms) => [16, 32, 64, 128, 256].includes(ms)), asked };
    """)
    assert told == {"paces": [16, 32, 64, 128, 256], "asked": 6}


async def test_the_same_expired_token_ends_the_client_and_says_why(node: Node) -> None:
    await node.run(START)
    told = await node.run("""
      let isGood = true;
      const usual = Scripted.answer;
      const error = { code: "unauthenticated", message: "token: not known" };
      Scripted.answer = (request, socket) =>
        request.op === "auth" && !isGood ? { error } : usual(request, socket);
      const db = await begin({ retryMs: 1 });
      isGood = false;
      sockets[0].say({ event: "error", code: "unauthenticated", message: "expired" });
      sockets[0].drop(4401);
      const late = await said(db.ping());
      return { late, state: db.state, sockets: sockets.length };
    """)
    assert told == {"late": "unauthenticated: token: not known", "state": "closed", "sockets": 4}


async def test_it_says_who_one_is(node: Node) -> None:
    await node.run(START)
    told = await node.run("""
      const db = await begin();
      const { identity } = db;
      const left = identity.expiresAt - Date.now();
      expiresIn = null;
      let heard = 0;
      db.addEventListener("identity", () => heard++);
      sockets[0].drop();
      await db.ping();
      db.close();
      Scripted.auth = "none";
      const open_ = await open();
      const nobody = open_.identity;
      open_.close();
      return { identity, left, heard, later: db.identity.expiresAt, nobody };
    """)
    assert told["identity"].items() >= {"tenant": "acme", "rights": ["read"], "grants": []}.items()
    assert 500_000 < told["left"] <= 600_000
    assert (told["heard"], told["later"], told["nobody"]) == (1, None, None)


#: ``minted(seconds)``: a token that is good for so long from now.
MINT = """
  const { createHmac } = await import("node:crypto");
  const base64url = (text) => Buffer.from(text).toString("base64url");
  globalThis.minted = (seconds) => {
    const claims = { sub: "ann", tenant: "acme", exp: Date.now() / 1000 + seconds, omendb: [ALL] };
    const parts = [{ alg: "HS256", typ: "JWT" }, claims];
    const signed = parts.map((one) => base64url(JSON.stringify(one))).join(".");
    return `${signed}.${createHmac("sha256", SECRET).update(signed).digest("base64url")}`;
  };
"""


async def test_streams_go_on_from_token_to_token(tmp_path: Path) -> None:
    """Of a server, whose tokens end soon: the feed has no gap, the live query every row."""
    settings = with_secret(tmp_path, jwt_leeway_seconds=0.0)
    async with Server(settings) as server, Node.started() as node:
        known = {"url": server.url, "SECRET": SECRET.decode(), "ALL": ALL}
        await node.run(f"Object.assign(globalThis, {json.dumps(known)})")
        await node.run(WATCH + MINT)
        told = await node.run("""
          let asked = 0;
          const getToken = () => { asked += 1; return minted(2); };
          const db = await connect(url, { getToken });
          await db.create("items", { dim: 2, capacity: 1000, metric: "dot" });
          const feed = db.feed("items");
          const log = watched(feed);
          const live = db.live("items", [1, 0], { k: 1 });
          live.addEventListener("data", () => {});
          await when(() => feed.state === "live" && live.answer);
          const ids = () => log.data.flatMap(({ rows }) => [...rows].map(({ id }) => id));
          let added = 0;
          while (asked < 4) {
            await db.add("items", [[++added, 0]], { ids: [added] });
            await when(() => live.answer.ids[0] === BigInt(added) && ids().at(-1) === added);
          }
          db.close();
          return { added, gaps: log.gaps, ids: ids() };
        """)
        assert told["gaps"] == []
        assert told["ids"] == [*range(1, told["added"] + 1)]
