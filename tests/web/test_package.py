"""The client as an npm package: the modules that the server serves, small, and nothing else."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from omendb_ws._version import VERSION
from omendb_ws.web import FILES
from tests.project.pages import ROOT

from .runtimes import CLIENT

#: The first, which a page imports, and what it is made of.
MODULES = [CLIENT, *sorted((CLIENT.parent / "client").glob("*.js"))]
#: Beside it, for who wants them.
MORE = [CLIENT.parent / "snapshots.js", CLIENT.parent / "cluster.js"]
SCRIPTS = [
    path for path in (CLIENT.parent / "console").glob("*.js") if not path.name.endswith(".min.js")
]
#: Of all modules as one archive, as they are served. Without comments and blanks, and with letters
#: for names (terser), it is 14,400: to be so small it would have to be built. Code that repeats
#: costs next to nothing. Of these, 570 are what every client must have lest time run backwards for
#: it where another node of a cluster answers (``seen.js``).
MOST_GZIPPED_BYTES = 20_620
IMPORTS = re.compile(r'from "\./(\w+\.js)"')


def test_the_package_is_the_client_and_its_types() -> None:
    told = subprocess.run(
        ["npm", "pack", "--dry-run", "--json", "--offline"],
        cwd=CLIENT.parent, capture_output=True, text=True, check=True,
    )  # fmt: skip
    (package,) = json.loads(told.stdout)
    assert (package["name"], package["version"]) == ("omendb-ws", VERSION)
    modules = {path.relative_to(CLIENT.parent).as_posix() for path in (*MODULES, *MORE)}
    assert {file["path"] for file in package["files"]} == modules | {
        "client.d.ts", "snapshots.d.ts", "cluster.d.ts", "package.json", "README.md", "LICENSE",
    }  # fmt: skip
    assert (CLIENT.parent / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_the_package_names_no_home_that_the_project_does_not() -> None:
    """An address that nobody gave it would be somebody else's."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    about = json.loads((CLIENT.parent / "package.json").read_text("utf-8"))
    homes = {name for name in ("repository", "homepage", "bugs") if name in about}
    assert not homes or project.get("urls"), homes


def test_the_client_is_small() -> None:
    text = "".join(path.read_text("utf-8") for path in MODULES)
    assert len(gzip.compress(text.encode(), 9)) <= MOST_GZIPPED_BYTES


@pytest.mark.parametrize("path", [*MODULES, *MORE, *SCRIPTS], ids=lambda path: path.name)
def test_every_script_is_short_and_says_what_lives_there(path: Path) -> None:
    text = path.read_text("utf-8")
    assert text.count("\n") <= 400
    assert re.match(r"(/\*\*|//) ?\S|/\*\*\n \* \S", text), text[:80]


def test_every_module_is_served_and_imported_by_the_first() -> None:
    """So that a page asks for all of them at once, and not as one finds the next."""
    served = {name for name, _ in FILES.values() if name.endswith(".js")}
    there = {path.relative_to(CLIENT.parent).as_posix() for path in (*MODULES, *SCRIPTS)}
    more = {path.name for path in MORE}
    assert served == there | more | {"console/uPlot.iife.min.js"}
    imported = re.findall(r'"\./(client/\w+\.js)"', CLIENT.read_text("utf-8"))
    assert sorted(imported) == sorted(
        there - {"client.js"} - {f"console/{p.name}" for p in SCRIPTS}
    )


def test_the_console_asks_for_all_of_its_scripts_at_once() -> None:
    """One that is named only where it is imported waits for the one that imports it."""
    page = (CLIENT.parent / "console" / "index.html").read_text("utf-8")
    named = re.findall(r'<link rel="modulepreload" href="([^"]+)">', page)
    asked = {*named, *re.findall(r'<script src="([^"]+)" type="module">', page)}
    every = (*MODULES, *MORE, *SCRIPTS)
    there = {path.relative_to(CLIENT.parent).as_posix() for path in every}
    assert (asked, len(named)) == (there, len(set(named)))


def test_modules_import_in_no_circle() -> None:
    sources = {path.name: set(IMPORTS.findall(path.read_text("utf-8"))) for path in MODULES[1:]}
    left = dict(sources)
    while free := [name for name, wanted in left.items() if not wanted & left.keys()]:
        for name in free:
            del left[name]
    assert left == {}


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


def functions(types: str) -> list[str]:
    return sorted(re.findall(r"^export (?:class|function) (\w+)", types, re.M))


@pytest.mark.parametrize("path", MORE, ids=lambda path: path.name)
def test_the_types_of_a_module_beside_it_name_what_there_is(path: Path) -> None:
    program = f"console.log(Object.keys(await import({json.dumps(path.as_uri())})).join())"
    told = subprocess.run(
        ["node", "--input-type=module", "-e", program], capture_output=True, text=True, check=True
    )
    types = path.with_suffix(".d.ts").read_text("utf-8")
    assert functions(types) == sorted(told.stdout.strip().split(","))


def test_the_types_name_what_there_is() -> None:
    types = (CLIENT.parent / "client.d.ts").read_text("utf-8")
    program = f"""
      import * as client from {json.dumps(CLIENT.as_uri())};
      const named = ({{ prototype }}) => [prototype, Object.getPrototypeOf(prototype)]
        .flatMap((one) => Object.getOwnPropertyNames(one));
      console.log(JSON.stringify({{ all: Object.keys(client), Client: named(client.Client) }}));
    """
    told = subprocess.run(
        ["node", "--input-type=module", "-e", program], capture_output=True, text=True, check=True
    )
    there = json.loads(told.stdout)
    assert functions(types) == sorted(there["all"])
    body = types.split("class Client extends", 1)[1].split("\n}\n", 1)[0]
    methods = set(re.findall(r"^  (\w+)\(", body, re.M))
    listening = {"addEventListener", "removeEventListener"}
    assert methods - listening == set(there["Client"]) - INNER


def test_a_program_of_node_imports_the_package_by_its_name(tmp_path: Path) -> None:
    installed = tmp_path / "node_modules" / "omendb-ws"
    installed.mkdir(parents=True)
    shutil.copytree(CLIENT.parent / "client", installed / "client")
    for name in ("client.js", "client.d.ts", "snapshots.js", "package.json"):
        (installed / name).write_bytes((CLIENT.parent / name).read_bytes())
    program = tmp_path / "program.mjs"
    program.write_text(
        'import { connect } from "omendb-ws"; import { restore } from "omendb-ws/snapshots";'
        "console.log(typeof connect, typeof restore);"
    )
    told = subprocess.run(["node", program], capture_output=True, text=True, check=True)
    assert told.stdout == "function function\n"
