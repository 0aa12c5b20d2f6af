"""A run: the collection is filled, the processes are started and gathered, one result comes out.

Owns the processes, and ends what it started. Sends no load itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime
import multiprocessing
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection as Pipe
from multiprocessing.process import BaseProcess
from typing import Any, Final

from omendb_core.model.types import F32
from omendb_core.model.types import Column as Values

from omendb_ws.runtime.event_loops import choose
from omendb_ws.wire import messages, text
from omendb_ws.wire.opcodes import MAGIC

from . import columns, honesty, vectors, worker
from .connection import Connection, Endpoint
from .environment import environment
from .judging import Judge
from .merging import operation, push
from .recording import Span
from .requests import NO_TIME, AddLog, Adds
from .resources import Monitor
from .results import (
    SCHEMA,
    WHAT_IS_COMPARED,
    Environment,
    Operation,
    Push,
    Resources,
    Result,
    Truth,
)
from .scenario import Requests, Scenario
from .server import Target, scrape
from .subscribers import Base

#: Rows of a frame, and frames under way, while a window is filled.
_FILL_ROWS: Final = 256
_FILL_IN_FLIGHT: Final = 16
#: Between "all are ready" and the first request that is meant to be sent.
_BEGIN_SECONDS: Final = 0.2
_POLL_SECONDS: Final = 0.02
_PREPARE_SECONDS: Final = 300.0
#: And for each standing query: of a million are some minutes.
_PREPARE_QUERY_SECONDS: Final = 1e-3
#: What a look at the progress gets: seconds since the counting began, and each process's look.
OnLook = Callable[[float, list[worker.Looked]], None]


class RunFailed(Exception):
    """A run came to nothing; the message says why."""


@dataclass(frozen=True)
class _Filled:
    """The collection as the load finds it."""

    name: str
    base: Base
    log: AddLog
    server: str
    durability: str


def run(scenario: Scenario, target: Target, on_look: OnLook = lambda at, looks: None) -> Result:
    """Run a scenario against a server. Raises RunFailed, and OmenError, OSError of the server."""
    wanted = {name: one for name, one in scenario.requests.items() if one.times_capacity}
    notes = []
    for name, settings in wanted.items():
        rate = capacity_of(scenario, target, name)
        times = settings.times_capacity
        notes.append(
            f"{name}: a closed run achieved {rate:,.0f}/s; offered is {times:g} times that"
        )
        scenario = with_requests(
            scenario, name, replace(settings, rate=rate * times, times_capacity=0.0)
        )
    with asyncio.Runner(loop_factory=choose().new_loop) as runner:
        result = runner.run(_run(scenario, target, on_look))
    return replace(result, notes=[*notes, *result.notes])


def capacity_of(scenario: Scenario, target: Target, name: str, seconds: float = 2.0) -> float:
    """What a short closed run of one kind of request achieves, 64 requests in flight."""
    settings = scenario.requests[name]
    closed = replace(
        settings, arrivals="closed", rate=0.0, times_capacity=0.0, verified=0.0,
        in_flight=max(1, 64 // settings.connections),
    )  # fmt: skip
    load = replace(scenario.load, seconds=seconds, warm_up_seconds=0.5)
    nothing = replace(
        scenario, load=load, search=None, add=None, connect=None, live=None, match=None, feed=None
    )
    alone = with_requests(nothing, name, closed)
    with asyncio.Runner(loop_factory=choose().new_loop) as runner:
        result = runner.run(_run(alone, target, lambda at, looks: None))
    return result.operations[0].achieved_per_second


def with_requests(scenario: Scenario, name: str, settings: Requests) -> Scenario:
    """The scenario with other settings for one kind of request."""
    changed: dict[str, Any] = {name: settings}
    return replace(scenario, **changed)


async def _run(scenario: Scenario, target: Target, on_look: OnLook) -> Result:
    started_at = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    dim = vectors.dim_of(scenario.vectors, scenario.collection.dim)
    scenario = replace(scenario, collection=replace(scenario.collection, dim=dim))
    pool = vectors.pool(scenario.vectors, dim, scenario.load.seed)
    metadata = columns.values(scenario.columns, len(pool), scenario.load.seed)
    endpoint = Endpoint(target.url, scenario.load.token, scenario.load.ca_file)
    async with _filled(scenario, endpoint, pool, metadata) as filled:
        jobs = [
            worker.Job(scenario, endpoint, filled.name, part, scenario.load.processes, filled.base)
            for part in range(scenario.load.processes)
        ]
        with _processes(jobs) as workers:
            monitor = Monitor(target.process_id, [process.pid for process, _ in workers])
            reports, span, resources = await _drive(scenario, endpoint, monitor, workers, on_look)
    log = AddLog()
    for one in (filled.log, *[report.adds for report in reports]):
        log.extend(one)
    operations = [
        operation(settings, parts, span)
        for name, settings in scenario.requests.items()
        if (parts := [part for one in reports for part in one.operations if part.name == name])
    ]
    judge = Judge(scenario, pool, metadata, log)
    judged, of_pushes = judge.searches(reports), judge.pushes(reports)
    pushes = [
        push(received, log, span, of_pushes.get(kind))
        for kind in scenario.standing
        if (received := [part for one in reports for part in one.pushes if part.kind == kind])
    ]
    where = environment(filled.server, filled.durability)
    notes = [
        *honesty.notes(operations, resources),
        *honesty.doubts("answers", judged),
        *[
            note
            for kind, truth in of_pushes.items()
            for note in honesty.doubts(WHAT_IS_COMPARED[kind], truth)
        ],
    ]
    return _result(scenario, started_at, where, operations, pushes, resources, judged, notes)


def _result(
    scenario: Scenario,
    started_at: str,
    where: Environment,
    operations: list[Operation],
    pushes: list[Push],
    resources: Resources,
    judged: Truth | None,
    notes: list[str],
) -> Result:
    return Result(
        schema=SCHEMA,
        kind="run",
        scenario=scenario.name,
        description=scenario.description,
        started_at=started_at,
        warm_up_seconds=scenario.load.warm_up_seconds,
        measured_seconds=scenario.load.seconds,
        is_honest_load=honesty.is_honest(operations, resources),
        environment=where,
        settings=scenario.settings(),
        operations=operations,
        pushes=pushes,
        resources=resources,
        truth=judged,
        notes=notes,
    )


# -- the collection ---------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def _filled(
    scenario: Scenario, endpoint: Endpoint, pool: F32, metadata: Mapping[str, Values]
) -> AsyncIterator[_Filled]:
    """A collection of its own, filled, which is dropped at the end."""
    settings = scenario.collection
    name = f"load-{os.getpid()}-{secrets.token_hex(4)}"
    connection = await Connection.open(endpoint)
    try:
        asked: dict[str, Any] = {
            "columns": {column: one.type for column, one in scenario.columns.items()},
            **dataclasses.asdict(settings),
        }
        del asked["fill"]
        create = messages.Create(1, name, **asked)
        made = await connection.ok(text.encode_request(create), 1)
        connection.handle = int(made["handle"])
        log = await _fill(connection, scenario, pool, metadata)
        now = await connection.ok(text.encode_request(messages.Describe(2, name)), 2)
        rows = scenario.add.rows if scenario.add else 1
        id_bytes = 0 if settings.ids == "str" else 8
        base = Base(now["version"], now["last_seq"], settings.capacity, rows, id_bytes)
        server = str(connection.hello.get("server", "unknown"))
        yield _Filled(name, base, log, server, str(made["durability"]))
        await connection.ok(text.encode_request(messages.Drop(3, name)), 3)
    finally:
        await connection.close()


async def _fill(
    connection: Connection, scenario: Scenario, pool: F32, metadata: Mapping[str, Values]
) -> AddLog:
    """Add the rows that are there before the load; what was added."""
    settings, log = scenario.collection, AddLog()
    rows = min(_FILL_ROWS, settings.capacity)
    count, rest = divmod(settings.filled, rows)
    await _add_frames(connection, Adds(pool, metadata, rows, settings.ids, 0), count, log)
    if rest:
        last = Adds(
            pool[:rest], columns.taken(metadata, slice(rest)), rest, settings.ids, count * rows
        )
        await _add_frames(connection, last, 1, log)
    return log


async def _add_frames(connection: Connection, source: Adds, count: int, log: AddLog) -> None:
    async def one(request_id: int) -> None:
        frame, tag = source.request(request_id, connection.handle)
        answer = await connection.patiently(frame, request_id)
        if answer[0] != MAGIC:
            raise RunFailed(f"the window could not be filled: {answer[:300]!r}")
        source.answered(tag, NO_TIME, answer)

    for start in range(0, count, _FILL_IN_FLIGHT):
        numbers = range(start, min(start + _FILL_IN_FLIGHT, count))
        await asyncio.gather(*[one(10 + number) for number in numbers])
    log.extend(source.log)


# -- the processes ----------------------------------------------------------------------------


@contextlib.contextmanager
def _processes(jobs: list[worker.Job]) -> Iterator[list[tuple[BaseProcess, Pipe]]]:
    """A process for each job, which are all ended."""
    spawning = multiprocessing.get_context("spawn")
    started: list[tuple[BaseProcess, Pipe]] = []
    try:
        for job in jobs:
            ours, theirs = spawning.Pipe()
            process: BaseProcess = spawning.Process(
                target=worker.main, args=(job, theirs), daemon=True
            )
            process.start()
            theirs.close()
            started.append((process, ours))
        yield started
    finally:
        for process, pipe in started:
            pipe.close()
            process.join(2.0)
            if process.is_alive():
                process.kill()
                process.join()


async def _drive(
    scenario: Scenario,
    endpoint: Endpoint,
    monitor: Monitor,
    workers: list[tuple[BaseProcess, Pipe]],
    on_look: OnLook,
) -> tuple[list[worker.Report], Span, Resources]:
    """Begin when all are ready, look on, and gather the reports."""
    pipes = [pipe for _, pipe in workers]
    queries = sum(one.connections * one.per_connection for one in scenario.standing.values())
    ready_by = time.perf_counter() + _PREPARE_SECONDS + _PREPARE_QUERY_SECONDS * queries
    for pipe in pipes:
        await _receive(pipe, worker.Ready, ready_by)
    before = await asyncio.to_thread(scrape, endpoint)
    load = scenario.load
    began = time.perf_counter() + _BEGIN_SECONDS
    counts_from = began + load.warm_up_seconds
    span = Span(began, counts_from, began + scenario.total_seconds, load.interval_seconds)
    for pipe in pipes:
        pipe.send(began)
    # A short-lived one may hand in its report while the last look is on its way.
    early: dict[Pipe, worker.Report] = {}
    await _look_on(span, monitor, pipes, early, on_look)
    after = await asyncio.to_thread(scrape, endpoint)
    give_up_at = span.ends + 3 * load.drain_seconds + _PREPARE_SECONDS
    reports = [early.get(pipe) or await _receive(pipe, worker.Report, give_up_at) for pipe in pipes]
    return reports, span, monitor.resources(span, before, after)


async def _look_on(
    span: Span,
    monitor: Monitor,
    pipes: list[Pipe],
    early: dict[Pipe, worker.Report],
    on_look: OnLook,
) -> None:
    """At the beginning and end of the span, and once an interval within it."""
    look_at = span.counts_from
    while True:
        end = min(look_at, span.ends)
        await asyncio.sleep(max(0.0, end - time.perf_counter()))
        monitor.look(time.perf_counter())
        looks = [look for pipe in pipes for look in _looks(pipe, early)]
        on_look(end - span.counts_from, looks)
        if end >= span.ends:
            return
        look_at += span.interval_seconds


def _looks(pipe: Pipe, early: dict[Pipe, worker.Report]) -> list[worker.Looked]:
    """What a process said of its progress since; its report goes to ``early``. Raises RunFailed."""
    found = []
    try:
        while pipe not in early and pipe.poll():
            said = pipe.recv()
            if isinstance(said, worker.Failed):
                raise RunFailed(f"a generator process failed: {said.reason}")
            if isinstance(said, worker.Report):
                early[pipe] = said
            else:
                found.append(said)
    except EOFError:
        raise RunFailed("a generator process ended in the middle") from None
    return found


async def _receive(pipe: Pipe, kind: type[Any], give_up_at: float) -> Any:
    """Wait for a ``kind`` of message, passing over others."""
    while time.perf_counter() < give_up_at:
        if not pipe.poll():
            await asyncio.sleep(_POLL_SECONDS)
            continue
        try:
            said = await asyncio.to_thread(pipe.recv)
        except EOFError:
            break
        if isinstance(said, worker.Failed):
            raise RunFailed(f"a generator process failed: {said.reason}")
        if isinstance(said, kind):
            return said
    raise RunFailed(f"a generator process never sent its {kind.__name__}")
