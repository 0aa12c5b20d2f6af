"""The scripts that visitors copy."""

from __future__ import annotations

import ast
import asyncio
import re
import sys

from omendb_ws.net.server import Server
from omendb_ws.node.config import Settings
from tests.project.pages import ROOT

PLAIN = ROOT / "load_tests" / "plain_websockets.py"
LOCUST = ROOT / "load_tests" / "locustfile.py"
A_PAGE_LINES = 110


async def run(*arguments: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(PLAIN), *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    shown, _ = await process.communicate()
    return process.returncode, shown.decode()


async def test_the_plain_script_runs_and_prints_its_figures() -> None:
    async with Server(Settings(port=0)) as server:
        code, shown = await run(server.url, "--rate", "200", "--seconds", "0.5")
        assert code == 0, shown
        assert "100 searches, 100 answered, 0 errors" in shown
        found = re.search(r"ms: p50 ([\d.]+) p90 ([\d.]+) p99 ([\d.]+) .*max ([\d.]+)", shown)
        assert found, shown
        times = [float(one) for one in found.groups()]
        assert 0 < times[0] <= times[1] <= times[2] <= times[3]
        # It drops its collection: it runs a second time.
        code, shown = await run(server.url, "--rate", "50", "--seconds", "0.1")
        assert code == 0, shown


async def test_the_plain_script_says_what_the_server_refused() -> None:
    async with Server(Settings(port=0, max_dim=8)) as server:
        code, shown = await run(server.url)
    assert code == 1
    assert "create: too_large" in shown
    assert "Traceback" not in shown


def imported(path: str) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path)):
        if isinstance(node, ast.Import):
            found |= {one.name.split(".")[0] for one in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").split(".")[0])
    return found


def test_the_scripts_are_a_page_long_and_need_nothing_of_this_project() -> None:
    for path, needed in ((PLAIN, {"websockets"}), (LOCUST, {"websockets", "locust"})):
        source = path.read_text("utf-8")
        assert len(source.splitlines()) <= A_PAGE_LINES
        assert imported(source) - set(sys.stdlib_module_names) == needed
