"""The journal: rows a second under each durability, of its log alone, and of recovery.

    python -m load_tests.bench_journal [--rows 512] [--dim 128] [--capacity 200000] [--data-dir DIR]

One process, no sockets: adds of ``--rows`` rows are admitted, logged and applied in a loop, as many
under way as the log's queue takes, so this is what the journal adds to the engine; and logged only.
Each line is the median of rounds of a second in which the kinds take turns (the machine may be
noisy). Latency is from ``append`` to the moment a change is settled, one change at a time.
"""

from __future__ import annotations

import argparse
import gc
import queue
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from omendb_core.model.change import AddChange, AddRequest, RowBatch
from omendb_core.model.errors import OmenError
from omendb_core.model.types import Definition, WindowLimits
from omendb_core.replay import replay, resume
from omendb_core.window import Window

from omendb_ws.journal.interface import Durability, Log, Manifest
from omendb_ws.journal.local.store import LocalStore

ROUNDS = 5
ROUND_SECONDS = 1.0
LIMITS = WindowLimits()


class Settled:
    """Settled changes, on their way to the thread that applies them."""

    def __init__(self) -> None:
        self.queue: queue.SimpleQueue[Sequence[Any]] = queue.SimpleQueue()

    def __call__(self, tags: Sequence[Any], error: OmenError | None) -> None:
        if error is not None:
            raise error
        self.queue.put(tags)


class Pace(NamedTuple):
    """Rows a second, and what a row takes of the processor: that is no one else's business."""

    rows_per_second: float
    cpu_us: float


class Stopwatch:
    """Runs from now, with the windows of earlier rounds gone: they are cycles, and large."""

    def __init__(self) -> None:
        gc.collect()
        self._started = (time.perf_counter(), time.process_time())

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._started[0]

    def pace(self, rows: int) -> Pace:
        cpu_seconds = time.process_time() - self._started[1]
        return Pace(rows / self.seconds, cpu_seconds / rows * 1e6)


class Bench:
    """One definition, one set of frames; a fresh window and log for each round."""

    def __init__(self, options: argparse.Namespace, data_dir: str) -> None:
        self.rows: int = options.rows
        self.definition = Definition(options.dim, options.capacity, "dot")
        #: So many adds fill a window, before anything is measured: the first ones touch new memory.
        self.lap = options.capacity // self.rows + 1
        random = np.random.default_rng(1)
        self.frames = [
            random.standard_normal((self.rows, options.dim), np.float32) for _ in range(64)
        ]
        self.store = LocalStore(data_dir)

    def request(self, number: int) -> AddRequest:
        first = number * self.rows
        ids = np.arange(first, first + self.rows, dtype=np.uint64)
        return AddRequest(RowBatch(self.frames[number % len(self.frames)], ids), "p", number + 1)

    def log(self, durability: Durability, settled: Settled) -> Log:
        manifest = Manifest("bench", "items", self.definition, durability, "epoch")
        return self.store.create(manifest, LIMITS, settled)

    def memory(self) -> Pace:
        """Without a log."""
        window = Window(self.definition, LIMITS)
        for number in range(self.lap):
            window.apply(admitted(window, self.request(number)))
        number, stopwatch = self.lap, Stopwatch()
        while stopwatch.seconds < ROUND_SECONDS:
            window.apply(admitted(window, self.request(number)))
            number += 1
        return stopwatch.pace((number - self.lap) * self.rows)

    def durable(self, durability: Durability) -> Pace:
        """Logged and applied."""
        window, settled = Window(self.definition, LIMITS), Settled()
        log = self.log(durability, settled)

        def go_on(number: int, is_over: Callable[[int], bool]) -> int:
            applied = number
            while (is_going := not is_over(number)) or applied < number:
                if is_going and log.has_room:
                    change = admitted(window, self.request(number))
                    log.append(change, change)
                    number += 1
                is_held = not is_going or not log.has_room
                while applied < number and (is_held or not settled.queue.empty()):
                    for change in settled.queue.get():
                        window.apply(change)
                        applied += 1
            return number

        first = go_on(0, lambda number: number >= self.lap)
        stopwatch = Stopwatch()
        last = go_on(first, lambda _: stopwatch.seconds >= ROUND_SECONDS)
        pace = stopwatch.pace((last - first) * self.rows)
        log.drop()
        return pace

    def logged(self, durability: Durability) -> Pace:
        """Through the log alone: changes made before."""
        settled = Settled()
        log = self.log(durability, settled)
        template = admitted(Window(self.definition, LIMITS), self.request(0))
        number = done = 0
        stopwatch = Stopwatch()
        while (is_going := stopwatch.seconds < ROUND_SECONDS) or done < number:
            if is_going and log.has_room:
                vectors = self.frames[number % len(self.frames)]
                log.append(
                    replace(
                        template,
                        version=number + 1,
                        first_seq=number * self.rows + 1,
                        vectors=vectors,
                        batch=number + 1,
                    ),
                    number,
                )
                number += 1
            else:
                done += len(settled.queue.get())
        pace = stopwatch.pace(number * self.rows)
        log.drop()
        return pace

    def latencies_ms(self, durability: Durability, count: int = 300) -> tuple[float, float]:
        """p50 and p99 from append to settled."""
        settled = Settled()
        log = self.log(durability, settled)
        window = Window(self.definition, LIMITS)
        times = []
        for number in range(count):
            change = admitted(window, self.request(number))
            start = time.perf_counter()
            log.append(change, change)
            settled.queue.get()
            times.append((time.perf_counter() - start) * 1e3)
            window.apply(change)
        log.drop()
        return statistics.median(times), float(np.percentile(times, 99))

    def recovery(self) -> tuple[Pace, Pace]:
        """Read back, without and with a window."""
        settled = Settled()
        log = self.log("everysec", settled)
        window = Window(self.definition, LIMITS)
        for number in range(self.definition.capacity // self.rows):
            change = admitted(window, self.request(number))
            log.append(change, change)
            window.apply(change)
            while not log.has_room:
                settled.queue.get()
        log.close()
        (stored,) = self.store.stored()
        found = []
        for with_window in (False, False, True):  # the first one touches memory that is new
            stopwatch = Stopwatch()
            recovery = self.store.recover(stored, LIMITS)
            window = Window(self.definition, LIMITS)
            resume(window, recovery.checkpoint)
            for logged in recovery.changes():
                if with_window:
                    replay(window, logged)
            found.append(stopwatch.pace(recovery.progress.rows))
        self.store.drop(stored)
        return found[1], found[2]


def admitted(window: Window, request: AddRequest) -> AddChange:
    change = window.admit_add(request, 1)
    assert isinstance(change, AddChange)
    return change


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--capacity", type=int, default=200_000)
    parser.add_argument("--data-dir", help="where to write; a temporary directory as a rule")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.data_dir) as data_dir:
        bench = Bench(options, data_dir)
        found: dict[str, list[Pace]] = {}
        for _ in range(ROUNDS):
            rounds = {
                "memory": bench.memory(),
                "everysec": bench.durable("everysec"),
                "always": bench.durable("always"),
                "log alone, everysec": bench.logged("everysec"),
                "log alone, always": bench.logged("always"),
            }
            read, replayed = bench.recovery()
            rounds |= {"recovery, read": read, "recovery, with a window": replayed}
            for name, value in rounds.items():
                found.setdefault(name, []).append(value)
        row_bytes = options.dim * 4
        for name, paces in found.items():
            middle = statistics.median(pace.rows_per_second for pace in paces)
            cpu_us = statistics.median(pace.cpu_us for pace in paces)
            rate = f"{middle:12,.0f} rows/s {middle * row_bytes / 1e6:8,.0f} MB/s"
            print(f"{name:24} {rate} {cpu_us:8.2f} µs of CPU a row")
        for durability in ("everysec", "always"):
            p50, late = bench.latencies_ms(durability)
            print(f"settled, {durability:15} p50 {p50:.2f} ms, p99 {late:.2f} ms")
        bench.store.close()


if __name__ == "__main__":
    main()
