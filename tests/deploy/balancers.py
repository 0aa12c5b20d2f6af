"""nginx, HAProxy and Caddy as ``deploy/`` sets them up, run on loopback before servers of a test.

The files are used as they are, but for addresses, ports, paths of certificates and, where a test
says so, what it replaces besides; each of these must stand in the file.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from omendb_ws.net.server import Server
from tests.certificates import Certificate
from tests.patience import PATIENCE_SECONDS
from tests.project.pages import ROOT

DEPLOY = ROOT / "deploy"


@dataclass(frozen=True)
class Kind:
    """A balancer: its command, its file, and how it is started in a folder of its own."""

    name: str
    command: str
    file: Path
    #: What of the file becomes what of (port, certificate, folder).
    places: Callable[[int, Certificate, Path], Mapping[str, str]]
    #: The configuration around the file's text, and the arguments, by folder.
    around: Callable[[str, Path], str]
    arguments: Callable[[Path], Sequence[str]]


def _nginx(text: str, folder: Path) -> str:
    user = "user root;\n" if os.geteuid() == 0 else ""
    kept = "".join(
        f"{name}_temp_path {folder}/{name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return (
        f"{user}daemon off;\nmaster_process off;\npid {folder}/pid;\nerror_log stderr warn;\n"
        f"events {{}}\nhttp {{\naccess_log off;\n{kept}{text}}}\n"
    )


def _pem(certificate: Certificate, folder: Path) -> Path:
    """Certificate and key in one file, as HAProxy reads them."""
    both = folder / "both.pem"
    parts = (certificate.certificate_file, certificate.key_file)
    both.write_text("".join(Path(part).read_text() for part in parts))
    return both


NGINX = Kind(
    "nginx",
    "nginx",
    DEPLOY / "nginx" / "omendb-ws.conf",
    lambda port, certificate, folder: {
        "listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
        "/etc/ssl/your.site.pem": certificate.certificate_file,
        "/etc/ssl/your.site.key": certificate.key_file,
    },
    _nginx,
    lambda folder: ("-p", str(folder), "-e", "stderr", "-c", str(folder / "configuration")),
)
#: A check waits for its answer as long as its interval, else: too short for a server that stands
#: still for a moment on a busy machine. One that is gone refuses at once.
PATIENT_CHECKS = {"timeout connect 2s": "timeout connect 2s\n    timeout check 20s"}
HAPROXY = Kind(
    "haproxy",
    "haproxy",
    DEPLOY / "haproxy" / "haproxy.cfg",
    lambda port, certificate, folder: {
        "bind :443": f"bind 127.0.0.1:{port}",
        "/etc/haproxy/your.site.pem": str(_pem(certificate, folder)),
        "inter 1s": "inter 100ms",
        **PATIENT_CHECKS,
        "maxconn 20000": "maxconn 200",
    },
    lambda text, folder: text,
    lambda folder: ("-db", "-f", str(folder / "configuration")),
)
HAPROXY_TCP = Kind(
    "haproxy-tcp",
    "haproxy",
    DEPLOY / "haproxy" / "tcp.cfg",
    lambda port, certificate, folder: {
        "bind :8765": f"bind 127.0.0.1:{port}",
        "inter 1s": "inter 100ms",
        **PATIENT_CHECKS,
        "maxconn 20000": "maxconn 200",
    },
    lambda text, folder: text,
    HAPROXY.arguments,
)
CADDY = Kind(
    "caddy",
    "caddy",
    DEPLOY / "caddy" / "Caddyfile",
    lambda port, certificate, folder: {
        "your.site {": f"https://127.0.0.1:{port}, https://localhost:{port} {{\n"
        f"\tbind 127.0.0.1\n\ttls {certificate.certificate_file} {certificate.key_file}",
        "health_interval 1s": "health_interval 100ms",
    },
    lambda text, folder: f"{{\n\tadmin off\n\tauto_https off\n}}\n{text}",
    lambda folder: ("run", "--config", str(folder / "configuration"), "--adapter", "caddyfile"),
)
#: Those that put servers under a path.
KINDS = (NGINX, HAPROXY, CADDY)


def needed(kind: Kind) -> None:
    """Skip the test where the program is not there."""
    if shutil.which(kind.command) is None:
        pytest.skip(f"{kind.command} is not there (Debian: apt install {kind.command})")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        number: int = one.getsockname()[1]
        return number


def configuration(
    kind: Kind,
    ports: Sequence[tuple[int, int]],
    port: int,
    certificate: Certificate,
    folder: Path,
    also: Mapping[str, str],
) -> str:
    """The text that the program is given; ``ports``: WebSocket and HTTP of each server."""
    text = kind.file.read_text()
    replaced = {**kind.places(port, certificate, folder), **also}
    for number, (websocket, http) in enumerate(ports, 11):
        replaced[f"10.0.0.{number}:8765"] = f"127.0.0.1:{websocket}"
        if f"10.0.0.{number}:8766" in text:
            replaced[f"10.0.0.{number}:8766"] = f"127.0.0.1:{http}"
        if f"10.0.0.{number}:8766 check port 8765" in text:
            text = text.replace(
                f"10.0.0.{number}:8766 check port 8765",
                f"10.0.0.{number}:8766 check port {websocket}",
            )
    for old, new in replaced.items():
        assert old in text, f"{kind.file.name} has no {old!r}"
        text = text.replace(old, new)
    return kind.around(text, folder)


@dataclass(frozen=True)
class Balancer:
    """A running one; addresses end in the prefix."""

    kind: Kind
    port: int
    tls: ssl.SSLContext

    @property
    def url(self) -> str:
        return f"wss://127.0.0.1:{self.port}{self._prefix}/v1"

    @property
    def http_url(self) -> str:
        return f"https://127.0.0.1:{self.port}{self._prefix}"

    @property
    def _prefix(self) -> str:
        return "" if self.kind is HAPROXY_TCP else "/vec"


@contextlib.asynccontextmanager
async def balancing(
    kind: Kind,
    servers: Sequence[Server],
    certificate: Certificate,
    folder: Path,
    also: Mapping[str, str] | None = None,
) -> AsyncIterator[Balancer]:
    """The program before ``servers``, ended by its id."""
    ports = [(server.port, int((server.http_url or ":1").rsplit(":", 1)[1])) for server in servers]
    port = free_port()
    text = configuration(kind, ports, port, certificate, folder, also or {})
    (folder / "configuration").write_text(text)
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            kind.command, *kind.arguments(folder), env=environment, stdout=log, stderr=log
        )
    try:
        await _listens(process, port, folder / "log")
        yield Balancer(kind, port, certificate.trusting())
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _listens(process: asyncio.subprocess.Process, port: int, log: Path) -> None:
    """Wait until somebody takes connections there."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            assert process.returncode is None, await asyncio.to_thread(log.read_text)
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(0.01)
