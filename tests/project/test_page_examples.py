"""The programs of README and docs/ run, and print what they say.

Each runs against a server with the demo's stream, which is what a reader has. The tutorial's are
steps of one story (``test_tutorial.py``).
"""

from __future__ import annotations

import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

import omendb_ws
from omendb_ws.web import FILES
from tests.project.demo import streaming_demo
from tests.project.pages import blocks, handwritten, page
from tests.project.running import (
    DEFAULT_HTTP,
    DEFAULT_URL,
    TIMEOUT_SECONDS,
    http_of,
    run_python,
)


@pytest.fixture(scope="module")
def demo_url() -> Iterator[str]:
    with streaming_demo() as url:
        yield url


def examples(language: str) -> list[str]:
    found = [
        block.text for name in handwritten() if name != "docs/tutorial.md"
        for block in blocks(page(name)) if block.language == language
    ]  # fmt: skip
    assert found, language
    return found


@pytest.mark.parametrize("text", examples("python"))
def test_a_python_example_runs(text: str, demo_url: str) -> None:
    assert run_python(text, demo_url)


def node() -> str | None:
    """A node with ``WebSocket``: 22, or 20 with a flag."""
    found = shutil.which("node")
    if found is None:
        return None
    version = subprocess.run([found, "--version"], capture_output=True, text=True).stdout
    major = re.match(r"v(\d+)", version)
    return found if major and int(major[1]) >= 20 else None


@pytest.mark.skipif(node() is None, reason="node 20 or newer is not installed")
@pytest.mark.parametrize("text", examples("js"))
def test_a_javascript_example_runs(text: str, demo_url: str, tmp_path: Path) -> None:
    # Node imports no module over HTTP; and it shall end, as closing the page would end it.
    (tmp_path / "package.json").write_text('{"type": "module"}')
    for path in (path for path in FILES if path.startswith("/client")):
        place = tmp_path / path[1:]
        place.parent.mkdir(exist_ok=True)
        address = http_of(demo_url) + path
        with urllib.request.urlopen(address, timeout=TIMEOUT_SECONDS) as response:
            place.write_bytes(response.read())
    script = text.replace(f"{DEFAULT_HTTP}/client.js", (tmp_path / "client.js").as_uri())
    script = script.replace(DEFAULT_URL, demo_url)
    done = subprocess.run(
        [node() or "", "--no-warnings", "--experimental-websocket", "--input-type=module", "-"],
        input=f"setTimeout(() => process.exit(0), 3000);\n{script}",
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"nearest( digits)?: \[", done.stdout), done.stdout
    if "enter:" in text:
        assert "enter: [" in done.stdout, done.stdout


def test_every_error_class_that_a_page_names_is_there() -> None:
    found = {
        one for name in handwritten() for one in re.findall(r"except (?:\w+\.)*(\w+)", page(name))
    }
    assert found
    assert [name for name in found if not hasattr(omendb_ws, name)] == []
