"""Nodes on this machine: their command, what they say, and when they are ready."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from .processes import Group, ProcessFailed

#: Settings of the environment that are one server's, and would meet twice here.
_OF_ONE_SERVER: Final = ("DATA_DIR", "HTTP_PORT", "ADVERTISE", "CLUSTER_CREDENTIALS")
#: How often a node is asked whether it is ready, and how long it may take to say so, in seconds.
_LOOK_SECONDS: Final = 0.1
_ANSWER_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Node:
    """One that listens at ``url``."""

    name: str
    url: str
    process: asyncio.subprocess.Process


@dataclass(frozen=True, slots=True)
class NodePlan:
    """One node: ``port`` 0 takes any; ``more`` are further flags of ``serve``."""

    name: str
    nats: tuple[str, ...]
    cluster: str
    port: int = 0
    more: tuple[str, ...] = ()

    def flags(self) -> list[str]:
        """Those of ``omendb-ws serve``."""
        return [
            "--cluster", ",".join(self.nats), "--node-name", self.name, "--host", "127.0.0.1",
            "--cluster-name", self.cluster, "--port", str(self.port), *self.more,
        ]  # fmt: skip


async def start(plan: NodePlan, group: Group, say: Callable[[str], None]) -> Node:
    """Start one, and return when it listens; ``say`` is told its log. Raises ProcessFailed."""
    process = await group.start(
        *(sys.executable, "-m", "omendb_ws", "serve", *plan.flags(), "--log-format", "text"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        variables=_variables(),
    )
    assert process.stdout is not None
    assert process.stderr is not None
    telling = asyncio.create_task(_tell(plan.name, process.stderr, say))
    line = (await process.stdout.readline()).decode()
    found = re.search(r" is ready at (\S+)", line)
    if found is None:
        await process.wait()
        await telling
        raise ProcessFailed(f"{plan.name} did not start")
    _telling.add(telling)
    telling.add_done_callback(_telling.discard)
    return Node(plan.name, found[1], process)


#: Those that tell nodes' logs; each ends with its node.
_telling: set[asyncio.Task[None]] = set()


async def _tell(name: str, stream: asyncio.StreamReader, say: Callable[[str], None]) -> None:
    while line := await stream.readline():
        say(f"{name}: {line.decode(errors='replace').rstrip()}")


def _variables() -> dict[str, str]:
    unfit = {f"OMENDB_{name}" for name in _OF_ONE_SERVER}
    return {name: text for name, text in os.environ.items() if name not in unfit}


async def until_they_meet(nodes: list[Node]) -> None:
    """Return once each of them answers for what is stored, and sees all the others."""
    for node in nodes:
        while not await asyncio.to_thread(_sees, node.url, len(nodes)):  # noqa: ASYNC110 - polled
            await asyncio.sleep(_LOOK_SECONDS)


def _sees(url: str, count: int) -> bool:
    base = url.replace("ws", "http", 1).rpartition("/")[0]
    try:
        if _read(f"{base}/readyz")[0] != 200:
            return False
        status, text = _read(f"{base}/metrics")
    except OSError:
        return False
    found = re.search(r"^omendb_cluster_nodes (\d+)", text, re.MULTILINE)
    return found is None if status != 200 else found is not None and int(found[1]) >= count


def _read(url: str) -> tuple[int, str]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=_ANSWER_SECONDS) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""
