"""The result of a run: one JSON document, the only thing that reports read.

Pure data and its JSON; knows no server and no generator. A change that a reader would notice makes
another ``SCHEMA``. Units are in the names; every latency is in milliseconds, every time on an axis
in seconds since the end of the warm-up. What was not measured is null, and never 0.

Two latencies stand beside each other. *Corrected* counts from the intended time of sending: what a
user waits who comes when he comes. *Uncorrected* counts from the moment of sending: what most tools
print. They differ where the server (or the generator) made requests wait to be sent, so in closed
mode, where the next request intends to be sent when the last one is answered, they are the same.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson

SCHEMA: Final = 4
#: What the oracle looks at of standing queries, by kind.
WHAT_IS_COMPARED: Final = {"live": "live views", "match": "match subscriptions"}


@dataclass(frozen=True)
class Percentiles:
    """What a histogram of latencies says. Null where ``count`` is 0."""

    count: int
    mean_ms: float | None
    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None
    p999_ms: float | None
    max_ms: float | None


@dataclass(frozen=True)
class CurvePoint:
    """So many percent of the requests took at most ``ms``; ``percentile`` rises to 100."""

    percentile: float
    ms: float


@dataclass(frozen=True)
class Interval:
    """What was answered from ``at_seconds`` on, for ``seconds``; latencies are corrected."""

    at_seconds: float
    seconds: float
    count: int
    errors: int
    p50_ms: float | None
    p99_ms: float | None
    max_ms: float | None


@dataclass(frozen=True)
class Operation:
    """One kind of request (``name``: ``search``, ``add``, ``connect``), over all processes.

    ``arrivals``: ``closed``, ``constant``, ``poisson``; the latter two are open. ``rows_a_request``
    is the rows of an add, the vectors of a search, 1 otherwise. Rates are requests a second of the
    time after the warm-up; ``offered_per_second`` is null in closed mode. ``is_reached``: the
    offered rate was achieved within 3% (null in closed mode). ``unanswered``: sent, but no answer
    at the end of the wait. ``late_sends``: sent more than ``late_ms`` after the intended time; of
    these ``generator_late_sends`` were not waiting for an answer: the generator was late by itself.
    ``unsent``: intended within the run but never sent, because no answer came that would have freed
    a place. ``refused`` is how long it took to hear of the errors, from the moment of sending.
    """

    name: str
    arrivals: str
    in_flight: int | None
    rows_a_request: int
    offered_per_second: float | None
    achieved_per_second: float
    is_reached: bool | None
    sent: int
    count: int
    errors: dict[str, int]
    unanswered: int
    unsent: int
    late_sends: int
    generator_late_sends: int
    late_ms: float
    corrected: Percentiles
    uncorrected: Percentiles
    refused: Percentiles
    over_time: list[Interval]
    corrected_curve: list[CurvePoint]
    uncorrected_curve: list[CurvePoint]


@dataclass(frozen=True)
class Push:
    """What subscriptions of one ``kind`` received, over all processes, after the warm-up.

    ``lag`` runs from the intended time of the add that caused a push until that push was received.
    The cause is the oldest change that the push tells of: the oldest row that is new in it, in a
    live push only a row that was better than the answer it found, or one that evicted a row of it.
    Pushes that no add of this run caused are not in it. ``merged`` are live pushes that tell of
    several adds; in ``told`` each add that one tells of counts with its own time. ``gaps`` are the
    gaps that the server stated. ``errors`` are connections by how they ended (``closed_4408``: the
    server gave up a reader that took nothing) and whatever else came that is no push. ``truth``:
    views of some live subscriptions, against the oracle at the version of a push, the last one
    against the end; or all that some match subscriptions were sent, against the rows that reach
    their score.
    """

    kind: str
    connections: int
    subscriptions: int
    pushes: int
    pushes_per_second: float
    rows: int
    gaps: int
    errors: dict[str, int]
    merged: int
    lag: Percentiles
    told: Percentiles
    over_time: list[Interval]
    lag_curve: list[CurvePoint]
    truth: Truth | None = None


@dataclass(frozen=True)
class ResourcePoint:
    """One look at the processes; CPU is percent of one core since the look before."""

    at_seconds: float
    generator_cpu_percent: float
    server_cpu_percent: float | None
    server_resident_bytes: int | None


@dataclass(frozen=True)
class Resources:
    """What the run took. Null where the server is not on this machine or shows no figures.

    CPU is percent of one core, over the time after the warm-up. ``server_resident_slope_bytes_per_
    second`` is that of a straight line through ``over_time``. ``metrics_before`` and
    ``metrics_after`` are the server's own (``/metrics``, those without labels).
    """

    generator_processes: int
    generator_cpu_percent: float
    server_cpu_percent: float | None
    server_resident_bytes_before: int | None
    server_resident_bytes_after: int | None
    server_resident_slope_bytes_per_second: float | None
    over_time: list[ResourcePoint]
    metrics_before: dict[str, float]
    metrics_after: dict[str, float]


@dataclass(frozen=True)
class Mismatch:
    """An answer that is not the oracle's, as lists of (seq, score)."""

    version: int
    query: int
    expected: list[list[float]]
    answered: list[list[float]]


@dataclass(frozen=True)
class Truth:
    """Answers against the exact oracle at the same version.

    ``sampled`` answers were kept, ``compared`` of them could be checked: others are counted in
    ``skipped`` (their version is not one that the generator made). ``recall``: the share of the
    oracle's rows that were in the answers, null if none was compared. ``mismatches``: answers that
    differ in any row, score bit or in the order; ``examples`` holds the first few.
    """

    sampled: int
    compared: int
    skipped: int
    mismatches: int
    recall: float | None
    examples: list[Mismatch]


@dataclass(frozen=True)
class SweepPoint:
    """One rate of a sweep. ``is_sustained``: as ``Sweep.definition`` says, in the last of ``tries``
    runs."""

    offered_per_second: float
    achieved_per_second: float
    is_reached: bool
    is_sustained: bool
    is_knee: bool
    tries: int
    errors: int
    corrected: Percentiles
    uncorrected: Percentiles
    server_cpu_percent: float | None
    generator_cpu_percent: float


@dataclass(frozen=True)
class Sweep:
    """Latency against rate of one operation; ``knee_per_second`` null: no rate was sustained.

    ``definition`` says in words what the knee is. ``points`` are by offered rate.
    """

    operation: str
    definition: str
    knee_per_second: float | None
    points: list[SweepPoint]


@dataclass(frozen=True)
class Environment:
    """Where it was measured. ``git_revision`` ends with ``+`` if there were changes."""

    machine: str
    cores: int
    memory_bytes: int
    kernel: str
    python: str
    event_loop: str
    versions: dict[str, str]
    git_revision: str | None
    server: str
    durability: str


@dataclass(frozen=True)
class Result:
    """Everything about one run. ``sweep`` is there for ``kind`` ``sweep``; the operations are then
    those of its last rate. ``settings`` are all settings of the scenario after overrides, flat
    tables by section, as in its file. ``is_honest_load``: the generator itself did not hold the
    load back: it had CPU to spare and sent in time (see ``notes`` where it did not).
    """

    schema: int
    kind: str
    scenario: str
    description: str
    started_at: str
    warm_up_seconds: float
    measured_seconds: float
    is_honest_load: bool
    environment: Environment
    settings: dict[str, Any]
    operations: list[Operation]
    pushes: list[Push]
    resources: Resources
    truth: Truth | None = None
    sweep: Sweep | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def truths(self) -> list[tuple[str, Truth]]:
        """All that the oracle looked at, and what it is called."""
        found = [("answers", self.truth)]
        found += [(WHAT_IS_COMPARED.get(push.kind, push.kind), push.truth) for push in self.pushes]
        return [(name, truth) for name, truth in found if truth is not None]


def to_json(result: Result) -> bytes:
    """The document, indented, with a newline at its end."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    return orjson.dumps(dataclasses.asdict(result), option=options)


def from_json(document: bytes | str) -> Result:
    """Read a document. Raises ValueError for another schema, TypeError for missing fields."""
    body = orjson.loads(document)
    if not isinstance(body, dict) or body.get("schema") != SCHEMA:
        raise ValueError(f"not a result of schema {SCHEMA}")
    found: Result = _built(Result, body)
    return found


def save(result: Result, path: Path) -> None:
    """Write the document, making its directory."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(to_json(result))


def load(path: Path) -> Result:
    """Read a document from a file."""
    return from_json(path.read_bytes())


def _built(kind: Any, value: Any) -> Any:
    """``value`` of a JSON document as ``kind``: a dataclass, a list of them, or itself."""
    if isinstance(kind, types.UnionType):
        others = [one for one in typing.get_args(kind) if one is not type(None)]
        return None if value is None else _built(others[0], value)
    if typing.get_origin(kind) is list:
        (one,) = typing.get_args(kind)
        return [_built(one, each) for each in value]
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        kinds = typing.get_type_hints(kind)
        return kind(**{name: _built(kinds[name], each) for name, each in value.items()})
    return value
