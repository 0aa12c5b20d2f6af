"""The audit log: who came, was refused, made, dropped and reloaded; never a token."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.frames import Opcode

from omendb_ws.access import audit as audit_log
from omendb_ws.access import logins
from omendb_ws.access.audit import ADDRESS_BURST, BURST, FIELDS, Audit
from omendb_ws.access.peer import Peer
from omendb_ws.access.principal import OPEN
from omendb_ws.journal.local.store import LocalStore
from omendb_ws.net.server import Server
from omendb_ws.node.audit_file import AuditFileError
from omendb_ws.node.config import Settings
from omendb_ws.runtime import line_file
from tests.access import jwt_making as making
from tests.server.access.test_key_reloads import write_keys
from tests.server.access.test_secrets import MESSAGES, REQUESTS, SECRET
from tests.server.faulty_files import FaultyFiles
from tests.server.http.test_http_sockets import Address, get
from tests.server.net.test_websocket_frames import frame
from tests.server.raw import (
    PATIENCE_SECONDS,
    Clock,
    batch,
    client,
    engine_held,
    running,
    settings,
    with_keys,
)
from tests.server.tokens import token, with_secret


def audited(directory: Path, **fields: Any) -> Settings:
    return with_keys(directory, audit_file=str(directory / "audit.jsonl"), **fields)


def entries(directory: Path) -> list[dict[str, Any]]:
    """All entries; ports, which are any, are left out."""
    found = []
    for line in (directory / "audit.jsonl").read_text().splitlines():
        entry = json.loads(line)
        assert tuple(entry) == FIELDS
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", entry.pop("time"))
        if entry["address"] is not None:
            host, colon, port = entry["address"].rpartition(":")
            assert not colon or int(port)
            entry["address"] = host
        found.append(entry)
    return found


def entry(name: str | None, op: str, outcome: str, **more: Any) -> dict[str, Any]:
    """What an entry of a key of ``KEYS`` says."""
    found = {
        "principal": name,
        "tenant": None if name is None else "acme",
        "address": "127.0.0.1",
        "op": op,
        "collection": None,
        "outcome": outcome,
        "detail": None,
    }
    return {**found, **more}


async def test_logins_refusals_creates_drops_and_reloads_are_entered_in_order(
    tmp_path: Path,
) -> None:
    async with running(Server(audited(tmp_path))) as server:
        async with client(server, token="token-root") as raw, client(server) as reader:
            await reader.ok("auth", token="token-reader")
            handle = (await raw.create("a"))["handle"]
            await raw.create("a", if_exists="ok")  # which makes nothing
            assert await raw.code("create", collection="a", dim=3, capacity=3) == "exists"
            assert await reader.code("add", collection="a", rows=[]) == "forbidden"
            opened = (await reader.ok("open", collection="a"))["handle"]
            assert opened == handle
            with contextlib.suppress(AssertionError):
                await reader.add_binary(opened, batch(1))
            assert await reader.code("drop", collection="b") == "forbidden"
            assert await reader.code("stats") == "forbidden"
            assert await raw.code("drop", collection="nothing") == "not_found"
            await raw.ok("drop", collection="a")
            assert await raw.code("auth", token="token-other") == "forbidden"
        async with client(server, token="nobody", greeted=False) as raw:
            assert await raw.closed() == 4401
        write_keys(tmp_path / "keys.toml", "root", "new")
        await server.node.reloads.look()
        (tmp_path / "keys.toml").write_text("nothing")
        await server.node.reloads.look()
    right = "this token does not have the right"
    assert entries(tmp_path) == [
        entry("root", "auth", "ok"),
        entry("reader", "auth", "ok"),
        entry("root", "create", "ok", collection="a"),
        entry("root", "create", "exists", collection="a"),
        entry("reader", "add", "forbidden", collection="a", detail=f"{right} write"),
        entry("reader", "add", "forbidden", collection="a", detail=f"{right} write"),
        entry("reader", "drop", "forbidden", collection="b", detail=f"{right} admin"),
        entry(
            "reader",
            "stats",
            "forbidden",
            detail="this token has neither the right operator nor admin on all collections",
        ),
        entry("root", "drop", "not_found", collection="nothing"),
        entry("root", "drop", "ok", collection="a"),
        entry(
            "root",
            "auth",
            "forbidden",
            detail="token: of another tenant than this connection's; connect anew",
        ),
        entry(None, "auth", "unauthenticated", detail="the token is not known"),
        entry(None, "reload", "ok", detail="keys", address=None),
        entry(None, "reload", "failed", detail="keys", address=None),
    ]


async def test_rows_that_a_grant_refuses_are_entered_wherever_that_is_decided(
    tmp_path: Path,
) -> None:
    mine = {"rights": ["read", "write"], "filter": {"owner": "me"}}
    path = tmp_path / "audit.jsonl"
    async with running(Server(with_secret(tmp_path, audit_file=str(path)))) as server:
        async with client(server, token=token()) as root:
            await root.create("items", columns={"owner": "str"})
        rows = [{"id": 1, "vector": [1.0, 1.0], "metadata": {"owner": "you"}}]
        async with client(server, token=token(mine)) as raw:  # the engine looks at the rows
            assert await raw.code("add", collection="items", rows=rows) == "forbidden"
        stamped = {**mine, "stamp": {"owner": "me"}}
        async with client(server, token=token(stamped)) as raw:  # the stamp is put on before
            assert await raw.code("add", collection="items", rows=rows) == "forbidden"
        bad = {"rights": ["read"], "filter": {"nothing": 1}}
        async with client(server, token=token(bad)) as raw:
            assert await raw.code("count", collection="items") == "forbidden"
    found = [one for one in entries(tmp_path) if one["outcome"] == "forbidden"]
    assert [(one["op"], one["collection"], one["principal"]) for one in found] == [
        ("add", "items", "jwt:ann"),
        ("add", "items", "jwt:ann"),
        ("count", "items", "jwt:ann"),
    ]


async def test_the_ends_of_tokens_are_entered(tmp_path: Path) -> None:
    async with running(Server(audited(tmp_path), auth_seconds=0.01)) as server:
        async with client(server) as silent:
            assert await silent.closed() == 4401
        async with client(server, token="token-reader") as gone:
            write_keys(tmp_path / "keys.toml", "root")
            await server.node.reloads.look()
            assert await gone.closed() == 4401
    assert entries(tmp_path) == [
        entry(None, "auth", "unauthenticated", detail="no token came in time"),
        entry("reader", "auth", "ok"),
        entry(None, "reload", "ok", detail="keys", address=None),
        entry(
            "reader",
            "auth",
            "unauthenticated",
            detail="the key of this token is not there any more",
        ),
    ]


async def test_what_guarded_routes_say_is_entered_and_probes_are_not(tmp_path: Path) -> None:
    async with running(Server(audited(tmp_path))) as server:
        address = Address(server.port)
        for path in ("/readyz", "/health", "/livez", "/", "/nothing"):
            await get(address, path)
        for key, code in (("root", 200), ("reader", 403), ("nobody", 401)):
            assert (await get(address, "/metrics", f"X-API-Key: token-{key}"))[0] == code
        assert (await get(address, "/stats?token=x"))[0] == 401
        assert (await get(address, "/v1", "Origin: http://elsewhere"))[0] == 403
    strange = "of another Host or Origin"
    assert entries(tmp_path) == [
        entry("root", "GET /metrics", "ok"),
        entry("reader", "GET /metrics", "forbidden"),
        entry(None, "GET /metrics", "unauthenticated", detail="the token is not known"),
        entry(None, "GET /stats", "unauthenticated", detail="no token"),
        entry(None, "GET /v1", "forbidden", detail=strange),
    ]


async def test_an_open_server_enters_what_is_made_and_dropped(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    async with running(audit_file=str(path)) as server, client(server) as raw:
        await raw.ok("auth", token="anything")
        await raw.create("a")
        await raw.ok("drop", collection="a")
        assert (await get(Address(server.port), "/stats"))[0] == 200
    found = [(one["principal"], one["op"], one["outcome"]) for one in entries(tmp_path)]
    assert found == [("open", "create", "ok"), ("open", "drop", "ok")]


async def test_a_drop_whose_connection_is_gone_at_once_is_entered(tmp_path: Path) -> None:
    async with (
        running(Server(audited(tmp_path))) as server,
        client(server, token="token-root") as raw,
    ):
        await raw.create("a")
        async with engine_held(server):
            await raw.send("drop", collection="a")
            await raw.ok("ping")  # so it has been read
            raw.socket.transport.abort()
    assert entries(tmp_path)[-1] == entry("root", "drop", "ok", collection="a")


async def test_a_create_that_comes_to_nothing_is_entered_twice(tmp_path: Path) -> None:
    files = FaultyFiles()
    files.room_bytes = 0
    given = audited(tmp_path, data_dir=str(tmp_path / "data"))
    server = Server(given, open_store=lambda directory: LocalStore(directory, files))
    async with running(server), client(server, token="token-root") as raw:
        code = await raw.code("create", collection="b", dim=2, capacity=8)
        files.room_bytes = None
    found = [(one["collection"], one["outcome"]) for one in entries(tmp_path)[1:]]
    assert found == [("b", "ok"), ("b", code)] == [("b", "ok"), ("b", "storage_full")]


# -- never a token ------------------------------------------------------------------------------


async def test_no_token_is_in_the_file_in_whatever_way_it_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logins, "MOST_SECONDS", 0.0)
    for burst in ("ADDRESS_BURST", "BURST"):  # every one of them is to be entered
        monkeypatch.setattr(audit_log, burst, 1 << 60)
    (tmp_path / "jwks.json").write_bytes(making.jwks("ed"))
    jwts = [
        making.token("ed"),
        making.token("ed", exp=1_000_000_000),
        making.token("ed", header={"kid": SECRET}),
        making.token("ed", tenant=f"{SECRET}!"),
        making.token("ed", omendb=[{"rights": [SECRET]}]),
        making.token("ed", sub=f"{SECRET}\n"),
        f"{SECRET}.{SECRET}.{SECRET}",
    ]
    keys = {"jwt_keys": str(tmp_path / "jwks.json"), "jwt_audience": None}
    async with running(Server(audited(tmp_path, **keys), clock_us=Clock())) as server:
        port = server.port
        for text in REQUESTS.values():
            rest = b"" if text.endswith(SECRET) else frame(Opcode.CLOSE, b"")
            await sent(port, text.encode() + rest)
        for message in MESSAGES.values():
            async with client(server) as raw:
                raw.socket.transport.write(message + frame(Opcode.CLOSE, b""))
                await raw.closed()
        for one in (SECRET, "token-reader", "token-root", *jwts):
            async with client(server, token=one, greeted=False) as raw:
                await raw.socket.close()
            async with client(server) as raw:
                await raw.ask("auth", token=one)
            await get(Address(port), "/metrics", f"X-API-Key: {one}")
            await get(Address(port), f"/metrics?token={one}", f"X-Forwarded-For: {one}")
        async with client(server, token="token-root") as raw:
            await raw.ask("create", collection="c", dim=2, capacity=8, token=SECRET)
            await raw.ask("create", collection="c", dim=SECRET, capacity=8)
            await raw.ask("create", collection=f"{SECRET}!", dim=2, capacity=8)
            await raw.ask("drop", collection=f"{SECRET}!")
            await raw.ask("auth", token=SECRET)
        (tmp_path / "keys.toml").write_text(f'[[keys]]\n"{SECRET}" = "root"')
        await server.node.reloads.look()
    text = (tmp_path / "audit.jsonl").read_text()
    assert len(text.splitlines()) > 40
    for secret in (SECRET, "token-", *(one.split(".")[2] for one in jwts)):
        assert secret not in text


async def sent(port: int, data: bytes) -> None:
    """Send ``data`` and read to the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    writer.write_eof()
    with contextlib.suppress(OSError):
        async with asyncio.timeout(PATIENCE_SECONDS):
            await reader.read()
    writer.transport.abort()


# -- strangers ----------------------------------------------------------------------------------


def collecting(clock: Clock) -> tuple[Audit, list[dict[str, Any]]]:
    found: list[dict[str, Any]] = []
    return Audit(lambda line: found.append(json.loads(line)), clock), found


def test_what_strangers_enter_is_limited_and_what_is_left_out_is_said() -> None:
    clock = Clock()
    audit, found = collecting(clock)
    for _ in range(1000):
        audit.enter_stranger("auth", "unauthenticated", Peer("192.0.2.1", 5), "unknown")
    assert len(found) == ADDRESS_BURST
    audit.say_left_out()
    audit.say_left_out()
    assert found[ADDRESS_BURST:] == [
        {
            **dict.fromkeys(FIELDS),
            "time": found[-1]["time"],
            "op": "audit",
            "outcome": "left_out",
            "detail": "990 entries of unauthenticated clients",
        }
    ]
    audit.enter_stranger("auth", "unauthenticated", Peer("192.0.2.2"), "unknown")
    assert found[-1]["address"] == "192.0.2.2"
    clock.move(1)
    audit.enter_stranger("auth", "unauthenticated", Peer("192.0.2.1"), "unknown")
    assert found[-1]["address"] == "192.0.2.1"


def test_many_addresses_are_limited_together_and_their_table_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()
    audit, found = collecting(clock)
    for number in range(3 * audit_log.MOST_ADDRESSES):
        peer = Peer(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
        audit.enter_stranger("auth", "unauthenticated", peer, "unknown")
    assert len(found) == BURST
    assert len(audit._by_address) == audit_log.MOST_ADDRESSES
    clock.move(1)
    for number in range(100):
        audit.enter_stranger("auth", "unauthenticated", Peer(f"192.0.2.{number}"), "unknown")
    assert len(found) == BURST + 10


def test_addresses_of_one_site_of_ipv6_share_their_limit_and_who_is_known_has_none() -> None:
    audit, found = collecting(Clock())
    for number in range(100):
        audit.enter_stranger("auth", "unauthenticated", Peer(f"2001:db8::{number:x}"), "unknown")
    assert len(found) == ADDRESS_BURST
    for _ in range(1000):
        audit.enter("add", "forbidden", OPEN, Peer("::1", 7), "items")
    assert len(found) == ADDRESS_BURST + 1000
    assert found[-1]["address"] == "[::1]:7"


async def test_a_flood_over_sockets_is_entered_a_bit_and_counted_by_the_end(
    tmp_path: Path,
) -> None:
    async with running(Server(audited(tmp_path), clock_us=Clock())) as server:
        for _ in range(3 * ADDRESS_BURST):
            await get(Address(server.port), "/stats")
    found = entries(tmp_path)
    strangers = [one for one in found if one["outcome"] == "unauthenticated"]
    said = [one["detail"] for one in found if one["outcome"] == "left_out"]
    assert len(strangers) == ADDRESS_BURST
    assert sum(int(one.split(" ")[0]) for one in said) == 2 * ADDRESS_BURST


# -- the file -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: os.mkfifo(path), "is no regular file"),
        (lambda path: path.symlink_to("/dev/null"), "symbolic link"),
        (lambda path: path.mkdir(), "directory"),
        (lambda path: path.parent.rmdir(), "is not there"),
    ],
)
async def test_a_server_does_not_start_without_its_audit_log(
    make: Callable[[Path], None], said: str, tmp_path: Path
) -> None:
    path = tmp_path / "logs" / "audit"
    path.parent.mkdir()
    make(path)
    threads = threading.active_count()
    with pytest.raises(AuditFileError, match=rf"audit_file {path}: .*{said}"):
        async with Server(settings(audit_file=str(path))):
            pass
    assert threading.active_count() == threads


async def test_a_disk_that_fails_is_counted_and_everything_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(number: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(line_file, "RETRY_SECONDS", 0.001)
    monkeypatch.setattr(line_file, "MOST_LINES", 4)
    async with running(Server(audited(tmp_path))) as server:
        with monkeypatch.context() as broken:
            broken.setattr(line_file, "_write", fail)
            async with client(server, token="token-root") as raw:
                for number in range(6):
                    await raw.create(f"c{number}")
                while not (numbers := await scraped(server))["omendb_audit_failures_total"]:
                    await raw.add(1, name="c1")
                assert numbers["omendb_audit_dropped_total"] == 3
        file = server.node.audit_file
        assert file is not None
        async with asyncio.timeout(PATIENCE_SECONDS):
            while file._lines:  # noqa: ASYNC110 - a thread of its own writes them
                await asyncio.sleep(0)
    found = [(one["op"], one["detail"]) for one in entries(tmp_path)]
    assert found[:4] == [("auth", None), *[("create", None)] * 3]
    # Scrapes with a token are entered, so of these some are lost as well.
    assert re.fullmatch(r"\d+ entries that could not be written in time", found[4][1] or "")
    assert int(found[4][1].split(" ")[0]) >= 3  # type: ignore[union-attr]


async def test_a_disk_that_hangs_keeps_neither_clients_nor_the_end_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_asked, may_go_on = threading.Event(), threading.Event()

    def hang(number: int, data: bytes) -> int:
        is_asked.set()
        assert may_go_on.wait(PATIENCE_SECONDS)
        return os.write(number, data)

    monkeypatch.setattr(line_file, "_write", hang)
    monkeypatch.setattr(line_file, "CLOSE_SECONDS", 0.01)
    try:
        async with (
            running(Server(audited(tmp_path))) as server,
            client(server, token="token-root") as raw,
        ):
            assert await asyncio.to_thread(is_asked.wait, PATIENCE_SECONDS)
            await raw.create("a")
            await raw.add(1, name="a")
            assert (await raw.ok("count", collection="a"))["count"] == 1
            await raw.ok("drop", collection="a")
            assert not (tmp_path / "audit.jsonl").read_text()
    finally:
        may_go_on.set()
    file = server.node.audit_file
    assert file is not None
    await asyncio.to_thread(file._thread.join, PATIENCE_SECONDS)
    assert [one["op"] for one in entries(tmp_path)] == ["auth", "create", "drop"]


async def test_who_has_a_right_token_and_no_place_is_entered(tmp_path: Path) -> None:
    async with (
        running(Server(audited(tmp_path, max_connections=1))) as server,
        client(server, token="token-root"),
    ):
        async with client(server) as late:
            assert await late.code("auth", token="token-reader") == "overloaded"
        with pytest.raises(InvalidStatus):
            async with client(server, token="token-reader"):
                pass
    assert entries(tmp_path) == [
        entry("root", "auth", "ok"),
        entry("reader", "auth", "overloaded"),
        entry("reader", "auth", "overloaded"),
    ]


async def scraped(server: Server) -> dict[str, float]:
    server.metrics_page()
    gauges = server.metrics.gauges
    return {
        "omendb_audit_failures_total": gauges.audit_failures,
        "omendb_audit_dropped_total": gauges.audit_dropped,
    }


async def test_a_file_that_is_moved_away_goes_on_in_a_new_one_at_a_hangup(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    async with running(Server(audited(tmp_path))) as server:
        async with client(server, token="token-root"):
            pass
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not path.read_text():  # noqa: ASYNC110 - a thread of its own writes it
                await asyncio.sleep(0)
        path.rename(tmp_path / "audit.1")
        await server.node.read_again()
    assert json.loads((tmp_path / "audit.1").read_text())["op"] == "auth"
    assert [one["op"] for one in entries(tmp_path)] == ["reload"]
