"""``serve --cluster``: what keeps a node from starting is said in one line, and quickly."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.cli.commands import omendb_ws
from tests.nats import nats_server


def refused(*arguments: str, **variables: str) -> tuple[int, str]:
    finished = omendb_ws("serve", "--port", "0", "--node-name", "one", *arguments, **variables)
    assert finished.stdout == ""
    assert "Traceback" not in finished.stderr
    return finished.returncode, finished.stderr.splitlines()[-1]


def test_without_the_extra_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "nats.py").write_text("raise ImportError('no nats here')")
    path = os.pathsep.join([str(tmp_path), *sys.path])
    for command in (["serve", "--port", "0"], ["check-config"]):
        finished = omendb_ws(
            *command, "--cluster", "nats://127.0.0.1:1", "--node-name", "one", PYTHONPATH=path
        )
        assert finished.returncode == 2
        assert finished.stderr.splitlines()[-1] == (
            "omendb-ws: a cluster needs the extra cluster: pip install 'omendb-ws[cluster]'"
        )


def test_where_no_nats_answers_it_says_where() -> None:
    code, line = refused("--cluster", "nats://me:secret@127.0.0.1:1,nats://127.0.0.1:2")
    assert code == 1
    assert line == (
        "omendb-ws: cluster: no NATS server answers at nats://127.0.0.1:1, nats://127.0.0.1:2"
    )


@pytest.mark.parametrize("login", ["", "me:wrong@"])
def test_wrong_credentials_are_told_from_an_absent_server(tmp_path: Path, login: str) -> None:
    with nats_server(tmp_path / "nats", ["--user", "me", "--pass", "right"]) as nats:
        address = nats.url.removeprefix("nats://")
        code, line = refused("--cluster", f"nats://{login}{address}")
        assert code == 2
        assert line.startswith("omendb-ws: cluster: NATS refuses this node's credentials: ")


def test_a_file_of_credentials_that_is_none_is_named(tmp_path: Path) -> None:
    wrong = tmp_path / "node.creds"
    wrong.write_text("nothing of the kind")
    with nats_server(tmp_path / "nats") as nats:
        code, line = refused("--cluster", nats.url, "--cluster-credentials", str(wrong))
        assert code == 2
        assert line == (
            f"omendb-ws: cluster_credentials {wrong}: holds no credentials of NATS (a .creds file)"
        )


def test_a_nats_without_jetstream_is_refused(tmp_path: Path) -> None:
    with nats_server(tmp_path / "nats", has_jetstream=False) as nats:
        code, line = refused("--cluster", nats.url)
        assert code == 2
        assert line == "omendb-ws: cluster: these NATS servers have no JetStream (nats-server -js)"
