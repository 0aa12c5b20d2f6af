"""What others might try to learn or keep: rows that change hands, keys that go while one waits."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from omendb_core.filters.parser import parse
from omendb_core.model.change import AddRequest, RowBatch, UpdateRequest
from omendb_core.model.types import Definition
from omendb_core.window import Window

from omendb_ws.access.keyring import key_entry
from omendb_ws.engine.streams.drawing import Drawing, _Copying
from omendb_ws.net.server import Server
from omendb_ws.node import reloading
from omendb_ws.node.reloading import signature
from omendb_ws.runtime.toml_files import read_text
from omendb_ws.sessions import reach
from omendb_ws.sessions.outbox import Outbox
from omendb_ws.wire.encoded import text
from tests.patience import eventually
from tests.server.access.test_grants import COLUMNS, READER, both
from tests.server.live_view import slow_sockets
from tests.server.raw import Raw, client, engine_held, running, with_keys
from tests.server.tokens import token, with_secret

MINE = {"owner": "me"}


# -- rows that change hands -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["match", "novel"])
async def test_a_row_that_changes_hands_before_its_push_is_built_is_not_in_it(
    kind: str, tmp_path: Path
) -> None:
    """Its metadata would be another's by then."""
    fields: dict[str, Any] = {"include": ["metadata"]}
    fields |= {"vector": [1, 1], "min_score": 0} if kind == "match" else {"below": 1.1}
    async with (
        running(Server(with_secret(tmp_path))) as server,
        both(server, READER) as (raw, root),
    ):
        await raw.ok("subscribe", kind=kind, collection="items", **fields)
        async with slow_sockets(server):
            await add(root, 10, MINE)
            await raw.named(kind)
            # These wait: the engine hears of no push that was taken.
            await add(root, 11, MINE)
            await add(root, 12, MINE)
            secret = {"owner": "you", "secret": 1}
            await root.ok("update", collection="items", rows=[{"id": 11, "metadata": secret}])
        told = await raw.named(kind)
        assert [(row["id"], row["metadata"]) for row in told["rows"]] == [(12, MINE)]


async def add(raw: Raw, id: int, metadata: dict[str, Any]) -> None:
    row = {"id": id, "vector": [1.0, 1.0], "metadata": metadata}
    await raw.ok("add", collection="items", rows=[row])


@pytest.mark.parametrize("change", ["update", "add"])
def test_a_row_that_changes_hands_before_it_is_copied_shapes_no_map(change: str) -> None:
    """A sample is copied over several ticks; another's row may stand in a slot by then."""
    window = Window(Definition(2, 4, "dot", "u64", {"owner": "str"}))

    def apply(admitted: Any) -> None:
        window.apply(admitted)

    mine: list[Any] = [{"owner": "me"}] * 4
    ids = np.arange(4, dtype=np.uint64)
    batch = RowBatch(np.ones((4, 2), np.float32), ids, {}, mine, [b'{"owner":"me"}'] * 4)
    apply(window.admit_add(AddRequest(batch), 0))
    visible = parse({"owner": "me"}, {"owner": "str"})
    source = SimpleNamespace(window=window, is_dropped=False)
    looker = SimpleNamespace(source=source, drawing=Drawing(100, visible))
    copying = _Copying(SimpleNamespace(looker=looker, lane=None), window)  # type: ignore[arg-type]
    theirs: list[Any] = [{"owner": "you"}]
    if change == "update":
        request = UpdateRequest(ids[:1], theirs, [b'{"owner":"you"}'])
        apply(window.admit_update(request, 0))
    else:
        new = np.array([9], np.uint64)
        row = RowBatch(np.full((1, 2), 9, np.float32), new, {}, theirs, [b'{"owner":"you"}'])
        apply(window.admit_add(AddRequest(row), 0))
    assert copying.copy(window)
    (sample,) = copying.sample.pieces
    assert sample.tolist() == [[1.0, 1.0]] * 3


async def test_a_collection_of_the_same_name_is_looked_at_anew(tmp_path: Path) -> None:
    """A forced filter is parsed once for each: the newer one has other columns."""
    async with (
        running(Server(with_secret(tmp_path))) as server,
        both(server, READER) as (raw, root),
    ):
        assert (await raw.ok("count", collection="items"))["count"] == 3
        for columns, code in (({"owner": "i64"}, "forbidden"), ({"owner": "str"}, "")):
            await root.ok("drop", collection="items")
            await root.create(columns=columns)
            reply = await raw.ask("count", collection="items")
            assert reply.get("error", {}).get("code", "") == code


async def test_a_forced_filter_is_parsed_once_for_many_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        running(Server(with_secret(tmp_path))) as server,
        both(server, READER) as (raw, root),
    ):
        parsed: list[Any] = []
        parse = reach.parse
        monkeypatch.setattr(reach, "parse", lambda *given: parsed.append(given) or parse(*given))
        for _ in range(3):
            await raw.ok("count", collection="items")
            await raw.ok("search", collection="items", vector=[1, 1])
            await raw.ok("get", collection="items", ids=[1])
        assert len(parsed) == 1
        await raw.ok("auth", token=token({"rights": ["read"], "filter": {"owner": "you"}}))
        assert (await raw.ok("count", collection="items"))["count"] == 2
        assert len(parsed) == 2
        for number in range(20):
            await root.create(f"more-{number}", columns=COLUMNS)
            await raw.ok("count", collection=f"more-{number}")
        assert all(len(one.who.fits) <= 16 for one in server._sessions.values())


async def test_true_is_not_one(tmp_path: Path) -> None:
    """To Python the two filters are equal; the second one does not fit the column."""
    one, other = ({"rights": ["read"], "filter": {"level": value}} for value in (1, True))
    async with (
        running(Server(with_secret(tmp_path))) as server,
        both(server, one) as (raw, _),
    ):
        await raw.ok("subscribe", kind="feed", collection="items")
        await raw.ok("auth", token=token(other))
        assert await raw.code("count", collection="items") == "forbidden"
        assert (await raw.named("ended"))["reason"] == "forbidden"


# -- what a stamp adds ----------------------------------------------------------------------------


@pytest.mark.parametrize("op", ["add", "update"])
async def test_a_stamp_counts_against_the_limit_of_metadata(op: str, tmp_path: Path) -> None:
    """Stamps are put on before limits are looked at."""
    grant = {"rights": ["write", "read"], "stamp": MINE}
    most = {"text": "x" * (4096 - len('{"text":""}'))}
    fits = {"text": "x" * (4096 - len('{"text":"","owner":"me"}'))}
    async with (
        running(Server(with_secret(tmp_path))) as server,
        both(server, grant) as (raw, _),
    ):
        for metadata, code in ((most, "too_large"), (fits, None)):
            rows = [{"id": 1, "metadata": fits}, {"id": 2, "metadata": metadata}]
            if op == "add":
                rows = [{**row, "vector": [1.0, 1.0]} for row in rows]
            reply = await raw.ask(op, collection="items", rows=rows)
            if code is None:
                assert "ok" in reply, reply
            else:
                assert (reply["error"]["code"], reply["error"]["row"]) == (code, 1)
        got = await raw.ok("get", collection="items", ids=[2], include=["metadata"])
        assert got["rows"][0]["metadata"] == {**fits, **MINE}


async def test_a_long_stamp_counts_on_bare_rows_too(tmp_path: Path) -> None:
    grant = {"rights": ["write"], "stamp": {"owner": "x" * 4090}}
    async with (
        running(Server(with_secret(tmp_path))) as server,
        both(server, grant) as (raw, _),
    ):
        error = await raw.error("add", collection="items", rows=[{"id": 1, "vector": [1, 1]}])
        assert (error["code"], error["row"]) == ("too_large", 0)


# -- keys that go meanwhile -----------------------------------------------------------------------


def keep(directory: Path, *names: str) -> None:
    """The key file has these keys from now on."""
    rights = ("read", "write", "admin")
    text = "\n".join(key_entry(name, "acme", rights, f"token-{name}") for name in names)
    (directory / "keys.toml").write_text(text)


async def test_a_key_that_goes_while_its_auth_waits_is_not_taken(tmp_path: Path) -> None:
    """It waits for what was asked before it: nobody looks at its connection for that key."""
    async with (
        running(Server(with_keys(tmp_path))) as server,
        client(server, token="token-root") as raw,
    ):
        await raw.create()
        (session,) = server._sessions.values()
        async with engine_held(server):
            await raw.send("count", collection="items")
            auth = await raw.send("auth", token="token-reader")
            await eventually(lambda: not session.has_room)
            keep(tmp_path, "root")
            await server.node.reloads.look()
        reply = await raw.reply(auth)
        assert reply["error"]["code"] == "unauthenticated"
        assert await raw.closed() == 4401


async def test_one_that_is_refused_is_sent_no_push_that_was_not_handed_over(
    tmp_path: Path,
) -> None:
    """Replies are: whoever asked must know what became of it."""
    async with (
        running(Server(with_keys(tmp_path))) as server,
        client(server, token="token-reader") as gone,
        client(server, token="token-root") as root,
    ):
        await root.create()
        for kind, fields in (("feed", {}), ("count", {"every": 100}), ("stats", {"every": 100})):
            await gone.ok("subscribe", kind=kind, collection="items", **fields)
        sessions = server._sessions.values()
        session = next(one for one in sessions if one.who.known().name == "reader")
        outbox = session.outbox
        outbox.on_filled = lambda: None  # the socket takes nothing for now
        await root.add(1)
        await eventually(lambda: len(outbox) == 3)
        keep(tmp_path, "root")
        await server.node.reloads.look()
        await eventually(lambda: session.is_refused)
        said = [bytes(message.data) for message in outbox.take().messages]
        assert len(said) == 1
        assert b"unauthenticated" in said[0]
        assert not session.subscriptions
        assert outbox.push_bytes == 0


def test_what_is_dropped_from_an_outbox_is_not_counted() -> None:
    outbox = Outbox()
    outbox.reply(text(b"{}"))
    outbox.push(text(b"[1,2]"), lambda: None)
    outbox.drop_pushes()
    assert (outbox.reply_bytes, outbox.push_bytes, len(outbox)) == (2, 0, 1)


# -- files that could not be read just then -------------------------------------------------------


async def test_a_key_file_that_could_not_be_read_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Descriptors may be short for a moment; the file does not change again for that."""
    left = [1]

    def read(path: Any) -> str:
        if left:
            left.clear()
            raise OSError(24, os.strerror(24))
        return read_text(path)

    async with (
        running(Server(with_keys(tmp_path))) as server,
        client(server, token="token-reader") as gone,
    ):
        monkeypatch.setattr("omendb_ws.access.keyring.read_text", read)
        keep(tmp_path, "root")
        await server.node.reloads.look()
        assert server.metrics.reload_failures == 1
        assert await gone.ok("list")
        await server.node.reloads.look()
        assert await gone.closed() == 4401
        assert server.metrics.reload_failures == 1


async def test_looking_goes_on_after_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without threads or memory for a moment keys would never be looked at again."""
    left = [1]

    def faulty(path: str) -> tuple[int, ...] | None:
        if left and threading.current_thread() is not threading.main_thread():
            left.clear()
            raise RuntimeError("can't start new thread")
        return signature(path)

    monkeypatch.setattr(reloading, "signature", faulty)
    monkeypatch.setattr(reloading, "LOOK_SECONDS", 0.001)
    async with (
        running(Server(with_keys(tmp_path))) as server,
        client(server, token="token-reader") as gone,
    ):
        await eventually(lambda: not left)
        keep(tmp_path, "root")
        assert await gone.closed() == 4401
        assert server.metrics.faults == 1


async def test_a_key_that_is_another_tenants_now_closes(tmp_path: Path) -> None:
    """Its handles and subscriptions are of collections that are not there for that tenant."""
    async with (
        running(Server(with_keys(tmp_path))) as server,
        client(server, token="token-reader") as moved,
        client(server, token="token-root") as root,
    ):
        await root.create()
        await moved.ok("open", collection="items")
        keys = [("root", "acme"), ("reader", "umbrella")]
        entries = [key_entry(name, tenant, ("read",), f"token-{name}") for name, tenant in keys]
        (tmp_path / "keys.toml").write_text("\n".join(entries))
        await server.node.reloads.look()
        assert await moved.closed() == 4401
