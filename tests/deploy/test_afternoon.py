"""A new operator's afternoon, from what the pages say.

Two servers behind HAProxy with TLS and JSON Web Tokens, scraped by Prometheus; keys are rotated
and both servers restarted under load, an alert fires, a backup is restored. With ``AFTERNOON=1``.
Its parts have tests of their own: ``test_failover.py``, ``test_rolling_restart.py``,
``test_alerts.py``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

import omendb_ws
from omendb_ws.client.aio import Client
from omendb_ws.client.backoff import Backoff
from tests.certificates import Certificate
from tests.cli.commands import environment
from tests.cli.commands import omendb_ws as command
from tests.deploy.balancers import DEPLOY, HAPROXY, balancing, free_port, needed
from tests.patience import PATIENCE_SECONDS, UNHURRIED_VARIABLES

pytestmark = [
    pytest.mark.skipif("AFTERNOON" not in os.environ, reason="AFTERNOON is not set"),
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not there"),
]
READERS, QUERIES = 4, 5
BETWEEN = 50
PATIENT = {"open_timeout_seconds": PATIENCE_SECONDS, "request_timeout_seconds": PATIENCE_SECONDS}
SETTINGS = """
host = "127.0.0.1"
port = {port}
data_dir = "{folder}/data"
api_key_file = "{place}/keys.toml"
jwt_keys = "{place}/public.pem"
jwt_roles_claim = "roles"
trusted_proxies = ["127.0.0.1"]
drain_notice_seconds = 1.0

[jwt_roles.visitor]
rights = ["read", "write"]
collections = ["messages"]
"""


def ran(*arguments: str) -> str:
    done = command(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await condition():  # noqa: ASYNC110 - other processes tell of no event
            await asyncio.sleep(0.05)


class Node:
    """One of the servers, started as often as wanted."""

    http_url = None

    def __init__(self, place: Path, name: str) -> None:
        self.folder = place / name
        self.folder.mkdir()
        self.port = free_port()
        self._file = self.folder / "omendb.toml"
        self._file.write_text(SETTINGS.format(port=self.port, folder=self.folder, place=place))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/v1"

    async def start(self) -> None:
        """Start it, and wait until it takes requests."""
        self._process = self._begun()

        async def is_ready() -> bool:
            assert self._process is not None
            assert self._process.poll() is None, (self.folder / "log").read_text()
            with contextlib.suppress(httpx.TransportError):
                return await self._status("readyz") == 200
            return False

        await until(is_ready)

    def _begun(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "omendb_ws", "serve", "--config", str(self._file)]
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                command, stdout=log, stderr=log, env=environment(**UNHURRIED_VARIABLES)
            )

    async def stop(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(self._process.wait, PATIENCE_SECONDS) == 0

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    async def metrics(self, token: str) -> int:
        """The status that /metrics answers with."""
        return await self._status("metrics", {"Authorization": f"Bearer {token}"})

    async def _status(self, path: str, headers: dict[str, str] | None = None) -> int:
        async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_SECONDS) as page:
            return (
                await page.get(f"http://127.0.0.1:{self.port}/{path}", headers=headers)
            ).status_code


class Issuer:
    """The backend that signs tokens, and the file of public keys that servers read."""

    def __init__(self, place: Path) -> None:
        self._file = place / "public.pem"
        self._public: list[bytes] = []
        self.follow()

    def follow(self) -> None:
        """Sign with a new key from now on; the file has it and the one before."""
        self._key = ec.generate_private_key(ec.SECP256R1())
        public = self._key.public_key()
        made = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        self._write([*self._public[-1:], made])

    def forget(self) -> None:
        """The one before is good no more."""
        self._write(self._public[-1:])

    def _write(self, keys: list[bytes]) -> None:
        self._public = keys
        new = self._file.with_suffix(".new")
        new.write_bytes(b"".join(keys))
        new.replace(self._file)

    async def token(self) -> str:
        claims = {
            "sub": "ann",
            "tenant": "default",
            "roles": ["visitor"],
            "exp": time.time() + 3600,
        }
        return jwt.encode(claims, self._key, "ES256")


class Load:
    """A producer for each server, past the balancer; readers through it."""

    def __init__(self, producers: list[Client], readers: list[Client]) -> None:
        self.added = [0 for _ in producers]
        self.searches = 0
        self.live = [0] * (len(readers) * QUERIES)
        self._is_over = False
        self._producing = [
            asyncio.create_task(self._produce(at, db)) for at, db in enumerate(producers)
        ]
        self._reading = [
            asyncio.create_task(self._follow(at, readers[at % len(readers)]))
            for at in range(len(self.live))
        ] + [asyncio.create_task(self._search(db)) for db in readers]

    async def _produce(self, at: int, db: Client) -> None:
        """Each row is nearer to what is asked for than those before it."""
        while not self._is_over:
            id = self.added[at] + 1
            await db.add("messages", [[1.0, 1.0 / id]], ids=[id])
            self.added[at] = id

    async def _follow(self, at: int, db: Client) -> None:
        async for answer in db.live("messages", [1, 0], k=1):
            self.live[at] = int(answer[0].id) if len(answer) else 0

    async def _search(self, db: Client) -> None:
        while True:
            await db.search("messages", [[1, 0]], k=3)
            self.searches += 1
            await asyncio.sleep(0.01)

    def check(self) -> None:
        for task in (*self._producing, *self._reading):
            if task.done():
                task.result()
                assert self._is_over

    async def go_on(self) -> None:
        """Wait until everybody has done some more."""
        added = [one + BETWEEN for one in self.added]
        searches = self.searches + BETWEEN

        async def has() -> bool:
            self.check()
            return self.searches >= searches and all(
                now >= wanted for now, wanted in zip(self.added, added, strict=True)
            )

        await until(has)

    async def finish(self) -> None:
        """Each live query has the last row of the server that it is at."""
        self._is_over = True
        await asyncio.gather(*self._producing)

        async def all_see() -> bool:
            self.check()
            return set(self.live) <= set(self.added)

        await until(all_see)

    async def end(self) -> None:
        for task in (*self._producing, *self._reading):
            task.cancel()
        await asyncio.wait([*self._producing, *self._reading])


class Prometheus:
    """The one of ``deploy/prometheus/``, every second."""

    def __init__(self, port: int) -> None:
        self._api = f"http://127.0.0.1:{port}/api/v1"

    async def _asked(self, path: str, **parameters: str) -> list[dict[str, object]]:
        async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_SECONDS) as page:
            told = await page.get(f"{self._api}/{path}", params=parameters)
        data = json.loads(told.content)["data"]
        found: list[dict[str, object]] = data["alerts" if path == "alerts" else "result"]
        return found

    async def up(self) -> int:
        """How many servers it can scrape."""
        try:
            return len(await self._asked("query", query='up{job="omendb"} == 1'))
        except httpx.TransportError:  # it is not there yet
            return 0

    async def firing(self) -> list[str]:
        alerts = await self._asked("alerts")
        return [
            str(one["labels"]["alertname"])  # type: ignore[index]
            for one in alerts
            if one["state"] == "firing"
        ]


@contextlib.asynccontextmanager
async def prometheus(nodes: list[Node], place: Path) -> AsyncIterator[Prometheus]:
    text = (DEPLOY / "prometheus" / "prometheus.yml").read_text()
    for old, new in (
        ('"127.0.0.1:8765"', ", ".join(f'"127.0.0.1:{node.port}"' for node in nodes)),
        ("# authorization: {credentials_file: /etc/prometheus/omendb-token}",
         f"authorization: {{credentials_file: {place}/prometheus.token}}"),
        ("15s", "1s"),
    ):  # fmt: skip
        assert old in text
        text = text.replace(old, new)
    (place / "prometheus.yml").write_text(text)
    alerts = (DEPLOY / "prometheus" / "alerts.yml").read_text()
    (place / "alerts.yml").write_text(alerts.replace("for: 2m", "for: 2s"))
    port = free_port()
    with (place / "prometheus.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            "prometheus",
            f"--config.file={place}/prometheus.yml",
            f"--storage.tsdb.path={place}/series",
            f"--web.listen-address=127.0.0.1:{port}",
            stdout=log,
            stderr=log,
        )
    try:
        yield Prometheus(port)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[list[Node]]:
    found = [Node(tmp_path, name) for name in ("one", "two")]
    try:
        yield found
    finally:
        for node in found:
            node.close()


def new_key(place: Path, name: str, *rights: str) -> str:
    """The token, which is in a file as well."""
    flags = [flag for right in rights for flag in ("--right", right)]
    token = place / f"{name}.token"
    ran(*("new-key", "--name", name, *flags), *("--append-to", str(place / "keys.toml")),
        "--token-to", str(token))  # fmt: skip
    return token.read_text().strip()


async def rotate(place: Path, nodes: list[Node], issuer: Issuer, load: Load) -> None:
    """First both keys are good, then the new ones alone; the load never fails."""
    keys, token = place / "keys.toml", place / "prometheus.token"
    old = token.read_text().strip()
    token.rename(place / "old.token")
    new = new_key(place, "prometheus-2", "operator")
    (place / "prometheus-2.token").rename(token)
    issuer.follow()
    for node in nodes:
        await until(lambda node=node: _is(node.metrics(new), 200))  # type: ignore[misc]
        assert await node.metrics(old) == 200
    await load.go_on()
    parts = keys.read_text().split("[[keys]]")
    kept = [one for one in parts if 'name = "prometheus"\n' not in one]
    assert len(kept) == len(parts) - 1
    keys.write_text("[[keys]]".join(kept))
    issuer.forget()
    for node in nodes:
        await until(lambda node=node: _is(node.metrics(old), 401))  # type: ignore[misc]
    await load.go_on()


async def _is(status: Awaitable[int], wanted: int) -> bool:
    return await status == wanted


async def test_an_operators_afternoon(
    certificate: Certificate, tmp_path: Path, nodes: list[Node]
) -> None:
    needed(HAPROXY)
    issuer = Issuer(tmp_path)
    new_key(tmp_path, "prometheus", "operator")
    ops = new_key(tmp_path, "ops", "admin", "read", "write")
    for node in nodes:
        await node.start()
        async with omendb_ws.connect(node.url, token=ops, **PATIENT) as db:
            await db.create("messages", dim=2, capacity=1_000_000)
    async with contextlib.AsyncExitStack() as stack:
        watching = await stack.enter_async_context(prometheus(nodes, tmp_path))
        balancer = await stack.enter_async_context(
            balancing(HAPROXY, nodes, certificate, tmp_path)  # type: ignore[arg-type]
        )

        async def connected(url: str, **more: object) -> Client:
            opened = omendb_ws.connect(
                url, get_token=issuer.token, backoff=Backoff(0.05, 0.5), **PATIENT, **more
            )
            return await stack.enter_async_context(opened)

        producers = [await connected(node.url) for node in nodes]
        readers = [await connected(balancer.url, tls=balancer.tls) for _ in range(READERS)]
        load = Load(producers, readers)
        stack.push_async_callback(load.end)
        await load.go_on()
        await until(lambda: _is(watching.up(), 2))

        await rotate(tmp_path, nodes, issuer, load)
        for node in nodes:
            await node.stop()
            await node.start()
            await load.go_on()
        await load.finish()
        for node, added in zip(nodes, load.added, strict=True):
            async with omendb_ws.connect(node.url, token=ops, **PATIENT) as db:
                about = await db.describe("messages")
                assert (about.rows, about.last_seq) == (added, added)
        await until(lambda: _is(watching.up(), 2))
        await load.end()
        await lose_a_disk(nodes, watching, tmp_path, ops)


async def lose_a_disk(nodes: list[Node], watching: Prometheus, place: Path, token: str) -> None:
    """The second server's; it comes back with the first one's rows."""
    await nodes[1].stop()
    shutil.rmtree(nodes[1].folder / "data")

    async def fires() -> bool:
        return await watching.firing() == ["OmendbDown"]

    async def is_over() -> bool:
        return not await watching.firing()

    await until(fires)
    backup = str(place / "backup")
    ran("backup", str(nodes[0].folder / "data"), "messages", backup)
    ran("restore", backup, str(nodes[1].folder / "data"))
    await nodes[1].start()
    await until(is_over)
    about = []
    for node in nodes:
        async with omendb_ws.connect(node.url, token=token, **PATIENT) as db:
            about.append(await db.describe("messages"))
    assert about[0].rows == about[1].rows > 0
    assert about[0].epoch != about[1].epoch
