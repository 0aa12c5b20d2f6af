"""What is taken away is gone: no push follows, of any kind, however it was taken.

Files change and nobody is told: the server looks by itself, here every millisecond.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from omendb_ws.access.keyring import token_sha256
from omendb_ws.net.server import Server
from omendb_ws.node import reloading
from omendb_ws.node.node import LOOKED_AT_ONCE
from omendb_ws.wire.messages import Live, Rows
from tests.access import jwt_making as making
from tests.patience import eventually
from tests.server.granted_people import as_toml
from tests.server.raw import Raw, client, running, settings

COLUMNS = {"owner": "str"}
MINE = {"owner": "me"}
ALL = {"rights": ["read", "write", "admin"]}
READER = {"rights": ["read"], "filter": MINE}
#: Of each kind what it is asked with, besides the collection.
KINDS: dict[str, dict[str, Any]] = {
    "live": {"vector": [1, 1]},
    "match": {"vector": [1, 1], "min_score": -9},
    "feed": {"encoding": "binary"},
    "novel": {"below": 100},
    "count": {"every": 100},
    "stats": {"every": 100},
    "map": {"every": 100},
}
#: What remains for the reader.
NARROWER: dict[str, dict[str, Any]] = {
    "other rights": {"rights": ["write"]},
    "a narrower filter": {"rights": ["read"], "filter": {"$and": [MINE, {"owner": {"$ne": "x"}}]}},
    "another collection": {**READER, "collections": ["others-*"]},
}


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reloading, "LOOK_SECONDS", 0.001)


class Served(NamedTuple):
    """A server with a ``reader`` that can be taken its key, and one with all rights."""

    server: Server
    reader: Raw
    root: Raw
    path: Path

    @property
    def session(self) -> Any:
        found = [one for one in self.server._sessions.values() if one.who.known().name != "root"]
        return found[0]


def write(path: Path, text: str | bytes) -> None:
    """As an editor, or who mounts secrets, puts a newer file in place of one."""
    newer = path.with_suffix(".newer")
    newer.write_bytes(text if isinstance(text, bytes) else text.encode())
    newer.chmod(0o600)
    os.replace(newer, path)


def keys(tenant: str = "acme", **grants: dict[str, Any]) -> str:
    return "".join(
        f'[[keys]]\nname = "{name}"\ntenant = "{tenant if name == "reader" else "acme"}"\n'
        f'token_sha256 = "{token_sha256(f"token-{name}")}"\ngrants = {as_toml([grant])}\n'
        for name, grant in grants.items()
    )


@asynccontextmanager
async def served(path: Path, token: str, **fields: Any) -> AsyncIterator[Served]:
    write(path / "keys.toml", keys(root=ALL, reader=READER))
    given = settings(api_key_file=str(path / "keys.toml"), **fields)
    async with running(Server(given)) as server, client(server, token="token-root") as root:
        await root.create(columns=COLUMNS, capacity=100)
        await add(root, 1)
        async with client(server, token=token) as reader:
            yield Served(server, reader, root, path)


@asynccontextmanager
async def by_key_file(path: Path) -> AsyncIterator[Served]:
    async with served(path, "token-reader") as there:
        yield there


@asynccontextmanager
async def by_jwks_file(path: Path) -> AsyncIterator[Served]:
    write(path / "jwks", making.jwks("rsa", "ec"))
    token = making.token("rsa", aud="omendb", omendb=[READER])
    async with served(path, token, jwt_keys=str(path / "jwks"), jwt_audience="omendb") as there:
        yield there


@asynccontextmanager
async def by_secret(path: Path) -> AsyncIterator[Served]:
    write(path / "secret", b"s" * 32)
    token = making.signed(making.claims(omendb=[READER]), b"s" * 32, "HS256", {})
    async with served(path, token, jwt_secret_file=str(path / "secret")) as there:
        yield there


async def add(raw: Raw, id: int) -> int:
    row = {"id": id, "vector": [float(id), 1.0], "metadata": MINE}
    version: int = (await raw.ok("add", collection="items", rows=[row]))["version"]
    return version


async def listens(there: Served) -> dict[int, str]:
    """The reader keeps a subscription of every kind, and was pushed something by each."""
    subs = {}
    for kind, fields in KINDS.items():
        begun = await there.reader.ok("subscribe", kind=kind, collection="items", **fields)
        subs[begun["sub"]] = kind
    await add(there.root, 2)
    missing = set(subs)
    while missing:
        event = await there.reader.event()
        if version_of(event) is not None:
            missing.discard(event.sub if isinstance(event, Live | Rows) else event["sub"])
    return subs


def version_of(event: Any) -> int | None:
    """Of a push."""
    found = event.version if isinstance(event, Live | Rows) else event.get("version")
    assert found is None or isinstance(found, int)
    return found


Revokes = Callable[[Path], None]
CLOSED: dict[str, tuple[Any, Revokes]] = {
    "the key is gone": (by_key_file, lambda path: write(path / "keys.toml", keys(root=ALL))),
    "the key is another tenant's": (
        by_key_file,
        lambda path: write(path / "keys.toml", keys("other", root=ALL, reader=READER)),
    ),
    "the JWKS is without it": (
        by_jwks_file,
        lambda path: write(path / "jwks", making.jwks("ec")),
    ),
    "the kid has another key": (
        by_jwks_file,
        lambda path: write(path / "jwks", making.jwks("rsa-2").replace(b"rsa-2", b"rsa")),
    ),
    "another secret": (by_secret, lambda path: write(path / "secret", b"t" * 32)),
}


@pytest.mark.parametrize("how", CLOSED)
async def test_no_push_comes_once_a_key_is_gone(how: str, tmp_path: Path) -> None:
    serve, revoke = CLOSED[how]
    async with serve(tmp_path) as there:
        await listens(there)
        session = there.session
        revoke(there.path)
        await eventually(lambda: session.is_refused)
        later = await add(there.root, 3)
        assert await there.reader.closed() == 4401
        events = there.reader.events
        assert all((version_of(event) or 0) < later for event in events)
        assert events[-1]["code"] == "unauthenticated"
        assert not session.subscriptions
        assert there.server.metrics.reload_failures == 0


@pytest.mark.parametrize("how", NARROWER)
async def test_no_push_comes_once_grants_are_narrower(how: str, tmp_path: Path) -> None:
    async with by_key_file(tmp_path) as there:
        subs = await listens(there)
        session = there.session
        write(there.path / "keys.toml", keys(root=ALL, reader=NARROWER[how]))
        await eventually(lambda: not session.subscriptions)
        later = await add(there.root, 3)
        assert await there.reader.ok("ping") == {}
        events = there.reader.events
        assert all((version_of(event) or 0) < later for event in events)
        ended = [event for event in events if isinstance(event, dict) and event["event"] == "ended"]
        assert {one["sub"] for one in ended} == subs.keys()
        assert {one["reason"] for one in ended} == {"forbidden"}


async def test_what_is_not_touched_goes_on(tmp_path: Path) -> None:
    """Another key comes, and the reader's may do more: its rows are the same ones."""
    async with by_key_file(tmp_path) as there:
        await listens(there)
        session = there.session
        more = {**READER, "rights": ["read", "write"]}
        write(there.path / "keys.toml", keys(root=ALL, reader=more, third=ALL))
        await eventually(lambda: session.who.known().may("write"))
        later = await add(there.root, 3)
        missing = set(session.subscriptions)
        while missing:
            event = await there.reader.event()
            if (version_of(event) or 0) >= later:
                missing.discard(event.sub if isinstance(event, Live | Rows) else event["sub"])
        assert len(session.subscriptions) == len(KINDS)


async def test_a_file_that_is_a_link_is_followed(tmp_path: Path) -> None:
    """Kubernetes swaps a link to the directory that a secret is in."""
    for name, grants in (("one", {"root": ALL, "reader": READER}), ("two", {"root": ALL})):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "keys.toml", keys(**grants))
    os.symlink("one", tmp_path / "now")
    os.symlink("now/keys.toml", tmp_path / "keys.toml")
    given = settings(api_key_file=str(tmp_path / "keys.toml"))
    async with running(Server(given)) as server, client(server, token="token-reader") as gone:
        os.symlink("two", tmp_path / "newer")
        os.replace(tmp_path / "newer", tmp_path / "now")
        assert await gone.closed() == 4401


async def test_a_move_under_way_is_answered_before_the_end_of_what_it_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with by_key_file(tmp_path) as there:
        begun = await there.reader.ok(
            "subscribe", kind="live", collection="items", vector=[1, 1], include=["metadata"]
        )
        sub, inbox, session = begun["sub"], there.server.context.inbox, there.session
        held: list[Any] = []
        submit = inbox.submit
        monkeypatch.setattr(inbox, "submit", held.append)
        move = await there.reader.send("move", sub=sub, vector=[2, 2])
        again = await there.reader.send("move", sub=sub, vector=[3, 3])
        await eventually(lambda: len(held) == 2)
        monkeypatch.undo()
        monkeypatch.setattr(reloading, "LOOK_SECONDS", 0.001)
        write(there.path / "keys.toml", keys(root=ALL, reader={"rights": ["write"]}))
        await eventually(lambda: not session.who.known().may("read"))
        later = await add(there.root, 3)
        assert await there.reader.code("move", sub=sub, vector=[4, 4]) == "forbidden"
        for work in held:
            submit(work)
        for id in (move, again):
            assert "ok" in await there.reader.reply(id)
            assert id == again or not there.reader.events
        await eventually(lambda: not session.subscriptions)
        assert await there.reader.ok("ping") == {}
        (ended,) = there.reader.events
        assert ended == {"event": "ended", "sub": sub, "reason": "forbidden"}
        assert later


async def test_many_sessions_are_looked_at_some_in_each_turn(tmp_path: Path) -> None:
    async with by_key_file(tmp_path) as there, AsyncExitStack() as stack:
        many = LOOKED_AT_ONCE + 10
        for _ in range(many):
            await stack.enter_async_context(client(there.server, token="token-reader"))
        pieces = there.server.context.long_requests.pieces
        write(there.path / "keys.toml", keys(root=ALL))
        sessions = list(there.server._sessions.values())
        await eventually(lambda: sum(one.is_refused for one in sessions) == many + 1)
        assert there.server.context.long_requests.pieces == pieces + 2
