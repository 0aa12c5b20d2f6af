"""The examples with a page, started as README says."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.project.pages import ROOT

from .runtimes import PATIENCE_SECONDS


@dataclass
class Example:
    """A running example: the address of its page, and of its server."""

    page: str
    server: str

    def hosts(self) -> set[str]:
        return {url.split("/")[2] for url in (self.page, self.server)}


@contextmanager
def started(module: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """``python -m module``, ended as Ctrl-C does; it may not complain."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", module, *arguments],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        _, complaints = process.communicate(timeout=PATIENCE_SECONDS)
    assert complaints == ""
    assert process.returncode == 0


def line(process: subprocess.Popen[str]) -> str:
    """The next that it prints; the empty text at its end."""
    assert process.stdout is not None
    return process.stdout.readline()


@contextmanager
def running(module: str) -> Iterator[Example]:
    """An example on free ports."""
    with started(module, "--port", "0", "--page-port", "0") as process:
        said = line(process)
        found = re.search(r"(http://\S+/) .* (ws://\S+/v1)", said)
        assert found, said or (process.stderr and process.stderr.read())
        yield Example(found[1], found[2])
