"""The command line."""

from __future__ import annotations

import argparse
import datetime
import sys
from pathlib import Path
from typing import Final

from omendb_core.model.errors import OmenError

from ..figures import where
from ..simulation.coordinator import RunFailed
from ..simulation.server import ServerFailed
from . import table
from .benches import BENCHES
from .row import Effort, Row

#: What was measured before any of it was made faster.
WAS: Final = Path(__file__).with_name("was.json")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m load_tests.aims", description="What is wanted, and what is."
    )
    parser.add_argument(
        "bench", nargs="*", help=f"of {', '.join(BENCHES)} (default: all but long ones)"
    )
    parser.add_argument("--list", action="store_true", help="what there is, and nothing more")
    parser.add_argument("--runs", type=int, default=3, help="of each figure (default 3)")
    parser.add_argument("--seconds", type=float, default=3.0, help="of a run (default 3)")
    parser.add_argument(
        "--long-seconds", type=float, default=60.0, help="of the mixed load (default 60)"
    )
    parser.add_argument("--output", type=Path, help="JSON file")
    parser.add_argument(
        "--was", type=Path, default=WAS, help="JSON file of earlier (default: before the C scan)"
    )
    return parser.parse_args()


def main() -> int:
    """Measure and print; 1 if something could not be measured, 2 for a wrong argument."""
    options = _arguments()
    if options.list:
        for name, bench in BENCHES.items():
            print(f"{name:14} {bench.what}")
        return 0
    unknown = [name for name in options.bench if name not in BENCHES]
    if unknown:
        print(f"there is no {unknown[0]}; there is: {', '.join(BENCHES)}", file=sys.stderr)
        return 2
    try:
        before = table.medians(options.was)
    except (OSError, ValueError, KeyError) as error:
        print(f"{options.was}: {error}", file=sys.stderr)
        return 2
    effort = Effort(options.runs, options.seconds, options.long_seconds)
    print(f"{where()}; durability memory; median of {effort.runs} runs\n{table.HEAD}", flush=True)
    started_at = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    rows: dict[str, list[Row]] = {}
    asked = options.bench or [name for name, bench in BENCHES.items() if not bench.is_long]
    for name in asked:
        try:
            rows[name] = BENCHES[name].measure(effort)
        except (RunFailed, ServerFailed, OmenError, OSError, ImportError) as error:
            print(f"{name}: could not be measured: {type(error).__name__}: {error}", flush=True)
            continue
        for row in rows[name]:
            for line in table.lines(row, before.get((name, row.name))):
                print(line, flush=True)
        if options.output is not None:
            options.output.parent.mkdir(parents=True, exist_ok=True)
            options.output.write_bytes(table.document(rows, started_at))
    return 0 if len(rows) == len(asked) else 1


if __name__ == "__main__":
    sys.exit(main())
