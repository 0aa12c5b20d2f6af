"""Running ``omendb-ws`` as users do: a process of its own, bounded, ended by its id."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from tests.patience import PATIENCE_SECONDS, UNHURRIED_VARIABLES

TIMEOUT_SECONDS = PATIENCE_SECONDS


def environment(**variables: str) -> dict[str, str]:
    """This process's variables without our own, and with ``variables``."""
    inherited = {name: text for name, text in os.environ.items() if not name.startswith("OMENDB_")}
    # Colours and widths of the terminal that the tests run in are no part of the answers.
    return inherited | {"COLUMNS": "80", "NO_COLOR": "1"} | variables


def omendb_ws(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "omendb_ws", *arguments],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        env=environment(**variables),
        check=False,
    )


@dataclass
class Serving:
    """A running ``omendb-ws serve`` and the line that it printed when it was ready."""

    process: subprocess.Popen[str]
    ready_line: str

    @property
    def url(self) -> str:
        """The address, which ends the line."""
        return self.ready_line.split()[-1]

    @property
    def port(self) -> int:
        """The port of the address."""
        return int(self.url.split(":")[2].split("/")[0])

    def send(self, number: signal.Signals) -> None:
        """Send the process a signal."""
        self.process.send_signal(number)

    def logged(self, text: str) -> str:
        """The next line of the log that holds ``text``."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if text in line:
                return line
        raise AssertionError(f"the server ended without saying: {text}")

    def finish(self) -> tuple[int, str, str]:
        """Wait for the end: exit code, further output, log."""
        output, log = self.process.communicate(timeout=TIMEOUT_SECONDS)
        return self.process.returncode, output, log


@contextlib.contextmanager
def serving(*arguments: str, **variables: str) -> Iterator[Serving]:
    """A server on a free port, ready; killed at the end if it still runs.

    Warnings are errors in it, as they are here.
    """
    variables = {"PYTHONWARNINGS": "error", **UNHURRIED_VARIABLES, **variables}
    process = subprocess.Popen(
        [sys.executable, "-m", "omendb_ws", "serve", "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(**variables),
    )
    # A server that never gets ready must not hang the tests.
    alarm = threading.Timer(TIMEOUT_SECONDS, process.kill)
    alarm.start()
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            _, log = process.communicate(timeout=TIMEOUT_SECONDS)
            raise AssertionError(f"no server, exit code {process.returncode}: {log}")
        yield Serving(process, line.rstrip("\n"))
    finally:
        alarm.cancel()
        if process.poll() is None:
            process.kill()
        process.communicate()
