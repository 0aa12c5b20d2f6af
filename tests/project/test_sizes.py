"""Files and functions of the packages are small enough to be read at once.

Counted of a file: every line. Of a function: the lines of its body, comments, blank ones and
functions in it too, without its signature and its docstring.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import PurePath
from typing import NamedTuple

import pytest

from tests.project.pages import ROOT
from tests.project.repository import files

MOST_LINES_OF_A_FILE = 400
MOST_LINES_OF_A_FUNCTION = 40

#: Larger files, and why.
LARGE_FILES: dict[str, str] = {}
#: Longer functions, and why.
LONG_FUNCTIONS = {
    "core/omendb_core/native/tile_avx512.c: tile": "24 accumulators stay in registers within one "
    "function only",
}


class Function(NamedTuple):
    """A function of a source; ``lines`` as counted here."""

    name: str
    lines: int


def python_functions(source: str) -> Iterator[Function]:
    """By the syntax tree."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            has_docstring = ast.get_docstring(node) is not None
            first = (node.body[0].end_lineno or 0) + 1 if has_docstring else node.body[0].lineno
            last = node.end_lineno or first
            yield Function(node.name, last - first + 1)


def c_functions(source: str) -> Iterator[Function]:
    """By the braces at the beginning of a line, which nothing else has."""
    lines = source.splitlines()
    for at, line in enumerate(lines):
        if line != "{":
            continue
        head = at
        while head and lines[head - 1] and not lines[head - 1].endswith(("*/", ";", "}")):
            head -= 1
        names = re.findall(r"(\w+)\(", " ".join(lines[head:at]))
        name = next(name for name in names if name not in ("__attribute__", "target"))
        end = lines.index("}", at)
        yield Function(name, end - at - 1)


#: What opens a function with a name, on its first line or where its parameters end.
JS_HEAD = re.compile(
    r"( *)(?:(?:export |default |async )*function\*? ?(?P<function>\w*)\(.*"
    r"|(?:export )?const (?P<constant>\w+) = .*=>"
    r"|(?:static |async |get |set |\*)*(?P<method>[\w#]+)\(.*\)"
    r"|\)(?: =>)?) \{"
)
JS_STATEMENTS = {"if", "for", "while", "switch", "catch"}


def js_functions(source: str) -> Iterator[Function]:
    """By the indentation, which every file here keeps."""
    lines = source.splitlines()
    for at, line in enumerate(lines):
        head = JS_HEAD.fullmatch(line)
        if head is None or head["method"] in JS_STATEMENTS:
            continue
        end = next(
            later for later in range(at + 1, len(lines)) if lines[later].startswith(head[1] + "}")
        )
        name = head["function"] or head["constant"] or head["method"] or f"line {at + 1}"
        yield Function(name, end - at - 1)


FUNCTIONS_OF: dict[str, Callable[[str], Iterator[Function]]] = {
    ".py": python_functions,
    ".c": c_functions,
    ".h": c_functions,
    ".js": js_functions,
}


@cache
def sources() -> dict[str, str]:
    """Every source of the packages, by its path."""
    return {
        name: (ROOT / name).read_text("utf-8")
        for name in files("omendb_ws", "core")
        if PurePath(name).suffix in FUNCTIONS_OF
    }


def long_files() -> dict[str, int]:
    sizes = {name: len(source.splitlines()) for name, source in sources().items()}
    return {name: lines for name, lines in sizes.items() if lines > MOST_LINES_OF_A_FILE}


@cache
def all_functions() -> list[tuple[str, Function]]:
    """With the path of each."""
    return [
        (path, one)
        for path, source in sources().items()
        for one in FUNCTIONS_OF[PurePath(path).suffix](source)
    ]


def long_functions() -> dict[str, int]:
    return {
        f"{path}: {one.name}": one.lines
        for path, one in all_functions()
        if one.lines > MOST_LINES_OF_A_FUNCTION
    }


def test_files_are_small() -> None:
    too_large = {name: lines for name, lines in long_files().items() if name not in LARGE_FILES}
    assert too_large == {}


def test_functions_are_short() -> None:
    too_long = {
        name: lines for name, lines in long_functions().items() if name not in LONG_FUNCTIONS
    }
    assert too_long == {}


def test_an_exception_is_one() -> None:
    assert LARGE_FILES.keys() - long_files().keys() == set()
    assert LONG_FUNCTIONS.keys() - long_functions().keys() == set()


@pytest.mark.parametrize(
    ("suffix", "least"), [(".py", 2000), (".c", 150), (".h", 20), (".js", 200)]
)
def test_functions_are_found(suffix: str, least: int) -> None:
    found = [one for path, one in all_functions() if path.endswith(suffix)]
    assert len(found) > least
    assert all(one.lines >= 0 for one in found)


PYTHON = '''
class Ring:
    def add(
        self,
        rows,
    ):
        """Rows.

        Many.
        """
        # one

        def two():
            return 3

        return two
'''
C = """
static int one(void)
{
    return 1;
}

TARGET static inline __attribute__((always_inline)) void two(
    int *rows, int n)
{
    for (int i = 0; i < n; i++) {
        rows[i] = 1;
    }
}
"""
JS = """
export class Link {
  static async open(url, { name } = {}) {
    if (url) {
      return 1;
    }
    const later = () => {
      a();
      b();
    };
    return later;
  }
}

export function plain(
  value,
) {
  return value;
}
"""


@pytest.mark.parametrize(
    ("source", "suffix", "expected"),
    [
        (PYTHON, ".py", {"add": 6, "two": 1}),
        (C, ".c", {"one": 1, "two": 3}),
        (JS, ".js", {"open": 8, "later": 2, "line 17": 1}),
    ],
)
def test_what_is_counted(source: str, suffix: str, expected: dict[str, int]) -> None:
    assert {one.name: one.lines for one in FUNCTIONS_OF[suffix](source)} == expected
