"""The audit log of a process: checked before it starts, rotated by a hangup, whole when it ends."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from omendb_ws.sync import connect

from .commands import serving
from .here import omendb_ws

COMMANDS = [["check-config"], ["serve", "--port", "0"]]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: os.mkfifo(path), "is no regular file"),
        (lambda path: path.symlink_to("/dev/null"), "symbolic link"),
        (lambda path: path.mkdir(), "directory"),
        (lambda path: path.parent.rmdir(), "is not there"),
    ],
)
def test_an_audit_log_that_cannot_be_opened_is_a_line_and_exit_code_2(
    make: Callable[[Path], None], said: str, command: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "logs" / "audit.jsonl"
    path.parent.mkdir()
    make(path)
    finished = omendb_ws(*command, OMENDB_AUDIT_FILE=str(path), OMENDB_LOG_LEVEL="warning")
    assert finished.returncode == 2
    (line,) = finished.stderr.splitlines()
    assert line.startswith(f"omendb-ws: audit_file {path}: ")
    assert said in line


def test_check_config_makes_no_file_and_warns_of_one_that_others_read(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    (tmp_path / "omendb.toml").write_text('audit_file = "audit.jsonl"')
    checked = omendb_ws("check-config", "--config", str(tmp_path / "omendb.toml"))
    assert (checked.returncode, checked.stderr) == (0, "")
    assert str(path) in checked.stdout
    assert not path.exists()
    path.write_text("")
    path.chmod(0o644)
    checked = omendb_ws("check-config", OMENDB_AUDIT_FILE=str(path))
    assert checked.returncode == 0
    warned = f"audit_file {path} is open to other users (mode 644): chmod 600"
    assert checked.stderr == f"omendb-ws: warning: {warned}\n"


def test_a_hangup_begins_a_new_file_and_the_end_leaves_it_whole(tmp_path: Path) -> None:
    keys, path = tmp_path / "keys.toml", tmp_path / "audit.jsonl"
    made = omendb_ws("new-key", "--name", "app", "--right", "admin", "--append-to", str(keys))
    token = made.stderr.rsplit(" ", 1)[1].strip()
    with serving("--api-key-file", str(keys), OMENDB_AUDIT_FILE=str(path)) as server:
        with connect(server.url, token) as db:
            db.create("first", dim=2, capacity=8)
            path.rename(tmp_path / "audit.1")
            server.send(signal.SIGHUP)
            server.logged("keys: read again")
            db.create("second", dim=2, capacity=8)
        server.send(signal.SIGTERM)
        code, _, _ = server.finish()
    assert code == 0
    found = [
        (one["op"], one["collection"])
        for name in ("audit.1", "audit.jsonl")
        for one in map(json.loads, (tmp_path / name).read_text().splitlines())
    ]
    assert found == [("auth", None), ("create", "first"), ("reload", None), ("create", "second")]
    assert '"second"' not in (tmp_path / "audit.1").read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    assert token not in path.read_text() + (tmp_path / "audit.1").read_text()
