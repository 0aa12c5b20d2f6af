"""The rows of an add, looked into by what they say alone: pure, typed errors.

What needs the window (quotas, ids that are there) is ``admission.py``'s.
"""

from __future__ import annotations

from ..model.change import RowBatch
from ..model.errors import OmenError
from ..model.types import Definition, WindowLimits
from ..novelty.unless_near import CheckedRows
from ..scoring import score
from .checks import check_ids, check_shape, checked_payloads, typed_columns
from .guard import Guard, refuse_unwritable


def checked_rows(
    rows: RowBatch | OmenError, definition: Definition, limits: WindowLimits, guard: Guard
) -> CheckedRows:
    """The rows as a window keeps them. OmenError, with ``row`` where it is one of them."""
    if isinstance(rows, OmenError):
        raise rows
    check_shape(rows, definition, limits)
    check_ids(rows.ids, definition, len(rows.vectors))
    payloads = None
    if rows.payloads is not None:
        payloads = checked_payloads(rows.payloads, limits.max_metadata_bytes)
    vectors = score.prepare(rows.vectors, definition.metric)
    columns = typed_columns(rows, definition.columns)
    if guard.written is not None:
        refuse_unwritable(guard.written, columns, definition.columns, len(vectors))
    return CheckedRows(vectors, rows.ids, columns, payloads)
