"""docs/how-to/backups.md, from its first command to its last, as an operator does it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from omendb_ws.sync import connect
from tests.cli.commands import serving
from tests.project.pages import blocks, page
from tests.project.running import DEFAULT_URL, TIMEOUT_SECONDS, clean_environment

STEPS = [block.text for block in blocks(page("docs/how-to/backups.md")) if block.language == "sh"]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_every_step_does_what_the_page_says(tmp_path: Path) -> None:
    data_dir, backups, tried = (str(tmp_path / name) for name in ("data", "backups", "tried"))
    Path(backups).mkdir()
    environment = clean_environment()
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment["PATH"]])
    with serving("--data-dir", data_dir, "--http-port", "0") as server:
        url, http = re.findall(r"(?:ws|http)://\S+", server.ready_line)
        with connect(url) as db:
            db.create("items", dim=2, capacity=10, durability="always")
            db.add("items", [[1.0, 0.0]], ids=[1])
        for step in STEPS:
            for shown, real in (
                (DEFAULT_URL, url),
                ("http://127.0.0.1:8766", http.rstrip("/")),
                ("/var/lib/omendb", data_dir),
                ("/backups", backups),
                ("/tmp/tried", tried),
            ):
                step = step.replace(shown, real)
            done = subprocess.run(
                ["bash", "-euc", step],
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                timeout=TIMEOUT_SECONDS,
            )
            assert done.returncode == 0, (step, done.stdout, done.stderr)
        with connect(url) as db:
            found = {one.collection: one.rows for one in db.list()}
    assert found == dict.fromkeys(("items", "items-old", "items-again", "items-third"), 1)
