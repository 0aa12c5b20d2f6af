"""What is common to all tests: seeds are fixed, no time limits, and a failure is told at once.

A run of many minutes may be ended before it comes to its summary; what has failed until then should
be known.
"""

from __future__ import annotations

import gc

import pytest
from hypothesis import HealthCheck, settings

from tests.examples import examples

# Examples are the same each time, and none fails by how long it takes; `make torture` tries others.
settings.register_profile(
    "fixed",
    max_examples=examples(100),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("fixed")


class Failures:
    """Writes each failure to the terminal at once, in the process that has one."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        if report.failed and terminal is not None:
            last = report.longreprtext.splitlines()[-30:]
            terminal.write_line("")
            terminal.write_line("\n".join([f"FAILED ({report.when}) {report.nodeid}", *last]))


def pytest_collection_finish() -> None:
    """Thousands of tests, and what they import, stay: no collection is to look at them again."""
    gc.collect()
    gc.freeze()


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Failures(config), "failures-at-once")
