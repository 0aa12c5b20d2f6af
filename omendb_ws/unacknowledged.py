"""How many bytes the kernel holds that the other side has not acknowledged. Knows one ioctl."""

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
    if not _IS_KNOWN or descriptor < 0:
        return 0
    try:
        # SIOCOUTQ has the number of TIOCOUTQ.
        found = fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4))
    except OSError:
        return 0
    return int.from_bytes(found, sys.byteorder)
