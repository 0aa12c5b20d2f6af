"""Whatever connections of two tenants do, accounts say what is there, and nothing is left over."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from omendb_ws.net.server import Server
from omendb_ws.tenants.limits import Limits, TenantLimits
from omendb_ws.wire import binary
from tests.patience import PATIENCE_SECONDS
from tests.server.raw import Clock, Raw, client, running
from tests.server.tenant_files import with_tenants

STEPS = 200
TOKENS = {"token-root": "acme", "token-boss": "acme", "token-other": "umbrella"}
KINDS: dict[str, dict[str, Any]] = {
    "live": {"vector": [1, 0], "filter": {"x": {"$gt": 0}}},
    "match": {"vector": [1, 0], "min_score": 0.5},
    "feed": {},
    "novel": {"below": 0.5},
    "count": {"by": "x"},
    "stats": {},
    "map": {},
}
REFUSALS = {"quota", "rate_limited", "not_found", "exists", "forbidden"}


class Machine:
    """A server, connections that come and go, and what must be true of the accounts."""

    def __init__(self, server: Server, clock: Clock, seed: int) -> None:
        self.server = server
        self.clock = clock
        self.random = random.Random(seed)
        self.clients: dict[Raw, tuple[str, AsyncExitStack]] = {}
        self.refused: set[str] = set()

    async def step(self) -> None:
        choices = [self.come, self.limit, *[self.ask] * 8]
        if self.clients:
            choices.append(self.go)
        await self.random.choice(choices)()
        await self.check()

    async def come(self) -> None:
        token = self.random.choice(list(TOKENS))
        stack = AsyncExitStack()
        raw = await stack.enter_async_context(client(self.server, token=token, greeted=False))
        first = await raw.event()
        if first["event"] == "hello":
            self.clients[raw] = token, stack
            return
        self.refused.add(first["code"])
        assert await raw.closed() == 1013
        await stack.aclose()

    async def go(self) -> None:
        raw = self.random.choice(list(self.clients))
        _, stack = self.clients.pop(raw)
        if self.random.random() < 0.5:
            raw.socket.transport.abort()
        await stack.aclose()

    async def limit(self) -> None:
        """Other limits, lower or higher."""

        def some() -> Limits:
            pick = self.random.choice
            return Limits(
                max_connections=pick([None, 1, 3]),
                max_subscriptions=pick([None, 1, 5]),
                max_collections=pick([None, 1, 2]),
                max_memory_bytes=pick([None, 10_000, 300_000]),
                rows_per_second=pick([None, 0.5, 50.0]),
                queries_per_second=pick([None, 0.5, 50.0]),
            )

        named = {"acme": some()} if self.random.random() < 0.5 else {}
        self.server.context.accounts.change(TenantLimits(named, some()))

    async def ask(self) -> None:
        if not self.clients:
            return
        raw = self.random.choice(list(self.clients))
        name = self.random.choice(["a", "b", "c"])
        op = self.random.choice(
            ["create", "create", "drop", "add", "add", "update", "subscribe", "subscribe", "many",
             "unsubscribe", "search", "delete"]
        )  # fmt: skip
        before = {
            tenant: (self.use(tenant), self.server.context.accounts.of(tenant).limits)
            for tenant in set(TOKENS.values())
        }
        if op == "many":
            reply = await self.subscribe_many(raw, name)
        else:
            reply = await raw.ask(op, **self.fields(op, name))
        if isinstance(reply, dict) and "error" in reply:
            assert reply["error"]["code"] in REFUSALS, reply
            self.refused.add(reply["error"]["code"])
        self.check_limits(before)
        self.clock.move(0.05)

    def fields(self, op: str, name: str) -> dict[str, Any]:
        collection = {"collection": name}
        ids = self.random.sample(range(40), 6)
        if op == "create":
            capacity = self.random.choice([20, 4000])
            return {
                **collection, "dim": 2, "capacity": capacity, "columns": {"x": "f64"},
                "if_exists": "ok",
            }  # fmt: skip
        if op == "add":
            metadata = {"x": 1, "text": "x" * self.random.randrange(3000)}
            return {
                **collection,
                "rows": [{"id": id, "vector": [1, id], "metadata": metadata} for id in ids],
            }
        if op == "update":
            return {**collection, "rows": [{"id": ids[0], "metadata": {"x": 2}}]}
        if op == "subscribe":
            kind = self.random.choice(list(KINDS))
            return {**collection, "kind": kind, **KINDS[kind]}
        if op == "unsubscribe":
            return {"sub": self.random.randrange(1, 9)}
        if op == "search":
            return {**collection, "vector": [1, 0]}
        return {**collection, "ids": ids} if op == "delete" else collection

    async def subscribe_many(self, raw: Raw, name: str) -> Any:
        opened = await raw.ask("open", collection=name)
        if "error" in opened:
            return opened
        id = raw.next_id()
        vectors = np.ones((self.random.choice([3, 90]), 2), np.float32)
        await raw.send_binary(binary.encode_subscribe(id, opened["ok"]["handle"], vectors, k=2))
        return await raw.reply(id)

    # -- what must be true ----------------------------------------------------------------------

    def use(self, tenant: str) -> dict[str, int]:
        context = self.server.context
        account = context.accounts.of(tenant)
        return {
            "max_connections": account.connections,
            "max_subscriptions": account.subscriptions,
            "max_collections": context.catalog.count(tenant),
        }

    def check_limits(self, before: dict[str, tuple[dict[str, int], Limits]]) -> None:
        """Nothing has grown beyond its limit."""
        for tenant, (used, limits) in before.items():
            for name, now in self.use(tenant).items():
                most = getattr(limits, name)
                assert most is None or now <= max(most, used[name]), (tenant, name)

    async def check(self) -> None:
        """Once what has ended has ended, the accounts are the sums of what is there."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not self.is_settled():  # noqa: ASYNC110 - the ends of sockets
                await asyncio.sleep(0)

    def is_settled(self) -> bool:
        node = self.server.node
        context = node.context
        for tenant in set(TOKENS.values()):
            account = context.accounts.of(tenant)
            sessions = [
                one for one in node._sessions
                if one.principal is not None and one.principal.tenant == tenant
            ]  # fmt: skip
            known = sum(TOKENS[token] == tenant for token, _ in self.clients.values())
            there = sum(len(one.subscriptions) for one in sessions)
            if (account.connections, len(sessions)) != (known, known):
                return False
            if (account.subscriptions, account.subscriptions_to_come) != (there, 0):
                return False
        return True

    async def end(self) -> None:
        """All is closed and dropped: nothing is left."""
        accounts, catalog = self.server.context.accounts, self.server.context.catalog
        accounts.change(TenantLimits())
        for token in ("token-root", "token-other"):
            async with client(self.server, token=token) as raw:
                for described in (await raw.ok("list"))["collections"]:
                    await raw.ok("drop", collection=described["collection"])
        while self.clients:
            await self.go()
        await self.check()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while catalog.budget.taken_bytes:  # noqa: ASYNC110 - another thread
                await asyncio.sleep(0)
        assert [one.memory.taken_bytes for one in accounts] == [0, 0]
        accounts.sample()
        assert len(accounts) == 0


@pytest.mark.parametrize("seed", range(6))
async def test_accounts_are_the_sums_of_what_is_there_whatever_happens(
    seed: int, tmp_path: Path
) -> None:
    clock = Clock()
    server = Server(with_tenants(tmp_path, ""), clock_us=clock)
    async with running(server):
        machine = Machine(server, clock, seed)
        try:
            for _ in range(STEPS):
                await machine.step()
            await machine.end()
        finally:
            while machine.clients:
                await machine.go()
        assert "quota" in machine.refused
