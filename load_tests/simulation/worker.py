"""One generator process: prepares everything, says so, sends at the given moment, hands in figures.

Talks with its coordinator over a pipe: out go ``Ready``, ``Looked`` once an interval, and at last a
``Report`` or ``Failed``; in comes the moment to begin. It ends when the pipe does, so none outlives
its coordinator.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import time
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from typing import Final, NamedTuple

import numpy as np
from omendb_core.model.errors import OmenError
from omendb_core.model.types import F32

from omendb_ws.runtime.event_loops import choose
from omendb_ws.wire import messages, text

from . import columns, vectors
from .arrivals import planned
from .connection import Connection, Endpoint
from .recording import Part, Progress, Span
from .requests import AddLog, Adds, Sample, Searches, Source, TextSearches
from .sampling import step
from .scenario import Requests, Scenario
from .storm import Storm
from .stream import Stream
from .subscribers import KINDS, Base, PushPart, Subscribers

#: Ids of a process's rows begin at its number times this, so that no two add the same.
_IDS_A_PROCESS: Final = 1 << 40
_POLL_SECONDS: Final = 0.02
#: Connections that a process opens at the same time while it prepares.
_OPENED_TOGETHER: Final = 32


class WorkerError(Exception):
    """A generator process could not do its work; the message says why."""


@dataclass(frozen=True)
class Job:
    """What process ``part`` of ``parts`` does."""

    scenario: Scenario
    endpoint: Endpoint
    collection: str
    part: int
    parts: int
    base: Base


class Ready(NamedTuple):
    """Connected and subscribed."""

    connections: int


class Looked(NamedTuple):
    """How it goes."""

    operations: list[Progress]
    pushes: int


class Failed(NamedTuple):
    """It went wrong; why, in a line."""

    reason: str


@dataclass(frozen=True)
class Report:
    """The figures of one process."""

    operations: list[Part]
    pushes: list[PushPart]
    adds: AddLog
    samples: list[Sample]


def main(job: Job, pipe: Pipe) -> None:
    """The process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the coordinator's to handle
    try:
        with asyncio.Runner(loop_factory=choose().new_loop) as runner:
            runner.run(_Worker(job, pipe).run())
    except (BrokenPipeError, EOFError):
        return
    except (OmenError, OSError) as error:
        pipe.send(Failed(f"{type(error).__name__}: {error}"))
    except Exception:
        pipe.send(Failed(traceback.format_exc()))


def standing_queries(scenario: Scenario, kind: str, dim: int) -> F32:
    """What all subscriptions of a kind ask for, float32 (n, dim), connection after connection."""
    settings = scenario.standing[kind]
    count = settings.connections * settings.per_connection
    return vectors.queries(scenario.vectors, dim, scenario.load.seed + 1, count)


class _Worker:
    """Everything of one process, for as long as it lives."""

    def __init__(self, job: Job, pipe: Pipe) -> None:
        self._job = job
        self._scenario = job.scenario
        self._pipe = pipe
        self._seed = job.scenario.load.seed
        self._dim = job.scenario.collection.dim
        self._connections: list[Connection] = []
        self._asking: Connection | None = None
        self._streams: list[Stream | Storm] = []
        self._subscribers: list[Subscribers] = []
        self._adds: Adds | None = None
        self._searches: Searches | None = None

    async def run(self) -> None:
        """From nothing to the report."""
        await self._prepare()
        # A collection of garbage in the middle would look like a slow server.
        gc.freeze()
        gc.disable()
        self._pipe.send(Ready(len(self._connections)))
        began = await asyncio.to_thread(self._pipe.recv)
        load = self._scenario.load
        ends = began + self._scenario.total_seconds
        span = Span(began, began + load.warm_up_seconds, ends, load.interval_seconds)
        await self._drive(span)
        parts = [one.part(span) for one in self._streams]
        pushes = [one.part() for one in self._subscribers]
        log = self._adds.log if self._adds else AddLog()
        samples = self._searches.samples if self._searches else []
        self._pipe.send(Report(parts, pushes, log, samples))
        for connection in self._connections:
            connection.abort()

    # -- before

    async def _prepare(self) -> None:
        for name, settings in self._scenario.requests.items():
            await self._prepare_requests(name, settings)
        for kind in KINDS:
            await self._prepare_standing(kind)

    def _share(self, count: int) -> tuple[int, int, int]:
        """Of ``count`` connections: how many are ours, our part, and of how many parts."""
        parts = min(self._job.parts, count)
        part = self._job.part
        return len(range(part, count, self._job.parts)), part, parts

    async def _prepare_requests(self, name: str, settings: Requests) -> None:
        count, part, parts = self._share(settings.connections)
        if not count:
            return
        of_plan = np.random.default_rng([self._seed, 4, part, *name.encode()])
        seconds = self._scenario.total_seconds
        plan = planned(settings.arrivals, settings.rate, seconds, part, parts, of_plan)
        if name == "connect":
            job = self._job
            self._streams.append(Storm(job.endpoint, job.collection, count, plan))
            return
        source = self._source(name, settings)
        connections = await self._open(count)
        self._streams.append(Stream(name, source, connections, settings.places, plan))

    def _source(self, name: str, settings: Requests) -> Source:
        scenario = self._scenario
        if name == "add":
            pool = vectors.pool(scenario.vectors, self._dim, self._seed)
            metadata = columns.values(scenario.columns, len(pool), self._seed)
            first_id = (self._job.part + 1) * _IDS_A_PROCESS
            self._adds = Adds(pool, metadata, settings.rows, scenario.collection.ids, first_id)
            return self._adds
        queries = vectors.queries(scenario.vectors, self._dim, self._seed, settings.queries)
        every = step(settings.verified) if settings.verified else 0
        given = dict(settings.filter) or None
        if settings.texts:
            return TextSearches(self._job.collection, queries, settings.k, given)
        self._searches = Searches(
            queries, settings.vectors, settings.k, given, every, settings.shapes
        )
        return self._searches

    async def _prepare_standing(self, kind: str) -> None:
        settings = self._scenario.standing.get(kind)
        if settings is None:
            return
        count, part, parts = self._share(settings.connections)
        subscribers = Subscribers(kind, settings, self._job.base)  # type: ignore[arg-type]
        self._subscribers.append(subscribers)
        queries = standing_queries(self._scenario, kind, self._dim)
        each = settings.per_connection
        starts = range(part * each, len(queries), parts * each)
        for connection, start in zip(await self._open(count), starts, strict=True):
            asked = queries[start : start + each]
            await subscribers.add(connection, self._job.collection, asked, start)
        if settings.verified and kind == "live":
            (self._asking,) = await self._open(1)

    async def _open(self, count: int) -> list[Connection]:
        """Connections that know the collection's handle."""
        limit = asyncio.Semaphore(_OPENED_TOGETHER)
        request = text.encode_request(messages.Open(0, self._job.collection))

        async def one() -> Connection:
            async with limit:
                connection = await Connection.open(self._job.endpoint)
                connection.handle = int((await connection.ok(request, 0))["handle"])
                return connection

        found = list(await asyncio.gather(*[one() for _ in range(count)]))
        self._connections += found
        return found

    # -- during

    async def _drive(self, span: Span) -> None:
        """The load, and the wait for what is out at its end."""
        for stream in self._streams:
            stream.start(span.began)
        await self._look_until(span.counts_from, span.interval_seconds)
        await self._look_until(span.ends, span.interval_seconds)
        for stream in self._streams:
            stream.stop()
        give_up_at = span.ends + self._scenario.load.drain_seconds
        while any(one.unanswered for one in self._streams):
            if time.perf_counter() > give_up_at:
                break
            await asyncio.sleep(_POLL_SECONDS)
        give_up_at = time.perf_counter() + self._scenario.load.drain_seconds
        for one in self._subscribers:
            await one.settle(self._asking, give_up_at)

    async def _look_until(self, end: float, interval_seconds: float) -> None:
        while (left := end - time.perf_counter()) > 0:
            # Twice an interval, so that the coordinator always has a look to show.
            await asyncio.sleep(min(left, interval_seconds / 2))
            operations = [one.recording.progress() for one in self._streams]
            self._pipe.send(Looked(operations, sum(one.pushes for one in self._subscribers)))
