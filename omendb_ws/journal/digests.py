"""What a stretch of a window holds, as one number: the same on every node that holds the same.

The rows, their times, seqs, ids, typed columns and metadata, as a record of kept rows has them;
texts of a column in their own order, since each node numbers them as they came to it. Pure.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import xxhash
from omendb_core.model.logged import KeptRows
from omendb_core.model.types import Column, StrColumn

from .local.contents import body_of


def digest_of(rows: KeptRows) -> int:
    """XXH3 of the rows of a stretch."""
    columns = {name: _ordered(column) for name, column in rows.columns.items()}
    digest = xxhash.xxh3_64()
    for buffer in body_of(replace(rows, columns=columns)).buffers:
        digest.update(buffer)
    return digest.intdigest()


def _ordered(column: Column) -> Column:
    if not isinstance(column, StrColumn):
        return column
    order = sorted(range(len(column.dictionary)), key=column.dictionary.__getitem__)
    ranks = np.empty(len(order), np.uint32)
    ranks[order] = np.arange(len(order), dtype=np.uint32)
    codes = column.codes.copy()
    is_text = codes < len(order)
    codes[is_text] = ranks[codes[is_text]]
    return StrColumn(codes, tuple(column.dictionary[place] for place in order))
