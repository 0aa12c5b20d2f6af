"""The commands that need no server: help, version, check-config, new-key."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from omendb_core.scan import choice as scan

from omendb_ws.access.keyring import Keyring, key_entry
from omendb_ws.cli.serve import BLAS_VARIABLES
from omendb_ws.node.config import Settings
from omendb_ws.node.settings_sources import flag
from tests.certificates import make_certificate
from tests.cli import commands
from tests.cli.commands import environment, serving
from tests.cli.here import omendb_ws
from tests.patience import PATIENCE_SECONDS

COMMANDS = [
    "serve", "demo", "ping", "list", "create", "drop", "load", "dump", "search", "count",
    "stats", "usage", "cluster",
    "tail", "top", "check-config", "check-token", "new-key",
    "size", "upgrade-check", "mcp",
]  # fmt: skip


def python(code: str, **variables: str) -> str:
    """What ``code`` prints in a fresh interpreter."""
    finished = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        env=environment(**variables),
        check=True,
    )
    return finished.stdout


# -- help and version -------------------------------------------------------------------------


def test_the_version_names_the_kernel_and_the_event_loop() -> None:
    finished = commands.omendb_ws("--version", OMENDB_EVENT_LOOP="asyncio")
    assert finished.returncode == 0
    assert finished.stdout.startswith("omendb-ws ")
    assert finished.stdout.endswith(f"(kernel {scan.names()[0]}, event loop asyncio)\n")
    assert finished.stderr == ""


@pytest.mark.parametrize("name", ["OMENDB_EVENT_LOOP", "OMENDB_KERNEL"])
def test_a_kernel_or_event_loop_that_is_not_there_is_one_line(name: str) -> None:
    finished = commands.omendb_ws("--version", **{name: "warp"})
    assert finished.returncode == 2
    assert finished.stdout == ""
    (line,) = finished.stderr.splitlines()
    assert "'warp'" in line
    assert "reference" in line or "asyncio" in line


def test_help_lists_every_command_and_shows_examples() -> None:
    finished = omendb_ws("--help")
    assert finished.returncode == 0
    listed = finished.stdout.split("Commands:")[1].split("Examples:")[0]
    for command in COMMANDS:
        assert f"\n  {command} " in listed
    assert "omendb-ws demo" in finished.stdout.split("Examples:")[1]


@pytest.mark.parametrize("command", [one for one in COMMANDS if one != "demo"])
def test_every_command_has_an_example(command: str) -> None:
    finished = omendb_ws(command, "--help")
    assert finished.returncode == 0
    assert f"omendb-ws {command}" in finished.stdout.split("Example")[1]


def test_help_tells_the_defaults_that_the_settings_have() -> None:
    text = " ".join(omendb_ws("serve", "--help").stdout.split("Options:")[1].split())
    for name in ("host", "port", "log_format", "log_level", "drain_seconds"):
        told = text.split(f"{flag(name)} ")[1].split("[default: (")[1].split(")")[0]
        assert told == str(Settings.model_fields[name].default), name
    assert text.split("--max-memory-bytes ")[1].split("[default: (")[1].startswith("70% of")


def test_serve_and_check_config_take_the_same_flags() -> None:
    def flags(command: str) -> set[str]:
        words = omendb_ws(command, "--help").stdout.split()
        return {word for word in words if word.startswith("--") and word != "--"}

    of_serve = flags("serve")
    assert of_serve - {"--format"} | {"--json"} == flags("check-config") - {"--format"}
    names = {flag(name) for name in Settings.model_fields}
    assert of_serve - {"--help"} - {"--port", "--log-format"} <= names
    for name in ("--host", "--port", "--config", "--data-dir", "--api-key-file", "--allow-origin"):
        assert name in of_serve


def test_help_and_version_load_nothing_that_they_do_not_need() -> None:
    heavy = ["numpy", "pydantic", "websockets", "rich.console", "prometheus_client", "orjson"]
    code = f"""
import sys
import omendb_ws.cli
print([name for name in {heavy} if name in sys.modules])
"""
    assert python(code).strip() == "[]"


def test_blas_is_held_to_one_thread_before_numpy_is_there_and_a_users_choice_is_kept() -> None:
    code = """
import os, sys
from omendb_ws.cli import serve
from omendb_ws.cli.loading import load_settings
load_settings({})
assert "numpy" not in sys.modules
serve.one_blas_thread()
assert "numpy" not in sys.modules
print(*(os.environ[name] for name in serve.BLAS_VARIABLES))
"""
    first, *others = BLAS_VARIABLES
    kept = {first: "3"} | dict.fromkeys(others, "")
    assert python(code, **{first: "3"}).split()[0] == "3"
    assert "OPENBLAS_NUM_THREADS" in kept
    unset = {name: text for name, text in os.environ.items() if name not in BLAS_VARIABLES}
    finished = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_SECONDS,
        env=unset, check=True,
    )  # fmt: skip
    assert finished.stdout.split() == ["1"] * len(BLAS_VARIABLES)


@pytest.mark.parametrize(
    "arguments",
    [
        ["bogus"],
        ["serve", "--bogus"],
        ["serve", "extra"],
        ["ping", "--count", "0"],
        ["ping", "--count", "9" * 5000],
        ["search", "items", "1,2", "-k", "many"],
        ["load", "a\nb"],
        ["new-key"],
        [],
    ],
)
def test_a_wrong_use_is_exit_code_2(arguments: list[str]) -> None:
    finished = omendb_ws(*arguments)
    assert finished.returncode == 2
    assert finished.stdout == ""
    if arguments:
        (line,) = finished.stderr.splitlines()
        assert line.startswith("omendb-ws: ")
        assert line.endswith(" --help")
    else:
        assert "Commands:" in finished.stderr


# -- check-config -----------------------------------------------------------------------------


def test_check_config_tells_every_value_and_where_it_comes_from(tmp_path: Path) -> None:
    path = tmp_path / "omendb.toml"
    path.write_text("max_k = 5\nmax_ids = 6")
    finished = omendb_ws("check-config", "--config", str(path), "--port", "1", OMENDB_MAX_IDS="60")
    assert finished.returncode == 0
    assert finished.stderr == ""
    rows = {line.split()[0]: line.split(maxsplit=2)[1:] for line in finished.stdout.splitlines()}
    assert rows["max_k"] == ["5", f"file {path}"]
    assert rows["max_ids"] == ["60", "environment OMENDB_MAX_IDS"]
    assert rows["port"] == ["1", "flag --port"]
    assert rows["max_dim"] == ["4096", "default"]
    assert list(rows) == list(Settings.model_fields)


def test_check_config_speaks_json() -> None:
    finished = omendb_ws(
        "check-config", "--json", "--allow-origin", "http://a", "--allow-origin", "HTTP://B:80"
    )
    assert finished.returncode == 0
    document = json.loads(finished.stdout)
    assert list(document["settings"]) == list(Settings.model_fields)
    assert document["settings"]["allow_origins"] == {
        "value": ["http://a", "http://b"],
        "source": "flag --allow-origin",
    }
    assert document["settings"]["api_key_file"] == {"value": None, "source": "default"}
    assert document["warnings"] == []


@pytest.mark.parametrize("command", [["check-config"], ["serve", "--port", "0"]])
def test_wrong_settings_are_a_line_each_and_exit_code_2(command: list[str]) -> None:
    finished = omendb_ws(
        *command, "--host", "0.0.0.0", "--log-format", "xml",
        OMENDB_MAX_K="0", OMENDB_DEFAULT_DURABILITY="always",
    )  # fmt: skip
    assert finished.returncode == 2
    assert finished.stdout == ""
    lines = sorted(finished.stderr.splitlines())
    assert [line.split()[1] for line in lines] == [
        "allow_origins", "default_durability", "log_format", "max_k",
    ]  # fmt: skip
    assert all(line.startswith("omendb-ws: ") for line in lines)
    assert "(environment OMENDB_MAX_K)" in lines[3]


def test_check_config_names_what_is_wrong_in_every_place_at_once(tmp_path: Path) -> None:
    path = tmp_path / "omendb.toml"
    path.write_text("prot = 1\nmax_k = 0")
    keys = tmp_path / "keys.toml"
    keys.write_text("[[keys]]\nname = 'a'")
    finished = omendb_ws(
        "check-config", "--config", str(path), "--port", "http", "--drain-seconds", "long",
        "--api-key-file", str(keys), "--tls-certificate-file", str(path),
        "--tls-key-file", str(keys),
        OMENDB_MAX_IDS="many", OMENDB_KERNEL="warp", OMENDB_EVENT_LOOP="spiral",
    )  # fmt: skip
    assert finished.returncode == 2
    assert finished.stdout == ""
    said = sorted(line.removeprefix("omendb-ws: ") for line in finished.stderr.splitlines())
    assert [line.split(" ")[0] for line in said] == [
        "TLS", "drain_seconds", "event_loop", "key", "max_ids", "max_k", "no", "port", "prot",
    ]  # fmt: skip
    assert "Traceback" not in finished.stderr


@pytest.mark.parametrize("command", [["check-config"], ["serve", "--port", "0"]])
def test_a_wrong_tenants_file_is_named_by_file_table_and_field(
    command: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "tenants.toml"
    path.write_text("[tenants.acme]\nrows_per_second = -1")
    finished = omendb_ws(*command, OMENDB_TENANTS_FILE=str(path))
    assert finished.returncode == 2
    assert finished.stdout == ""
    assert finished.stderr.splitlines()[-1] == (
        f"omendb-ws: tenants_file {path}: [tenants.acme]: rows_per_second = -1: must be a number"
        " from 0.001 to 9007199254740991"
    )


def test_a_wrong_tenants_file_is_named_beside_other_faults(tmp_path: Path) -> None:
    path = tmp_path / "tenants.toml"
    path.write_text("[tenants.acme]\nmax_rows = 1")
    finished = omendb_ws("check-config", OMENDB_TENANTS_FILE=str(path), OMENDB_MAX_K="0")
    assert [line.split()[1] for line in finished.stderr.splitlines()] == ["max_k", "tenants_file"]


def test_empty_variables_and_a_service_link_start_a_server_that_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "omendb.toml"
    config.write_text("port = 0")
    empty = {f"OMENDB_{name.upper()}": "" for name in Settings.model_fields if name != "port"}
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    with serving("--config", str(config), OMENDB_PORT="tcp://10.96.0.12:8765", **empty) as server:
        assert server.port
        server.send(signal.SIGTERM)
        code, _, log = server.finish()
    assert code == 0
    assert "what Kubernetes sets" in log
    assert os.listdir(tmp_path) == ["omendb.toml"]


@pytest.mark.parametrize("command", [["check-config"], ["serve", "--port", "0"]])
def test_bad_files_are_a_line_and_exit_code_2(command: list[str], tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.write_text("")
    for flags in (
        ["--api-key-file", str(empty)],
        ["--tls-certificate-file", str(empty), "--tls-key-file", str(empty)],
    ):
        finished = omendb_ws(*command, *flags, OMENDB_LOG_LEVEL="warning")
        assert finished.returncode == 2
        (line,) = finished.stderr.splitlines()
        assert str(empty) in line


def test_check_config_warns_of_what_works_but_is_unwise(tmp_path: Path) -> None:
    keys = tmp_path / "keys.toml"
    keys.write_text(omendb_ws("new-key", "--name", "app").stdout)
    keys.chmod(0o644)
    certificate = make_certificate(tmp_path)
    finished = omendb_ws(
        "check-config", "--json", "--api-key-file", str(keys),
        "--tls-certificate-file", certificate.certificate_file,
        "--tls-key-file", certificate.key_file,
        OMENDB_PROT="1",
    )  # fmt: skip
    assert finished.returncode == 0
    variable, mode = json.loads(finished.stdout)["warnings"]
    assert "OMENDB_PROT" in variable
    assert "chmod 600" in mode
    assert finished.stderr.splitlines() == [
        f"omendb-ws: warning: {variable}",
        f"omendb-ws: warning: {mode}",
    ]


# -- new-key ----------------------------------------------------------------------------------


def test_a_new_keys_token_is_on_stderr_and_its_entry_on_stdout() -> None:
    finished = omendb_ws(
        "new-key", "--name", "app", "--tenant", "acme", "--right", "read", "--right", "admin"
    )
    assert finished.returncode == 0
    token = finished.stderr.split(": ")[1].strip()
    assert token not in finished.stdout
    principal = Keyring.parse(finished.stdout).authenticate(token)
    assert principal is not None
    assert (principal.name, principal.tenant) == ("app", "acme")
    assert principal.rights == {"read", "admin"}


@pytest.mark.parametrize(
    "flags", [["--name", "a b"], ["--name", "a", "--right", "all"], ["--name", "a", "--tenant", ""]]
)
def test_a_bad_key_is_one_line(flags: list[str]) -> None:
    finished = omendb_ws("new-key", *flags)
    assert finished.returncode == 2
    assert finished.stdout == ""
    assert len(finished.stderr.splitlines()) == 1


def new_key(*flags: str, umask: int = 0o022) -> subprocess.CompletedProcess[str]:
    """Make a key with a file; under the umask that most users have."""
    before = os.umask(umask)
    try:
        return omendb_ws("new-key", "--name", *flags)
    finally:
        os.umask(before)


def test_a_new_key_goes_into_a_file_of_its_users_alone(tmp_path: Path) -> None:
    keys = tmp_path / "keys.toml"
    tokens = {}
    for name in ("app", "page"):
        finished = new_key(name, "--append-to", str(keys))
        assert (finished.returncode, finished.stdout) == (0, "")
        [line] = finished.stderr.splitlines()
        tokens[name] = line.removeprefix("token (shown only now): ")
        assert keys.stat().st_mode & 0o777 == 0o600
        assert tokens[name] not in keys.read_text()
    keyring = Keyring.load(keys)
    assert not keyring.warnings
    for name, token in tokens.items():
        principal = keyring.authenticate(token)
        assert principal is not None
        assert principal.name == name


def test_a_token_goes_into_a_new_file_of_its_users_alone_and_is_not_shown(tmp_path: Path) -> None:
    keys, token = tmp_path / "keys.toml", tmp_path / "token"
    made = new_key("app", "--append-to", str(keys), "--token-to", str(token))
    assert (made.returncode, made.stdout, made.stderr) == (0, "", "")
    assert token.stat().st_mode & 0o777 == 0o600
    principal = Keyring.load(keys).authenticate(token.read_text().removesuffix("\n"))
    assert principal is not None
    before = (keys.read_bytes(), token.read_bytes())
    again = new_key("page", "--append-to", str(keys), "--token-to", str(token))
    assert (again.returncode, again.stderr) == (
        2,
        f"omendb-ws: token file {token}: File exists\n",
    )
    assert (keys.read_bytes(), token.read_bytes()) == before
    nowhere = str(tmp_path / "no" / "keys.toml")
    assert new_key("app", "--append-to", nowhere, "--token-to", f"{token}-2").returncode != 0
    assert not (tmp_path / "token-2").exists()


@pytest.mark.parametrize("text", ["# ours", "# ours\n", ""])
def test_what_stands_in_a_key_file_stays_and_one_open_to_others_is_warned_of(
    tmp_path: Path, text: str
) -> None:
    keys = tmp_path / "keys.toml"
    keys.write_text(text)
    keys.chmod(0o644)
    finished = new_key("app", "--append-to", str(keys))
    assert finished.returncode == 0
    warning, token = finished.stderr.splitlines()
    assert warning.startswith(f"omendb-ws: warning: key file {keys} is open to other users")
    assert token.startswith("token ")
    assert keys.read_text().startswith(text)
    assert len(Keyring.load(keys).keys) == 1


@pytest.mark.parametrize(
    ("mode", "is_warned_of"), [(0o600, False), (0o640, False), (0o440, False), (0o660, True)]
)
def test_a_key_file_may_be_read_by_a_group_and_stays_as_it_was(
    tmp_path: Path, mode: int, is_warned_of: bool
) -> None:
    keys = tmp_path / "keys.toml"
    keys.write_text(key_entry("app", "default", ("read",), "a-token"))
    keys.chmod(mode)
    assert bool(Keyring.load(keys).warnings) is is_warned_of
    finished = new_key("more", "--append-to", str(keys))
    assert finished.returncode == 0, finished.stderr
    assert ("is open to other users" in finished.stderr) is is_warned_of
    assert stat.S_IMODE(keys.stat().st_mode) == mode


@pytest.mark.parametrize(
    ("make", "code", "said"),
    [
        (lambda path: path.write_text("[[keys"), 2, "not TOML"),
        (lambda path: path.write_bytes(b"\xff"), 2, "not UTF-8"),
        (lambda path: path.write_text(key_entry("app", "t", ("read",), "other")), 2, "app"),
        (lambda path: path.mkdir(), 2, "is no regular file"),
        (os.mkfifo, 2, "is no regular file"),
        (lambda path: path.symlink_to(path), 1, "symbolic links"),
        (lambda path: path.symlink_to("/dev/full"), 2, "is no regular file"),
    ],
)
def test_a_file_that_takes_no_key_is_a_line_and_left_alone(
    tmp_path: Path, make: Callable[[Path], object], code: int, said: str
) -> None:
    keys = tmp_path / "keys.toml"
    make(keys)
    before = keys.read_bytes() if keys.is_file() else None
    finished = new_key("app", "--append-to", str(keys))
    assert (finished.returncode, finished.stdout) == (code, "")
    [line] = finished.stderr.splitlines()
    assert line.startswith(f"omendb-ws: key file {keys}")
    assert said in line
    assert (keys.read_bytes() if keys.is_file() else None) == before


def test_a_folder_that_is_not_there_makes_no_key(tmp_path: Path) -> None:
    finished = new_key("app", "--append-to", str(tmp_path / "no" / "keys.toml"))
    assert finished.returncode == 2
    assert finished.stderr.splitlines() == [
        f"omendb-ws: key file {tmp_path}/no/keys.toml: No such file or directory"
    ]


# -- odds and ends ----------------------------------------------------------------------------


def test_a_reader_that_leaves_a_pipe_gets_no_traceback() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "omendb_ws", "check-config"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(60) in (0, 1)
