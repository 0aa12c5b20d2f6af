"""``omendb-ws ping``: round trips, and what it says when there are none."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.certificates import make_certificate
from tests.cli.commands import TIMEOUT_SECONDS, environment, serving
from tests.cli.here import omendb_ws

QUICK = ("--interval-seconds", "0")


def test_round_trips_are_counted_and_summed_up() -> None:
    with serving() as server:
        finished = omendb_ws("ping", *QUICK, "--count", "3", server.url)
    assert finished.returncode == 0
    assert finished.stderr == ""
    *trips, summary = finished.stdout.splitlines()
    for number, line in enumerate(trips, 1):
        assert re.fullmatch(rf"{number} from {server.url}: \d+\.\d{{3}} ms", line)
    assert len(trips) == 3
    numbers = re.fullmatch(
        r"3 answered, round trip min/mean/max ([\d.]+)/([\d.]+)/([\d.]+) ms", summary
    )
    assert numbers is not None
    least, mean, most = map(float, numbers.groups())
    assert 0 < least <= mean <= most


def test_a_server_that_is_not_there_is_exit_code_3_and_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    finished = omendb_ws("ping", *QUICK, f"ws://127.0.0.1:{port}/v1")
    assert finished.returncode == 3
    assert finished.stdout == ""
    (line,) = finished.stderr.splitlines()
    assert line.startswith(f"omendb-ws: ws://127.0.0.1:{port}/v1")
    assert "connection refused" in line


def test_a_server_that_says_nothing_is_given_up_on() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"ws://127.0.0.1:{silent.getsockname()[1]}/v1"
        finished = omendb_ws("ping", "--timeout-seconds", "0.2", url)
    assert finished.returncode == 3
    (line,) = finished.stderr.splitlines()
    assert line.startswith(f"omendb-ws: {url}")


def test_something_else_than_a_server_of_ours_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:

        def answer() -> None:
            connection, _ = other.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"ws://127.0.0.1:{other.getsockname()[1]}/v1"
        finished = omendb_ws("ping", url)
        thread.join()
    assert finished.returncode == 3
    assert "404" in finished.stderr
    assert len(finished.stderr.splitlines()) == 1


@pytest.mark.parametrize("url", ["http://127.0.0.1/v1", "nonsense", ""])
def test_what_is_no_address_is_exit_code_2(url: str) -> None:
    finished = omendb_ws("ping", url)
    assert finished.returncode == 2
    assert len(finished.stderr.splitlines()) == 1


def test_a_token_may_come_from_the_environment(tmp_path: Path) -> None:
    made = omendb_ws("new-key", "--name", "app", "--right", "read")
    token = made.stderr.split(": ")[1].strip()
    keys = tmp_path / "keys.toml"
    keys.write_text(made.stdout)
    keys.chmod(0o600)
    with serving("--api-key-file", str(keys)) as server:
        right = omendb_ws("ping", *QUICK, "--count", "1", server.url, OMENDB_TOKEN=token)
        assert right.returncode == 0, right.stderr
        wrong = omendb_ws("ping", *QUICK, "--count", "1", "--token", "wrong", server.url)
        assert wrong.returncode == 1
        (line,) = wrong.stderr.splitlines()
        assert "token" in line
        assert token not in right.stdout + right.stderr


def test_tls_is_checked_against_the_given_certificates(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    files = ("--tls-certificate-file", certificate.certificate_file,
             "--tls-key-file", certificate.key_file)  # fmt: skip
    with serving(*files) as server:
        trusted = omendb_ws(
            "ping", *QUICK, "--count", "1", "--ca-file", certificate.certificate_file, server.url
        )
        assert trusted.returncode == 0, trusted.stderr
        stranger = omendb_ws("ping", *QUICK, "--count", "1", server.url)
        assert stranger.returncode == 3
        (line,) = stranger.stderr.splitlines()
        assert "certificate" in line.lower()
        bad = omendb_ws("ping", "--ca-file", certificate.key_file, server.url)
        assert bad.returncode == 2
        assert len(bad.stderr.splitlines()) == 1


def test_tls_where_none_is_spoken_is_one_line_that_says_something() -> None:
    with serving() as server:
        finished = omendb_ws("ping", server.url.replace("ws://", "wss://"))
    assert finished.returncode == 3
    (line,) = finished.stderr.splitlines()
    assert not line.rstrip().endswith(":")


def test_ctrl_c_ends_it_with_a_summary() -> None:
    with serving() as server:
        process = subprocess.Popen(
            [sys.executable, "-m", "omendb_ws", "ping", "--interval-seconds", "600", server.url],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        try:
            assert process.stdout is not None
            first = process.stdout.readline()
            process.send_signal(signal.SIGINT)
            rest, errors = process.communicate(timeout=TIMEOUT_SECONDS)
        finally:
            if process.poll() is None:
                process.kill()
                process.communicate()
    assert first.startswith("1 from ")
    assert rest.startswith("1 answered, ")
    assert errors == ""
    assert process.returncode == 0


def test_certificates_for_an_address_without_tls_are_one_clear_line(tmp_path: Path) -> None:
    done = omendb_ws("ping", "--ca-file", str(tmp_path / "ca.pem"), "ws://127.0.0.1:1/v1")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "omendb-ws: --ca-file: is for wss:// addresses; ws://127.0.0.1:1/v1 is none"
    ]
