"""What a service manager gives a process, taken out of the environment; what it is told."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from omendb_ws.runtime import systemd
from tests.deploy.manager import manager

OURS = str(os.getpid())


def test_without_a_manager_nothing_is_given_and_nothing_is_changed() -> None:
    variables = {"PATH": "/bin"}
    assert systemd.take(variables) == systemd.Given(None, None, ())
    assert variables == {"PATH": "/bin"}


def test_the_variables_are_taken_away_so_that_no_child_answers_for_this_process() -> None:
    variables = {
        "NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "1500000", "WATCHDOG_PID": OURS,
        "LISTEN_PID": OURS, "LISTEN_FDS": "0", "LISTEN_FDNAMES": "", "HOME": "/",
    }  # fmt: skip
    given = systemd.take(variables)
    assert given.notifier is not None
    assert given.watchdog_seconds == 1.5
    assert variables == {"HOME": "/"}


def test_what_was_meant_for_another_process_is_left_alone() -> None:
    given = systemd.take(
        {
            "NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "1500000", "WATCHDOG_PID": "1",
            "LISTEN_PID": "1", "LISTEN_FDS": "9",
        }
    )  # fmt: skip
    assert given.notifier is not None
    assert given.watchdog_seconds is None
    assert given.sockets == ()


@pytest.mark.parametrize("address", ["run/x", "@", "vsock:2:9", "/"])
def test_an_address_that_is_no_unix_socket_is_refused_by_name(address: str) -> None:
    with pytest.raises(systemd.SystemdError, match="NOTIFY_SOCKET = "):
        systemd.take({"NOTIFY_SOCKET": address})


@pytest.mark.parametrize("name", ["WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID"])
@pytest.mark.parametrize("text", ["x", "-1", "1.5", "²"])
def test_a_number_that_is_none_is_refused_by_name(name: str, text: str) -> None:
    with pytest.raises(systemd.SystemdError, match=f"{name} = .* must be a whole number"):
        systemd.take({"NOTIFY_SOCKET": "/run/x", name: text})


def test_a_count_of_sockets_that_is_none_is_refused_by_name() -> None:
    with pytest.raises(systemd.SystemdError, match="LISTEN_FDS = 'x' must be a whole number"):
        systemd.take({"LISTEN_PID": OURS, "LISTEN_FDS": "x"})


def test_names_that_are_not_as_many_as_the_sockets_are_refused() -> None:
    with pytest.raises(systemd.SystemdError, match="LISTEN_FDNAMES = 'a:b' must have 1 names"):
        systemd.take({"LISTEN_PID": OURS, "LISTEN_FDS": "1", "LISTEN_FDNAMES": "a:b"})


@pytest.mark.parametrize("is_abstract", [True, False])
def test_lines_arrive_as_one_message(tmp_path: Path, is_abstract: bool) -> None:
    with manager(None if is_abstract else tmp_path / "notify") as listening:
        systemd.Notifier(listening.address).tell("READY=1", "STATUS=all is well")
        assert listening.next() == ["READY=1", "STATUS=all is well"]


def test_a_manager_that_is_not_there_is_said_once_and_again_after_it_was(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    notifier = systemd.Notifier(str(tmp_path / "notify"))
    with caplog.at_level(logging.WARNING):
        notifier.tell("READY=1")
        notifier.tell("WATCHDOG=1", may_wait=False)
        assert [one.levelname for one in caplog.records] == ["WARNING"]
        with manager(tmp_path / "notify") as listening:
            notifier.tell("READY=1")
            assert listening.next() == ["READY=1"]
        notifier.tell("WATCHDOG=1", may_wait=False)
    assert len(caplog.records) == 2
    assert str(tmp_path / "notify") in caplog.text


def test_a_manager_that_takes_nothing_holds_nobody_up_who_may_not_wait(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with manager(tmp_path / "notify") as listening:
        notifier = systemd.Notifier(listening.address)
        for _ in range(10_000):  # its queue has a bound, which the system sets
            notifier.tell("WATCHDOG=1", may_wait=False)
            if caplog.records:
                break
        assert "hears nothing" in caplog.text
        assert ["WATCHDOG=1"] in listening.waiting()
        notifier.tell("READY=1")
        assert listening.next() == ["READY=1"]


def test_the_time_is_the_one_that_a_manager_compares_with_its_own() -> None:
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    now = systemd.monotonic_usec()
    assert before // 1000 <= now <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


#: Says what it was given, in a process of its own whose descriptors from 3 on are a manager's.
CHILD = """
import os
from omendb_ws.runtime import systemd
os.environ["LISTEN_PID"] = str(os.getpid())
try:
    for name, one in systemd.take().sockets:
        print(name, one.getsockname()[1], os.get_inheritable(one.fileno()))
except systemd.SystemdError as error:
    print(error)
"""


def child(*sockets: socket.socket, names: str = "", count: int | None = None) -> list[str]:
    """Run ``CHILD`` with these sockets as its descriptors from 3 on."""
    wanted = len(sockets) if count is None else count
    moves = "".join(f" {3 + at}<&{one.fileno()}" for at, one in enumerate(sockets))
    done = subprocess.run(
        ["bash", "-c", f'exec "$0" -c "$1"{moves}', sys.executable, CHILD],
        env=os.environ | {"LISTEN_FDS": str(wanted), "LISTEN_FDNAMES": names},
        pass_fds=[one.fileno() for one in sockets],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout.splitlines()


def test_sockets_that_are_open_already_are_taken_with_their_names() -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("", 0)) as two:
        ports = [listening.getsockname()[1] for listening in (one, two)]
        assert child(one, two, names="ws:http") == [
            f"ws {ports[0]} False",
            f"http {ports[1]} False",
        ]
        assert child(one) == [f" {ports[0]} False"]


def test_what_is_no_listening_tcp_socket_is_refused_by_its_descriptor(tmp_path: Path) -> None:
    wrong = "LISTEN_FDS: descriptor 3 does not listen for TCP"
    with socket.socket(socket.AF_UNIX) as unix, socket.socket() as idle:
        unix.bind(str(tmp_path / "unix"))
        unix.listen()
        assert child(unix) == [wrong]
        assert child(idle) == [wrong]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        assert child(datagrams) == [wrong]
    [said] = child(count=1)
    assert said.startswith("LISTEN_FDS: descriptor 3: ")
