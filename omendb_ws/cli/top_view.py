"""How ``top`` looks. Pure: a Model and the size of the terminal in, a picture out.

Colours are the terminal's own (cyan, green, red, and its default ones, bold, dim, reversed), which
read on light and dark. What does not fit is left out, whole columns at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..demo.pictures import bar, sparkline
from .output import age, plain, size
from .top_model import Column, Figures, Model, columns_for, count, fill

_KEYS: Final = (
    ("↑ ↓", "pick a collection"),
    ("enter", "all figures of it"),
    ("s S", "sort by the next, the last column"),
    ("r", "turn the order round"),
    ("q", "quit"),
)
#: Loop lag that is worth a look, milliseconds.
_LAG_MS: Final = 20.0


def view(model: Model, columns: int, lines: int) -> RenderableType:
    """The whole screen, ``columns`` × ``lines`` at most."""
    head = _head(model, columns)
    if model.shows_help:
        return Group(*head, *_help())
    detail = _detail(model, columns) if model.shows_detail else []
    foot = _foot(model, columns)
    room = max(lines - len(head) - len(detail) - len(foot) - 1, 1)
    return Group(*head, _table(model, columns, room), *detail, *foot)


# -- the server -------------------------------------------------------------------------------


def _head(model: Model, columns: int) -> list[Text]:
    server = model.server
    title = Text.assemble(("OmenDB-WS", "bold cyan"), "  ", (model.url, "bold"))
    if model.silent_seconds:
        title.append("  no figures: connecting again …", "bold red")
    if server is None:
        why = model.server_why or "waiting for figures …"
        return [_line(title), _line(Text(why, "dim")), Text("")]
    if not model.silent_seconds:
        title.append(f"  up {age(server['uptime_s'])}", "dim")
    lag = server["loop_lag_ms"]
    first = [
        _named("connections", count(server["connections"])),
        _named("subscriptions", count(server["subscriptions"])),
        _named("memory", size(server["rss_bytes"])),
        _named("loop lag", f"{lag:.1f} ms", "bold red" if lag >= _LAG_MS else "bold"),
    ]
    rates = [
        _named(name, count(server[f"{key}_per_s"]) + "/s", _alarm(server, key))
        for name, key in (("adds", "adds"), ("searches", "searches"), ("pushes", "pushes"),
                          ("merged", "merged"), ("gaps", "gaps"), ("errors", "errors"))
    ]  # fmt: skip
    times = [
        _named(f"{name} p50/p99", f"{_ms(server[key]['p50'])}/{_ms(server[key]['p99'])} ms")
        for name, key in (("search", "search_ms"), ("add", "add_ms"), ("push", "push_ms"))
    ]
    packed = [line for group in (first, rates, times) for line in _packed(group, columns)]
    return [_line(title), *packed, Text("")]


def _alarm(server: Figures, key: str) -> str:
    return "bold red" if key in ("gaps", "errors") and server[f"{key}_per_s"] > 0 else "bold"


def _named(name: str, value: str, style: str = "bold") -> Text:
    return Text.assemble((f"{name} ", "dim"), (value, style))


def _packed(parts: Sequence[Text], columns: int, indent: int = 0) -> list[Text]:
    """``parts`` in as few lines as they need; those after the first begin with ``indent``."""
    lines: list[Text] = []
    for part in parts:
        if lines and lines[-1].cell_len + 3 + part.cell_len <= columns:
            lines[-1] = Text.assemble(lines[-1], "   ", part)
        else:
            lines.append(Text.assemble(" " * indent if lines else "", part))
    return [_line(one) for one in lines]


def _ms(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


def _line(text: Text) -> Text:
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


# -- the collections --------------------------------------------------------------------------


def _table(model: Model, columns: int, room: int) -> RenderableType:
    shown = columns_for(columns)
    table = Table(
        box=None, expand=False, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold",
        show_edge=False,
    )  # fmt: skip
    spare = columns - sum(column.width + 2 for column in shown)
    for at, column in enumerate(shown):
        # The name takes what is left over, up to what a name may need.
        width = column.width + min(max(spare, 0), 28) if at == 0 else column.width
        left = column.heading in ("collection", "fill")
        table.add_column(
            _heading(column, model), width=width, no_wrap=True, overflow="ellipsis",
            justify="left" if left else "right",
        )  # fmt: skip
    rows = model.in_order()
    start = min(max(model.picked_at - room + 1, 0), max(len(rows) - room, 0))
    for figures in rows[start : start + room]:
        cells = [_cell(column, figures) for column in shown]
        if figures["collection"] == model.picked:
            cells[0].stylize("reverse")  # not the row: a bar that is turned round says the opposite
        table.add_row(*cells)
    if not rows:
        return Group(table, Text("no collections", "dim"))
    return table


def _heading(column: Column, model: Model) -> Text:
    if column.heading != model.sort:
        return Text(column.heading)
    return Text(column.heading[: column.width - 1] + ("↓" if model.descending else "↑"), "cyan")


def _cell(column: Column, figures: Figures) -> Text:
    text = column.text(figures)
    if column.heading == "fill":
        return Text.assemble((bar(fill(figures), 7), "cyan"), f" {text:>4}")
    if column.heading in ("gaps/s", "errors/s") and column.value(figures) > 0:
        return Text(text, "red")
    return Text(plain(text))


def _detail(model: Model, columns: int) -> list[RenderableType]:
    rows = model.in_order()
    if not rows:
        return []
    figures = rows[model.picked_at]
    rates = ("adds", "evictions", "searches", "pushes", "merged", "gaps", "errors")
    groups: list[tuple[str, list[tuple[str, str]]]] = [
        ("window", [
            ("rows", f"{figures['rows']:,} of {figures['capacity']:,}"),
            ("seqs", f"{figures['first_seq']:,} to {figures['last_seq']:,}"),
            ("oldest", age(figures.get("oldest_age_s"))),
            ("version", f"{figures['version']:,}"), ("epoch", str(figures["epoch"])),
            ("memory", size(figures["bytes"])),
        ]),
        ("kind", [(name, plain(figures[name])) for name in
                  ("dim", "metric", "ids", "ttl", "durability", "columns") if name in figures]),
        ("a second", [(name, count(figures.get(f"{name}_per_s"))) for name in rates]),
        ("live", [("subscriptions", count(figures.get("live_subscriptions")))]),
    ]  # fmt: skip
    out: list[RenderableType] = [Text(""), _line(Text(figures["collection"], "bold cyan"))]
    for name, parts in groups:
        texts = [_named(key, value) for key, value in parts]
        out += _packed([Text(f"{name:>9}"), *texts], columns, indent=12)
    past = list(model.past.get(figures["collection"], ()))[-max(columns - 24, 8) :]
    graph = Text.assemble(f"{'adds/s':>9}   ", (sparkline(past), "cyan"))
    graph.append(f" up to {count(max(past, default=0))}", "dim")
    return [*out, _line(graph)]


def _help() -> list[Text]:
    lines = [Text.assemble((f"  {key:<7}", "bold"), what) for key, what in _KEYS]
    return [*lines, Text(""), Text("Any key goes back.", "dim")]


def _foot(model: Model, columns: int) -> list[Text]:
    order = "down" if model.descending else "up"
    said = f"q quit  ↑↓ pick  enter figures  s sort ({model.sort}, {order})  r turn  ? help"
    if len(said) > columns:
        said = "q quit  ↑↓ pick  enter figures  s sort  r turn  ? help"
    return [Text(""), _line(Text(said, "dim"))]


def document(model: Model) -> dict[str, Any]:
    """The same figures for programs."""
    return {
        "server": None if model.server is None else dict(model.server),
        "collections": [dict(one) for one in model.in_order()],
    }
