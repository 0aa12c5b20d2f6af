"""``deploy/systemd``: systemd reads and rates the files, and the server works under them."""

from __future__ import annotations

import contextlib
import ctypes
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from omendb_ws import sync
from omendb_ws.net.sockets import HTTP_NAME
from omendb_ws.node.settings_sources import load
from tests.cli.commands import TIMEOUT_SECONDS, environment
from tests.deploy import sandbox
from tests.patience import UNHURRIED_VARIABLES
from tests.project.pages import ROOT

FILES = ROOT / "deploy" / "systemd"
UNIT = FILES / "omendb-ws.service"
#: ``systemd-analyze security``, in tenths, of 100. What is left is being reached over the network.
MOST_EXPOSED = 12


def has_seccomp() -> bool:
    with contextlib.suppress(OSError):
        return bool(ctypes.CDLL(sandbox.LIBRARY))
    return False


systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not there (Debian: systemd)"
)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The files as they would lie on a machine where the command is this one."""
    place = Path(shutil.copytree(FILES, tmp_path / "units"))
    text = UNIT.read_text()
    assert text.count("/opt/omendb-ws/bin/omendb-ws ") == 1
    command = Path(sys.executable).parent / "omendb-ws"
    (place / UNIT.name).write_text(text.replace("/opt/omendb-ws/bin/omendb-ws ", f"{command} "))
    return place


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", "--no-pager", *arguments],
        capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False,
    )  # fmt: skip


@systemd
def test_systemd_reads_every_unit_without_a_word(installed: Path) -> None:
    units = [*installed.glob("*.service"), *installed.glob("*.socket")]
    assert len(units) == 3
    done = analyze("verify", "--man=no", *units)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@systemd
def test_a_line_that_systemd_does_not_know_is_noticed(installed: Path) -> None:
    unit = installed / UNIT.name
    unit.write_text(unit.read_text().replace("WatchdogSec=30", "WatchdogSeconds=30"))
    assert "WatchdogSeconds" in analyze("verify", "--man=no", unit).stderr


@systemd
def test_the_service_is_hardly_exposed(installed: Path) -> None:
    unit = installed / UNIT.name
    good = analyze("security", "--offline=true", f"--threshold={MOST_EXPOSED}", unit)
    assert good.returncode == 0, good.stdout
    unit.write_text(unit.read_text().replace("SystemCallFilter=@system-service\n", ""))
    bad = analyze("security", "--offline=true", f"--threshold={MOST_EXPOSED}", unit)
    assert bad.returncode != 0


@pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="no systemd-sysusers")
def test_the_user_of_the_service_is_made(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    subprocess.run(
        ["systemd-sysusers", f"--root={tmp_path}", FILES / "omendb-ws.sysusers"],
        timeout=TIMEOUT_SECONDS, check=True, capture_output=True,
    )  # fmt: skip
    [user] = [
        line for line in (tmp_path / "etc/passwd").read_text().splitlines()
        if line.startswith(f"{sandbox.unit(UNIT)['User'][0]}:")
    ]  # fmt: skip
    assert user.endswith(":/var/lib/omendb-ws:/usr/sbin/nologin")


def test_the_settings_are_good_and_write_only_where_the_service_may() -> None:
    settings = load({"config_file": str(FILES / "omendb.toml")}, {}).settings
    service = sandbox.unit(UNIT)
    assert settings.data_dir == f"/var/lib/{service['StateDirectory'][0]}"
    assert settings.audit_file is not None
    assert str(Path(settings.audit_file).parent) == f"/var/log/{service['LogsDirectory'][0]}"
    # It leaves by itself before it is made to.
    assert settings.drain_seconds < int(service["TimeoutStopSec"][0])


def test_the_sockets_have_the_names_and_ports_that_the_server_takes() -> None:
    http = (FILES / "omendb-ws-http.socket").read_text()
    assert f"FileDescriptorName={HTTP_NAME}\n" in http
    websocket = (FILES / "omendb-ws.socket").read_text()
    [(host, port)] = re.findall(r"^ListenStream=(.+):(\d+)$", websocket, re.MULTILINE)
    settings = load({"config_file": str(FILES / "omendb.toml")}, {}).settings
    assert (host, int(port)) == (settings.host, settings.port)
    assert f"ListenStream={host}:" in http
    both = (FILES / "omendb-ws.service.d" / "http.conf").read_text()
    assert "Sockets=omendb-ws.socket omendb-ws-http.socket\n" in both


@contextlib.contextmanager
def in_the_sandbox(*command: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.deploy.sandbox", str(UNIT), sys.executable, *command],
        cwd=ROOT, env=environment(**variables), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


#: What the unit forbids, tried one by one.
FORBIDDEN = """
import ctypes, mmap, os, socket
def tried(what):
    try:
        what()
    except PermissionError:
        return "refused"
    return "done"
print(tried(lambda: os.chroot("/")))
print(tried(lambda: os.sched_setaffinity(0, {0})))
print(tried(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)))
print(tried(lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC)))
print(tried(lambda: socket.socket(socket.AF_INET)))
"""

needs_sandbox = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None or not has_seccomp() or sys.platform != "linux",
    reason="systemd-analyze and libseccomp are not there (Debian: systemd)",
)


@systemd
@needs_sandbox
def test_the_sandbox_of_these_tests_holds() -> None:
    with in_the_sandbox("-c", FORBIDDEN) as process:
        out, log = process.communicate(timeout=TIMEOUT_SECONDS)
    assert out.split() == ["refused"] * 4 + ["done"], log


@systemd
@needs_sandbox
def test_the_server_does_all_that_it_does_under_what_the_unit_forbids(tmp_path: Path) -> None:
    data, audit = tmp_path / "data", tmp_path / "audit.jsonl"
    with in_the_sandbox(
        "-m", "omendb_ws", "serve", "--port", "0", "--http-port", "0", "--data-dir", str(data),
        PYTHONWARNINGS="error", OMENDB_AUDIT_FILE=str(audit), **UNHURRIED_VARIABLES,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"ready at (ws://\S+) and http://127.0.0.1:(\d+)", line)
        assert found, process.communicate()[1]
        vectors = np.random.default_rng(1).standard_normal((2000, 64), dtype=np.float32)
        with sync.connect(found[1]) as db:
            db.create(
                "notes", dim=64, capacity=1500, ids="auto", columns={"n": "i64"},
                durability="always",
            )  # fmt: skip
            db.add("notes", vectors, metadata=[{"n": number} for number in range(2000)])
            with db.live("notes", vectors[1999], k=3, filter={"n": {"$gte": 1000}}) as live:
                assert next(iter(live))[0].id == 2000
        with socket.create_connection(("127.0.0.1", int(found[2])), timeout=TIMEOUT_SECONDS) as one:
            one.sendall(
                b"GET /v1/collections HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            )
            assert one.recv(65536).startswith(b"HTTP/1.1 200 ")
        process.terminate()
        _, log = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 0, log
    assert "Traceback" not in log
    assert "EPERM" not in log
    assert "not permitted" not in log
