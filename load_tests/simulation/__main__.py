"""The command line: ``run``, ``sweep``, ``generator`` and ``list``."""

from __future__ import annotations

import argparse
import contextlib
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omendb_core.model.errors import OmenError
from rich.console import Console

from . import results, scenario, sweep, tables
from .coordinator import RunFailed, capacity_of, run
from .progress import shown
from .results import Result
from .scenario import Scenario, ScenarioError
from .server import ServerFailed, Target, serving
from .stub import stub_process


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m load_tests.simulation", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, what in (
        ("run", "run scenarios, one after the other"),
        ("sweep", "one scenario at rising rates, to find its knee"),
    ):
        one = commands.add_parser(name, help=what, description=what)
        one.add_argument("scenario", nargs="+" if name == "run" else 1, help="a name or a file")
        one.add_argument("--seconds", type=float, help="of each run, after the warm-up")
        one.add_argument("--warm-up", type=float, metavar="SECONDS")
        one.add_argument("--processes", type=int, help="that make the load")
        one.add_argument("--connections", type=int, help="of every kind of request")
        one.add_argument("--durability", help="of the collection")
        one.add_argument("--url", help="of a server that runs (default: one is started)")
        one.add_argument("--server-pid", type=int, help="of that server, to measure it")
        one.add_argument("--token", help="that the server asks for, of an operator")
        one.add_argument("--ca-file", help="whom to trust over wss://")
        one.add_argument(
            "--set", action="append", default=[], metavar="TABLE.FIELD=VALUE", dest="settings"
        )
        one.add_argument("--output", type=Path, help="JSON file, or for more a folder/")
    commands.choices["run"].add_argument("--rate", type=float, help="of every open request")
    added = commands.choices["sweep"]
    added.add_argument("--operation", default="search", choices=("search", "add", "connect"))
    added.add_argument("--rates", help="comma-separated; default: shares of a closed run's")
    added.add_argument("--p99-ms", type=float, help="what the knee's p99 may be")
    what = "the generator alone: searches to a stub that only echoes"
    alone = commands.add_parser("generator", help=what, description=what)
    alone.add_argument("--seconds", type=float, default=5.0)
    alone.add_argument("--rate", type=float, help="open, at that rate (default: closed)")
    commands.add_parser("list", help="the scenarios that are here")
    return parser


def _overrides(options: argparse.Namespace, tables_there: set[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, key in (
        ("seconds", "load.seconds"),
        ("warm_up", "load.warm_up_seconds"),
        ("processes", "load.processes"),
        ("durability", "collection.durability"),
        ("token", "load.token"),
        ("ca_file", "load.ca_file"),
    ):
        if getattr(options, name) is not None:
            found[key] = getattr(options, name)
    for table in tables_there & {"search", "add", "connect"}:
        if options.connections is not None:
            found[f"{table}.connections"] = options.connections
        if getattr(options, "rate", None) is not None:
            found[f"{table}.rate"] = options.rate
    for text in options.settings:
        key, is_given, value = text.partition("=")
        if not is_given:
            raise ScenarioError(f"--set {text}: say TABLE.FIELD=VALUE")
        try:
            found[key] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            found[key] = value
    return found


def _read(name: str, options: argparse.Namespace) -> Scenario:
    there = set(scenario.read(name).requests)
    return scenario.read(name, _overrides(options, there))


@contextlib.contextmanager
def _target(options: argparse.Namespace) -> Iterator[Target]:
    if options.url is not None:
        yield Target(options.url, options.server_pid)
        return
    with serving() as target:
        yield target


def _run(options: argparse.Namespace, console: Console) -> int:
    wanted = [_read(name, options) for name in options.scenario]
    wrong = 0
    for one in wanted:
        with _target(options) as target, shown(one, console) as on_look:
            result = run(one, target, on_look)
        _hand_over(result, options.output, len(wanted) > 1, console)
        wrong += sum(truth.mismatches for _, truth in result.truths)
    return 1 if wrong else 0


def _sweep(options: argparse.Namespace, console: Console) -> int:
    wanted = _read(options.scenario[0], options)
    with _target(options) as target:
        if options.rates:
            rates = [float(one) for one in options.rates.split(",")]
        else:
            reached = capacity_of(wanted, target, options.operation)
            console.print(f"a closed run achieves {reached:,.0f}/s", highlight=False)
            rates = [share * reached for share in sweep.SHARES]

        def on_point(point: results.SweepPoint) -> None:
            console.print(
                f"{point.offered_per_second:10,.0f}/s offered, {point.achieved_per_second:,.0f}/s "
                f"achieved, p99 {point.corrected.p99_ms or 0:.2f} ms, {point.errors} errors",
                highlight=False,
            )

        result = sweep.sweep(wanted, target, options.operation, rates, options.p99_ms, on_point)
    _hand_over(result, options.output, False, console)
    return 0


def _generator(options: argparse.Namespace, console: Console) -> int:
    search: dict[str, Any] = {"connections": 4}
    if options.rate is None:
        search |= {"arrivals": "closed", "in_flight": 32}
    else:
        search |= {"arrivals": "poisson", "rate": options.rate}
    document = {
        "description": "The generator against a stub that only echoes.",
        "load": {"seconds": options.seconds, "warm_up_seconds": 1.0},
        "collection": {"capacity": 1000},
        "search": search,
    }
    with stub_process() as (url, process_id):
        result = run(scenario.parse("generator", document, {}), Target(url, process_id))
    _hand_over(result, None, False, console)
    return 0


def _hand_over(result: Result, output: Path | None, is_one_of_many: bool, console: Console) -> None:
    for line in tables.lines(result):
        console.print(line, soft_wrap=True, highlight=False, markup=False)
    if output is None:
        return
    is_folder = is_one_of_many or output.is_dir() or output.suffix != ".json"
    path = output / f"{result.scenario}.json" if is_folder else output
    results.save(result, path)
    console.print(f"  figures: {path}", soft_wrap=True, highlight=False)


def main() -> int:
    """Run a command; its exit code: 1 if an answer was wrong, 2 if nothing could be measured."""
    options = _arguments().parse_args()
    console = Console()
    if options.command == "list":
        for name in scenario.names():
            console.print(f"{name:14} {scenario.read(name).description}", soft_wrap=True)
        return 0
    try:
        command = {"run": _run, "sweep": _sweep, "generator": _generator}[options.command]
        return command(options, console)
    except (ScenarioError, RunFailed, ServerFailed, OmenError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
