"""What of a snapshot's rows is text, checked as that of an add is (PROTOCOL section 4)."""

from __future__ import annotations

import numpy as np
import orjson
from numpy.typing import NDArray
from omendb_core.model.errors import BadId, BadMetadata
from omendb_core.model.logged import KeptRows
from omendb_core.model.types import NULL_CODE, Bool1, Column, Definition, StrColumn
from omendb_core.rows.metadata import from_metadata, null_column

from ..wire.batches import check_str_ids
from ..wire.limits import Limits
from ..wire.rows import payloads_of


def check_texts(rows: KeptRows, definition: Definition, limits: Limits) -> None:
    """Ids, metadata, and what columns say of it. BadId, BadMetadata, TooLarge."""
    if definition.ids == "str":
        if not isinstance(rows.ids, list):
            raise BadId("ids: must be strings")
        check_str_ids(rows.ids)
    if rows.payloads is None:
        return
    payloads = list(rows.payloads)
    try:
        metadata = [{} if one is None else orjson.loads(one) for one in payloads]
    except orjson.JSONDecodeError as error:
        raise BadMetadata(f"metadata: not JSON: {error.msg}") from None
    if set(map(type, metadata)) - {dict}:
        raise BadMetadata("metadata: must be an object")
    if list(payloads_of(metadata, limits)) != payloads:
        raise BadMetadata("metadata: not as this server writes it")
    told = np.array([one is not None for one in payloads], np.bool_)
    typed = from_metadata(metadata, definition.columns)
    for name, type_ in definition.columns.items():
        nulls = null_column(type_, len(payloads))
        if not _are_equal(rows.columns.get(name, nulls), typed.get(name, nulls), told):
            raise BadMetadata(f"columns.{name}: not what the metadata says")


def _are_equal(found: Column, expected: Column, where: Bool1) -> bool:
    if isinstance(found, StrColumn) or isinstance(expected, StrColumn):
        if not (isinstance(found, StrColumn) and isinstance(expected, StrColumn)):
            return False
        return bool((_texts(found)[where] == _texts(expected)[where]).all())
    is_nan = found.dtype == np.float64
    return found.dtype == expected.dtype and np.array_equal(
        found[where], expected[where], equal_nan=is_nan
    )


def _texts(column: StrColumn) -> NDArray[np.object_]:
    known = dict(enumerate(column.dictionary))
    known[NULL_CODE] = ""
    texts = [(code == NULL_CODE, known.get(code)) for code in column.codes.tolist()]
    made = np.empty(len(texts), object)
    made[:] = texts
    return made
