"""docs/reference/ is what the code says: the pages are as they are made today, and hold everything.

The second half asks the program itself (its help, its page of metrics, its routes), so that a page
cannot be wrong together with what makes it.
"""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Iterator

import omendb_core.model.errors
import pytest

import omendb_ws
from docs.tools.reference import FOLDER, PAGES
from omendb_ws.cli import failure
from omendb_ws.files.formats import FORMATS
from omendb_ws.http.routes import _ROUTES
from omendb_ws.node.config import Settings
from omendb_ws.node.settings_sources import load
from omendb_ws.telemetry.prometheus import METRICS
from omendb_ws.web import FILES
from omendb_ws.wire import opcodes
from tests.patience import PATIENCE_SECONDS
from tests.project.pages import MADE, names, number, page, section, table
from tests.project.running import command, http_of, running

COMMAND_LINE = page("docs/reference/command-line.md")
#: What every command that talks to a server takes; the page says it once.
COMMON_FLAGS = {
    "--url", "--token", "--token-file", "--ca-file", "--timeout-seconds", "--json",
}  # fmt: skip
#: Commands that talk to no server, or to none by the common flags.
WITHOUT_A_SERVER = {
    "serve", "check-config", "check-token", "demo", "ping", "new-key", "inspect", "repair",
    "backup", "restore", "size", "upgrade-check", "cluster start",
    "mcp",  # it talks to one, and prints nothing
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(PAGES))
def test_a_page_is_as_it_is_made_today(name: str) -> None:
    text = (FOLDER / name).read_text("utf-8")
    assert text.startswith(MADE)
    assert text == PAGES[name](), "write it anew: make reference"


def test_no_other_page_says_that_it_was_made() -> None:
    found = {path.name for path in FOLDER.glob("*.md") if path.read_text("utf-8").startswith(MADE)}
    assert found == set(PAGES)


# -- settings, limits, errors ---------------------------------------------------------------------


def setting_rows() -> dict[str, list[str]]:
    rows = table(page("docs/reference/settings.md"), "setting")
    return {names(row[0])[0]: row for row in rows}


def test_every_setting_is_documented_and_no_other() -> None:
    assert set(setting_rows()) == set(Settings.model_fields)


def test_every_settings_default_is_the_codes() -> None:
    defaults = load({}, {}).settings
    told = {name: row[1] for name, row in setting_rows().items()}
    assert told.pop("max_memory_bytes") == "70% of the machine's"
    for name, text in told.items():
        value = getattr(defaults, name)
        if value in (None, (), {}):
            assert text == "none", name
        elif isinstance(value, tuple):
            assert names(text) == list(value), name
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


def test_every_flag_of_serve_is_beside_its_setting_and_no_other() -> None:
    told = {name for row in setting_rows().values() for name in names(row[2])}
    assert told == flags("serve")


def test_every_limit_is_documented_with_its_default() -> None:
    told = {names(row[0])[0]: row[1] for row in table(page("docs/reference/limits.md"), "limit")}
    assert told.pop("max_memory_bytes") == "70% of the machine's"
    coded = {name: limit.default for name, limit in opcodes.LIMITS.items()}
    del coded["max_memory_bytes"]
    assert {name: number(text) for name, text in told.items()} == coded


def test_every_error_is_documented_with_its_class_and_retry() -> None:
    told = {
        names(row[0])[0]: (names(row[1])[0], row[2])
        for row in table(page("docs/reference/errors.md"), "code", "Python class")
    }
    assert told == {
        code: (cls.__name__, "yes" if cls.retry else "no")
        for code, cls in omendb_core.model.errors.BY_CODE.items()
    }
    for name, _ in told.values():
        assert hasattr(omendb_ws, name)


def test_every_close_code_is_documented() -> None:
    rows = table(page("docs/reference/errors.md"), "code", "why the server closed")
    assert {int(names(row[0])[0]) for row in rows} == set(opcodes.CLOSE_CODES)


# -- the command line -----------------------------------------------------------------------------


def command_rows() -> set[str]:
    return {names(row[0])[0] for row in table(COMMAND_LINE, "command", "what it does")}


def test_every_command_is_documented_and_no_other() -> None:
    listed = commands_of("--help") - {"cluster"}
    assert command_rows() == listed | {f"cluster {one}" for one in commands_of("cluster", "--help")}


def commands_of(*arguments: str) -> set[str]:
    listed = re.search(r"Commands:\n((?:  .*\n)+)", command(*arguments))
    assert listed
    return set(re.findall(r"^  ([a-z][a-z_-]*)", listed[1], re.M))


@pytest.mark.parametrize("name", sorted(command_rows()))
def test_a_commands_flags_are_documented_and_no_other(name: str) -> None:
    text = section(COMMAND_LINE, f"## `{name}`")
    rows = table(text, "flag") if "| flag |" in text else []
    told = {names(row[0])[-1] for row in rows if names(row[0])[-1].startswith("-")}
    found = flags(*name.split())
    if name not in WITHOUT_A_SERVER:
        assert found >= COMMON_FLAGS
        assert "(#flags-of-every-client)" in text
        found -= COMMON_FLAGS
    assert told == found


def test_the_common_flags_are_documented() -> None:
    rows = table(section(COMMAND_LINE, "## Flags of every client"), "flag")
    assert {names(row[0])[0] for row in rows} == COMMON_FLAGS


def test_every_exit_code_is_documented_and_no_other() -> None:
    codes = {
        failure.FAILED, failure.WRONG, failure.NO_SERVER, failure.LATE, failure.INTERRUPTED,
    }  # fmt: skip
    told = [int(row[0]) for row in table(COMMAND_LINE, "exit code", "when")]
    assert told == sorted({0, *codes})


def test_every_format_of_files_is_documented() -> None:
    told = {
        name.removeprefix(".")
        for row in table(page("docs/how-to/files.md"), "format")
        for name in names(row[0])
    }
    assert told == set(FORMATS)


# -- metrics and routes ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server_url() -> Iterator[str]:
    with running("serve") as url:
        yield url


def metric_rows() -> dict[str, list[str]]:
    rows = table(page("docs/reference/metrics.md"), "metric")
    return {names(row[0])[0]: row for row in rows}


def test_every_metric_is_documented_with_its_kind_and_no_other() -> None:
    coded = {
        metric.name + ("_total" if metric.kind == "counter" else ""): metric for metric in METRICS
    }
    told = metric_rows()
    assert {name: row[1] for name, row in told.items()} == {
        name: metric.kind for name, metric in coded.items()
    }
    for name, metric in coded.items():
        assert names(told[name][2]) == list(metric.labels), name


def test_every_metric_stands_on_the_page_of_a_running_server(server_url: str) -> None:
    with urllib.request.urlopen(
        f"{http_of(server_url)}/metrics", timeout=PATIENCE_SECONDS
    ) as response:
        text = response.read().decode()
    for name, row in metric_rows().items():
        assert re.search(
            rf"^# TYPE {name.removesuffix('_total')}(_total)? {row[1]}$", text, re.M
        ), name


def test_every_metric_that_a_page_tells_to_watch_is_there() -> None:
    told = set(re.findall(r"omendb_\w+", page("docs/how-to/monitoring.md")))
    told |= set(re.findall(r"omendb_\w+", page("docs/how-to/keys.md")))
    told |= set(re.findall(r"omendb_tenant_\w+", page("docs/how-to/tenants.md")))
    assert told <= set(metric_rows())


def test_every_route_is_documented() -> None:
    told = {
        name for row in table(page("docs/reference/http.md"), "address") for name in names(row[0])
    }
    assert told == set(_ROUTES) | {
        path for path in FILES if not path.startswith(("/client/", "/console/"))
    }


# -- clients and protocol -------------------------------------------------------------------------


def test_every_public_name_of_the_python_client_is_documented() -> None:
    python, errors = page("docs/reference/python.md"), page("docs/reference/errors.md")
    told = set(re.findall(r"^::: omendb_ws\.(\w+)", python, re.M)) | set(names(errors))
    missing = set(omendb_ws.__all__) - told - {"errors", "sync"}
    assert missing == {"Connecting"}  # what connect returns


def test_every_export_of_the_javascript_client_is_documented() -> None:
    files = ("client.d.ts", "snapshots.d.ts", "cluster.d.ts")
    types = "".join(page(f"omendb_ws/web/{name}") for name in files)
    told = re.findall(r"^## (\w+)$", page("docs/reference/javascript.md"), re.M)
    assert told == re.findall(r"^export \w+ (\w+)", types, re.M)


def test_every_op_subscription_and_kind_is_documented() -> None:
    text = page("docs/reference/protocol.md")
    told = set(re.findall(r"^### `(\w+)`$", text, re.M))
    assert told == set(opcodes.OPS) | set(opcodes.SUBSCRIPTION_KINDS)
    kinds = {int(row[0]) for row in table(text, "kind", "name")}
    assert kinds == set(opcodes.KINDS)
