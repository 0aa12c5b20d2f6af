"""A service manager as ``serve`` sees it: what it tells goes there, and sockets come from there."""

from __future__ import annotations

import contextlib
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.cli.commands import environment
from tests.patience import PATIENCE_SECONDS, UNHURRIED_VARIABLES


class Manager:
    """``address`` is for ``NOTIFY_SOCKET``; ``heard`` has every message so far, in order."""

    def __init__(self, address: str, listener: socket.socket) -> None:
        self.address = address
        self._listener = listener
        self.heard: list[list[str]] = []

    def next(self, line: str = "") -> list[str]:
        """The next message, as its lines; the next one with such a line if one is given."""
        self._listener.settimeout(PATIENCE_SECONDS)
        while True:
            self.heard.append(self._listener.recv(4096).decode().split("\n"))
            if not line or line in self.heard[-1]:
                return self.heard[-1]

    def waiting(self) -> list[list[str]]:
        """What lies there already."""
        self._listener.settimeout(0.0)
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                found.append(self._listener.recv(4096).decode().split("\n"))
        self.heard += found
        return found


@contextlib.contextmanager
def manager(path: Path | None = None) -> Iterator[Manager]:
    """One at ``path``, or in Linux' abstract namespace."""
    name = f"omendb-ws-test-{secrets.token_hex(8)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0{name}" if path is None else str(path))
        yield Manager(f"@{name}" if path is None else str(path), listener)


def ports_of(count: int) -> list[socket.socket]:
    return [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]


@contextlib.contextmanager
def activated(
    *sockets: socket.socket, names: str = "", **variables: str
) -> Iterator[subprocess.Popen[str]]:
    """A server whose descriptors from 3 on are ``sockets``, as a manager starts it."""
    moves = "".join(f" {3 + at}<&{one.fileno()}" for at, one in enumerate(sockets))
    start = f'LISTEN_PID=$$ exec "$0" -m omendb_ws serve{moves}'
    given = {"LISTEN_FDS": str(len(sockets)), "LISTEN_FDNAMES": names} | UNHURRIED_VARIABLES
    process = subprocess.Popen(
        ["bash", "-c", start, sys.executable],
        env=environment(**given, **variables),
        pass_fds=[one.fileno() for one in sockets],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()
