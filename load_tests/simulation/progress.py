"""What is shown in the terminal while it runs: a table that is redrawn, or plain lines if piped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.table import Table

from .coordinator import OnLook
from .scenario import Scenario
from .worker import Looked


@contextmanager
def shown(scenario: Scenario, console: Console) -> Iterator[OnLook]:
    """What a run calls at every interval."""
    if not console.is_terminal:
        yield lambda at, looks: _print(at, looks, scenario, console)
        return
    with Live(console=console, auto_refresh=False, transient=True) as live:
        yield lambda at, looks: live.update(_table(at, looks, scenario), refresh=True)


class _Sum:
    """Looks of all processes at one operation. p99 is the worst of theirs."""

    def __init__(self) -> None:
        self.answers = self.errors = 0
        self.p50_ms = self.p99_ms = 0.0


def _summed(looks: list[Looked]) -> tuple[dict[str, _Sum], int]:
    sums: dict[str, _Sum] = {}
    for look in looks:
        for one in look.operations:
            total = sums.setdefault(one.name, _Sum())
            total.answers += one.answers
            total.errors += one.errors
            total.p50_ms = max(total.p50_ms, one.p50_ms)
            total.p99_ms = max(total.p99_ms, one.p99_ms)
    return sums, max((look.pushes for look in looks), default=0)


def _print(at: float, looks: list[Looked], scenario: Scenario, console: Console) -> None:
    sums, pushes = _summed(looks)
    parts = [
        f"{name} {one.answers} answers {one.errors} errors "
        f"p50 {one.p50_ms:.2f} p99 {one.p99_ms:.2f} ms"
        for name, one in sums.items()
    ]
    if scenario.standing:
        parts.append(f"{pushes} pushes")
    if parts:
        console.print(f"{at:6.1f} s  {'; '.join(parts)}", soft_wrap=True, highlight=False)


def _table(at: float, looks: list[Looked], scenario: Scenario) -> Table:
    sums, pushes = _summed(looks)
    title = f"{scenario.name}: {at:.0f} of {scenario.load.seconds:.0f} s"
    table = Table(title=title, title_justify="left")
    for column in ("", "answers", "errors", "p50 ms", "p99 ms"):
        table.add_column(column, justify="left" if not column else "right")
    for name, one in sums.items():
        figures = (f"{one.answers:,}", f"{one.errors:,}", f"{one.p50_ms:.2f}", f"{one.p99_ms:.2f}")
        table.add_row(name, *figures)
    if scenario.standing:
        table.add_row("pushes so far", f"{pushes:,}", "", "", "")
    return table
