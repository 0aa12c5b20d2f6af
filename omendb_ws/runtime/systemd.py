"""What a service manager gives a process, and how it is told: systemd's three protocols.

``NOTIFY_SOCKET`` takes datagrams of ``NAME=VALUE`` lines, ``WATCHDOG_USEC`` says how often it wants
to hear, and ``LISTEN_FDS`` names sockets that it has opened already (sd_notify(3),
sd_watchdog_enabled(3), sd_listen_fds(3)). Podman and others speak them as well. Knows nothing of
the server.

Invariants: the variables are taken out of the environment, so that no child answers for this
process; what cannot be told is logged once, and nobody fails for it.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import MutableMapping
from typing import Final, NamedTuple

log = logging.getLogger(__name__)

#: The first descriptor that a manager hands over.
FIRST_DESCRIPTOR: Final = 3
#: How long a manager that takes nothing may hold up what it is told.
_PATIENCE_SECONDS: Final = 5.0


class SystemdError(ValueError):
    """Variables or sockets of a service manager that cannot be used; the message names them."""


class Given(NamedTuple):
    """What the environment held for this process.

    ``notifier`` None: nobody listens. ``watchdog_seconds`` None: nobody waits for beats.
    ``sockets`` are in their order, each with its name.
    """

    notifier: Notifier | None
    watchdog_seconds: float | None
    sockets: tuple[tuple[str, socket.socket], ...]


class Notifier:
    """Tells the manager how this process goes. From any thread."""

    def __init__(self, address: str) -> None:
        if not hasattr(socket, "AF_UNIX") or address[:1] not in ("/", "@") or len(address) < 2:
            raise SystemdError(
                f"NOTIFY_SOCKET = {address!r} must be the path of a Unix socket, or @ and a name"
            )
        #: A name in Linux' abstract namespace is written with @ for the NUL that it begins with.
        self._address = f"\0{address[1:]}" if address[0] == "@" else address
        self._shown = address
        self._has_failed = False

    def tell(self, *lines: str, may_wait: bool = True) -> None:
        """Send ``NAME=VALUE`` lines as one message; without ``may_wait`` now or not at all."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.settimeout(_PATIENCE_SECONDS if may_wait else 0.0)
                sender.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            if not self._has_failed:
                why = error.strerror or str(error)
                log.warning("the service manager at %s hears nothing: %s", self._shown, why)
            self._has_failed = True
        else:
            self._has_failed = False


def monotonic_usec() -> int:
    """The time that a manager compares with its own: CLOCK_MONOTONIC, in µs."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def take(environment: MutableMapping[str, str] | None = None) -> Given:
    """What the manager gave this process; None: ``os.environ``. Once only. SystemdError."""
    variables = os.environ if environment is None else environment
    found = {
        name: variables.pop(name, "")
        for name in (
            "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID",
            "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES",
        )
    }  # fmt: skip
    address = found["NOTIFY_SOCKET"]
    watchdog_usec = _number("WATCHDOG_USEC", found) if _is_ours("WATCHDOG_PID", found) else 0
    is_given = found["LISTEN_PID"] and _is_ours("LISTEN_PID", found)
    count = _number("LISTEN_FDS", found) if is_given else 0
    return Given(
        Notifier(address) if address else None,
        watchdog_usec / 1e6 if address and watchdog_usec else None,
        _sockets(count, found["LISTEN_FDNAMES"]),
    )


def _is_ours(name: str, found: MutableMapping[str, str]) -> bool:
    """Whether the process that is meant is this one; none is named: it is."""
    return not found[name] or _number(name, found) == os.getpid()


def _number(name: str, found: MutableMapping[str, str]) -> int:
    text = found[name]
    if not text:
        return 0
    if not (text.isascii() and text.isdecimal()):
        raise SystemdError(f"{name} = {text!r} must be a whole number")
    return int(text)


def _sockets(count: int, names: str) -> tuple[tuple[str, socket.socket], ...]:
    """The sockets from the first descriptor on; each must listen for TCP connections."""
    named = names.split(":") if names else []
    if named and len(named) != count:
        raise SystemdError(
            f"LISTEN_FDNAMES = {names!r} must have {count} names, as LISTEN_FDS says"
        )
    found = []
    for number in range(count):
        descriptor = FIRST_DESCRIPTOR + number
        try:
            one = socket.socket(fileno=descriptor)
            os.set_inheritable(descriptor, False)
            listens = one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        except OSError as error:
            why = error.strerror or str(error)
            raise SystemdError(f"LISTEN_FDS: descriptor {descriptor}: {why}") from None
        is_tcp = one.family in (socket.AF_INET, socket.AF_INET6)
        if not (is_tcp and one.type == socket.SOCK_STREAM and listens):
            raise SystemdError(f"LISTEN_FDS: descriptor {descriptor} does not listen for TCP")
        one.setblocking(False)
        found.append((named[number] if named else "", one))
    return tuple(found)
