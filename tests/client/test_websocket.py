"""The transport over a WebSocket, against servers that are none of ours, or not in the mood."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from omendb_ws import errors
from omendb_ws.client import connect
from omendb_ws.client.websocket import _is_loopback, websocket_opener
from omendb_ws.runtime.transport import Closed, Transport
from tests.certificates import make_certificate
from tests.listening import listening
from tests.patience import PATIENCE_SECONDS
from tests.server.raw import running

from .fake import eventually


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, errors.Unsupported),
        (401, errors.Unauthenticated),
        (403, errors.Forbidden),
        (404, errors.Unsupported),
        (429, errors.ConnectionLost),
        (500, errors.ConnectionLost),
        (503, errors.ConnectionLost),
    ],
)
async def test_a_refused_upgrade_says_whether_to_come_back(
    status: int, error: type[errors.OmenError]
) -> None:
    def refuse(connection: ServerConnection, request: Request) -> Response:
        return connection.respond(HTTPStatus(status), "no\n")

    async def nothing(connection: ServerConnection) -> None:
        pass

    async with serve(nothing, "127.0.0.1", 0, process_request=refuse) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        with pytest.raises(error, match=str(status)):
            await connect(f"ws://127.0.0.1:{port}/v1")


@pytest.mark.parametrize("path", ["", "/", "/v2", "/v1/"])
async def test_an_address_without_its_end_is_told_how_one_ends(path: str) -> None:
    async with running() as server:
        with pytest.raises(errors.Unsupported, match=r"HTTP 404\); addresses end in /v1$"):
            await connect(server.url.removesuffix("/v1") + path)


@pytest.mark.parametrize("url", ["127.0.0.1:8765", "http://127.0.0.1:8765", "127.0.0.1"])
async def test_an_address_without_its_scheme_is_told_what_one_looks_like(url: str) -> None:
    with pytest.raises(errors.BadRequest, match=r"; one is ws://HOST:8765/v1, or wss:// with TLS$"):
        await connect(url)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (
            "tcp://10.0.0.1:1",
            "url: tcp://10.0.0.1:1 is not the address of a server: scheme isn't ws",
        ),
        ("", "url: the empty text is not the address of a server: scheme isn't ws or wss"),
    ],
)
async def test_what_is_no_address_is_named_once(url: str, said: str) -> None:
    with pytest.raises(errors.BadRequest) as caught:
        await connect(url)
    assert str(caught.value).startswith(said)


async def test_where_no_server_listens_that_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    url = f"ws://127.0.0.1:{port}/v1"
    with pytest.raises(errors.ConnectionLost) as caught:
        await connect(url)
    assert str(caught.value) == f"{url}: connection refused: no server listens there"


async def test_an_answer_that_is_no_http_hints_at_tls() -> None:
    async def alert(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x15\x03\x01\x00\x02\x02\x16")
        writer.close()

    async with listening(alert) as port:
        with pytest.raises(errors.ConnectionLost, match=r"there: .*; if it speaks TLS.* wss://"):
            await connect(f"ws://127.0.0.1:{port}/v1")


async def closes(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def reads_and_closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(100)
    writer.close()


async def answers_in_text(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(100)
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    writer.close()


async def is_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


@pytest.mark.parametrize("plain", [closes, reads_and_closes, answers_in_text, is_silent])
async def test_what_does_not_speak_tls_is_said_so_with_a_hint(plain: Any) -> None:
    async with listening(plain) as port:
        url, wait = f"wss://127.0.0.1:{port}/v1", 2.0 if plain is is_silent else PATIENCE_SECONDS
        error: Exception = TimeoutError()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while isinstance(error, TimeoutError):  # where the machine stood still for that long
                with pytest.raises((errors.ConnectionLost, TimeoutError)) as caught:
                    await connect(url, open_timeout_seconds=wait)
                error = caught.value
        assert re.search(r"no TLS there: .*; if it.* ws://$", str(error))


async def test_a_server_of_ours_without_tls_says_so_at_once() -> None:
    async with running() as server:
        with pytest.raises(errors.ConnectionLost, match=r"no TLS there: .*; if it.* ws://$"):
            await connect(server.url.replace("ws://", "wss://"))


async def test_a_server_of_ours_with_tls_hints_at_it_at_once(tmp_path: Path) -> None:
    files = make_certificate(tmp_path)
    tls = {"tls_certificate_file": files.certificate_file, "tls_key_file": files.key_file}
    async with running(**tls) as server:
        with pytest.raises(errors.ConnectionLost, match=r"there: .*; if it speaks TLS.* wss://"):
            await connect(server.url.replace("wss://", "ws://"))
        with pytest.raises(errors.ConnectionLost, match="certificate verify failed") as caught:
            await connect(server.url)
        assert "if it" not in caught.value.message
        assert "--ca-file" in caught.value.message


@pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.2 is this machine on Linux")
async def test_a_trusted_certificate_of_another_host_is_no_matter_of_trust(tmp_path: Path) -> None:
    files = make_certificate(tmp_path)
    tls = {"tls_certificate_file": files.certificate_file, "tls_key_file": files.key_file}
    async with running(host="127.0.0.2", **tls) as server:
        with pytest.raises(errors.ConnectionLost, match=r"not valid for '127\.0\.0\.2'") as caught:
            await connect(server.url, tls=files.trusting())
    assert "--ca-file" not in caught.value.message


async def test_a_server_that_speaks_something_else_is_not_supported() -> None:
    async def chat(connection: ServerConnection) -> None:
        await connection.send('{"event":"welcome"}')
        await connection.wait_closed()

    async with serve(chat, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        with pytest.raises(errors.Unsupported):
            await connect(f"ws://127.0.0.1:{port}/v1")


@pytest.mark.parametrize(
    ("url", "is_loopback"),
    [
        ("ws://localhost:1/v1", True),
        ("ws://127.0.0.1/v1", True),
        ("ws://127.9.9.9:1/v1", True),
        ("ws://[::1]:1/v1", True),
        ("wss://db.example:1/v1", False),
        ("ws://10.0.0.1:1/v1", False),
        ("ws:///v1", False),
    ],
)
def test_no_proxy_stands_between_us_and_this_machine(url: str, is_loopback: bool) -> None:
    assert _is_loopback(url) is is_loopback


# -- messages -----------------------------------------------------------------------------------


@asynccontextmanager
async def transport_to(
    handler: Callable[[ServerConnection], Awaitable[None]], max_message_bytes: int = 1 << 20
) -> AsyncIterator[Transport]:
    """A transport to a server that does what ``handler`` does with each connection."""
    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        serve(handler, "127.0.0.1", 0, subprotocols=["omendb.v1"], max_size=None) as server,
    ):
        url = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/v1"
        opener = websocket_opener(
            url,
            tls=None,
            open_timeout_seconds=PATIENCE_SECONDS,
            max_message_bytes=max_message_bytes,
        )
        transport = await opener(None)
        try:
            yield transport
        finally:
            await transport.close()


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


async def test_text_and_binary_go_and_come_as_they_are() -> None:
    sent = [b'{"id":1}', b"\x4f" + bytes(70_000), b"\x4f", '{"ü":"€𝄞"}'.encode()]
    async with transport_to(echo) as transport:
        for message in sent:
            await transport.send(message)
        await transport.send(bytearray(sent[1]))
        got = [await transport.receive() for _ in range(5)]
    assert got == [*sent, sent[1]]
    assert {type(one) for one in got} == {bytes}


async def test_a_message_in_fragments_is_one_message() -> None:
    async def speak(connection: ServerConnection) -> None:
        await connection.send(["{", '"id"', ":1}"])
        await connection.ping()
        await connection.send([b"\x4f", b"", b"ab", b"c"])
        await connection.send(b"whole")
        await connection.wait_closed()

    async with transport_to(speak) as transport:
        assert [await transport.receive() for _ in range(3)] == [b'{"id":1}', b"\x4fabc", b"whole"]


async def test_what_came_before_the_end_is_received_and_then_the_end() -> None:
    async def speak(connection: ServerConnection) -> None:
        for number in range(100):
            await connection.send(b"%d" % number)
        await connection.close(4401, "who are you")

    async with transport_to(speak) as transport:
        for number in range(100):
            assert await transport.receive() == b"%d" % number
        for _ in range(2):
            with pytest.raises(Closed) as caught:
                await transport.receive()
            assert (caught.value.code, caught.value.reason) == (4401, "who are you")
        with pytest.raises(Closed) as refused:
            await transport.send(b"{}")
        assert refused.value.code == 4401


async def test_a_connection_that_is_cut_is_closed_for_whoever_waits() -> None:
    async def vanish(connection: ServerConnection) -> None:
        await connection.recv()
        connection.transport.abort()

    async with transport_to(vanish) as transport:
        waiting = asyncio.ensure_future(transport.receive())
        await transport.send(b"{}")
        with pytest.raises(Closed) as caught:
            await waiting
        assert caught.value.code == 1006
        with pytest.raises(Closed):
            await transport.send(b"{}")


#: Both sides' buffers in the kernel have a few megabytes.
MORE_THAN_SOCKETS_TAKE = 64 << 20


@pytest.mark.parametrize("is_cut", [False, True])
async def test_a_sender_waits_for_a_server_that_does_not_read_and_hears_of_its_end(
    is_cut: bool,
) -> None:
    read, taken = asyncio.Event(), []

    async def dawdle(connection: ServerConnection) -> None:
        connection.transport.pause_reading()
        await read.wait()
        if is_cut:
            connection.transport.abort()
        else:
            connection.transport.resume_reading()
            taken.extend([len(message) async for message in connection])

    async with transport_to(dawdle) as transport:
        sending = asyncio.ensure_future(transport.send(bytes(MORE_THAN_SOCKETS_TAKE)))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not sending.done()
        read.set()
        if is_cut:
            with pytest.raises(Closed):
                await sending
        else:
            await sending
    assert taken == ([] if is_cut else [MORE_THAN_SOCKETS_TAKE])


async def test_a_message_that_is_too_long_ends_the_connection() -> None:
    async def speak(connection: ServerConnection) -> None:
        await connection.send(bytes(1001))
        await connection.wait_closed()

    async with transport_to(speak, max_message_bytes=1000) as transport:
        with pytest.raises(Closed) as caught:
            await transport.receive()
        assert caught.value.code == 1009


async def test_cancelling_a_receive_loses_nothing() -> None:
    async with transport_to(echo) as transport:
        for number in range(50):
            waiting = asyncio.ensure_future(transport.receive())
            await transport.send(b"%d" % number)
            for _ in range(number % 5):
                await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting])
            got = await transport.receive() if waiting.cancelled() else waiting.result()
            assert got == b"%d" % number


async def test_messages_are_delivered_as_they_come_and_then_the_end() -> None:
    async def speak(connection: ServerConnection) -> None:
        for number in range(200):
            await connection.send(b"%d" % number)
            if number == 100:
                await connection.recv()
        await connection.close(1012, "leaving")

    taken: list[bytes] = []
    async with transport_to(speak) as transport:
        while len(taken) < 50:  # what came before anybody took it is there as well
            taken.append(await transport.receive())
        delivering = asyncio.ensure_future(transport.deliver(taken.append))
        await transport.send(b"{}")
        with pytest.raises(Closed) as caught:
            await delivering
        assert caught.value.code == 1012
    assert taken == [b"%d" % number for number in range(200)]


async def test_what_a_taker_raises_ends_the_delivery_and_not_the_connection() -> None:
    taken: list[bytes] = []

    def take(message: bytes) -> None:
        taken.append(message)
        if message == b"1":
            raise ValueError("no")

    async with transport_to(echo) as transport:
        delivering = asyncio.ensure_future(transport.deliver(take))
        for number in range(4):
            await transport.send(b"%d" % number)
        with pytest.raises(ValueError, match="no"):
            await delivering
        assert taken == [b"0", b"1"]
        assert [await transport.receive() for _ in range(2)] == [b"2", b"3"]


async def test_a_delivery_that_is_cancelled_leaves_the_rest_to_others() -> None:
    taken: list[bytes] = []
    async with transport_to(echo) as transport:
        delivering = asyncio.ensure_future(transport.deliver(taken.append))
        await transport.send(b"1")
        await eventually(lambda: taken)
        delivering.cancel()
        await asyncio.wait([delivering])
        await transport.send(b"2")
        assert (taken, await transport.receive()) == ([b"1"], b"2")


async def test_a_context_for_tls_without_tls_is_refused_by_name() -> None:
    for url in ("ws://127.0.0.1:1/v1", "ws://me:secret@127.0.0.1:1/v1"):
        with pytest.raises(errors.BadRequest, match=r"^tls: is for wss://") as caught:
            connect(url, tls=ssl.create_default_context())
        assert "secret" not in caught.value.message
    for url in ("ws://[", "ws://h:x/v1", "http://h", ""):
        with pytest.raises((errors.BadRequest, errors.ConnectionLost)):
            await connect(url)


async def test_a_first_connection_that_fails_names_its_address_and_its_cause() -> None:
    async with running() as server:
        url = server.url
    with pytest.raises(errors.ConnectionLost) as caught:
        await connect(url.replace("ws://", "ws://me:secret@"))
    assert url.removeprefix("ws://") in caught.value.message
    assert "secret" not in caught.value.message
    assert isinstance(caught.value.__cause__, OSError)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it accepts, and never answers
        port = silent.getsockname()[1]
        with pytest.raises(TimeoutError, match=f"127.0.0.1:{port}/v1: no connection within"):
            await connect(f"ws://127.0.0.1:{port}/v1", open_timeout_seconds=0.05)


async def test_a_host_that_is_refused_is_named_with_the_servers_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resolve = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *rest, **more: resolve(
        "127.0.0.1" if host == "rebound.example" else host, *rest, **more
    ))  # fmt: skip
    async with running() as server:
        url = f"ws://rebound.example:{server.url.split(':')[2]}"
        with pytest.raises(errors.Forbidden, match=r"HTTP 403.*rebound\.example.*not allowed"):
            await connect(url)
