"""``python -m load_tests.report RESULT.json``: writes ``report.html`` and a PNG of each plot."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..simulation import results
from . import png
from .figures import figures
from .page import page


def write(result: results.Result, folder: Path, name: str = "report") -> list[Path]:
    """Write the page and, where matplotlib is installed, the PNGs; what was written."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.html"]
    paths[0].write_text(page(result), "utf-8")
    environment = result.environment
    subtitle = (
        f"{result.scenario} · {environment.server} {environment.git_revision or ''} · "
        f"durability {environment.durability}\n{environment.machine}, {environment.cores} cores"
    )
    try:
        paths += png.save(figures(result), folder, subtitle)
    except ImportError:
        print("no PNGs: matplotlib is missing (pip install -e '.[load]')", file=sys.stderr)
    return paths


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m load_tests.report", description=__doc__)
    parser.add_argument("result", type=Path, help="JSON of load_tests.simulation")
    parser.add_argument("-o", "--output", type=Path, help="folder; default: beside the result")
    options = parser.parse_args(arguments)
    try:
        result = results.load(options.result)
    except (OSError, ValueError, TypeError) as error:
        sys.exit(f"{options.result}: {error}")
    for path in write(result, options.output or options.result.parent, options.result.stem):
        print(path)


if __name__ == "__main__":
    main()
