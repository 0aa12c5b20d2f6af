"""Searches of one, two and three nodes that hold a collection, each with so much CPU and no more.

The kernel gives each node its part of a core (cgroups); where it may not be asked to, they take
what there is, and a search's CPU tells the same. *Linear by CPU*: a CPU second of all nodes
together answers as many searches as one of a node by itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

import omendb_ws

from .deployed import Member, Spent

_PERIOD_US: Final = 10_000
_CLIENTS: Final = 8
_K: Final = 10


@dataclass(frozen=True, slots=True)
class Answered:
    """``cpu_us``: of all nodes that were asked, a search."""

    per_second: float
    cpu_us: float


async def measure(nodes: Sequence[Member], name: str, seconds: float, dim: int) -> Answered:
    """Ask these nodes, each by as many connections that wait for their answers."""
    queries = np.random.default_rng(5).standard_normal((64, dim)).astype(np.float32)
    answers = 0
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(omendb_ws.connect(node.url))
            for node in nodes
            for _ in range(_CLIENTS)
        ]
        for db in clients:  # its collection is opened, its mask and threads are there
            await db.search(name, queries[0], _K)
        spent, began = Spent([one.pid for one in nodes]), time.perf_counter()

        async def ask(db: omendb_ws.Client) -> None:
            nonlocal answers
            while time.perf_counter() - began < seconds:
                await db.search(name, queries[answers % len(queries)], _K)
                answers += 1

        await asyncio.gather(*map(ask, clients))
        elapsed = time.perf_counter() - began
    return Answered(answers / elapsed, spent.seconds * 1e6 / answers)


@contextmanager
def limited(nodes: Sequence[Member], percent: int) -> Iterator[bool]:
    """Let each take so much of a core; whether that is so."""
    groups: list[tuple[Path, Member]] = []
    try:
        try:
            for node in nodes:
                groups.append((_group(f"omendb-bench-{node.pid}", percent), node))
                _put(node.pid, groups[-1][0])
        except OSError:
            yield False
        else:
            yield True
    finally:
        for group, node in groups:
            with suppress(OSError):
                _put(node.pid, group.parent)
            with suppress(OSError):
                group.rmdir()


def _group(name: str, percent: int) -> Path:
    """A new one. Raises OSError where none can be made."""
    quota_us = _PERIOD_US * percent // 100
    for place, limits in (
        (Path("/sys/fs/cgroup/cpu"), _limits_1(quota_us)),
        (Path("/sys/fs/cgroup"), _limits_2(quota_us)),
    ):
        group = place / name
        if not (place / "cgroup.procs").exists():
            continue
        group.mkdir()
        try:
            for file, text in limits.items():
                with (group / file).open("r+") as limit:  # the kernel makes it, or nobody
                    limit.write(text)
        except OSError:
            group.rmdir()
        else:
            return group
    raise OSError("no group limits CPU here")


def _limits_1(quota_us: int) -> dict[str, str]:
    """Of the first version of groups: the limit, and before all others up to there."""
    return {
        "cpu.cfs_period_us": str(_PERIOD_US),
        "cpu.cfs_quota_us": str(quota_us),
        "cpu.shares": "100000",
    }


def _limits_2(quota_us: int) -> dict[str, str]:
    """Of the second."""
    return {"cpu.max": f"{quota_us} {_PERIOD_US}", "cpu.weight": "10000"}


def _put(pid: int, group: Path) -> None:
    (group / "cgroup.procs").write_text(str(pid))
