"""The page: one HTML document out of a Result, complete in itself.

Its own Content-Security-Policy forbids it to fetch anything; there is no script.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources

from ..simulation.results import Operation, Percentiles, Result, Sweep
from . import svg
from .figures import figures
from .text import Html, bad_if, facts, html, judged, mebibytes, number, percent, share, table

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def page(result: Result) -> str:
    """The document."""
    style = resources.files(__package__).joinpath("style.css").read_text("utf-8")
    body = "\n".join([
        _head(result), _warnings(result), _tiles(result), _plots(result), _sweep(result),
        _operations(result), _latencies(result), _pushes(result), _truth(result), _facts(result),
        _foot(),
    ])  # fmt: skip
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html(result.scenario)}: load of {html(result.environment.server)}</title>\n"
        f"<style>\n{style}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _head(result: Result) -> str:
    environment = result.environment
    tags = [
        f"durability {environment.durability}", environment.server,
        f"revision {environment.git_revision or 'unknown'}",
        f"{environment.machine}, {environment.cores} cores",
        f"{number(result.measured_seconds)} s after {number(result.warm_up_seconds)} s of warm-up",
        result.started_at,
    ]  # fmt: skip
    spans = "".join(f"<span>{html(tag)}</span>" for tag in tags)
    return (
        f"<header><h1>{html(result.scenario)} <span class='soft'>{html(result.kind)}</span></h1>\n"
        f'<p class="soft">{html(result.description)}</p><div class="tags">{spans}</div></header>'
    )


def _warnings(result: Result) -> str:
    found = []
    if not result.is_honest_load:
        found.append(("The generator held the load back.", " ".join(result.notes)))
    for operation in result.operations:
        if operation.is_reached is False:
            achieved, offered = operation.achieved_per_second, operation.offered_per_second or 0.0
            text = f"{number(achieved)} of {number(offered)} requests a second were achieved."
            found.append((f"{operation.name}: the offered rate was not reached.", text))
    for name, truth in result.truths:
        if truth.mismatches:
            text = f"{truth.mismatches:,} of {truth.compared:,} compared {name} differ."
            found.append((f"Wrong {name}.", text))
    return "\n".join(
        f'<div class="warning"><b>{html(title)}</b> {html(text)}</div>' for title, text in found
    )


def _tiles(result: Result) -> str:
    tiles = _operation_tiles(result) if result.sweep is None else _sweep_tiles(result.sweep)
    tiles += [(_ms(push.lag.p99_ms), f"{push.kind} push lag, p99") for push in result.pushes]
    for name, truth in result.truths:
        tiles.append((share(truth.recall) or "–", f"recall, {truth.compared:,} {name} compared"))
    cells = "".join(
        f'<div class="tile"><b>{html(value)}</b><span>{html(label)}</span></div>'
        for value, label in tiles
    )
    return f'<div class="tiles">{cells}</div>'


def _operation_tiles(result: Result) -> list[tuple[str, str]]:
    tiles = []
    for one in result.operations:
        tiles.append((f"{number(one.achieved_per_second)}/s", f"{one.name}, achieved"))
        if one.rows_a_request > 1:
            rows = one.achieved_per_second * one.rows_a_request
            tiles.append((f"{number(rows)}/s", f"{_counted(one)} by {one.name}"))
        tiles.append((_ms(one.corrected.p50_ms), f"{one.name}, p50"))
        tiles.append((_ms(one.corrected.p99_ms), f"{one.name}, p99"))
    return tiles


def _sweep_tiles(sweep: Sweep) -> list[tuple[str, str]]:
    name = sweep.operation
    if sweep.knee_per_second is None:
        return [("none", f"knee of {name}: no rate was sustained")]
    tiles = [(f"{number(sweep.knee_per_second)}/s", f"knee of {name}")]
    for point in sweep.points:
        if point.is_knee:
            times, cpu = point.corrected, percent(point.server_cpu_percent)
            tiles.append((_ms(times.p50_ms), f"{name} at the knee, p50"))
            tiles.append((_ms(times.p99_ms), f"{name} at the knee, p99"))
            tiles.append((cpu or "–", "server CPU at the knee, of a core"))
    return tiles


def _plots(result: Result) -> str:
    cards = [
        f"<figure><h3>{html(figure.title)}</h3>\n{svg.draw(figure)}\n"
        f"<figcaption>{html(figure.caption)}</figcaption></figure>"
        for figure in figures(result)
    ]
    return '<h2>Plots</h2>\n<div class="plots">\n' + "\n".join(cards) + "\n</div>" if cards else ""


def _sweep(result: Result) -> str:
    sweep = result.sweep
    if sweep is None:
        return ""
    heading = [
        "offered/s", "achieved/s", "sustained", "errors", "p50 ms", "p99 ms", "p99.9 ms", "max ms",
        "p99 ms, uncorrected", "server CPU", "generator CPU", "",
    ]  # fmt: skip
    rows = [
        [
            point.offered_per_second, bad_if(point.achieved_per_second, not point.is_reached),
            judged(point.is_sustained), bad_if(point.errors, point.errors > 0),
            point.corrected.p50_ms, point.corrected.p99_ms, point.corrected.p999_ms,
            point.corrected.max_ms, point.uncorrected.p99_ms, percent(point.server_cpu_percent),
            percent(point.generator_cpu_percent), "← knee" if point.is_knee else "",
        ]
        for point in sweep.points
    ]  # fmt: skip
    return f"<h2>Sweep of {html(sweep.operation)}</h2>\n{table(heading, rows)}"


def _operations(result: Result) -> str:
    heading = [
        "operation", "arrivals", "in flight", "offered/s", "achieved/s", "reached", "sent",
        "answered", "errors", "unanswered", "unsent", "late sends",
        "by the generator",
    ]  # fmt: skip
    rows = [
        [
            _operation_name(one), one.arrivals, one.in_flight, one.offered_per_second,
            one.achieved_per_second, judged(one.is_reached), one.sent, one.count,
            _errors(one.errors),
            bad_if(one.unanswered, one.unanswered > 0), bad_if(one.unsent, one.unsent > 0),
            f"{one.late_sends:,} by > {number(one.late_ms)} ms",
            one.generator_late_sends,
        ]
        for one in result.operations
    ]  # fmt: skip
    if not rows:
        return ""
    which = " (of the rate measured last)" if result.sweep is not None else ""
    return f"<h2>Requests{which}</h2>\n{table(heading, rows)}"


def _operation_name(operation: Operation) -> str:
    rows = operation.rows_a_request
    return operation.name if rows == 1 else f"{operation.name}, {rows} {_counted(operation)} each"


def _counted(operation: Operation) -> str:
    return "rows" if operation.name == "add" else "queries"


def _errors(errors: Mapping[str, int]) -> Html:
    if not errors:
        return html(0)
    told = ", ".join(f"{code}: {count:,}" for code, count in sorted(errors.items()))
    return bad_if(told, True)


def _latencies(result: Result) -> str:
    heading = ["ms", "count", "mean", "p50", "p90", "p99", "p99.9", "max"]
    rows = []
    for one in result.operations:
        rows.append([f"{one.name}, corrected", *_figures_of(one.corrected)])
        if one.arrivals != "closed":
            rows.append([f"{one.name}, uncorrected", *_figures_of(one.uncorrected)])
    rows += [[f"{push.kind}, push lag", *_figures_of(push.lag)] for push in result.pushes]
    return f"<h2>Latency</h2>\n{table(heading, rows)}" if rows else ""


def _figures_of(times: Percentiles) -> list[object]:
    return [
        times.count, times.mean_ms, times.p50_ms, times.p90_ms, times.p99_ms, times.p999_ms,
        times.max_ms,
    ]  # fmt: skip


def _pushes(result: Result) -> str:
    if not result.pushes:
        return ""
    heading = [
        "kind",
        "connections",
        "subscriptions",
        "pushes",
        "pushes/s",
        "rows",
        "gaps",
        "errors",
    ]
    rows = [
        [one.kind, one.connections, one.subscriptions, one.pushes, one.pushes_per_second, one.rows,
         one.gaps, _errors(one.errors)]
        for one in result.pushes
    ]  # fmt: skip
    return f"<h2>Pushes</h2>\n{table(heading, rows)}"


def _truth(result: Result) -> str:
    if not result.truths:
        return ""
    heading = ["", "sampled", "compared", "skipped", "mismatches", "recall"]
    rows = [
        [name, truth.sampled, truth.compared, truth.skipped,
         bad_if(truth.mismatches, truth.mismatches > 0), share(truth.recall)]
        for name, truth in result.truths
    ]  # fmt: skip
    found = f"<h2>Against an exact oracle</h2>\n{table(heading, rows)}"
    examples = [
        [name, one.version, one.query, str(one.expected), str(one.answered)]
        for name, truth in result.truths
        for one in truth.examples
    ]
    if examples:
        heading = ["", "version", "query", "expected (seq, score)", "answered"]
        found += f"\n{table(heading, examples)}"
    return found


def _facts(result: Result) -> str:
    environment, used = result.environment, result.resources
    slope = used.server_resident_slope_bytes_per_second
    cards = [
        facts("Environment", [
            ("machine", environment.machine), ("cores", environment.cores),
            ("memory", mebibytes(environment.memory_bytes)), ("kernel", environment.kernel),
            ("Python", environment.python), ("event loop", environment.event_loop),
            ("server", environment.server), ("durability", environment.durability),
            ("git revision", environment.git_revision), *environment.versions.items(),
        ]),
        facts("Settings", [
            (f"{section}.{name}", value)
            for section, body in result.settings.items()
            for name, value in (body.items() if isinstance(body, dict) else [("", body)])
        ]),
        facts("What it took", [
            ("generator processes", used.generator_processes),
            ("generator CPU, of one core", percent(used.generator_cpu_percent)),
            ("server CPU, of one core", percent(used.server_cpu_percent)),
            ("server memory before", mebibytes(used.server_resident_bytes_before)),
            ("server memory after", mebibytes(used.server_resident_bytes_after)),
            ("its slope", None if slope is None else f"{number(slope * 3600 / (1 << 20))} MiB/h"),
        ]),
    ]  # fmt: skip
    notes = "".join(f"<li>{html(note)}</li>" for note in result.notes)
    listed = f"<h2>Notes</h2><ul>{notes}</ul>" if notes else ""
    return f'{listed}<h2>How it was measured</h2>\n<div class="pair">{"".join(cards)}</div>'


def _foot() -> str:
    return (
        "<footer><p>Corrected latency counts from the intended time of sending: what a user waits "
        "who comes when he comes. Uncorrected counts from the moment of sending, and does not see "
        "a server that makes requests wait. A dash is what was not measured.</p></footer>"
    )


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{number(value)} ms"
