"""Writes ``docs/reference/``: ``python -m docs.tools.reference``, or ``make reference``.

The pages are committed, so that they can be read without being made; ``tests/project`` compares
them with the code.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from . import client_pages, command_pages, protocol_page, server_pages

FOLDER: Final = Path(__file__).resolve().parents[1] / "reference"
#: name of the page -> what makes it.
PAGES: Final[dict[str, Callable[[], str]]] = {
    "settings.md": server_pages.settings,
    "limits.md": server_pages.limits,
    "errors.md": server_pages.errors,
    "metrics.md": server_pages.metrics,
    "command-line.md": command_pages.command_line,
    "protocol.md": protocol_page.protocol,
    "python.md": client_pages.python,
    "javascript.md": client_pages.javascript,
}


def main() -> None:
    """Write the pages that differ, and say which."""
    for name, made in PAGES.items():
        page = FOLDER / name
        text = made()
        if not page.exists() or page.read_text("utf-8") != text:
            page.write_text(text, "utf-8")
            print(f"wrote {page.relative_to(FOLDER.parents[1])}")


if __name__ == "__main__":
    main()
