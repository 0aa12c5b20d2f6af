"""How the demo looks: a live view in a terminal, a line a second in a pipe. Pure.

Colours of text are the terminal's own (green, red, cyan), which read on light and dark; pictures
bring their own paper. Everything fits 80 x 24; larger terminals get larger pictures, narrower ones
(60 columns) fewer neighbours and figures.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from .figures import Neighbour, Question, Snapshot, WindowFigures
from .pictures import bar, picture, sparkline

#: Neighbours stand in two lines of five, or of as many as fit.
NEIGHBOURS_A_LINE: Final = 5
#: What all figures need.
_FIGURE_COLUMNS: Final = 80
#: Widths of a neighbour's picture, the largest that fits is taken; the asked digit is twice that.
_PICTURE_COLUMNS: Final = (16, 12, 8)
_FIGURE_LINES: Final = 12


class Canvas(NamedTuple):
    """The terminal: characters, and whether it has at least 256 colours."""

    columns: int
    lines: int
    colours: bool


def live_view(url: str, hint: str, now: Snapshot, canvas: Canvas) -> RenderableType:
    """The whole picture."""
    title = Text.assemble(("OmenDB-WS", "bold cyan"), "  handwritten digits, live")
    head = Table.grid(expand=True)
    head.add_column()
    head.add_column(justify="right")
    head.add_row(title, Text(url, "bold"))
    return Group(
        head,
        _panel(_figures(now, canvas), "the window"),
        _panel(_question(now.question, canvas), _title(canvas)),
        Text(hint, "dim", no_wrap=True, overflow="ellipsis"),
        Text("Ctrl-C ends it", "dim"),
    )


def _title(canvas: Canvas) -> str:
    all_ten = _neighbours_a_line(_PICTURE_COLUMNS[-1], canvas) == NEIGHBOURS_A_LINE
    return f"a digit never streamed, and its {'ten ' if all_ten else ''}nearest now"


def _panel(inside: RenderableType, title: str) -> Panel:
    return Panel(
        inside,
        title=Text(title, "bold"),
        title_align="left",
        box=box.ROUNDED,
        border_style="dim",
        padding=(0, 1),
    )


def _figures(now: Snapshot, canvas: Canvas) -> RenderableType:
    window = now.window
    wide = canvas.columns - 64
    is_narrow = canvas.columns < _FIGURE_COLUMNS
    table = Table.grid(padding=(0, 2), expand=False)
    table.add_column(style="dim", no_wrap=True, min_width=11)
    table.add_column(no_wrap=True)
    table.add_row("rows", _fill(window, max(min(wide, 40), 8)))
    table.add_row(
        "stream",
        Text.assemble(
            (f"{now.rates.rows:,.0f}", "bold"), " rows/s in   ",
            (f"{now.rates.evictions:,.0f}", "bold"), "/s evicted   ",
            ("" if is_narrow else f"{window.evicted:,}", "bold"),
            "" if is_narrow else " evicted so far",
        ),
    )  # fmt: skip
    table.add_row(
        "searches",
        Text.assemble(
            (f"{now.rates.searches:,.0f}", "bold"), "/s   p50 ",
            (f"{now.p50_ms:.2f} ms", "bold"), "   p99 ", (f"{now.p99_ms:.2f} ms", "bold"),
            "   ", ("" if is_narrow else sparkline(now.medians_ms), "cyan"),
        ),
    )  # fmt: skip
    table.add_row("right digit", _share(now, max(min(wide, 40), 8)))
    table.add_row("digits", _labels(now.label_counts, is_narrow))
    return table


def _fill(window: WindowFigures, columns: int) -> Text:
    return Text.assemble(
        (bar(window.rows / window.capacity, columns), "cyan"),
        (f" {window.rows:,}", "bold"), f" of {window.capacity:,}, oldest ",
        (f"{window.oldest_age_seconds:.1f} s", "bold"),
    )  # fmt: skip


def _share(now: Snapshot, columns: int) -> Text:
    good = now.right_label_share > 0.9
    return Text.assemble(
        (bar(now.right_label_share, columns), "green" if good else "red"),
        (f" {now.right_label_share:.1%}", "bold"), " of the ten nearest",
    )  # fmt: skip


def _labels(counts: tuple[int, ...], is_narrow: bool) -> Text:
    text = Text()
    for label, (count, height) in enumerate(zip(counts, sparkline(counts), strict=True)):
        text.append(f"{label}", "bold").append(height, "cyan")
        text.append(" " if is_narrow else f"{count:<4}")
    return text


def _question(question: Question | None, canvas: Canvas) -> RenderableType:
    columns = next((size for size in _PICTURE_COLUMNS if _fits(size, canvas)), _PICTURE_COLUMNS[-1])
    if question is None:
        return Text("\n" * (columns + 1), end="")
    grid = Table.grid(padding=(0, 3, 0, 0))
    asked = Group(
        picture(question.vector, "asked", 2 * columns, canvas.colours),
        Text.assemble("asked: ", (f"{question.label}", "bold")),
    )
    found = Table.grid(padding=(0, 2, 0, 0))
    a_line = _neighbours_a_line(columns, canvas)
    neighbours = question.neighbours[: 2 * a_line]
    for start in range(0, len(neighbours), a_line):
        line = neighbours[start : start + a_line]
        found.add_row(*(_neighbour(hit, question.label, columns, canvas) for hit in line))
    grid.add_row(asked, found)
    return grid


def _neighbours_a_line(columns: int, canvas: Canvas) -> int:
    """How many pictures of ``columns`` stand beside the asked one, which is twice as wide."""
    return max(1, min(NEIGHBOURS_A_LINE, (canvas.columns - 2 * columns - 8) // (columns + 2)))


def _fits(columns: int, canvas: Canvas) -> bool:
    width = 2 * columns + NEIGHBOURS_A_LINE * (columns + 2) + 8
    return width <= canvas.columns and columns + 2 + _FIGURE_LINES <= canvas.lines


def _neighbour(hit: Neighbour, asked: int, columns: int, canvas: Canvas) -> RenderableType:
    right = hit.label == asked
    caption = Text.assemble(
        (f"{hit.label}", "bold green" if right else "bold red"), (f" {hit.score:.3f}", "dim")
    )
    return Group(
        picture(hit.vector, "right" if right else "wrong", columns, canvas.colours), caption
    )


def plain_line(now: Snapshot) -> str:
    """One second in one line, for a pipe or a log."""
    window = now.window
    return (
        f"{now.elapsed_seconds:.0f} s: {window.rows:,} of {window.capacity:,} rows, oldest"
        f" {window.oldest_age_seconds:.1f} s, {now.rates.rows:,.0f} rows/s,"
        f" {window.evicted:,} evicted, {now.rates.searches:,.0f} searches/s,"
        f" p50 {now.p50_ms:.2f} ms, p99 {now.p99_ms:.2f} ms,"
        f" right digit {now.right_label_share:.1%}"
    )
