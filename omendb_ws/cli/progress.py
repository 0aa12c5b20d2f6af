"""How a load or a dump shows how far it is: a bar in a terminal, a line now and then elsewhere.

On stderr, so that what a command prints can be piped. Knows rows, a share and the clock.
"""

from __future__ import annotations

import time
from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

_LINE_SECONDS: Final = 5.0
_DRAWINGS_PER_SECOND: Final = 10.0
#: Rates are those of the last so many seconds.
_RECENT_SECONDS: Final = 5.0
_NOTED_SECONDS: Final = 0.1
#: Narrower terminals do without the percentage.
_NARROW_COLUMNS: Final = 72


class Shown(Protocol):
    """What shows progress while it is entered."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def update(self, rows: int, share: float | None) -> None:
        """Show ``rows`` done in this run, and the share of the whole, if that is known."""


class Pace:
    """Rows a second of the recent past, and the seconds left. ``now``: any monotonic seconds."""

    def __init__(self) -> None:
        self._past: deque[tuple[float, int, float | None]] = deque()

    def note(self, now: float, rows: int, share: float | None) -> None:
        """Remember where it stands, ten times a second at most."""
        if len(self._past) > 1 and now - self._past[-2][0] < _NOTED_SECONDS:
            self._past.pop()
        self._past.append((now, rows, share))
        while self._past[-1][0] - self._past[0][0] > _RECENT_SECONDS and len(self._past) > 2:
            self._past.popleft()

    @property
    def rows_per_second(self) -> float:
        """Over the recent past; 0 before anything is known."""
        (then, before, _), (now, rows, _) = self._past[0], self._past[-1]
        return (rows - before) / (now - then) if now > then else 0.0

    @property
    def seconds_left(self) -> float | None:
        """At this pace; None if it is not known."""
        (then, _, before), (now, _, share) = self._past[0], self._past[-1]
        if before is None or share is None or share <= before:
            return None
        return (1 - share) * (now - then) / (share - before)


def shown(what: str) -> Shown:
    """What shows progress of ``what`` on stderr."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    if console.is_terminal and not console.is_dumb_terminal:
        return Bar(what, console)
    return Lines(what, console)


class Bar:
    """A bar with share, rows, rate and the time left."""

    def __init__(self, what: str, console: Console) -> None:
        self._what, self._console = what, console
        self._pace = Pace()
        self._drawn = 0.0
        self._progress: Progress | None = None
        self._last: tuple[int, float | None] | None = None

    def __enter__(self) -> Self:
        from rich.progress import BarColumn, Progress, TextColumn

        share = [] if self._console.width < _NARROW_COLUMNS else ["{task.fields[share]:>4}"]
        texts = [*share, "[bold]{task.fields[rows]}[/] rows", "[cyan]{task.fields[rate]}[/]",
                 "{task.fields[left]}"]  # fmt: skip
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(None, "dim", "cyan", "green", "cyan"),
            *[TextColumn(text) for text in texts],
            console=self._console,
            expand=True,
            refresh_per_second=_DRAWINGS_PER_SECOND,
        )
        self._progress.add_task(self._what, total=None, rows="0", rate="", left="", share="")
        self._progress.start()
        return self

    def update(self, rows: int, share: float | None) -> None:
        """See Shown."""
        now = time.monotonic()
        if now - self._drawn >= 1 / _DRAWINGS_PER_SECOND:
            self._drawn = now
            self._draw(now, rows, share)
        self._last = (rows, share)

    def _draw(self, now: float, rows: int, share: float | None) -> None:
        assert self._progress is not None
        self._pace.note(now, rows, share)
        left = self._pace.seconds_left
        fields: dict[str, Any] = {"share": "" if share is None else f"{share:.0%}"}
        self._progress.update(
            self._progress.task_ids[0],
            completed=0 if share is None else share,
            total=None if share is None else 1.0,
            rows=f"{rows:,}",
            rate=f"{self._pace.rows_per_second:,.0f}/s",
            left="" if left is None else clock(left),
            **fields,
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._progress is not None
        if self._last is not None:
            self._draw(time.monotonic(), *self._last)
        self._progress.stop()


class Lines:
    """A line every few seconds."""

    def __init__(self, what: str, console: Console) -> None:
        self._what, self._console = what, console
        self._pace = Pace()

    def __enter__(self) -> Self:
        self._said = time.monotonic()
        return self

    def update(self, rows: int, share: float | None) -> None:
        """See Shown."""
        now = time.monotonic()
        self._pace.note(now, rows, share)
        if now - self._said < _LINE_SECONDS:
            return
        self._said = now
        left = self._pace.seconds_left
        parts = [f"{rows:,} rows", f"{self._pace.rows_per_second:,.0f} rows/s"]
        parts += [] if share is None else [f"{share:.0%}"]
        parts += [] if left is None else [f"{clock(left)} left"]
        self._console.print(f"{self._what}: {', '.join(parts)}", soft_wrap=True, markup=False)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None


def clock(seconds: float) -> str:
    """``0:07``, ``12:30``, ``3:05:00``."""
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"
