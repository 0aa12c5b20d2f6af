"""A docstring says something. One that only points elsewhere does so for a Protocol's method."""

from __future__ import annotations

import ast
import re
from functools import cache
from typing import NamedTuple

from tests.project.pages import ROOT
from tests.project.repository import files

#: ``See Log.``: the method is one of that Protocol, where it is described.
OF_A_PROTOCOL = re.compile(r"See ``?[\w.]+``?\.|See [\w.]+\.")


class Docstring(NamedTuple):
    where: str
    text: str
    is_function: bool


@cache
def docstrings() -> list[Docstring]:
    """Every one of the project."""
    found = []
    for name in files():
        if not name.endswith(".py"):
            continue
        for node in ast.walk(ast.parse((ROOT / name).read_text("utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node)
                is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
                if text is not None:
                    where = f"{name}: {getattr(node, 'name', 'module')}"
                    found.append(Docstring(where, text, is_function))
    return found


def test_no_docstring_sends_its_reader_to_the_module() -> None:
    found = docstrings()
    assert len(found) > 1000
    assert [one.where for one in found if one.text.startswith("See the module")] == []


def test_only_a_method_may_point_elsewhere() -> None:
    pointing = [one for one in docstrings() if OF_A_PROTOCOL.fullmatch(one.text)]
    assert [one.where for one in pointing if not one.is_function] == []
