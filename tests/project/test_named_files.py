"""Files that comments, docstrings and the developers' pages name are there."""

from __future__ import annotations

import re

import pytest

from tests.project.pages import ROOT
from tests.project.repository import files

#: ``name.py``, ``folder/name.c``: what reads as a source file of this project.
NAMED = re.compile(r"(?<![\w./*{])((?:[\w-]+/)*[\w-]+\.(?:py|pyi|[ch]|mjs|js|toml))\b(?!\()")
#: Of other people, or of their kind only: what users would call their own files.
NOT_OURS = re.compile(
    r"(math|string|std\w+|\w*intrin|arm_neon|Python|float|malloc)\.h"
    r"|(asm|sys)/\w+\.h|(omendb|keys)\.toml|(app|page|main|service)\.(py|js)"
)


FILES = files()
READ = [
    name
    for name in FILES
    if name.startswith(("core/", "omendb_ws/", "load_tests/"))
    and name.endswith((".py", ".c", ".h"))
] + ["DESIGN.md", "CONTRIBUTING.md", "setup.py"]


def commented(name: str) -> str:
    """The comments and docstrings of a file; the whole of a page."""
    text = (ROOT / name).read_text("utf-8")
    if name.endswith(".md"):
        return text
    if name.endswith(".py"):
        return "\n".join(re.findall(r'#.*|"""(?:.|\n)*?"""', text))
    return "\n".join(re.findall(r"/\*(?:.|\n)*?\*/", text))


@pytest.mark.parametrize("name", READ)
def test_a_file_that_is_named_is_there(name: str) -> None:
    named = {found for found in NAMED.findall(commented(name)) if not NOT_OURS.fullmatch(found)}
    gone = sorted(one for one in named if not any(f"/{file}".endswith(f"/{one}") for file in FILES))
    assert not gone
