"""The commands of README and docs/ run.

Every line of a ``sh`` block must be known to ``HOW``; a command that nothing here runs fails. What
cannot run anywhere (on a disk of your own, for another host) is ``text``.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from omendb_ws.access.keyring import Keyring, key_entry
from omendb_ws.tenants.limits import TenantLimits
from tests.access.jwt_making import pem
from tests.project.demo import streaming_demo
from tests.project.pages import ROOT, blocks, handwritten, page
from tests.project.running import (
    DEFAULT_HTTP,
    DEFAULT_URL,
    TIMEOUT_SECONDS,
    command,
    http_of,
    running,
)
from tests.web.running_examples import running as running_example


@pytest.fixture(scope="module")
def demo_url() -> Iterator[str]:
    with streaming_demo() as url:
        yield url


STORIES = ("docs/tutorial.md", "docs/how-to/backups.md")


def commands() -> list[str]:
    """Every line of every ``sh`` block, continued lines joined, comments gone, each once.

    Some pages are one story, whose steps are run in order: ``test_tutorial.py``,
    ``test_backups_page.py``.
    """
    found: dict[str, None] = {}
    for name in handwritten():
        for block in blocks(page(name)):
            if block.language == "sh" and name not in STORIES:
                for line in block.text.replace("\\\n", " ").splitlines():
                    text = " ".join(shlex.split(line, comments=True, posix=False))
                    found.update({text: None} if text else {})
    assert len(found) > 20
    return list(found)


def makes(text: str, url: str, place: Path) -> None:
    """A target that is there; what it does is ``test_make``'s."""
    target = text.split()[1]
    assert re.search(rf"^{target}:", page("Makefile"), re.M), target


def stands_in_the_makefile(text: str, url: str, place: Path) -> None:
    """What make does by itself: its own lines, without what makes pip quiet."""
    done = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", "run", "test", f"VENV={place}"],
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if k not in {"MAKEFLAGS", "MAKELEVEL", "PYTHON"}},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    plain = done.stdout.replace(str(place), ".venv")
    plain = plain.replace(" -qq --disable-pip-version-check", "")
    assert re.search(rf"^{re.escape(text)}( \|\||$)", plain, re.M), text


def uses_the_demo(text: str, url: str, place: Path) -> None:
    """A command of ours against the demo that runs already."""
    command(*shlex.split(text.replace(DEFAULT_URL, url))[1:], cwd=place)


def asks_the_demo(text: str, url: str, place: Path) -> None:
    """A command that finds its server in OMENDB_URL, against the demo that runs already."""
    np.save(place / "vectors.npy", np.random.default_rng(1).normal(size=(100, 8)))
    if " news " in text:  # what the page's first example has made
        example = next(one.text for one in blocks(page("docs/how-to/ranking.md")))
        made = [sys.executable, "-c", example.replace(DEFAULT_URL, url)]
        subprocess.run(made, check=True, timeout=TIMEOUT_SECONDS)
    if " vectors " in f"{text} ":  # what the line with load has made
        command(
            "load", "vectors.npy", "-c", "vectors", "--create", "--again", cwd=place, OMENDB_URL=url
        )
    command(*shlex.split(text, comments=True)[1:], cwd=place, OMENDB_URL=url)


def prints(text: str, url: str, place: Path) -> None:
    output, _, file = text.partition(" >> ")
    said = command(*shlex.split(output)[1:], cwd=place)
    if file:
        (place / file).write_text(said)


def serves(text: str, url: str, place: Path) -> None:
    """Start it on a free port, ask whether it is ready, end it."""
    arguments = shlex.split(text)[1:]
    if "--port" in arguments:
        at = arguments.index("--port")
        del arguments[at : at + 2]
    with (
        running(*arguments, cwd=place) as address,
        urllib.request.urlopen(f"{http_of(address)}/readyz", timeout=TIMEOUT_SECONDS) as response,
    ):
        assert response.status == 200


def fetches(text: str, url: str, place: Path) -> None:
    address = shlex.split(text)[-1]
    assert address.startswith(DEFAULT_HTTP)
    with urllib.request.urlopen(
        address.replace(DEFAULT_HTTP, http_of(url)), timeout=TIMEOUT_SECONDS
    ) as answer:
        assert answer.status == 200


def shows_a_page(text: str, url: str, place: Path) -> None:
    """An example with a page: it is there, at the address that is printed."""
    with (
        running_example(text.split()[-1]) as example,
        urllib.request.urlopen(example.page, timeout=TIMEOUT_SECONDS) as response,
    ):
        assert b"<title>" in response.read()


def changes_directory(text: str, url: str, place: Path) -> None:
    """``git clone`` and ``cd`` are how a reader came here."""


HOW: dict[str, Callable[[str, str, Path], None]] = {
    r"make (run|test|bench|style|types|docs|clean)": makes,
    r"python3 -m venv \.venv|\.venv/bin/python -m (pip install --editable \S+|pytest)"
    r"|\.venv/bin/omendb-ws demo": stands_in_the_makefile,
    r"omendb-ws ping .*": uses_the_demo,
    r"omendb-ws (list|create|load|dump|search|count|stats|usage|tail|top|drop).*": asks_the_demo,
    r"omendb-ws (--version|check-config.*|new-key.*)": prints,
    r"omendb-ws serve.*": serves,
    r"curl .*": fetches,
    r"\.venv/bin/python -m examples\.\w+": shows_a_page,
    r"git clone .*|cd .*": changes_directory,
}


@pytest.mark.parametrize("text", commands())
def test_a_command_runs(text: str, demo_url: str, tmp_path: Path) -> None:
    handlers = [run for pattern, run in HOW.items() if re.fullmatch(pattern, text)]
    assert len(handlers) == 1, f"no test knows how to run: {text}"
    if "keys.toml" in text and "new-key" not in text:
        (tmp_path / "keys.toml").write_text(command("new-key", "--name", "app"))
    if "tenants.toml" in text:
        (tenants,) = [one for one in toml_blocks() if "[tenants." in one]
        (tmp_path / "tenants.toml").write_text(tenants)
    handlers[0](text, demo_url, tmp_path)


#: Commands that the pages show and that cannot run as they stand there.
COMMAND = re.compile(r"omendb-ws ((?:cluster )?[a-z][a-z-]*)(?: [^`\n]*?)?(?=[`\n]|$)")


def test_a_command_that_is_only_shown_has_flags_that_are_there() -> None:
    """Of `code` in prose and of ``text`` blocks."""
    known = page("docs/reference/command-line.md")
    shown: set[tuple[str, str]] = set()
    for name in handwritten():
        text = page(name).replace("\\\n", " ")
        for found in COMMAND.finditer(text):
            shown |= {(found[1], flag) for flag in re.findall(r" (--[a-z-]+)", found[0])}
    assert len(shown) > 20
    for subcommand, flag in sorted(shown):
        section = known.split(f"\n## `{subcommand}`\n")[1].split("\n## ")[0]
        common = known.split("\n## Flags of every client\n")[1].split("\n## ")[0]
        assert f"`{flag}`" in section + common or flag == "--help", (subcommand, flag)


def toml_blocks() -> list[str]:
    found = [
        block.text for name in handwritten() for block in blocks(page(name))
        if block.language == "toml"
    ]  # fmt: skip
    assert found
    return found


@pytest.mark.parametrize("text", toml_blocks())
def test_a_file_of_settings_or_keys_is_taken(text: str, tmp_path: Path) -> None:
    file = tmp_path / "file.toml"
    file.write_text(text)
    file.chmod(0o600)
    (tmp_path / "public.pem").write_bytes(pem("ec"))
    (tmp_path / "keys.toml").write_text(key_entry("app", "default", ("read",), "a-token"))
    (tmp_path / "one").mkdir()
    document = tomllib.loads(text)
    if "keys" in document:
        assert Keyring.load(file)
    elif "tenants" in document:
        assert TenantLimits.load(file, 1000).named
    else:
        command("check-config", "--config", str(file))
