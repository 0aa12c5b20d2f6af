"""How many bytes of a TCP socket the kernel holds, either way. Knows two ioctls."""

from __future__ import annotations

import sys
from typing import Final

_IS_KNOWN: Final = sys.platform == "linux"

if _IS_KNOWN:
    import fcntl
    import termios


def unacknowledged_bytes(descriptor: int) -> int:
    """Bytes written to a TCP socket and not yet acknowledged; 0 where the system does not tell.

    The kernel takes bytes from this process in lumps (it asks for more when a third of its buffer
    of megabytes is free); what is acknowledged tells of a client that takes a few at a time.
    """
    # SIOCOUTQ has the number of TIOCOUTQ.
    return _asked(descriptor, termios.TIOCOUTQ) if _IS_KNOWN else 0


def unread_bytes(descriptor: int) -> int:
    """Bytes that came and were not read; 0 where the system does not tell."""
    return _asked(descriptor, termios.FIONREAD) if _IS_KNOWN else 0


def _asked(descriptor: int, request: int) -> int:
    if descriptor < 0:
        return 0
    try:
        found = fcntl.ioctl(descriptor, request, bytes(4))
    except OSError:
        return 0
    return int.from_bytes(found, sys.byteorder)
