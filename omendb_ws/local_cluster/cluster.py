"""A cluster on this machine: begun, told of, watched, and ended in order, the nodes first.

Nodes begin as soon as NATS listens; they wait for its elections themselves.
"""

from __future__ import annotations

import asyncio
import signal
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from . import nats_servers
from .nats_servers import HOST, NatsPlan, PortTaken
from .nodes import Node, NodePlan, start, until_they_meet
from .processes import Group, ProcessFailed, end, guarded

#: How often servers of NATS are started anew because a port of theirs was taken meanwhile.
_ATTEMPTS: Final = 5
#: How long NATS and nodes may take until they are ready, in seconds.
_NATS_SECONDS: Final = 30.0
_READY_SECONDS: Final = 120.0
_LOOK_SECONDS: Final = 0.01


@dataclass(frozen=True, slots=True)
class NatsServer:
    """One that listens at ``url``."""

    name: str
    url: str
    process: asyncio.subprocess.Process


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many of each; ``port`` is the first node's, the next ones follow, 0 takes any."""

    nodes: int
    nats: int
    port: int = 0


@dataclass(frozen=True, slots=True)
class LocalCluster:
    """Its nodes and servers, which are all ready."""

    nats: list[NatsServer]
    nodes: list[Node]

    async def until_over(self, say: Callable[[str], None]) -> str:
        """Say of each process that ends that it has; what of the cluster is gone, once it is."""
        members: list[Node | NatsServer] = [*self.nats, *self.nodes]
        processes = {one.process: one.name for one in members}
        waiting = {asyncio.create_task(one.wait()): one for one in processes}
        try:
            while True:
                done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    process = waiting.pop(task)
                    say(f"{processes[process]} (process {process.pid}) {_ended(task.result())}")
                if all(one.process.returncode is not None for one in self.nats):
                    return "none of the NATS servers runs any more"
                if all(one.process.returncode is not None for one in self.nodes):
                    return "none of the nodes runs any more"
        finally:
            for task in waiting:
                task.cancel()


def _ended(code: int) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"


@asynccontextmanager
async def local_cluster(
    sizes: Sizes, say: Callable[[str], None], name: str = "local", more: tuple[str, ...] = ()
) -> AsyncIterator[LocalCluster]:
    """Start it all, and end it all. ``more`` are further flags of ``serve``; ``say`` hears what
    nodes log. Raises ProcessFailed, ProgramMissing.
    """
    nats_servers.program()  # or it is missing: before anything is there
    directory = Path(tempfile.mkdtemp(prefix="omendb-cluster-"))
    async with AsyncExitStack() as stack:
        group = await stack.enter_async_context(guarded(directory))
        nats = await _start_nats(sizes.nats, directory, group, stack)
        addresses = tuple(one.url for one in nats)
        plans = [
            NodePlan(f"node{number}", addresses, name, sizes.port and sizes.port + number - 1, more)
            for number in range(1, sizes.nodes + 1)
        ]
        nodes = await _start_nodes(plans, group, say, stack)
        try:
            async with asyncio.timeout(_READY_SECONDS):
                await until_they_meet(nodes)
        except TimeoutError:
            raise ProcessFailed("the nodes were not ready in time") from None
        yield LocalCluster(nats, nodes)


async def _start_nodes(
    plans: list[NodePlan], group: Group, say: Callable[[str], None], stack: AsyncExitStack
) -> list[Node]:
    starting = [asyncio.create_task(start(plan, group, say)) for plan in plans]
    try:
        await asyncio.wait(starting)
    finally:
        for task in starting:
            task.cancel()
    nodes = [task.result() for task in starting if task.exception() is None]

    async def end_all() -> None:
        await asyncio.gather(*(end(node.process) for node in nodes))

    stack.push_async_callback(end_all)
    for task in starting:
        task.result()
    return nodes


async def _start_nats(
    count: int, directory: Path, group: Group, stack: AsyncExitStack
) -> list[NatsServer]:
    for attempt in range(_ATTEMPTS):
        async with AsyncExitStack() as attempted:
            try:
                plans = nats_servers.plans(count, directory)
                found = await _start_planned(plans, group, attempted)
            except PortTaken as error:
                if attempt + 1 == _ATTEMPTS:
                    raise ProcessFailed(f"NATS: {error}") from error
                continue
            stack.push_async_callback(attempted.pop_all().aclose)
            return found
    raise AssertionError("there is an attempt")


async def _start_planned(
    plans: list[NatsPlan], group: Group, stack: AsyncExitStack
) -> list[NatsServer]:
    processes = []
    for plan in plans:
        command = plan.write()
        with (plan.directory / "log").open("wb") as log:
            process = await group.start(*command, stdout=log, stderr=log)
        stack.push_async_callback(end, process)
        processes.append(process)
    try:
        async with asyncio.timeout(_NATS_SECONDS):
            return [
                NatsServer(plan.name, await _until_it_listens(plan, process), process)
                for plan, process in zip(plans, processes, strict=True)
            ]
    except TimeoutError:
        raise ProcessFailed("NATS did not start in time") from None


async def _until_it_listens(plan: NatsPlan, process: asyncio.subprocess.Process) -> str:
    while (port := plan.listening_on()) is None:
        if process.returncode is not None:
            log = (plan.directory / "log").read_text(errors="replace")
            raise ProcessFailed(f"{plan.name}: {nats_servers.why_it_ended(log)}")
        await asyncio.sleep(_LOOK_SECONDS)
    return f"nats://{HOST}:{port}"
