"""Draws a Figure as inline SVG. Colours are classes, which the page's style sheet fills in."""

from __future__ import annotations

from html import escape
from typing import Final

from .figures import Figure, Mark, Series

WIDTH: Final = 660
HEIGHT: Final = 320
LEFT: Final = 62
RIGHT: Final = 18
TOP: Final = 34
BOTTOM: Final = 46
#: Lines with no more points than this show each with a circle, which tells its value.
POINTS_UP_TO: Final = 60


def draw(figure: Figure) -> str:
    """An ``svg`` element."""
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(figure.title)}">',
        *_axes(figure),
        *_legend(figure),
    ]
    for mark in figure.marks:
        parts += _mark(figure, mark)
    for series in figure.series:
        parts += _series(figure, series)
    return "\n".join([*parts, "</svg>"])


def _x(figure: Figure, value: float) -> float:
    return LEFT + figure.x.place(value) * (WIDTH - LEFT - RIGHT)


def _y(figure: Figure, value: float) -> float:
    return HEIGHT - BOTTOM - figure.y.place(value) * (HEIGHT - TOP - BOTTOM)


def _axes(figure: Figure) -> list[str]:
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    parts = []
    for tick in figure.y.ticks():
        y = _y(figure, tick.value)
        kind = "grid" if tick.label else "grid faint"
        parts.append(f'<path class="{kind}" d="M{LEFT} {y:.1f}H{right}"/>')
        if tick.label:
            parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" class="end">{tick.label}</text>')
    for tick in figure.x.ticks():
        x = _x(figure, tick.value)
        parts.append(f'<path class="grid faint" d="M{x:.1f} {TOP}V{bottom}"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 17}" class="middle">{tick.label}</text>')
    middle = (LEFT + right) / 2
    parts.append(f'<path class="frame" d="M{LEFT} {bottom}H{right}"/>')
    parts.append(
        f'<text x="{middle:.1f}" y="{HEIGHT - 8}" class="middle soft">{escape(figure.x.label)}'
        f"</text>"
    )
    parts.append(f'<text x="8" y="{TOP - 16}" class="soft">{escape(figure.y.label)}</text>')
    return parts


def _legend(figure: Figure) -> list[str]:
    """From the right end leftwards, above the plot. Widths are of a 13 px sans-serif, roughly."""
    parts: list[str] = []
    x = float(WIDTH - RIGHT)
    for series in reversed(figure.series):
        x -= 7.4 * len(series.name)
        y = TOP - 16
        parts.append(f'<text x="{x:.0f}" y="{y}">{escape(series.name)}</text>')
        dash = " dashed" if series.is_dashed else ""
        parts.append(f'<path class="line c{series.colour}{dash}" d="M{x - 28:.0f} {y - 4}h22"/>')
        x -= 46
    return parts


def _mark(figure: Figure, mark: Mark) -> list[str]:
    x = _x(figure, mark.x)
    is_right = x > WIDTH * 0.6
    place = f'x="{x - 7:.1f}" class="knee end"' if is_right else f'x="{x + 7:.1f}" class="knee"'
    return [
        f'<path class="mark" d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}"/>',
        f'<text {place} y="{TOP + 14}">{escape(mark.label)}</text>',
    ]


def _series(figure: Figure, series: Series) -> list[str]:
    path: list[str] = []
    circles: list[str] = []
    pen = "M"
    is_marked = series.has_points or len(series.xs) <= POINTS_UP_TO
    for at, (value, height) in enumerate(zip(series.xs, series.ys, strict=True)):
        if height is None:
            pen = "M"
            continue
        x, y = _x(figure, value), _y(figure, height)
        path.append(f"{pen}{x:.1f} {y:.1f}")
        pen = "L"
        if is_marked:
            told = escape(f"{series.name}: {height:,.4g} {figure.y.label} at {value:,.6g}")
            radius = 4 if series.has_points else 2
            kind = f"hollow c{series.colour}" if at in series.hollow else f"dot c{series.colour}"
            circles.append(
                f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius}">'
                f"<title>{told}</title></circle>"
            )
    dash = " dashed" if series.is_dashed else ""
    return [f'<path class="line c{series.colour}{dash}" d="{"".join(path)}"/>', *circles]
