"""Files that are read again while the server runs: keys, certificates, tenants.

They are looked at every few seconds, and all read at a hangup. A file that cannot be read or parsed
changes nothing: it is said in the log, counted, and read again the next time.
"""

from __future__ import annotations

import asyncio
import logging
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from ..access.audit import FAILED, OK, Audit
from ..runtime.faults import as_error
from ..telemetry.metrics import Metrics

log = logging.getLogger(__name__)

#: PROTOCOL section 9.
LOOK_SECONDS: Final = 5.0
#: The signature of a file that could not be read: it is due whatever it is.
_UNREAD: Final = (-1,)


class Watched(NamedTuple):
    """``read`` reads the files, on another thread, and returns what takes them on the loop's.

    Both may raise; then nothing has changed.
    """

    what: str
    files: tuple[str, ...]
    read: Callable[[], Callable[[], None]]


class Reloads:
    """Reads what changed, again and again."""

    def __init__(self, metrics: Metrics, audit: Audit) -> None:
        self._metrics = metrics
        self._audit = audit
        self._watched: list[Watched] = []
        self._seen: dict[str, tuple[int, ...] | None] = {}
        #: What of that could not be read, and why.
        self._failures: dict[str, str] = {}
        #: While files are read: else what was read first could be taken last, and stay.
        self._reading = asyncio.Lock()

    def watch(self, watched: Watched) -> None:
        """Read it again when one of its files changes; they were read just now."""
        self._watched.append(watched)
        self._seen.update({path: signature(path) for path in watched.files})

    async def run(self) -> None:
        """Look at the files until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.look()
            except Exception as error:  # the next time may go well
                self._metrics.faults += 1
                as_error(error, "looking at files")

    async def look(self) -> None:
        """Read again what has changed since it was read."""
        async with self._reading:
            now = await self._signatures()
            due = [
                one
                for one in self._watched
                if any(now[path] != self._seen[path] for path in one.files)
            ]
            self._seen.update(now)
            await self._read(due)

    async def all(self) -> None:
        """Read everything again."""
        async with self._reading:
            self._seen.update(await self._signatures())
            await self._read(self._watched)

    async def _signatures(self) -> dict[str, tuple[int, ...] | None]:
        paths = list(self._seen)
        found = await asyncio.to_thread(lambda: [signature(path) for path in paths])
        return dict(zip(paths, found, strict=True))

    async def _read(self, due: Sequence[Watched]) -> None:
        for one in due:
            try:
                take = await asyncio.to_thread(_read_regular, one)
                take()
            except Exception as error:
                # It may have been the machine, so it is read again; and said again if it is news.
                self._seen.update(dict.fromkeys(one.files, _UNREAD))
                if self._failures.get(one.what) == str(error):
                    continue
                self._failures[one.what] = str(error)
                self._metrics.reload_failures += 1
                if not isinstance(error, ValueError | OSError):
                    as_error(error, f"reading {one.what} again")
                log.error("%s: not read again, what was read before stays: %s", one.what, error)
                self._audit.enter("reload", FAILED, detail=one.what)
            else:
                self._failures.pop(one.what, None)
                log.info("%s: read again", one.what)
                self._audit.enter("reload", OK, detail=one.what)


def _read_regular(one: Watched) -> Callable[[], None]:
    """Read its files, and nothing else: to open a pipe would wait, for ever maybe. OSError."""
    for path in one.files:
        with suppress(FileNotFoundError):  # reading it says so
            if not stat.S_ISREG(Path(path).stat().st_mode):
                raise OSError(f"{path} is no regular file")
    return one.read()


def signature(path: str) -> tuple[int, ...] | None:
    """What tells that a file has changed; None if it is not there."""
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
