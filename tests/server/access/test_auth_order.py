"""What came behind an ``auth`` is not heard before it, also where its key is not known yet."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from omendb_ws.access.jwt_keys import KeySet
from omendb_ws.net.server import Server
from omendb_ws.node import keys as node_keys
from tests.access import jwt_making as making
from tests.patience import eventually
from tests.server.access.test_key_reloads import Provider, providing
from tests.server.raw import Raw, client, engine_held, rows, running, settings, with_keys

NONE = KeySet(())
ALL = {"rights": ["read", "write", "admin"]}
MINE = {"rights": ["read"], "filter": {"owner": "me"}}


def signed(key: str, grant: dict[str, Any] = ALL) -> str:
    return making.token(key, aud="omendb", omendb=[grant])


async def fill(raw: Raw) -> None:
    await raw.create(columns={"owner": "str"})
    owned = [{**row, "metadata": {"owner": "me"}} for row in rows(1)]
    await raw.ok("add", collection="items", rows=[*owned, *rows(2, 3)])


def at_once(server: Server, *messages: dict[str, Any]) -> None:
    """All of them come in one piece."""
    (session,) = server._sessions.values()
    for message in messages:
        session.holds.hear(json.dumps(message))


def served(provider: Provider) -> Server:
    return Server(settings(jwt_jwks_url=provider.url, jwt_audience="omendb"))


ADD = {"id": 72, "op": "add", "collection": "items", "rows": rows(9)}
COUNT = {"id": 73, "op": "count", "collection": "items"}


@pytest.mark.parametrize("are_fetched", [False, True])
async def test_behind_a_token_that_stays_unknown_nothing_is_done(
    are_fetched: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``are_fetched`` False: there was a fetch just now, so there are no newer keys to wait for."""
    monkeypatch.setattr(node_keys, "UNKNOWN_KID_SECONDS", 0.0 if are_fetched else 3600.0)
    with providing() as provider:
        async with running(served(provider)) as server:
            await eventually(lambda: server.node.keys.are_there)
            server.node.keys._looked_at = 0.0 if are_fetched else 1e12
            provider.asked = 0
            async with client(server, token=signed("rsa")) as raw:
                await fill(raw)
                auth = {"id": 71, "op": "auth", "token": signed("ed")}
                at_once(server, auth, ADD, COUNT)
                assert (await raw.reply(71))["error"]["code"] == "unauthenticated"
                assert await raw.closed() == 4401
                assert not raw.replies.keys() & {72, 73}
            assert provider.asked == are_fetched
            async with client(server, token=signed("rsa")) as raw:
                assert (await raw.ok("count", collection="items"))["count"] == 3


async def test_behind_a_token_whose_key_is_fetched_its_grants_hold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(node_keys, "UNKNOWN_KID_SECONDS", 0.0)
    with providing() as provider:
        async with running(served(provider)) as server:
            await eventually(lambda: server.node.keys.are_there)
            async with client(server, token=signed("rsa")) as raw:
                await fill(raw)
                provider.body = making.jwks("rsa", "ed")
                provider.holds, provider.asked = threading.Event(), 0
                auth = {"id": 71, "op": "auth", "token": signed("ed", MINE)}
                gate = server.context.gate
                async with engine_held(server):
                    at_once(server, COUNT | {"id": 70}, auth, ADD, COUNT)
                    await eventually(lambda: provider.asked == 1)
                    provider.holds.set()
                    await eventually(lambda: len((gate.jwt_keys or NONE).keys) == 2)
                assert (await raw.reply(70))["ok"]["count"] == 3
                assert (await raw.reply(71))["ok"]["rights"] == ["read"]
                assert (await raw.reply(72))["error"]["code"] == "forbidden"
                assert (await raw.reply(73))["ok"]["count"] == 1
                assert [one["id"] for one in raw.order[-4:]] == [70, 71, 72, 73]


async def test_a_stranger_is_heard_again_when_its_key_was_fetched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(node_keys, "UNKNOWN_KID_SECONDS", 0.0)
    with providing() as provider:
        async with running(served(provider)) as server:
            await eventually(lambda: server.node.keys.are_there)
            async with client(server, token=signed("rsa")) as raw:
                await fill(raw)
            provider.body = making.jwks("rsa", "ed")
            async with client(server) as raw:
                await eventually(lambda: len(server._sessions) == 1)
                at_once(server, {"id": 71, "op": "auth", "token": signed("ed", MINE)}, COUNT)
                assert (await raw.reply(71))["ok"]["tenant"] == "acme"
                assert (await raw.reply(73))["ok"]["count"] == 1


async def test_many_tokens_behind_one_that_waits_are_all_answered_in_order(tmp_path: Path) -> None:
    """Each has other grants than the one before, so each holds its session."""
    async with (
        running(Server(with_keys(tmp_path))) as server,
        client(server, token="token-root") as raw,
    ):
        await raw.create()
        tokens = ["token-reader", "token-boss"] * 300
        numbers = range(100, 100 + len(tokens))
        auths = [
            {"id": number, "op": "auth", "token": token}
            for number, token in zip(numbers, tokens, strict=True)
        ]
        async with engine_held(server):
            at_once(server, COUNT | {"id": 70}, *auths, ADD)
        assert (await raw.reply(72))["ok"]["version"] == 1
        assert [one["id"] for one in raw.order[-len(tokens) - 2 :]] == [70, *numbers, 72]
        assert all("ok" in raw.replies[number] for number in numbers)
