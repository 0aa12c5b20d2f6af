"""Clients that others' generators make of ``/openapi.json``, made and used.

    python -m tests.torture.generated_clients

``openapi-python-client`` and ``openapi-typescript`` are installed into a directory of this run's
own, out of package registries. The Python client adds, searches, counts and drops against a server;
the TypeScript types must let a program through that does so by ``openapi-fetch``, and refuse one
with a wrong field; the program must get its answers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from load_tests.bench_http import free_port
from load_tests.simulation.server import serving

PYTHON_USE: Final = """
import sys
from made import Client
from made.api.collections import create_collection, drop_collection, list_collections
from made.api.rows import add_rows, count, get_row, search
from made.models import (
    AddedRow, AddRequest, CountRequest, CreateRequest, Refusal, SearchRequest,
)

client = Client(base_url=sys.argv[1], raise_on_unexpected_status=True)
body = CreateRequest.from_dict({"collection": "made", "dim": 2, "capacity": 10})
assert create_collection.sync(client=client, body=body).collection == "made"
rows = [AddedRow(id=n, vector=[n, 1]) for n in range(3)]
added = add_rows.sync("made", client=client, body=AddRequest(rows=rows))
assert (added.version, added.last_seq) == (1, 3), added
found = search.sync("made", client=client, body=SearchRequest(vector=[2, 1], k=1))
assert found.results[0].id == 2, found
assert count.sync("made", client=client, body=CountRequest()).count == 3
assert get_row.sync("made", "1", client=client).rows[0].id == 1
refused = get_row.sync("made", "9", client=client)
assert isinstance(refused, Refusal) and refused.error.code == "not_found", refused
drop_collection.sync("made", client=client)
assert list_collections.sync(client=client).collections == []
print("made and used")
"""
TYPESCRIPT_USE: Final = """
import createClient from "openapi-fetch";
import type { paths } from "./made.js";

const client = createClient<paths>({ baseUrl: process.argv[2] });
const path = { collection: "typed" };
await client.POST("/v1/collections", { body: { collection: "typed", dim: 2, capacity: 10 } });
await client.POST("/v1/collections/{collection}/rows", {
  params: { path },
  body: { rows: [{ id: 1, vector: [1, 0] }, { id: 2, vector: [0, 1] }] },
});
const { data, error } = await client.POST("/v1/collections/{collection}/search", {
  params: { path },
  body: { vector: [0, 1], k: WANTED },
});
if (error !== undefined) throw new Error(error.error.message);
const first = data.results[0];
if (first === undefined || Array.isArray(first) || first.id !== 2) throw new Error("no answer");
const gone = await client.GET("/v1/collections/{collection}", {
  params: { path: { collection: "none" } },
});
if (gone.error?.error.code !== "not_found") throw new Error("no refusal");
await client.DELETE("/v1/collections/{collection}", { params: { path } });
console.log("made and used");
"""
_OVERRIDES: Final = "content_type_overrides:\n  application/x-npy: application/octet-stream\n"
_COMPILER: Final = json.dumps(
    {
        "compilerOptions": {
            "strict": True,
            "target": "es2022",
            "module": "nodenext",
            "noUncheckedIndexedAccess": True,
            "types": ["node"],
        },
        "files": ["use.ts"],
    }
)


def run(*command: str, at: Path, must_fail: bool = False) -> str:
    """Run a command; what it said. Raises with that if it fails, or does not and must."""
    path = f"{at / 'venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"  # it calls ruff
    done = subprocess.run(
        command,
        cwd=at,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": path},
    )
    said = done.stdout + done.stderr
    if (done.returncode != 0) is not must_fail:
        raise SystemExit(f"{' '.join(command)}: {done.returncode}\n{said[-4000:]}")
    return said


def python_client(at: Path, url: str) -> None:
    """Make the Python client, and use it."""
    venv.create(at / "venv", with_pip=True)
    python = str(at / "venv" / "bin" / "python")
    run(python, "-m", "pip", "install", "-q", "openapi-python-client", "ruff", at=at)
    (at / "config.yaml").write_text(_OVERRIDES)
    made = run(
        python, "-m", "openapi_python_client", "generate", "--url", f"{url}/openapi.json",
        "--meta", "none", "--output-path", "made", "--config", "config.yaml", "--fail-on-warning",
        at=at,
    )  # fmt: skip
    (at / "use.py").write_text(PYTHON_USE)
    print("Python:", run(python, "use.py", url, at=at).strip() or made)


def typescript_client(at: Path, url: str, *, wanted: str = "1") -> None:
    """Make the types, compile a program against them, and run it."""
    (at / "package.json").write_text('{"type": "module"}')
    packages = ("openapi-typescript", "openapi-fetch", "typescript@5", "@types/node")
    run("npm", "install", "--no-audit", "--no-fund", *packages, at=at)
    run("npx", "openapi-typescript", f"{url}/openapi.json", "-o", "made.d.ts", at=at)
    (at / "tsconfig.json").write_text(_COMPILER)
    (at / "use.ts").write_text(TYPESCRIPT_USE.replace("WANTED", '"many"'))
    said = run("npx", "tsc", "--noEmit", at=at, must_fail=True)
    if "not assignable to type 'number'" not in said:
        raise SystemExit(f"a wrong field was let through: {said}")
    (at / "use.ts").write_text(TYPESCRIPT_USE.replace("WANTED", wanted))
    run("npx", "tsc", at=at)
    print("TypeScript:", run("node", "use.js", url, at=at).strip())


def main(arguments: Sequence[str] = ()) -> None:
    """Make both, and use them."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as folder, serving(["--http-port", str(port)]):
        for name, make in (("python", python_client), ("typescript", typescript_client)):
            if not arguments or name in arguments:
                at = Path(folder) / name
                at.mkdir()
                make(at, url)


if __name__ == "__main__":
    main(sys.argv[1:])
