"""How much memory and disk a collection will take, before it is there, as the server counts it.

The parts are those that the catalog, sessions and the journal count with, so that what is said here
is what is held there (``tests/server/node/test_sizing.py`` compares them). Pure.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from omendb_core.model.types import Definition
from omendb_core.rows.payloads import Payloads
from omendb_core.scan.interface import Scan
from omendb_core.standing.table import StandingQuery
from omendb_core.state import reserved_bytes
from omendb_core.window import Window

from ..journal.local.compaction import LEAST_SEGMENTS, MOST_TIMES, row_bytes
from ..journal.local.store import log_segment_bytes
from ..sessions.standing_streams import reader_bytes

#: What a server takes that holds nothing (measured: ``python -m load_tests.bench_memory``).
PROCESS_BYTES: Final = 60 << 20
#: Of a log, beside the segments that hold rows: the one that is written, and the spare one.
_SEGMENTS_BESIDE: Final = 2


class Wanted(NamedTuple):
    """A collection that is full, and its live queries, each with ``k`` rows and without a filter.

    ``metadata_bytes``: of a row's metadata as compact JSON.
    """

    definition: Definition
    metadata_bytes: int = 0
    subscriptions: int = 0
    k: int = 10


class Memory(NamedTuple):
    """Bytes of ``max_memory_bytes``, and what the process takes by itself."""

    window: int
    metadata: int
    subscriptions: int
    process: int = PROCESS_BYTES

    @property
    def counted(self) -> int:
        """What ``max_memory_bytes`` must have room for."""
        return self.window + self.metadata + self.subscriptions


class Disk(NamedTuple):
    """Bytes in the data directory: a log that only grows at its end, and one at its longest.

    The longest is that of a window whose rows are updated and deleted rather than evicted, at the
    moment before its log is written anew, and while it is; what is changed meanwhile comes on top.
    """

    streaming: int
    most: int


def memory(wanted: Wanted, scan: Scan) -> Memory:
    """What it takes in memory, at most."""
    definition = wanted.definition
    rows = definition.capacity
    payloads = Payloads(rows)
    metadata = payloads.growth(wanted.metadata_bytes * rows, rows)
    each = 0
    if wanted.subscriptions:
        query = StandingQuery(k=wanted.k)
        least = Definition(dim=definition.dim, capacity=1, metric=definition.metric)
        each = Window(least, scan=scan).standing.bytes_for(query.k, query.shape)
        each += reader_bytes(query, definition.ids)
    return Memory(reserved_bytes(definition, scan), metadata, each * wanted.subscriptions)


def disk(wanted: Wanted) -> Disk:
    """What it takes on the disk, with durability ``everysec`` or ``always``."""
    definition = wanted.definition
    live = (row_bytes(definition) + wanted.metadata_bytes) * definition.capacity
    segment = log_segment_bytes(definition)
    beside = _SEGMENTS_BESIDE * segment
    streaming = live + segment + beside
    longest = max(MOST_TIMES * live, LEAST_SEGMENTS * segment)
    return Disk(streaming, max(longest + live + beside, streaming))
