"""What ``serve`` says of an address that it cannot have: which, why, and what to do about it."""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..node.config import Settings

#: Ports below it are often kept for root.
FIRST_FREE_PORT = 1024


def lines(error: OSError, settings: Settings) -> list[str]:
    """What to say; ``error`` is what the server's start raised."""
    from ..net.http_port import CannotListen

    if isinstance(error, CannotListen):
        port, flag = error.number, "--http-port"
    else:
        port, flag = settings.port, "--port"
    said = [f"cannot listen on {settings.host} port {port}: {_reason(error)}"]
    advice = hint(error, port, flag)
    return said if advice is None else [*said, advice]


def hint(error: OSError, port: int, flag: str) -> str | None:
    """What to do, where that is known."""
    if error.errno == errno.EADDRINUSE:
        return (
            f"another process has that port (ss -ltnp 'sport = :{port}' says which): end it, or"
            f" choose another port ({flag}; 0 takes any free one)"
        )
    if error.errno == errno.EACCES and port < FIRST_FREE_PORT:
        return (
            f"ports below {FIRST_FREE_PORT} are kept for root here: choose another ({flag}), and"
            f" let a balancer have {port}"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return "no interface of this machine has that address; --host 0.0.0.0 is all that it has"
    return None


def _reason(error: OSError) -> str | None:
    """What the system says; asyncio's own words name the address once more."""
    number = error.errno
    if number is not None and number in errno.errorcode and not isinstance(error, socket.gaierror):
        return os.strerror(number)
    return error.strerror or str(error)
