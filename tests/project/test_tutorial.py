"""docs/tutorial.md, step by step as a newcomer does it, the page in Chromium."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.project.pages import Block, blocks, page
from tests.project.running import (
    DEFAULT_HTTP,
    DEFAULT_URL,
    TIMEOUT_SECONDS,
    clean_environment,
    command,
    http_of,
    running,
)
from tests.web.runtimes import Chromium, missing

BLOCKS = blocks(page("docs/tutorial.md"))
PAGE_ORIGIN = "http://127.0.0.1:8000"
#: Python programs and the page say in their first line what to save them as.
NAMED = re.compile(r"(?:# |<!-- )([\w.]+\.(?:py|html))")


def files() -> dict[str, Block]:
    found = {}
    for block in BLOCKS:
        if block.language in ("python", "html"):
            name = NAMED.match(block.text)
            assert name, block.text
            found[name[1]] = block
    return found


def lines() -> list[str]:
    """Every command, in order."""
    return [
        line for block in BLOCKS if block.language == "sh" for line in block.text.splitlines()
    ]  # fmt: skip


class Quiet(SimpleHTTPRequestHandler):
    """``python -m http.server``, without its log."""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def pages_served(place: Path) -> Iterator[str]:
    """The origin of a web server over ``place``."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(place))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def streaming(place: Path) -> Iterator[None]:
    """``stream.py``, from when it says that it streams, until Ctrl-C."""
    child = subprocess.Popen(
        [sys.executable, "-W", "error", "stream.py"],
        cwd=place, env=clean_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert child.stdout is not None
    try:
        assert "streaming" in child.stdout.readline()
        yield
    finally:
        child.terminate()
        child.communicate(timeout=TIMEOUT_SECONDS)


def test_every_command_of_it_is_tried_here() -> None:
    """Those that make an environment are ``make run``'s; the others are run below."""
    known = [
        "git clone <this repository> omendb-ws",
        "cd omendb-ws",
        "python3 -m venv .venv",
        ".venv/bin/python -m pip install --editable .",
        f".venv/bin/omendb-ws serve --allow-origin {PAGE_ORIGIN}",
        ".venv/bin/python stream.py",
        ".venv/bin/omendb-ws search colours 255,128,0 -k 3 --include metadata",
        ".venv/bin/python search.py",
        ".venv/bin/python follow.py",
        ".venv/bin/python -m http.server 8000 --bind 127.0.0.1",
        f".venv/bin/omendb-ws serve --allow-origin {PAGE_ORIGIN} --data-dir data",
    ]
    assert lines() == known


@pytest.mark.skipif(bool(missing()), reason="node, npm or chromium is not installed")
async def test_a_newcomer_comes_to_a_page_with_live_results(tmp_path: Path) -> None:
    place = tmp_path / "work"
    place.mkdir()
    serve, serve_kept = (shlex.split(line)[1:] for line in lines() if "omendb-ws serve" in line)
    with pages_served(place) as origin:
        with running(*(one.replace(PAGE_ORIGIN, origin) for one in serve), cwd=place) as url:
            for name, block in files().items():
                text = block.text.replace(DEFAULT_URL, url).replace(DEFAULT_HTTP, http_of(url))
                (place / name).write_text(text)
            with streaming(place):
                (search,) = (shlex.split(line)[1:] for line in lines() if " search " in line)
                assert '"hex"' in command(*search, cwd=place, OMENDB_URL=url)
                assert len(said(place, "search.py").splitlines()) == 3
                assert said(place, "follow.py").count("entered:") == 5
                await look_at_the_page(f"{origin}/page.html", tmp_path)
        (place / "stream.py").write_text(files()["stream.py"].text)
        rows = []
        for _ in range(2):
            with running(
                *(one.replace(PAGE_ORIGIN, origin) for one in serve_kept), cwd=place
            ) as url:
                text = files()["stream.py"].text.replace(DEFAULT_URL, url)
                (place / "stream.py").write_text(text)
                if not rows:
                    with streaming(place):
                        said(place, "follow.py", url)
                rows.append(command("stats", "colours", "--json", OMENDB_URL=url))
        before, after = (re.findall(r'"(?:rows|last_seq)": ?\d+', text) for text in rows)
        assert before == after


def said(place: Path, name: str, url: str | None = None) -> str:
    """What a program of the tutorial prints."""
    if url is not None:
        (place / name).write_text(files()[name].text.replace(DEFAULT_URL, url))
    done = subprocess.run(
        [sys.executable, "-W", "error", name],
        cwd=place, env=clean_environment(), capture_output=True, text=True,
        timeout=TIMEOUT_SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


async def look_at_the_page(address: str, profile: Path) -> None:
    """Ten colours, other ones for another colour, and nothing goes wrong."""
    shown = "[...document.querySelectorAll('#near li')].map((one) => one.title)"
    with Chromium.started(profile) as browser:
        async with browser.page() as tab:
            await tab.open(address)
            await tab.until("document.querySelectorAll('#near li').length === 10")
            await tab.run(f"globalThis.before = {shown}")
            await tab.run(
                "const picker = document.querySelector('#colour');"
                "picker.value = '#0000ff'; picker.dispatchEvent(new Event('input'));"
            )
            await tab.until(f"!{shown}.some((one) => before.includes(one))")
            await tab.until("document.querySelector('#state').textContent.startsWith('version')")
            assert tab.errors == []
