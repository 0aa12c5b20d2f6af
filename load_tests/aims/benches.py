"""The table of all benches: name, what it measures, who does it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, NamedTuple

from . import filtered, hard, memory, requests, scans, shaped, standing
from .row import Effort, Row


class Bench(NamedTuple):
    """``measure`` gives its rows. ``is_long``: it is measured where it is named only."""

    what: str
    measure: Callable[[Effort], list[Row]]
    is_long: bool = False


BENCHES: Final[Mapping[str, Bench]] = {
    **{
        name: Bench(f"the scan of {size}, in process", partial(scans.bench, name))
        for name, size in scans.SIZES.items()
    },
    "scan-shared": Bench("one query of 1,000,000 x 128 on all cores, in process", scans.shared),
    "filtered": Bench("filters that leave 1%, 10%, 50%, in process", filtered.bench),
    "shaped": Bench("orders, selections, exclusions beside none, in process", shaped.bench),
    "hard": Bench("data that is hard to estimate, in process", hard.bench),
    "rest": Bench("one search at a time", requests.rest),
    "searches": Bench("searches, one query a message, closed", requests.searches),
    "open": Bench("searches, one query a message, as users come", requests.open_loop),
    "many": Bench("searches, 32 queries a message", requests.many_queries),
    "adds": Bench("adds in binary frames, auto and u64", requests.adds),
    "adds-metadata": Bench("the same with two columns", requests.adds_with_metadata),
    "live": Bench("10,000 live queries", standing.live),
    "decayed": Bench("10,000 decayed live queries", standing.decayed),
    "match": Bench("100,000 match queries", standing.match),
    "match-million": Bench("1,000,000 match queries", standing.match_million, is_long=True),
    "mixed": Bench("adds, searches and live queries at once", standing.mixed),
    "memory": Bench("memory of a row", memory.bench),
}
