"""The few tests that failed in a long run, alone and again: for what they test, or for the pace?

    python -m tests.again CACHE_DIR

``CACHE_DIR`` is that of the run. A machine that stands still for a second can fail one test of
thousands that passes otherwise. Such a test is named, and is to be mended; a change need not wait
for it. More than ``MOST`` failures, or one more failure here, are a change's own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

MOST = 3
TIMES = 3


def failed(cache: Path) -> list[str]:
    """The ids of tests that failed in the last run. OSError or ValueError without one."""
    found = json.loads((cache / "v" / "cache" / "lastfailed").read_text())
    return sorted(found)


def main(cache: Path) -> int:
    try:
        tests = failed(cache)
    except (OSError, ValueError) as error:
        print(f"nothing is known of what failed: {error}", file=sys.stderr)
        return 1
    if not 0 < len(tests) <= MOST:
        print(f"{len(tests)} tests failed: none is run again", file=sys.stderr)
        return 1
    for _ in range(TIMES):
        if subprocess.run([sys.executable, "-m", "pytest", "-q", *tests]).returncode:
            return 1
    for test in tests:
        print(
            f"UNSTEADY, to be mended: {test} failed beside others, and passed {TIMES} times alone"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
