"""Draws Figures as PNG files, by matplotlib: the same data as the page's, on a light ground."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from .axes import Axis
from .figures import Figure

#: The page's light colours.
PALETTE: Final = ("#0068ad", "#c75300", "#00805c", "#8d8f92", "#b0468f", "#6b7680")
KNEE: Final = "#7a3e9d"


def save(figures: list[Figure], folder: Path, subtitle: str) -> list[Path]:
    """Write ``folder``/NAME.png for each. ImportError without matplotlib."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    paths = []
    for figure in figures:
        canvas = Canvas(figsize=(8, 4.4), layout="constrained")
        FigureCanvasAgg(canvas)
        _draw(canvas.subplots(), figure)
        canvas.suptitle(figure.title, fontsize=12, x=0.02, ha="left", weight="bold")
        canvas.text(0.98, 0.985, subtitle, fontsize=7, ha="right", va="top", color="#5d6770")
        # Names come out of a file that others may have written: none leads out of the folder.
        paths.append(folder / f"{re.sub(r'[^A-Za-z0-9-]+', '-', figure.name)}.png")
        canvas.savefig(paths[-1], dpi=140)
    return paths


def _draw(plot: Any, figure: Figure) -> None:
    """Everything is drawn at its place between 0 and 1, as in the page; only labels tell values."""
    for series in figure.series:
        nan = float("nan")
        ys = [nan if y is None else figure.y.place(y) for y in series.ys]
        xs = [figure.x.place(x) for x in series.xs]
        colour = PALETTE[series.colour]
        plot.plot(
            xs, ys, color=colour, label=series.name, linewidth=1.4 if series.is_dashed else 1.9,
            linestyle="--" if series.is_dashed else "-",
        )  # fmt: skip
        if series.has_points:
            faces = ["white" if at in series.hollow else colour for at in range(len(xs))]
            plot.scatter(xs, ys, s=26, facecolors=faces, edgecolors=colour, zorder=3)
    for mark in figure.marks:
        x = figure.x.place(mark.x)
        is_right = x > 0.6
        plot.axvline(x, color=KNEE, linestyle=":", linewidth=1.4)
        plot.annotate(
            mark.label, (x, 0.97), xytext=(-6 if is_right else 6, 0), textcoords="offset points",
            color=KNEE, weight="bold", ha="right" if is_right else "left", va="top",
        )  # fmt: skip
    plot.set_xlim(0, 1)
    plot.set_ylim(0, 1)
    _ticks(plot.xaxis, figure.x)
    _ticks(plot.yaxis, figure.y)
    plot.set_xlabel(figure.x.label)
    plot.set_ylabel(figure.y.label)
    plot.grid(color="#e4e7ea", linewidth=0.7)
    plot.spines[["top", "right"]].set_visible(False)
    plot.legend(frameon=False, fontsize=8, ncols=4, loc="lower right", bbox_to_anchor=(1, 1))


def _ticks(axis: Any, scale: Axis) -> None:
    ticks = scale.ticks()
    labels = [tick.label for tick in ticks]
    axis.set_ticks([scale.place(tick.value) for tick in ticks], labels=labels, fontsize=9)
