"""``connect``: what a client is made of, put together."""

from __future__ import annotations

import ssl
from collections.abc import Generator, Mapping, Sequence
from types import TracebackType
from typing import Any

from omendb_core.model.errors import BadRequest

from ..runtime.transport import Opener
from ..wire.addresses import shown
from . import arguments, local
from .aio import Client
from .backoff import RECONNECT, Backoff
from .connection import Connection
from .dialer import Settings
from .several import somewhere
from .tokens import GetToken, on_this_loop

#: The longest message that a server may send: four times the protocol's default limit.
MAX_MESSAGE_BYTES = 64 * 1024 * 1024


def connect(
    url: str | Sequence[str],
    token: str | None = None,
    *,
    get_token: GetToken | None = None,
    request_timeout_seconds: float | None = 30.0,
    open_timeout_seconds: float = 10.0,
    reconnect: bool = True,
    fail_fast: bool = False,
    backoff: Backoff = RECONNECT,
    tls: ssl.SSLContext | None = None,
    max_message_bytes: int = MAX_MESSAGE_BYTES,
    server_settings: Mapping[str, Any] | None = None,
) -> Connecting:
    """Connect to a server: ``async with connect("ws://127.0.0.1:8765/v1") as db``.

    ``url`` is ``ws://HOST:PORT/v1``, or ``wss://`` with TLS (``tls`` for other than the system's
    certificates). A list of them are addresses of one service, nodes of a cluster for example: each
    connection is made to the one behind the last that was tried, from any of them on, so that one
    that is lost is replaced elsewhere. ``token`` is sent as a header, and again at every reconnect.
    Instead, ``get_token`` is called for one, at every connection, and before one expires, which
    takes its place without a gap: a function that does not block, or a coroutine function. What it
    raises is the cause of the ConnectionLost or TimeoutError that follows; a token that is refused
    is asked for anew, three times in a row, and one of another tenant than the first until there is
    one of that.
    ``memory://`` is a server of this client's own in this process, without a socket and tokens;
    ``memory://NAME`` one that all
    clients of the process share that say the name. Both end with their last client. For them only,
    ``server_settings`` are a server's limits by name, and ``data_dir``, without which they hold
    nothing but memory; what is about sockets has no meaning there.

    ``request_timeout_seconds`` bounds every call, reconnecting and waiting out refusals included
    (an add: the time without any acknowledgement); None waits for ever. With ``reconnect`` a lost
    connection is replaced: attempt i after a random time from 0 to min(cap, base * 2**i) seconds
    of ``backoff`` (0.1 and 10), until it works or the server refuses the token. Calls wait for
    it, and for a refusal to pass; with ``fail_fast`` those that find no connection, or lose theirs,
    raise ConnectionLost at once, and those that are refused for now what they were refused with.
    (Subscriptions wait all the same.)

    The first connection is attempted once. Raises ConnectionLost, Unauthenticated, Forbidden
    (Origin or Host not allowed), Unsupported (no such server), BadRequest (the URL, the settings),
    Unavailable (another server holds ``data_dir``), StorageFailed, TimeoutError.
    """
    urls = _addresses(url)
    is_local = urls[0].startswith(local.SCHEME)
    ask_token = None if get_token is None else on_this_loop(get_token)
    if token is not None and get_token is not None:
        raise BadRequest("get_token: token or get_token, not both")
    _check_kinds(backoff, tls, server_settings)
    settings = Settings(
        address=", ".join(map(shown, urls)),
        token=None if token is None else arguments.token(token),
        ask_token=None if is_local else ask_token,
        # A server in this process is gone with its connection: there is nothing to come back to.
        reconnect=arguments.flag(reconnect, "reconnect") and not is_local,
        fail_fast=arguments.flag(fail_fast, "fail_fast"),
        backoff=backoff,
        open_timeout_seconds=len(urls)
        * arguments.seconds(open_timeout_seconds, "open_timeout_seconds"),
        request_timeout_seconds=None
        if request_timeout_seconds is None
        else arguments.seconds(request_timeout_seconds, "request_timeout_seconds"),
    )
    most_bytes = arguments.integer(max_message_bytes, "max_message_bytes", 1)
    if is_local:
        return Connecting(local.local_opener(urls[0], server_settings), settings)
    if server_settings is not None:
        raise BadRequest("server_settings: are for memory:// only")
    return Connecting(_opener(urls, tls, open_timeout_seconds, most_bytes), settings)


def _opener(
    urls: list[str], tls: ssl.SSLContext | None, open_timeout_seconds: float, most_bytes: int
) -> Opener:
    """What opens a WebSocket to one of ``urls``. BadRequest."""
    from .websocket import websocket_opener  # here: memory:// needs no websockets

    openers = [
        websocket_opener(
            one,
            tls=tls,
            open_timeout_seconds=open_timeout_seconds,
            max_message_bytes=most_bytes,
        )
        for one in urls
    ]
    if len(urls) == 1:
        return openers[0]
    return somewhere(list(zip(map(shown, urls), openers, strict=True)), open_timeout_seconds)


def _addresses(url: object) -> list[str]:
    """One address, or several. BadRequest."""
    if isinstance(url, str):
        return [arguments.text(url, "url")]
    if not isinstance(url, Sequence) or isinstance(url, bytes | bytearray):
        raise BadRequest(f"url: must be a string or a list of strings, not {arguments.kind(url)}")
    urls = [arguments.text(one, "url") for one in url]
    if not urls:
        raise BadRequest("url: is an empty list")
    if len(urls) > 1 and any(one.startswith(local.SCHEME) for one in urls):
        raise BadRequest(f"url: {local.SCHEME} is not one of several addresses")
    return urls


def _check_kinds(backoff: object, tls: object, server_settings: object) -> None:
    if not isinstance(backoff, Backoff):
        raise BadRequest(f"backoff: must be a Backoff, not {arguments.kind(backoff)}")
    if tls is not None and not isinstance(tls, ssl.SSLContext):
        raise BadRequest(f"tls: must be an ssl.SSLContext, not {arguments.kind(tls)}")
    if server_settings is not None and not isinstance(server_settings, Mapping):
        what = arguments.kind(server_settings)
        raise BadRequest(f"server_settings: must be a mapping, not {what}")


class Connecting:
    """What ``connect`` returns: enter it (``async with``) or await it for a Client."""

    def __init__(self, opener: Opener, settings: Settings) -> None:
        self._opener = opener
        self._settings = settings
        self._client: Client | None = None

    def __await__(self) -> Generator[Any, None, Client]:
        return self._start().__await__()

    async def __aenter__(self) -> Client:
        self._client = await self._start()
        return self._client

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._client is not None:
            await self._client.close()

    async def _start(self) -> Client:
        connection = Connection(self._opener, self._settings)
        await connection.start()
        return Client(connection)
