"""A result as text: what is printed when a run is over. Knows results and nothing else."""

from __future__ import annotations

from collections.abc import Iterator

from .results import WHAT_IS_COMPARED, Operation, Percentiles, Push, Resources, Result, Sweep, Truth

_MIB = 2**20


def lines(result: Result) -> Iterator[str]:
    """The figures, a line each."""
    where = result.environment
    yield f"{result.scenario}: {result.description}"
    yield (
        f"  {where.machine}, {where.cores} cores; {where.server} at {where.git_revision}; "
        f"durability {where.durability}; {result.measured_seconds:g} s after "
        f"{result.warm_up_seconds:g} s of warm-up"
    )
    if result.sweep is not None:
        yield from _sweep(result.sweep)
    else:
        yield f"  {'':24}{_HEADS}"
        for operation in result.operations:
            yield from _operation(operation)
        for push in result.pushes:
            yield from _push(push)
    yield from _resources(result.resources)
    if result.truth is not None:
        yield f"  truth: {_truth(result.truth)} answers"
    for note in result.notes:
        yield f"  ! {note}"


_HEADS = "".join(f"{head:>10}" for head in ("p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "max ms"))


def _times(name: str, of: Percentiles) -> str:
    values = (of.p50_ms, of.p90_ms, of.p99_ms, of.p999_ms, of.max_ms)
    shown = ["-" if value is None else f"{value:.2f}" for value in values]
    return f"  {name:24}" + "".join(f"{one:>10}" for one in shown)


def _operation(one: Operation) -> Iterator[str]:
    if one.offered_per_second is None:
        offered = f"closed, {one.in_flight} in flight a connection"
    else:
        reached = "reached" if one.is_reached else "NOT REACHED"
        offered = f"{one.arrivals}, {one.offered_per_second:,.0f}/s offered, {reached}"
    rows = ""
    if one.rows_a_request > 1:
        what = "rows" if one.name == "add" else "queries"
        rows = f" = {one.achieved_per_second * one.rows_a_request:,.0f} {what}/s"
    yield f"  {one.name}: {one.achieved_per_second:,.0f}/s{rows} ({offered})"
    yield _times("  corrected", one.corrected)
    if one.arrivals != "closed":
        yield _times("  uncorrected", one.uncorrected)
    if one.refused.count:
        yield _times("  refused", one.refused)
    errors = ", ".join(f"{count} {code}" for code, count in sorted(one.errors.items())) or "none"
    yield f"    {one.count:,} answered, errors: {errors}; {one.late_sends:,} late sends"


def _push(one: Push) -> Iterator[str]:
    yield (
        f"  {one.kind}: {one.subscriptions:,} subscriptions on {one.connections:,} connections; "
        f"{one.pushes_per_second:,.0f} pushes/s, {one.rows:,} rows, {one.gaps} gaps"
    )
    yield _times("  push lag", one.lag)
    if one.kind == "live":
        yield _times("  each add in it", one.told)
        yield f"    {one.merged:,} pushes tell of several adds"
    if one.errors:
        yield f"    {', '.join(f'{count} {what}' for what, count in sorted(one.errors.items()))}"
    if one.truth is not None:
        yield f"    truth: {_truth(one.truth)} {WHAT_IS_COMPARED[one.kind]}"


def _resources(one: Resources) -> Iterator[str]:
    server = "not measured"
    if one.server_cpu_percent is not None and one.server_resident_bytes_after is not None:
        slope = (one.server_resident_slope_bytes_per_second or 0.0) * 60 / _MIB
        server = (
            f"{one.server_cpu_percent:.0f}% of a core, "
            f"{one.server_resident_bytes_after / _MIB:.0f} MiB ({slope:+.2f} MiB a minute)"
        )
    yield (
        f"  generator: {one.generator_cpu_percent:.0f}% of a core "
        f"({one.generator_processes} process(es)); server: {server}"
    )


def _truth(one: Truth) -> str:
    recall = "-" if one.recall is None else f"{one.recall:.6f}"
    return (
        f"recall {recall} (1.0 expected), {one.mismatches} mismatches in {one.compared} "
        f"compared of {one.sampled} sampled"
    )


def _sweep(one: Sweep) -> Iterator[str]:
    yield f"  {one.operation}: {'offered/s':>12}{'achieved/s':>12}{_HEADS}  server CPU"
    for point in one.points:
        mark = "  <- knee" if point.is_knee else "" if point.is_sustained else "  not sustained"
        cpu = "-" if point.server_cpu_percent is None else f"{point.server_cpu_percent:.0f}%"
        of = point.corrected
        values = (of.p50_ms, of.p90_ms, of.p99_ms, of.p999_ms, of.max_ms)
        times = "".join(f"{'-' if value is None else f'{value:.2f}':>10}" for value in values)
        rates = f"{point.offered_per_second:12,.0f}{point.achieved_per_second:12,.0f}"
        yield f"  {'':{len(one.operation) + 1}} {rates}{times}  {cpu:>9}{mark}"
    knee = "none was sustained" if one.knee_per_second is None else f"{one.knee_per_second:,.0f}/s"
    yield f"  knee: {knee}: {one.definition}"
