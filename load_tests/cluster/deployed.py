"""What is measured: a server by itself over its local journal, and clusters; all on this machine.

Each is processes of its own on free ports, which end with the block. The CPU that they take is read
from the system, so it counts no one else's.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import omendb_ws
from omendb_ws import Client
from omendb_ws.errors import Unsupported
from omendb_ws.local_cluster.cluster import LocalCluster, Sizes, local_cluster

from ..bench_durability import cpu_seconds

_FLAGS: Final = ("--log-level", "error")
#: What every cluster here is called.
CLUSTER: Final = "bench"
_LOOK_SECONDS: Final = 0.05
_PATIENCE_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Member:
    """A node, or the server by itself."""

    name: str
    url: str
    pid: int


@dataclass(frozen=True, slots=True)
class Deployed:
    """``members``: all that answer clients; ``cluster`` is None of a server by itself."""

    name: str
    members: tuple[Member, ...]
    cluster: LocalCluster | None

    @property
    def nats_pids(self) -> list[int]:
        """Of its servers of NATS."""
        return [] if self.cluster is None else [one.process.pid for one in self.cluster.nats]

    def called(self, name: str) -> Member:
        """The member of that name."""
        [found] = [one for one in self.members if one.name == name]
        return found


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a collection is: who takes its changes, and who holds it besides."""

    owner: Member
    followers: tuple[Member, ...]


@asynccontextmanager
async def alone(data_dir: str | None) -> AsyncIterator[Deployed]:
    """A server by itself, whose journal is in files."""
    with tempfile.TemporaryDirectory(dir=data_dir) as directory:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "omendb_ws", "serve", "--port", "0", "--data-dir", directory),
            *_FLAGS,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        try:
            url = (await process.stdout.readline()).decode().split()[-1]
            yield Deployed("local journal", (Member("alone", url, process.pid),), None)
        finally:
            process.kill()
            await process.wait()


@asynccontextmanager
async def clustered(name: str, nats: int, nodes: int = 3) -> AsyncIterator[Deployed]:
    """Three nodes over so many servers of NATS."""
    async with local_cluster(Sizes(nodes, nats), _say, CLUSTER, _FLAGS) as cluster:
        members = tuple(Member(one.name, one.url, one.process.pid) for one in cluster.nodes)
        yield Deployed(name, members, cluster)


def _say(line: str) -> None:
    print(line, file=sys.stderr)


async def made(
    deployed: Deployed,
    name: str,
    *,
    dim: int,
    capacity: int,
    replicas: int,
    owner: int | None = None,
) -> Placed:
    """Make a collection whose owner stays where it is, or is the node of that number."""
    async with omendb_ws.connect(deployed.members[0].url) as db:
        more = {} if deployed.cluster is None else {"replicas": replicas}
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while True:
                try:
                    await db.create(name, dim=dim, capacity=capacity, ids="auto", **more)
                    break
                except Unsupported:  # fewer nodes are known yet than it is to have replicas
                    await asyncio.sleep(_LOOK_SECONDS)
        if deployed.cluster is None:
            return Placed(deployed.members[0], ())
        return await _placed(db, deployed, name, replicas, owner)


async def _placed(
    db: Client, deployed: Deployed, name: str, replicas: int, owner: int | None
) -> Placed:
    wanted = None if owner is None else deployed.members[owner].name
    is_asked = False
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while True:
            described = await db.describe(name)
            states = {one.node: one.state for one in described.replicas}
            if len(states) == replicas and sorted(states.values())[0] != "coming":
                wanted = wanted or described.owner
                if wanted is not None and not is_asked:
                    await db.move_owner(name, wanted)
                    is_asked = True
                if states.get(wanted or "") == "owner":
                    break
            await asyncio.sleep(_LOOK_SECONDS)
    others = [deployed.called(one) for one in states if one != wanted]
    return Placed(deployed.called(str(wanted)), tuple(others))


class Spent:
    """CPU seconds of some processes from now on."""

    def __init__(self, pids: Sequence[int]) -> None:
        self._before = {pid: cpu_seconds(pid) for pid in pids}

    @property
    def seconds(self) -> float:
        """So far."""
        return sum(cpu_seconds(pid) - before for pid, before in self._before.items())
