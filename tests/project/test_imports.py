"""DESIGN's import rules, read from the source."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import omendb_ws
from tests.project import rooms
from tests.project.pages import ROOT

CORE = ROOT / "core" / "omendb_core"
SERVER = ROOT / "omendb_ws"
#: Packages whose rooms stand in an order.
ORDERED = ["omendb_core", "omendb_ws"]

#: Of the standard library what the engine may not touch: sockets, loops, clocks, files, logging.
#: (Not ``os``: the choice of a kernel reads one variable. Not ``threading``: numexpr needs a lock.
#: Not ``mmap``: memory of its own; it takes a file only where somebody opened one.)
FORBIDDEN_IN_CORE = {
    "asyncio", "socket", "ssl", "select", "selectors", "socketserver", "http", "urllib",
    "time", "datetime", "sched", "signal", "logging", "warnings", "io", "pathlib", "tempfile",
    "shutil", "glob", "sqlite3", "subprocess", "multiprocessing", "concurrent",
    "queue",
}  # fmt: skip
#: But for the room that loads the extension: when it is imported it looks at the sources beside it.
LOADING = {"pathlib", "warnings"}


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Absolute dotted names of all that ``path`` imports, wherever it stands; with its line."""
    package = list(path.relative_to(CORE.parent if CORE in path.parents else ROOT).parts[:-1])
    yield from rooms.imports(path, package)


def sources(folder: Path) -> list[Path]:
    found = sorted(folder.rglob("*.py"))
    assert found, f"no source in {folder}"
    return found


def where(path: Path, line: int, name: str) -> str:
    return f"{path.relative_to(ROOT)}:{line} imports {name}"


@pytest.mark.parametrize("package", ORDERED)
def test_every_file_is_in_a_room_of_the_design_and_every_room_has_one(package: str) -> None:
    order = rooms.rooms(package)
    found = {rooms.room_of(name, order) for name in rooms.modules(package) if name != package}
    assert found == set(order)


@pytest.mark.parametrize("package", ORDERED)
def test_a_room_imports_only_those_above_it(package: str) -> None:
    order = rooms.rooms(package)
    wrong = []
    for name, targets in rooms.graph(package).items():
        for target in targets - {package}:
            room, other = rooms.room_of(name, order), rooms.room_of(target, order)
            if room is not None and (other is None or order.index(other) > order.index(room)):
                wrong.append(f"{name} imports {target}")
    assert sorted(wrong) == []


def test_reads_writes_and_streams_do_not_import_each_other() -> None:
    order = rooms.rooms("omendb_ws")
    apart = {"engine.reads", "engine.streams", "engine.writes"}
    wrong = [
        f"{name} imports {target}"
        for name, targets in rooms.graph("omendb_ws").items()
        for target in targets
        if len({rooms.room_of(name, order), rooms.room_of(target, order)} & apart) == 2
    ]
    assert wrong == []


@pytest.mark.parametrize("package", ORDERED)
def test_no_modules_import_each_other_in_a_circle(package: str) -> None:
    assert rooms.circles(rooms.graph(package)) == []


def test_a_circle_is_seen_however_long() -> None:
    edges = {
        "a": {"b"},
        "b": {"c"},
        "c": {"a", "d"},
        "d": set(),
        "e": {"a"},
        "f": {"g"},
        "g": {"f"},
    }
    assert rooms.circles(edges) == [["a", "b", "c"], ["f", "g"]]


def test_the_engine_imports_only_the_standard_library_numpy_and_numexpr() -> None:
    allowed = {"omendb_core", "numpy", "numexpr", *sys.stdlib_module_names}
    wrong = [
        where(path, line, name)
        for path in sources(CORE)
        for name, line in imports(path)
        if name.split(".")[0] not in allowed
    ]
    assert wrong == []


def test_the_engine_has_no_sockets_loops_clocks_files_or_logs() -> None:
    wrong = [
        where(path, line, name)
        for path in sources(CORE)
        for name, line in imports(path)
        if name.split(".")[0] in FORBIDDEN_IN_CORE
        and not (path.parent == CORE / "native" and name.split(".")[0] in LOADING)
    ]
    assert wrong == []


def test_the_engine_opens_no_files() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno} calls open"
        for path in sources(CORE)
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in {"open", "print", "input", "eval", "exec", "compile"}
    ]
    assert wrong == []


def test_the_wire_knows_the_shapes_of_the_engine_and_no_index() -> None:
    shapes = {"model"}
    wrong = [
        where(path, line, name)
        for path in sources(SERVER / "wire")
        for name, line in imports(path)
        if (name.startswith("omendb_core") and name.split(".")[1] not in shapes)
        or (name.startswith("omendb_ws") and not name.startswith("omendb_ws.wire"))
        or name.split(".")[0] in {"asyncio", "socket", "websockets"}
    ]
    assert wrong == []


def test_the_journal_knows_changes_and_no_window_engine_or_socket() -> None:
    known = {"admission", "model"}
    wrong = [
        where(path, line, name)
        for path in sources(SERVER / "journal")
        for name, line in imports(path)
        if (name.startswith("omendb_core") and name.split(".")[1] not in known)
        or (
            name.startswith("omendb_ws.")
            and not name.startswith(("omendb_ws.journal", "omendb_ws.runtime.faults"))
            and not (
                path.parent.name == "jetstream" and name.startswith("omendb_ws.runtime.extras")
            )
        )
        or name.split(".")[0] in {"socket", "websockets"}
        or (name.split(".")[0] in {"asyncio", "nats"} and path.parent.name != "jetstream")
    ]
    assert wrong == []


def test_only_the_server_http_and_the_client_import_websockets() -> None:
    server = [SERVER / "net", SERVER / "http"]
    wrong = [
        where(path, line, name)
        for path in [*sources(SERVER), *sources(CORE)]
        for name, line in imports(path)
        if name.split(".")[0] == "websockets"
        and not {*server, SERVER / "client"} & set(path.parents)
    ]
    assert wrong == []


def test_the_client_does_not_need_the_server_or_the_engines_window() -> None:
    shapes = {"model", "rows"}
    wrong = [
        where(path, line, name)
        for path in sources(SERVER / "client")
        for name, line in imports(path)
        if (name.startswith("omendb_core") and name.split(".")[1] not in shapes)
        or (
            name.startswith("omendb_ws.")
            and name.split(".")[1] not in {"client", "wire", "errors", "runtime", "_version"}
            # Tables are rows by the rules of files, which know no client.
            and (path.name, name.split(".")[1]) != ("given_frames.py", "files")
            # memory:// is a server: this file alone reaches for it, when one is opened.
            and (path.name, name.split(".")[1]) != ("local.py", "node")
        )
    ]
    assert wrong == []


def test_files_know_no_sockets_loops_or_collections() -> None:
    shapes = {"model"}
    ours = tuple(f"omendb_ws.{one}" for one in ("files", "runtime.npy_header", "runtime.extras"))
    wrong = [
        where(path, line, name)
        for path in sources(SERVER / "files")
        for name, line in imports(path)
        if (name.startswith("omendb_core") and name.split(".")[1] not in shapes)
        or (name.startswith("omendb_ws.") and not name.startswith(ours))
        or name.split(".")[0] in {"asyncio", "socket", "websockets", "typer", "rich"}
    ]
    assert wrong == []


def test_loads_and_dumps_know_clients_and_files_and_print_nothing() -> None:
    wrong = [
        where(path, line, name)
        for path in sources(SERVER / "transfer")
        for name, line in imports(path)
        if name.split(".")[0] in {"websockets", "typer", "rich"}
        or (
            name.startswith("omendb_ws.")
            and not name.startswith("omendb_ws.journal.archive")  # what snapshots are, as bytes
            and name.split(".")[1] not in {"client", "files", "transfer", "wire", "errors"}
        )
    ]
    assert wrong == []


def test_integrations_import_what_users_import_and_only_a_command_imports_them() -> None:
    public = {*omendb_ws.__all__, "integrations"}
    wrong = [
        where(path, line, name)
        for path in sources(SERVER)
        for name, line in imports(path)
        if name.startswith(("omendb_ws.", "omendb_core"))
        and (
            name.split(".")[:2] == ["omendb_ws", "integrations"]
            and path != SERVER / "cli" / "mcp.py"
            if SERVER / "integrations" not in path.parents
            else name.split(".")[0] == "omendb_core" or name.split(".")[1] not in public
        )
    ]
    assert wrong == []


def test_imports_for_types_alone_are_of_what_is_loaded_late() -> None:
    """Commands load what they need when they run; elsewhere types are imported as all else is."""
    late = {
        SERVER / "journal" / "jetstream" / "bucket_watch.py",
        SERVER / "__init__.py",
        SERVER / "client" / "local.py",
        SERVER / "journal" / "jetstream" / "connection.py",
        SERVER / "journal" / "jetstream" / "pipeline.py",
        SERVER / "journal" / "jetstream" / "tail.py",
        SERVER / "net" / "http_port.py",
        SERVER / "notebook" / "__init__.py",
        SERVER / "telemetry" / "exposition.py",
        SERVER / "telemetry" / "tracing.py",
        SERVER / "sessions" / "traced.py",
    }
    found = {
        path
        for path in [*sources(SERVER), *sources(CORE)]
        for name, _ in imports(path)
        if name == "typing.TYPE_CHECKING" and SERVER / "cli" not in path.parents
    }
    assert found <= late


def test_nothing_of_the_project_imports_its_tests() -> None:
    wrong = [
        where(path, line, name)
        for path in [*sources(SERVER), *sources(CORE), *sources(ROOT / "examples")]
        for name, line in imports(path)
        if name.split(".")[0] in {"tests", "load_tests", "pytest", "hypothesis"}
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import time", "time"),
        ("from time import monotonic", "time.monotonic"),
        ("def f():\n    import asyncio.events", "asyncio.events"),
        ("from ..window import Window", "omendb_ws.window.Window"),
        ("from . import text", "omendb_ws.wire.text"),
    ],
)
def test_these_tests_see_every_form_of_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, expected: str
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    path = tmp_path / "omendb_ws" / "wire" / "seen.py"
    path.parent.mkdir(parents=True)
    path.write_text(source)
    assert [name for name, _ in imports(path)] == [expected]
