"""What requests give, as the engine takes it: the rows of an add, the query of a search.

Runs on the loop's thread, for the ops. Columns, ids and limits are those of the collection, which
is known here. Everything raises OmenError naming the field.
"""

from __future__ import annotations

from typing import Any

from omendb_core.model.change import RowBatch
from omendb_core.model.errors import OmenError
from omendb_core.search.query import Query

from ..access.stamps import stamp_rows
from ..catalog.entry import Entry
from ..wire import messages as wire
from ..wire import reply_bounds
from ..wire.rows import check_columns_alone, complete_payloads, parse_ids, parse_rows
from . import shaping
from .reach import Reach
from .session import Session


def given_rows(
    session: Session, rows: RowBatch | list[Any] | OmenError, reached: Reach
) -> RowBatch | OmenError:
    """The rows of an add, stamped, or what is wrong with them: a repeated batch comes before."""
    definition, limits = reached.collection.definition, session.context.limits
    try:
        if isinstance(rows, list):
            rows = parse_rows(rows, definition, limits)
        elif isinstance(rows, RowBatch) and rows.payloads is None:
            rows = complete_payloads(rows, limits)
        if isinstance(rows, RowBatch) and reached.stamp:
            rows = stamp_rows(rows, reached.stamp, definition.columns)
            check_columns_alone(rows, limits)
    except OmenError as error:
        return error
    return rows


def query_of(session: Session, request: wire.Search, reached: Reach) -> Query:
    """What a search asks."""
    definition, limits = reached.collection.definition, session.context.limits
    like = None if request.like is None else parse_ids([request.like], definition.ids, "like")
    shape = shaping.shape(request, definition, request.k, limits.max_k, live=False)
    queries = 1 if request.vectors is None else len(request.vectors)
    return Query(
        vectors=request.vectors,
        like=like,
        k=request.k,
        filter=reached.joined(request.filter),
        min_score=request.min_score,
        last=request.last,
        include=request.include,
        max_hits=reply_bounds.max_hits(
            definition, request.include, request.binary, queries, limits, shaping.keys(shape)
        ),
        examples=shaping.examples(request, definition, reached.visible),
        exclude=shaping.excluded(request, definition),
        shape=shape,
        at=request.at,
        visible=reached.visible,
    )


def results_bytes(session: Session, request: wire.Search, query: Query, collection: Entry) -> int:
    """As much as the reply to a search may take."""
    row_bytes = reply_bounds.most_row_bytes(
        collection.definition,
        request.include,
        request.binary,
        session.context.limits.max_metadata_bytes,
        shaping.keys(query.shape),
    )
    queries = 1 if request.vectors is None else len(request.vectors)
    rows = queries * min(request.k, collection.definition.capacity)
    return reply_bounds.ENVELOPE_BYTES + rows * row_bytes


def description_bytes(collection: Entry) -> int:
    """As much as what describes a collection may take."""
    return reply_bounds.description_bytes(collection.definition)
