"""The client as an npm package: the same file, and nothing else."""

from __future__ import annotations

import gzip
import json
import subprocess
from pathlib import Path

from omendb_ws._version import VERSION

from .runtimes import CLIENT


def test_the_package_is_the_client_and_its_types() -> None:
    told = subprocess.run(
        ["npm", "pack", "--dry-run", "--json", "--offline"],
        cwd=CLIENT.parent, capture_output=True, text=True, check=True,
    )  # fmt: skip
    (package,) = json.loads(told.stdout)
    assert (package["name"], package["version"]) == ("omendb-ws", VERSION)
    assert {file["path"] for file in package["files"]} == {
        "client.js", "client.d.ts", "package.json",
    }  # fmt: skip


def test_the_client_is_small() -> None:
    assert len(gzip.compress(CLIENT.read_bytes(), 9)) <= 15 << 10


def test_a_program_of_node_imports_the_package_by_its_name(tmp_path: Path) -> None:
    installed = tmp_path / "node_modules" / "omendb-ws"
    installed.mkdir(parents=True)
    for name in ("client.js", "client.d.ts", "package.json"):
        (installed / name).write_bytes((CLIENT.parent / name).read_bytes())
    program = tmp_path / "program.mjs"
    program.write_text('import { connect } from "omendb-ws"; console.log(typeof connect);')
    told = subprocess.run(["node", program], capture_output=True, text=True, check=True)
    assert told.stdout == "function\n"
