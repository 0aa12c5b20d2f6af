"""The command line."""

from __future__ import annotations

import argparse
import sys

from . import baseline, instructions, ratios
from .baseline import Baseline, Verdict

#: By kind, then kernel, then name.
_Figures = dict[str, dict[str, dict[str, float]]]


def _measured() -> _Figures:
    found: _Figures = {"instructions": {}, "ratios": {}}
    if instructions.is_possible():
        counts = instructions.count()
        found["instructions"][counts.kernel] = {
            "instructions a query, scan of 8,192 x 128 by 32": counts.scan_a_query,
            "instructions a row, adds of 256 x 128": counts.add_a_row,
        }
    else:
        print("valgrind is not installed: instructions are not counted, skipped")
    kernel, times = ratios.ratios()
    found["ratios"][kernel] = times
    return found


def _record(found: _Figures) -> None:
    """Beside what is recorded of other kernels."""
    before = baseline.load() if baseline.PATH.exists() else Baseline({}, {}, {})
    made = Baseline(
        instructions={**before.instructions, **found["instructions"]},
        ratios={**before.ratios, **found["ratios"]},
        where=baseline.where(),
    )
    baseline.save(made)
    print(f"recorded in {baseline.PATH}")


def main() -> int:
    """Measure, and print what it is beside the baseline; 1 if anything got worse."""
    parser = argparse.ArgumentParser(
        prog="python -m load_tests.guard", description="Did it get slower?"
    )
    parser.add_argument("--record", action="store_true", help="as the new baseline")
    options = parser.parse_args()
    found = _measured()
    if options.record:
        _record(found)
        return 0
    recorded, is_worse = baseline.load(), False
    for kind, known in (("instructions", recorded.instructions), ("ratios", recorded.ratios)):
        for kernel, figures in found[kind].items():
            for verdict in baseline.verdicts(kind, known, kernel, figures):
                print(verdict, flush=True)
                is_worse |= isinstance(verdict, Verdict) and verdict.is_worse
    return 1 if is_worse else 0


if __name__ == "__main__":
    sys.exit(main())
