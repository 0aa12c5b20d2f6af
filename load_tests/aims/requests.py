"""Searches and adds through a server: how many a second, and how long one takes."""

from __future__ import annotations

from typing import Any, Final

from ..simulation.results import Operation, Result
from . import load
from .row import Effort, Row, Wanted

#: (connections, in flight on each, aim): one that asks a lot, or several that ask some.
_CLOSED = ((1, 64, 28_000), (4, 32, 12_000), (4, 64, 12_000))
_OPEN_RATE = 10_000.0
_QUERIES_A_MESSAGE = 32
_ROWS_A_FRAME = 256
#: A number and a text: {"price":123456,"note":"…"}, 80 bytes.
_COLUMNS: Final = {
    "price": {"type": "i64", "low": 100_000, "high": 999_999},
    "note": {"type": "str", "values": [f"{number:02}".ljust(54, "x") for number in range(100)]},
}
#: The oracle takes some 60 ms for each query that it has not seen.
_VERIFIED = 0.0005


def searches(effort: Effort) -> list[Row]:
    """One query a message, as many as are answered."""
    found = []
    for connections, each, aim in _CLOSED:
        asked = {"connections": connections, "in_flight": each, "verified": _VERIFIED}
        results = load.several(effort, search=asked)
        name = f"searches, {connections * each} in flight on {connections}"
        found.append(_rate(name, "QPS", results, "search", aim))
        found.append(_times("  p99", results, "search", 99))
    return found


def open_loop(effort: Effort) -> list[Row]:
    """One query a message, at a rate that does not care how the server fares."""
    asked = {"arrivals": "poisson", "rate": _OPEN_RATE, "connections": 8, "verified": _VERIFIED}
    results = load.several(effort, search=asked)
    name = f"searches as users come, {_OPEN_RATE:,.0f}/s: p99"
    return [
        _times(name, results, "search", 99, "at most", 10.0, has_to_hold=True),
        _times("  p50", results, "search", 50),
    ]


def many_queries(effort: Effort) -> list[Row]:
    """32 queries a message."""
    asked = {"vectors": _QUERIES_A_MESSAGE, "in_flight": 8, "verified": 0.003}
    results = load.several(effort, search=asked)
    return [_rate(f"searches, {_QUERIES_A_MESSAGE} a message", "QPS", results, "search", 25_000)]


def rest(effort: Effort) -> list[Row]:
    """One search at a time, client to client."""
    results = load.several(effort, search={"in_flight": 1, "verified": 0.002})
    return [
        _times("one search at rest, p50", results, "search", 50, "at most", 0.22),
        _times("one search at rest, p99", results, "search", 99, "at most", 0.35),
    ]


def adds(effort: Effort) -> list[Row]:
    """Binary frames, as many as are acknowledged."""
    found = []
    for ids, aim in (("auto", 1_500_000), ("u64", 1_000_000)):
        asked: dict[str, Any] = {"rows": _ROWS_A_FRAME, "in_flight": 16}
        results = load.several(effort, collection={"ids": ids}, add=asked)
        found.append(_rate(f"adds, {ids}, {_ROWS_A_FRAME} a frame", "rows/s", results, "add", aim))
    return found


def adds_with_metadata(effort: Effort) -> list[Row]:
    """Binary frames with two columns: as JSON a row's metadata would be 80 bytes."""
    asked: dict[str, Any] = {"rows": _ROWS_A_FRAME, "in_flight": 16}
    results = load.several(effort, collection={"ids": "u64"}, add=asked, columns=_COLUMNS)
    name = f"adds with 2 columns, 80 bytes, {_ROWS_A_FRAME} a frame"
    return [_rate(name, "rows/s", results, "add", 700_000)]


def _rate(name: str, unit: str, results: list[Result], kind: str, aim: float) -> Row:
    values = [
        one.achieved_per_second * one.rows_a_request
        for one in (load.operation(result, kind) for result in results)
    ]
    return Row(
        name, unit, values, "at least", aim, faults=load.faults(results), notes=_notes(results)
    )


def _times(
    name: str,
    results: list[Result],
    kind: str,
    percentile: int,
    wanted: Wanted = "",
    aim: float | None = None,
    has_to_hold: bool = False,
) -> Row:
    values = [_ms(load.operation(result, kind), percentile) for result in results]
    faults = load.faults(results) if aim is not None else []
    notes = load.doubts(results) if has_to_hold else []
    return Row(name, "ms", values, wanted, aim, faults=faults, notes=notes)


def _ms(operation: Operation, percentile: int) -> float:
    times = operation.corrected
    value = {50: times.p50_ms, 99: times.p99_ms}[percentile]
    return float("inf") if value is None else value


def _notes(results: list[Result]) -> list[str]:
    server, generator = (
        [value for value in values if value is not None]
        for values in (
            [one.resources.server_cpu_percent for one in results],
            [one.resources.generator_cpu_percent for one in results],
        )
    )
    return [
        f"CPU: server {max(server, default=0):.0f}%, generator {max(generator, default=0):.0f}%",
        *load.doubts(results),
    ]
