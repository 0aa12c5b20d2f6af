"""Where a server listens: at an address, or at sockets that somebody opened for it before.

A service manager that keeps the sockets open has clients wait for a server that comes back, instead
of refusing them.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from pydantic import ValidationError

from ..node.config import Settings

#: How a manager names the socket of the HTTP API (``FileDescriptorName``).
HTTP_NAME: Final = "http"


class SocketsError(ValueError):
    """Sockets that are not one for WebSockets, and perhaps one for HTTP, where they may be."""


class Sockets(NamedTuple):
    """Open, listening sockets; None: an address of the settings instead."""

    websocket: socket.socket | None = None
    http: socket.socket | None = None


#: It listens where the settings say.
NO_SOCKETS: Final = Sockets()


def named(given: Iterable[tuple[str, socket.socket]]) -> Sockets:
    """What each of the ``given`` ones is for, by its name. SocketsError."""
    websockets: list[socket.socket] = []
    https: list[socket.socket] = []
    for name, one in given:
        (https if name == HTTP_NAME else websockets).append(one)
    if len(websockets) > 1 or len(https) > 1:
        raise SocketsError(
            f"LISTEN_FDS: there must be one socket, and one named {HTTP_NAME} at most beside it;"
            f" there are {len(websockets)} and {len(https)}"
        )
    if https and not websockets:
        raise SocketsError(f"LISTEN_FDS: one socket that is not named {HTTP_NAME} must be there")
    return Sockets(*websockets, *https)


def told_of(settings: Settings, sockets: Sockets) -> Settings:
    """The settings with the addresses of the sockets. SocketsError: they may not be those."""
    changes: dict[str, Any] = {}
    if sockets.websocket is not None:
        changes["host"], changes["port"] = sockets.websocket.getsockname()[:2]
    if sockets.http is not None:
        changes["http_port"] = sockets.http.getsockname()[1]
    if not changes:
        return settings
    try:
        return Settings.model_validate({**settings.model_dump(exclude_unset=True), **changes})
    except ValidationError as error:
        said = [
            f"LISTEN_FDS: {one['loc'][0]}: {one['msg'].removeprefix('Value error, ')}"
            for one in error.errors(include_url=False)
        ]
        raise SocketsError("\n".join(said)) from None


def place(given: socket.socket | None, host: str, port: int) -> dict[str, Any]:
    """How asyncio is told where to listen."""
    return {"host": host, "port": port} if given is None else {"sock": given}
