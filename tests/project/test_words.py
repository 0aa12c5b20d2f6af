"""The pages are written in the field's words: phrases that readers had to guess at stay away."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.project.pages import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
#: What was written -> what it meant.
PRIVATE = {
    "(is|are|be) held (by|to)": "is enforced by; stays within; must be",
    "(the|its|their) way back": "recovery",
    "(was|were|is|are) through with": "finished",
    "hits that wait": "waiting hits",
    "hold[^.|]* to each other": "compare",
    "(passed|passes|pass) over(?! by)": "skipped, ignored",
}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_page_uses_no_private_idiom(path: Path) -> None:
    text = " ".join(path.read_text("utf-8").split())
    for phrase, meant in PRIVATE.items():
        found = re.search(rf".{{0,40}}\b{phrase}\b.{{0,40}}", text)
        assert found is None, f"{found and found[0]!r}: say {meant}"
