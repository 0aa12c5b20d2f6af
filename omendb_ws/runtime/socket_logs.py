"""The logger of websockets: what it says here, and what it must not.

At debug websockets logs every header and frame, so every token; and what it says of a handshake
that failed quotes the line at fault. Its loggers are ours, whatever a program that embeds the
server has set up: below a level nothing of theirs is logged, handshakes fail by the name of the
fault alone, and the connection, which they put beside each line, is told by its address.
"""

from __future__ import annotations

import logging
from typing import Final

#: By the name of the package, so that a program finds it where it looks for the server's.
NAME: Final = "omendb_ws.websockets"


class _WithoutTraffic(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        """Take out what quotes a client."""
        if record.levelno < logging.INFO:
            return False
        connection = record.__dict__.pop("websocket", None)
        if connection is not None:
            record.peer = str(getattr(connection, "peer", connection.remote_address))
        fault = record.exc_info[1] if record.exc_info else None
        if type(fault).__module__.partition(".")[0] == "websockets":
            record.msg = f"{record.getMessage()} ({type(fault).__name__})"
            record.args = record.exc_info = record.exc_text = None
        return True


def logger() -> logging.Logger:
    """The logger for ``websockets.serve``: warnings and errors, at debug who comes and goes."""
    found = logging.getLogger(NAME)
    if not any(isinstance(one, _WithoutTraffic) for one in found.filters):
        found.addFilter(_WithoutTraffic())
        found.setLevel(logging.WARNING)
    return found
