"""``client.js`` and tenants: what they may use and use, and a place that is waited for."""

from __future__ import annotations

import json
from pathlib import Path

from omendb_ws.net.server import Server
from omendb_ws.tenants.limits import FIELDS

from ..server.tenant_files import limits, with_tenants
from .runtimes import Node


async def test_usage_is_that_of_its_tenant(tmp_path: Path) -> None:
    text = limits(max_collections=3)
    async with Server(with_tenants(tmp_path, text)) as server, Node.started() as node:
        await node.run(f"globalThis.url = {json.dumps(server.url)}")
        found = await node.run("""
          const db = await connect(url, { token: "token-root" });
          await db.create("items", { dim: 2, capacity: 10 });
          const { bytes } = await db.describe("items");
          const found = { ...await db.usage(), bytes };
          db.close();
          return found;
        """)
    assert found["tenant"] == "acme"
    assert list(found["limits"]) == list(FIELDS)
    assert (found["limits"]["max_collections"], found["use"]["collections"]) == (3, 1)
    assert found["use"]["memory_bytes"] == found["bytes"]


async def test_a_place_is_waited_for_by_who_had_one_and_nobody_else(node: Node) -> None:
    told = await node.run("""
      Scripted.auth = "required";
      let full = false;
      const error = { code: "quota", message: "max_connections: full", retry: false };
      Scripted.answer = ({ op }) => op === "auth" && full
        ? { error } : { ok: { tenant: "acme", rights: [], grants: [], expires_in_s: null } };
      const db = await open({ token: "t", maxRetryMs: 4 });
      full = true;
      const late = await open({ token: "t" }).catch((one) => one.code);
      sockets[0].drop();
      const reply = db.ping();
      await when(() => sockets.length > 4);
      full = false;
      await reply;
      const { state } = db;
      db.close();
      return { late, state };
    """)
    assert told == {"late": "quota", "state": "open"}
