"""The how-to of the HTTP API: its commands and its Python work as they stand, in their order."""

from __future__ import annotations

import asyncio
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import orjson

from tests.patience import PATIENCE_SECONDS
from tests.project.pages import blocks, page
from tests.server.http.api.served import client_of, served

HERE = "http://127.0.0.1:8766"


def _examples(word: str, url: str) -> list[str]:
    found = [block.text for block in blocks(page("docs/how-to/http.md"))]
    return [text.replace(HERE, url) for text in found if word in text]


def _asked(command: str) -> tuple[str, str, dict[str, str], bytes | None]:
    """Method, address, headers and body of a line of curl."""
    words = shlex.split(command)[1:]
    method, headers, url, body = "", {}, "", None
    at = iter(words)
    for word in at:
        if word == "-X":
            method = next(at)
        elif word == "--json":
            headers["Content-Type"], body = "application/json", next(at).encode()
        elif word == "-H":
            name, _, value = next(at).partition(": ")
            headers[name] = value
        elif word == "--data-binary":
            body = Path(next(at).removeprefix("@")).read_bytes()
        else:
            assert not url, command
            url = word
    return method or ("GET" if body is None else "POST"), url, headers, body


async def test_the_how_to_of_http_works_as_it_stands(tmp_path: Path) -> None:
    async with served() as server, client_of(server) as client:
        assert server.http_url is not None

        async def ask(command: str) -> None:
            method, url, headers, body = _asked(command)
            answer = await client.request(method, url, headers=headers, content=body)
            assert answer.status_code == 200, (command, answer.text)

        curl, array = _examples("curl ", server.http_url)
        for command in curl.replace("\\\n", " ").splitlines():
            await ask(command)
        python = "\n".join(_examples("client.", server.http_url))
        path = tmp_path / "example.py"
        path.write_text(python)
        child = await asyncio.create_subprocess_exec(
            sys.executable, str(path), stdout=subprocess.PIPE
        )
        said, _ = await asyncio.wait_for(child.communicate(), PATIENCE_SECONDS)
        assert child.returncode == 0
        assert orjson.loads(said.replace(b"'", b'"'))[0]["id"] == 1
        np.save(tmp_path / "vectors.npy", np.ones((2, 128)))
        await ask(array.replace("\\\n", " ").replace("@", f"@{tmp_path}/"))
        assert (await client.get("/v1/collections/stream")).json()["rows"] == 10_002
