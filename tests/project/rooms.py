"""The rooms of DESIGN, in its order, and who imports whom: read from the source, types included."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.project.pages import ROOT

#: The two packages: name of the import, and where it lies.
PACKAGES = {
    "omendb_core": ROOT / "core" / "omendb_core",
    "omendb_ws": ROOT / "omendb_ws",
}


def rooms(package: str) -> list[str]:
    """Names of folders (``model``, ``engine.reads``) and files (``window``), the lowest first."""
    folder = PACKAGES[package].relative_to(ROOT).as_posix()
    page = (ROOT / "DESIGN.md").read_text("utf-8")
    table = re.search(
        rf"^\| `{folder}/` \|[^\n]*\n\|[-|]+\|\n((?:\|[^\n]*\n)+)", page, re.MULTILINE
    )
    assert table, f"DESIGN has no table of {folder}/"
    cells = [re.match(r"\| ((?:`[\w/.]+`(?:, )?)+) \|", row) for row in table[1].splitlines()]
    assert all(cells), f"a row of {folder}/ names no room"
    return [
        name.removesuffix("/").removesuffix(".py").replace("/", ".")
        for cell in cells
        if cell is not None
        for name in re.findall(r"`([\w/.]+)`", cell[1])
    ]


def room_of(module: str, order: list[str]) -> str | None:
    """The innermost room of ``order`` that a module of the package is in; None for the package."""
    inside = module.partition(".")[2]
    found = [room for room in order if f"{inside}.".startswith(f"{room}.")]
    return max(found, key=len) if found else None


def modules(package: str) -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    root = PACKAGES[package]
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join([package, *(part for part in parts if part != "__init__")])] = path
    assert found, f"no source in {root}"
    return found


def imports(path: Path, package: list[str]) -> Iterator[tuple[str, int]]:
    """Absolute dotted names of all that ``path`` imports, wherever it stands; with its line.

    ``package`` are the parts of the dotted name of the package that it lies in.
    """
    for node in ast.walk(ast.parse(path.read_text("utf-8"), str(path))):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield name.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            for name in node.names:
                yield f"{module}.{name.name}", node.lineno


def package_of(name: str, path: Path) -> list[str]:
    """The parts of the dotted name of the package that the module ``name`` lies in."""
    parts = name.split(".")
    return parts if path.name == "__init__.py" else parts[:-1]


def graph(package: str) -> dict[str, set[str]]:
    """Which modules of the package each imports."""
    known = modules(package)
    found: dict[str, set[str]] = {}
    for name, path in known.items():
        found[name] = set()
        for imported, _ in imports(path, package_of(name, path)):
            target = imported if imported in known else imported.rpartition(".")[0]
            if target in known and target != name:
                found[name].add(target)
    return found


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Modules that import each other, however far round; each circle once, sorted."""
    reach = {name: set(targets) for name, targets in edges.items()}
    changed = True
    while changed:
        changed = False
        for targets in reach.values():
            more = set().union(*(reach[one] for one in targets)) - targets if targets else set()
            if more:
                targets |= more
                changed = True
    together = {
        tuple(sorted(other for other in targets if name in reach[other]))
        for name, targets in reach.items()
        if name in targets
    }
    return [list(circle) for circle in sorted(together)]
