"""The processes of a local cluster: one group, which ends as a whole whatever happens.

A terminal's Ctrl-C reaches the command alone, which then ends its processes in order: they are in
a group of their own, with a guard (``guard.py``) for the case that the command itself is killed.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final

from . import guard

#: How long a process may take to end by itself: longer than a node drains.
LEAVE_SECONDS: Final = 15.0


class ProcessFailed(Exception):
    """One of them did not start; the message says which, and why."""


class Group:
    """Processes that end together."""

    def __init__(self, head: asyncio.subprocess.Process) -> None:
        self._head = head

    async def start(
        self,
        *arguments: str,
        stdout: int | IO[Any],
        stderr: int | IO[Any],
        variables: Mapping[str, str] | None = None,
    ) -> asyncio.subprocess.Process:
        """A process of the group; with ``variables`` as its whole environment, if there are any."""
        return await asyncio.create_subprocess_exec(
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env=variables,
            process_group=self._head.pid,
        )


@asynccontextmanager
async def guarded(directory: Path) -> AsyncIterator[Group]:
    """A group whose processes are killed at the end at the latest, and ``directory`` removed."""
    head = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", guard.__file__, str(directory)),
        stdin=asyncio.subprocess.PIPE,
        process_group=0,
    )
    assert head.stdin is not None
    try:
        yield Group(head)
    finally:
        head.stdin.close()
        await head.wait()


async def end(process: asyncio.subprocess.Process) -> None:
    """Have it end by itself, as SIGTERM asks; kill it if it takes too long."""
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(LEAVE_SECONDS):
            await process.wait()
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
