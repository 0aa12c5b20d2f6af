"""The end of a transport whose client takes nothing: by a reset. Knows one option of sockets."""

from __future__ import annotations

import asyncio
import struct
from socket import SO_LINGER, SOL_SOCKET
from typing import Final

#: On, for no time at all.
_NO_LINGER: Final = struct.pack("ii", 1, 0)


def drop_unsent_at_end(transport: asyncio.BaseTransport) -> None:
    """What the system holds unsent is dropped when ``transport`` ends, and its client is told.

    It would be kept for as long as the client's machine says that there is no room: minutes, and
    megabytes for each client.
    """
    socket = transport.get_extra_info("socket")
    if socket is not None and not transport.is_closing():
        socket.setsockopt(SOL_SOCKET, SO_LINGER, _NO_LINGER)
