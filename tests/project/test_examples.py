"""The examples that start their own server run, end by themselves, and tell the truth."""

from __future__ import annotations

import re
import socket
import subprocess
import sys

from tests.project.pages import ROOT, page
from tests.project.running import TIMEOUT_SECONDS, clean_environment

NAMES = ("Ada", "Ben", "Chloe", "Dan")


def test_the_quickstart_says_in_one_line_that_there_is_no_server() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        text = page("examples/quickstart.py").replace(":8765/", f":{nobody.getsockname()[1]}/")
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", text],
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
        )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "no server listens there; omendb-ws serve starts one" in line


def told(example: str) -> list[str]:
    """The lines that an example prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", str(ROOT / "examples" / example)],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_live_recommendations_tell_a_story_that_adds_up() -> None:
    lines = told("live_recommendations.py")
    assert re.fullmatch(r"120 items came, \d+ were looked at; now the shop is closed\.", lines[-1])
    by_visitor = {name: [one for one in lines if one.split()[:1] == [name]] for name in NAMES}
    looks = sum("looks at" in line for line in lines)
    assert f" {looks} were looked at" in lines[-1]
    assert looks >= 1
    assert any("(out of stock)" in line for line in lines)
    for name, said in by_visitor.items():
        assert "undecided" in said[0]
        shown: set[str] = set()
        steps = 0
        for line, after in zip(said, [*said[1:], ""], strict=True):
            if "is shown" not in line:
                continue
            titles = line.split("is shown")[1].split()
            new = {title[1:] for title in titles if title.startswith("+")}
            gone = set(re.findall(r"(\d#\d+) \(", after)) if "no more" in after else set()
            assert len(titles) == 3, line
            assert gone <= shown, line
            shown = (shown - gone) | new
            assert shown == {title.lstrip("+") for title in titles}, line
            steps += 1
        assert steps >= 2, name
