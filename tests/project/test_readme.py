"""README.md is true: its tables are the code's, its commands and examples run.

Every line of a ``sh`` block must be known to ``HOW``; a command that nothing here runs fails.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from omendb_ws.cli import failure
from omendb_ws.config import Settings, load
from omendb_ws.files.formats import FORMATS
from omendb_ws.http import _ROUTES
from omendb_ws.metrics import METRICS
from omendb_ws.web import FILES
from tests.project.pages import ROOT, blocks, names, number, page, section, table
from tests.web.running_examples import running as running_example

PAGE = page("README.md")
DEFAULT_URL = "ws://127.0.0.1:8765/v1"
DEFAULT_HTTP = "http://127.0.0.1:8765"
TIMEOUT_SECONDS = 60


def clean_environment() -> dict[str, str]:
    kept = {name: text for name, text in os.environ.items() if not name.startswith("OMENDB_")}
    return {**kept, "NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "100"}


def command(*arguments: str, cwd: Path = ROOT, **variables: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "omendb_ws", *arguments],
        cwd=cwd,
        env=clean_environment() | variables,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )
    assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
    return done.stdout


@contextmanager
def running(*arguments: str, cwd: Path = ROOT) -> Iterator[str]:
    """A child started with ``arguments`` and a free port; gives the address it prints."""
    child = subprocess.Popen(
        [sys.executable, "-m", "omendb_ws", *arguments, "--port", "0"],
        cwd=cwd,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    try:
        lines = [child.stdout.readline()]
        while not (found := re.search(r"wss?://\S+/v1", lines[-1])):
            assert lines[-1], f"it ended without an address: {lines}"
            lines.append(child.stdout.readline())
        yield found[0]
    finally:
        child.send_signal(signal.SIGTERM)
        child.communicate(timeout=TIMEOUT_SECONDS)
        assert child.returncode == 0


@pytest.fixture(scope="module")
def demo_url() -> Iterator[str]:
    with running("demo", "--seconds", "600") as url:
        yield url


@pytest.fixture(scope="module")
def server_url() -> Iterator[str]:
    with running("serve") as url:
        yield url


# -- commands -------------------------------------------------------------------------------------


def commands() -> list[str]:
    """Every line of every ``sh`` block, continued lines joined, comments gone."""
    found = []
    for block in blocks(PAGE):
        if block.language == "sh":
            for line in block.text.replace("\\\n", " ").splitlines():
                text = " ".join(shlex.split(line, comments=True, posix=False))
                found += [text] if text else []
    assert found
    return found


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
    with running(*arguments, cwd=place) as address:
        http = address.replace("ws://", "http://").removesuffix("/v1")
        with urllib.request.urlopen(f"{http}/readyz", timeout=TIMEOUT_SECONDS) as response:
            assert response.status == 200


def fetches(text: str, url: str, place: Path) -> None:
    address = shlex.split(text)[-1]
    assert address.startswith(DEFAULT_HTTP)
    http = url.replace("ws://", "http://").removesuffix("/v1")
    with urllib.request.urlopen(address.replace(DEFAULT_HTTP, http), timeout=30) as response:
        assert response.status == 200


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
    r"make (run|test|bench|style|types|clean)": makes,
    r"python3 -m venv \.venv|\.venv/bin/python -m (pip install --editable \S+|pytest)"
    r"|\.venv/bin/omendb-ws demo": stands_in_the_makefile,
    r"omendb-ws ping .*": uses_the_demo,
    r"omendb-ws (list|load|dump|search|stats|tail|top|drop).*": asks_the_demo,
    r"omendb-ws (--version|check-config.*|new-key.*)": prints,
    r"omendb-ws serve.*": serves,
    r"curl .*": fetches,
    r"\.venv/bin/python -m examples\.\w+": shows_a_page,
    r"git clone .*|cd .*": changes_directory,
}


@pytest.mark.parametrize("text", commands())
def test_a_command_runs(
    text: str, demo_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handlers = [run for pattern, run in HOW.items() if re.fullmatch(pattern, text)]
    assert len(handlers) == 1, f"no test knows how to run: {text}"
    if "keys.toml" in text and ">>" not in text:
        (tmp_path / "keys.toml").write_text(command("new-key", "--name", "app"))
    handlers[0](text, demo_url, tmp_path)


# -- examples -------------------------------------------------------------------------------------


def examples(language: str) -> list[str]:
    found = [block.text for block in blocks(PAGE) if block.language == language]
    assert found, language
    return found


def test_the_quickstart_is_the_example() -> None:
    assert page("examples/quickstart.py") in examples("python")


@pytest.mark.parametrize("text", examples("python"))
def test_a_python_example_runs_and_prints_what_it_says(text: str, demo_url: str) -> None:
    """Against the demo's server, which is what a reader has; comments ``# prints …`` hold."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", text.replace(DEFAULT_URL, demo_url)],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


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
    http = demo_url.replace("ws://", "http://").removesuffix("/v1")
    with urllib.request.urlopen(f"{http}/client.js", timeout=TIMEOUT_SECONDS) as response:
        (tmp_path / "client.mjs").write_bytes(response.read())
    script = text.replace(f"{DEFAULT_HTTP}/client.js", (tmp_path / "client.mjs").as_uri())
    script = script.replace(DEFAULT_URL, demo_url)
    done = subprocess.run(
        [node() or "", "--no-warnings", "--experimental-websocket", "--input-type=module", "-"],
        input=f"setTimeout(() => process.exit(0), 3000);\n{script}",
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    assert "nearest digits: [" in done.stdout, done.stdout
    assert "enter: [" in done.stdout, done.stdout


# -- settings, flags, metrics, routes -------------------------------------------------------------


def setting_rows() -> dict[str, tuple[str, str]]:
    rows = table(section(PAGE, "## Settings"), "setting")
    return {names(row[0])[0]: (row[1], row[2]) for row in rows}


def test_every_setting_is_documented_and_no_other() -> None:
    assert set(setting_rows()) == set(Settings.model_fields)


def test_every_settings_default_is_the_codes() -> None:
    defaults = load({}, {}).settings
    told = {name: text for name, (text, _) in setting_rows().items()}
    assert told.pop("max_memory_bytes") == "70% of the machine's"
    for name, text in told.items():
        value = getattr(defaults, name)
        if value in (None, ()):
            assert text == "none", name
        elif isinstance(value, str):
            assert text == f"`{value}`", name
        elif isinstance(value, float):
            assert float(text) == value, name
        else:
            assert number(text) == value, name


def flags(*subcommand: str) -> set[str]:
    said = command(*subcommand, "--help")
    options = said[said.index("Options:") :]
    return set(re.findall(r"^  (?:-\w, )*(--?[a-z][a-z-]*)", options, re.M)) - {"--help"}


#: What every command that talks to a server takes; README says it once.
COMMON_FLAGS = {
    "--url", "--token", "--token-file", "--ca-file", "--timeout-seconds", "--json",
}  # fmt: skip


def test_every_flag_of_serve_is_documented_and_no_other() -> None:
    rows = table(section(PAGE, "## Settings"), "flag")
    assert {name for row in rows for name in names(row[0])} == flags("serve")


def test_every_command_and_its_flags_are_documented_and_no_other() -> None:
    rows = {names(row[0])[0]: row[1] for row in table(PAGE, "command", "what it does", "flags")}
    listed = re.search(r"Commands:\n((?:  .*\n)+)", command("--help"))
    assert listed
    assert set(rows) == set(re.findall(r"^  ([a-z][a-z-]*)", listed[1], re.M))


def command_rows() -> dict[str, str]:
    """Command -> its flags, as the table has them."""
    return {names(row[0])[0]: row[2] for row in table(PAGE, "command", "what it does", "flags")}


#: Commands that talk to no server, or to none by the common flags.
WITHOUT_A_SERVER = {"demo", "ping", "new-key", "inspect", "repair", "backup", "restore"}


@pytest.mark.parametrize("name", sorted(set(command_rows()) - {"serve", "check-config"}))
def test_a_commands_flags_are_documented(name: str) -> None:
    told = set(names(command_rows()[name]))
    found = flags(name)
    if name not in WITHOUT_A_SERVER:
        assert found >= COMMON_FLAGS
        found -= COMMON_FLAGS
    assert told == found


def test_every_exit_code_is_documented_and_no_other() -> None:
    codes = {failure.FAILED, failure.WRONG, failure.NO_SERVER, failure.INTERRUPTED}
    told = [int(row[0]) for row in table(PAGE, "exit code", "when")]
    assert told == sorted({0, *codes})


def test_every_format_of_files_is_documented() -> None:
    files = page("README.md").split("**Files.**")[1].split("**Watching.**")[0]
    for format in FORMATS:
        assert format in files.lower(), format


def test_every_metric_is_documented_with_its_kind_and_no_other() -> None:
    rows = table(section(PAGE, "## Watching it"), "metric")
    told = {names(row[0])[0]: (row[1], names(row[2])) for row in rows}
    coded = {
        metric.name + ("_total" if metric.kind == "counter" else ""): metric for metric in METRICS
    }
    assert {name: kind for name, (kind, _) in told.items()} == {
        name: metric.kind for name, metric in coded.items()
    }
    for name, metric in coded.items():
        if metric.label is not None:
            assert metric.label in told[name][1], name


def test_every_metric_stands_on_the_page_of_a_running_server(server_url: str) -> None:
    http = server_url.replace("ws://", "http://").removesuffix("/v1")
    with urllib.request.urlopen(f"{http}/metrics", timeout=30) as response:
        text = response.read().decode()
    for row in table(section(PAGE, "## Watching it"), "metric"):
        name = names(row[0])[0]
        assert re.search(
            rf"^# TYPE {name.removesuffix('_total')}(_total)? {row[1]}$", text, re.M
        ), name


def test_every_route_is_documented() -> None:
    rows = table(section(PAGE, "## Watching it"), "address")
    told = {name for row in rows for name in names(row[0])}
    assert told == set(_ROUTES) | {path for path in FILES if not path.startswith("/console/")}


def test_every_error_class_that_the_readme_names_is_there() -> None:
    import omendb_ws

    for name in re.findall(r"except (?:\w+\.)*(\w+)", PAGE):
        assert hasattr(omendb_ws, name), name


def test_what_the_readme_links_to_is_there() -> None:
    for target in re.findall(r"\]\(([^)#]+)", PAGE):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target
    for target in re.findall(r'src="([^"]+)"', PAGE):
        assert (ROOT / target).exists(), target
