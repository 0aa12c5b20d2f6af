"""Writes what is kept of a released version: ``python -m tests.compat.make 0.1``, at its release.

``tests/compat/VERSION/`` then holds

* ``stored.tar.xz``: ``data/``, a data directory that was left in order, ``killed/``, one whose
  server was killed, and ``backup/``, a backup;
* ``holds.json``: what the collections in these hold;
* ``client.zip``: that version's clients, as far as a program loads them: Python's, and JavaScript's
  in ``web/``.

Beside them lie ``client.py`` and ``client.mjs``, programs that were written for that version, by
hand. None of it is changed afterwards: it is what others have on their disks.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from omendb_ws.sync import Client, connect
from tests.cli.commands import omendb_ws, serving
from tests.project.pages import ROOT

FOLDER = Path(__file__).parent
#: Prints the files of all modules that a program with the Python clients loads.
LOADED = """
import asyncio, sys, omendb_ws, omendb_ws.sync
async def main():
    try:
        await omendb_ws.connect("ws://127.0.0.1:9/v1")
    except omendb_ws.OmenError:
        pass
asyncio.run(main())
for name, module in sorted(sys.modules.items()):
    if name.split(".")[0] in ("omendb_ws", "omendb_core") and module.__file__:
        print(name.replace(".", "/"), module.__file__)
"""
NUMBERS, TEXTS, STREAM, KILLED = "numbers", "texts", "stream", "killed"
PRODUCER = "compat"


def fill(db: Client) -> None:
    """Collections with all that a log can hold."""
    generator = np.random.default_rng(1)
    columns = {"n": "i64", "x": "f64", "on": "bool", "word": "str"}
    db.create(NUMBERS, dim=4, capacity=50, metric="cosine", columns=columns)
    rows = generator.standard_normal((40, 4), dtype=np.float32)
    metadata = [
        {"n": at, "x": at / 3, "on": at % 2 == 0, "word": f"w{at % 5}", "more": {"é": [at, None]}}
        for at in range(40)
    ]
    db.add(NUMBERS, rows[:20], ids=list(range(20)), metadata=metadata[:20])
    db.add(NUMBERS, rows[20:], ids=[2**64 - 1, *range(100, 119)], metadata=metadata[20:])
    db.add(NUMBERS, rows[:2], ids=[3, 4])  # rows that others replace
    db.delete(NUMBERS, [7, 8])
    db.update(NUMBERS, [9], metadata=[{"n": -(2**53) + 1, "word": "changed"}])
    db.create(TEXTS, dim=3, capacity=20, metric="l2", ids="str", durability="always")
    db.add(TEXTS, rows[:5, :3], ids=["a", "b c", "é/%", "日本", "x" * 100])
    db.create(STREAM, dim=8, capacity=16, metric="dot", ids="auto")
    for _ in range(5):
        db.add(STREAM, generator.standard_normal((7, 8), dtype=np.float32))


def holds(db: Client, *names: str) -> dict[str, Any]:
    """All of some collections, as JSON that says every value to the bit."""
    found = {}
    for name in names:
        about = db.describe(name)
        rows = db.search(
            name, np.ones(about.dim, np.float32), k=100, include=["vector", "metadata"]
        )
        kept = sorted(rows, key=lambda row: row.seq)
        found[name] = {
            "dim": about.dim, "capacity": about.capacity, "metric": about.metric, "ids": about.ids,
            "columns": dict(about.columns), "durability": about.durability, "epoch": about.epoch,
            "version": about.version, "first_seq": about.first_seq, "last_seq": about.last_seq,
            "rows": [
                [row.id, row.seq, [float(one) for one in row.vector], row.metadata] for row in kept
            ],
        }  # fmt: skip
    return found


def write_stored(place: Path) -> dict[str, Any]:
    """Make the directories in ``place``; what they hold."""
    with serving("--data-dir", str(place / "data")) as server:
        with connect(server.url) as db:
            fill(db)
            found = {"data": holds(db, NUMBERS, TEXTS, STREAM)}
        server.process.terminate()
        assert server.finish()[0] == 0
    with serving("--data-dir", str(place / "killed")) as server, connect(server.url) as db:
        db.create(KILLED, dim=2, capacity=10, ids="auto")
        for number in range(1, 4):
            db.add(KILLED, [[1.0, number]], producer=PRODUCER, batch=number)
        found["killed"] = holds(db, KILLED)
        server.process.kill()
    done = omendb_ws("backup", str(place / "data"), NUMBERS, str(place / "backup"))
    assert done.returncode == 0, done.stderr
    found["backup"] = {NUMBERS: found["data"][NUMBERS]}
    return found


def write_client(path: Path) -> None:
    """The modules of the clients, in a file that Python imports from."""
    loaded = subprocess.run(
        [sys.executable, "-c", LOADED], cwd=ROOT, capture_output=True, text=True, check=True
    )
    web = ROOT / "omendb_ws" / "web"
    scripts = [web / "client.js", *sorted((web / "client").glob("*.js"))]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for line in loaded.stdout.splitlines():
            name, file = line.split(" ", 1)
            is_package = file.endswith("__init__.py")
            archive.write(file, f"{name}/__init__.py" if is_package else f"{name}.py")
        for script in scripts:
            archive.write(script, f"web/{script.relative_to(web).as_posix()}")


def main() -> None:
    target = FOLDER / sys.argv[1]
    target.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        found = write_stored(place)
        with tarfile.open(target / "stored.tar.xz", "w:xz") as archive:
            for name in ("data", "killed", "backup"):
                archive.add(place / name, name)
    text = json.dumps(found, ensure_ascii=False, indent=None, separators=(",", ":"))
    (target / "holds.json").write_text(text + "\n", "utf-8")
    write_client(target / "client.zip")


if __name__ == "__main__":
    main()
