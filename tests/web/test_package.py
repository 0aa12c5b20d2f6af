"""The client as an npm package: the same file, and nothing else."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import tomllib
from pathlib import Path

from omendb_ws._version import VERSION
from tests.project.pages import ROOT

from .runtimes import CLIENT


def test_the_package_is_the_client_and_its_types() -> None:
    told = subprocess.run(
        ["npm", "pack", "--dry-run", "--json", "--offline"],
        cwd=CLIENT.parent, capture_output=True, text=True, check=True,
    )  # fmt: skip
    (package,) = json.loads(told.stdout)
    assert (package["name"], package["version"]) == ("omendb-ws", VERSION)
    assert {file["path"] for file in package["files"]} == {
        "client.js", "client.d.ts", "package.json", "README.md", "LICENSE",
    }  # fmt: skip
    assert (CLIENT.parent / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_the_package_names_no_home_that_the_project_does_not() -> None:
    """An address that nobody gave it would be somebody else's."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    about = json.loads((CLIENT.parent / "package.json").read_text("utf-8"))
    homes = {name for name in ("repository", "homepage", "bugs") if name in about}
    assert not homes or project.get("urls"), homes


def test_the_client_is_small() -> None:
    assert len(gzip.compress(CLIENT.read_bytes(), 9)) <= 18 << 10


def test_engines_are_those_that_need_no_websocket_passed_in() -> None:
    """Elsewhere it says at once what is missing."""
    about = json.loads((CLIENT.parent / "package.json").read_text("utf-8"))
    least = int(re.fullmatch(r">=(\d+)", about["engines"]["node"])[1])  # type: ignore[index]
    program = f"""
      import {{ connect }} from {json.dumps(CLIENT.as_uri())};
      const connecting = connect("ws://127.0.0.1:9/v1", {{ timeoutMs: 50 }});
      const failed = await connecting.catch((error) => error);
      console.log(JSON.stringify([process.versions.node, failed.code]));
    """
    told = subprocess.run(
        ["node", "--input-type=module", "-e", program], capture_output=True, text=True, check=True
    )
    version, code = json.loads(told.stdout)
    assert code == ("timeout" if int(version.split(".")[0]) >= least else "unsupported")


#: What the JavaScript has for itself.
INNER = {"call", "bufferedAmount"}


def test_the_types_name_what_there_is() -> None:
    types = (CLIENT.parent / "client.d.ts").read_text("utf-8")
    program = f"""
      import * as client from {json.dumps(CLIENT.as_uri())};
      const named = ({{ prototype }}) => Object.getOwnPropertyNames(prototype);
      console.log(JSON.stringify({{ all: Object.keys(client), Client: named(client.Client) }}));
    """
    told = subprocess.run(
        ["node", "--input-type=module", "-e", program], capture_output=True, text=True, check=True
    )
    there = json.loads(told.stdout)
    exported = re.findall(r"^export (?:class|function) (\w+)", types, re.M)
    assert sorted(exported) == sorted(there["all"])
    body = types.split("class Client extends", 1)[1].split("\n}\n", 1)[0]
    methods = set(re.findall(r"^  (\w+)\(", body, re.M))
    listening = {"addEventListener", "removeEventListener"}
    assert methods - listening == set(there["Client"]) - INNER


def test_a_program_of_node_imports_the_package_by_its_name(tmp_path: Path) -> None:
    installed = tmp_path / "node_modules" / "omendb-ws"
    installed.mkdir(parents=True)
    for name in ("client.js", "client.d.ts", "package.json"):
        (installed / name).write_bytes((CLIENT.parent / name).read_bytes())
    program = tmp_path / "program.mjs"
    program.write_text('import { connect } from "omendb-ws"; console.log(typeof connect);')
    told = subprocess.run(["node", program], capture_output=True, text=True, check=True)
    assert told.stdout == "function\n"
