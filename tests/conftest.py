"""What is common to all tests: a failure is told when it happens, not at the end of the run.

A run of many minutes may be ended before it comes to its summary; what has failed until then should
be known.
"""

from __future__ import annotations

import pytest


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


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Failures(config), "failures-at-once")
