"""What is taken away while a request is under way: keys, rights, tenants' limits, certificates.

A body may take long to come: what counts is who its sender is when it is whole. A stream goes on
for as long as its token may read.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
import pytest

from omendb_ws.http.api import connection as connections
from omendb_ws.net.server import Server
from tests.access import jwt_making as making
from tests.certificates import make_certificate
from tests.patience import PATIENCE_SECONDS, eventually
from tests.server.access.test_revocation import ALL, MINE, keys, write
from tests.server.http.api.event_client import streaming
from tests.server.http.api.test_event_ends import to_the_end
from tests.server.raw import Raw, client, running, settings
from tests.server.tenant_files import limits, with_tenants

from .test_sockets import Line, line_to

FEED = "/v1/collections/items/feed"
WRITER = {"rights": ["read", "write"]}
ROWS = orjson.dumps({"rows": [{"id": 7, "vector": [1, 2], "metadata": MINE}]})
BODIES = {
    "JSON": (b"/rows", b"application/json", ROWS),
    "an array": (b"/rows?dim=2", b"application/octet-stream", np.ones((3, 2), "<f4").tobytes()),
}


class Served(NamedTuple):
    """A server, somebody with all rights, and where the keys are."""

    server: Server
    root: Raw
    path: Path

    async def now(self, text: str) -> None:
        """These are the keys from now on."""
        write(self.path, text)
        await self.server.node.reloads.look()

    async def rows(self) -> int:
        """How many there are."""
        found: int = (await self.root.ok("describe", collection="items"))["rows"]
        return found


@asynccontextmanager
async def served(tmp_path: Path, **fields: Any) -> AsyncIterator[Served]:
    path = tmp_path / "keys.toml"
    write(path, keys(root=ALL, reader=WRITER))
    given = settings(api_key_file=str(path), http_port=0, **fields)
    async with running(Server(given)) as server, client(server, token="token-root") as root:
        await root.create(columns={"owner": "str"}, ids="auto")
        yield Served(server, root, path)


async def begin(one: Line, body: str, *, key: bool, token: str = "token-reader") -> bytes:
    """Send the head and half of a body; the other half."""
    path, kind, data = BODIES[body]
    if body == "JSON":
        data = data.replace(b'"id":7,', b"")
    await one.send(
        b"POST /v1/collections/items%b HTTP/1.1\r\nHost: localhost\r\nX-API-Key: %b\r\n"
        b"Content-Type: %b\r\nContent-Length: %d\r\n%b\r\n%b"
        % (path, token.encode(), kind, len(data), b"Idempotency-Key: k\r\n" * key, data[:5])
    )
    return data[5:]


#: What the keys become, and what a body that began before is answered then.
CHANGES: dict[str, tuple[str, int, str]] = {
    "gone": (keys(root=ALL), 401, "unauthenticated"),
    "read only": (keys(root=ALL, reader={"rights": ["read"]}), 403, "forbidden"),
    "other collections": (
        keys(root=ALL, reader={**WRITER, "collections": ["others-*"]}), 403, "forbidden",
    ),
    "of another tenant": (keys("umbrella", root=ALL, reader=WRITER), 401, "unauthenticated"),
    "other rows": (
        keys(root=ALL, reader={**WRITER, "filter": {"owner": "you"}}), 403, "forbidden",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("body", "key"), [("JSON", True), ("an array", False)])
@pytest.mark.parametrize("change", CHANGES)
async def test_a_body_counts_for_who_its_sender_is_when_it_is_whole(
    change: str, body: str, key: bool, tmp_path: Path
) -> None:
    async with served(tmp_path) as there, line_to(there.server) as one:
        rest = await begin(one, body, key=key)
        await eventually(lambda: there.server.metrics.connections == 2)
        text, status, code = CHANGES[change]
        await there.now(text)
        await one.send(rest)
        answered, fault = await one.answer()
        assert (answered, fault["error"]["code"]) == (status, code)
        assert await there.rows() == 0
        # Neither is anything kept under the key: given back its right, it may be done.
        await there.now(keys(root=ALL, reader=WRITER))
        await one.send(await begin(one, body, key=key))
        assert (await one.answer())[0] == 200
        assert there.server.metrics.faults == 0


async def test_a_body_gets_the_stamp_of_the_moment_in_which_it_is_whole(tmp_path: Path) -> None:
    async with served(tmp_path) as there, line_to(there.server) as one:
        rest = await begin(one, "an array", key=False)
        await eventually(lambda: there.server.metrics.connections == 2)
        await there.now(keys(root=ALL, reader={**WRITER, "stamp": {"owner": "newer"}}))
        await one.send(rest)
        assert (await one.answer())[0] == 200
        found = await there.root.ok("count", collection="items", filter={"owner": "newer"})
        assert found["count"] == 3


async def test_a_stream_goes_on_while_its_key_may_read_and_no_longer(tmp_path: Path) -> None:
    async with served(tmp_path) as there:
        async with streaming(there.server.http_url, FEED, token="token-reader") as stream:
            await stream.event("feed")
            await there.now(keys(root=ALL, reader={"rights": ["read"]}))
            await there.root.ok("add", collection="items", rows=[{"vector": [1, 2]}])
            assert len(orjson.loads((await stream.event("feed")).data)["rows"]) == 1
            await there.now(keys("umbrella", root=ALL, reader=WRITER))
            (name, said) = (await to_the_end(stream))[-1]
            assert (name, said["code"]) == ("error", "unauthenticated")
        async with streaming(
            there.server.http_url, FEED, token="token-reader", last_id=stream.last_id
        ) as again:  # to the other tenant the collection is not there, and never was
            assert again.status == 204


async def test_a_token_whose_role_and_key_go_is_nobodys(tmp_path: Path) -> None:
    """A role is what the server's settings say; a token without it, and then one without a key."""
    write(tmp_path / "jwks", making.jwks("rsa", "ec"))
    roles = {"writer": {"rights": ["write"]}, "reader": {"rights": ["read"]}}
    async with served(
        tmp_path, jwt_keys=str(tmp_path / "jwks"), jwt_audience="omendb",
        jwt_roles_claim="roles", jwt_roles=roles,
    ) as there:  # fmt: skip
        both, less = (
            making.token("rsa", aud="omendb", tenant="acme", roles=names)
            for names in (["reader", "writer"], ["reader"])
        )
        async with line_to(there.server) as one:
            await one.send(await begin(one, "JSON", key=False, token=both))
            assert (await one.answer())[0] == 200
            await one.send(await begin(one, "JSON", key=False, token=less))
            assert (await one.answer())[0] == 403
            rest = await begin(one, "JSON", key=False, token=both)
            async with streaming(there.server.http_url, FEED, token=less) as stream:
                await stream.event("feed")
                write(tmp_path / "jwks", making.jwks("ec"))
                await there.server.node.reloads.look()
                assert (await to_the_end(stream))[-1][0] == "error"
            await one.send(rest)
            assert (await one.answer())[0] == 401
        assert await there.rows() == 1


@pytest.mark.parametrize("becomes", ["", limits(max_connections=1, max_subscriptions=1)])
async def test_a_tenant_that_goes_from_the_file_or_has_less_keeps_what_it_has(
    becomes: str, tmp_path: Path
) -> None:
    given = with_tenants(tmp_path, limits(max_connections=3, max_subscriptions=5), http_port=0)
    async with running(Server(given)) as server, client(server, token="token-root") as root:
        await root.create(columns={"owner": "str"}, ids="auto")
        async with (
            streaming(server.http_url, FEED, token="token-root") as stream,
            line_to(server) as one,
        ):
            await stream.event("feed")
            rest = await begin(one, "JSON", key=False, token="token-root")
            await eventually(lambda: server.metrics.connections == 3)
            (tmp_path / "tenants.toml").write_text(becomes)
            await server.node.read_again()
            assert server.metrics.reload_failures == 0
            await one.send(rest)
            assert (await one.answer())[0] == 200
            assert len(orjson.loads((await stream.event("feed")).data)["rows"]) == 1
            async with streaming(server.http_url, FEED, token="token-root") as more:
                assert more.status == (429 if becomes else 200)
        await eventually(lambda: server.metrics.connections == 1)


# -- TLS ------------------------------------------------------------------------------------------


@asynccontextmanager
async def over_tls(tmp_path: Path) -> AsyncIterator[tuple[Server, int, ssl.SSLContext]]:
    made = make_certificate(tmp_path)
    given = settings(
        http_port=0, tls_certificate_file=made.certificate_file, tls_key_file=made.key_file
    )
    async with Server(given, stall_seconds=0.5) as server:
        assert server.http_url is not None
        yield server, int(server.http_url.rpartition(":")[2]), made.trusting()


async def ended(reader: asyncio.StreamReader) -> bytes:
    """What came before the end."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        try:
            return await reader.read()
        except (ConnectionError, ssl.SSLError):
            return b""


@pytest.mark.parametrize(
    "said", [b"", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01"]
)
async def test_what_is_no_tls_or_half_of_it_is_ended_and_harms_nobody(
    said: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("omendb_ws.http.api.listener.HEAD_SECONDS", 0.5)
    async with over_tls(tmp_path) as (server, port, trusting):
        bare = [await asyncio.open_connection("127.0.0.1", port) for _ in range(20)]
        for _, writer in bare:
            writer.write(said)
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=trusting, server_hostname="localhost"
        )
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert (await ended(reader)).startswith(b"HTTP/1.1 200")
        for one, other in bare:
            assert b"HTTP/1.1 200" not in await ended(one)
            other.close()
        writer.close()
        await eventually(lambda: not server.metrics.http.connections)
        assert server.metrics.faults == 0


async def test_over_tls_half_a_request_ends_and_a_reader_that_takes_nothing_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.5)
    async with over_tls(tmp_path) as (server, port, trusting):
        tls = {"ssl": trusting, "server_hostname": "localhost"}
        for half in (b"GET / HTTP/1.1\r\n", b"POST /search HTTP/1.1\r\nHost: localhost\r\n"
                     b"Content-Type: application/json\r\nContent-Length: 9\r\n\r\n{"):  # fmt: skip
            reader, writer = await asyncio.open_connection("127.0.0.1", port, **tls)
            writer.write(half)
            assert await ended(reader) == b""
            writer.transport.abort()
        async with client(server, ssl=trusting) as raw:
            await raw.create(capacity=100)
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=4096, **tls)
            writer.write(
                b"GET %b?include=metadata HTTP/1.1\r\nHost: localhost\r\n\r\n" % FEED.encode()
            )
            await reader.readuntil(b"\r\n\r\n")
            number = 0
            while server.metrics.http.shed_connections["stalled"] < 3:
                number += 1
                row = {"id": number, "vector": [1, number], "metadata": {"note": "x" * 3_000}}
                await raw.ok("add", collection="items", rows=[row])
            writer.transport.abort()
            await eventually(lambda: not server.metrics.subscriptions["feed"])


async def test_a_newer_certificate_is_shown_here_too_and_streams_go_on(tmp_path: Path) -> None:
    async with over_tls(tmp_path) as (server, port, trusting), client(server, ssl=trusting) as raw:
        await raw.create()
        tls = {"ssl": trusting, "server_hostname": "localhost"}
        reader, writer = await asyncio.open_connection("127.0.0.1", port, **tls)
        writer.write(b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % FEED.encode())
        await reader.readuntil(b"event: feed")
        newer = make_certificate(tmp_path)
        await server.node.read_again()
        with pytest.raises(ssl.SSLError):
            await asyncio.open_connection("127.0.0.1", port, **tls)
        _, other = await asyncio.open_connection(
            "127.0.0.1", port, ssl=newer.trusting(), server_hostname="localhost"
        )
        other.close()
        await raw.add(1)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await reader.readuntil(b'"rows":[{"id":1')
        writer.transport.abort()
