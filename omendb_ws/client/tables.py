"""Rows as tables of other libraries: Arrow, pandas, polars. Each is loaded when it is asked for.

Pure: arrays and objects in, a table out. An Arrow table is made first, whatever is wanted, so that
all three have the same columns and types; what is null in it is null in each.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import orjson
from omendb_core.model.errors import Unsupported

from ..runtime.extras import ExtraMissing, load

_MAX_I64: Final = 2**63 - 1


def library(name: str, extra: str, what: str) -> Any:
    """The module ``name``. Raises Unsupported, which says how to install it."""
    try:
        load(f"{what} needs", extra, name)
    except ExtraMissing as error:
        raise Unsupported(str(error)) from None
    return importlib.import_module(name)


def to_arrow(
    columns: Mapping[str, Any], metadata: Sequence[Mapping[str, Any]] | None, what: str = "to_arrow"
) -> Any:
    """A ``pyarrow.Table`` of ``columns``, by their names, and one for each key of ``metadata``.

    A key that is the name of a column is ``metadata.KEY``. What has values of several types is text
    that is JSON. Raises Unsupported.
    """
    arrow = library("pyarrow", "arrow", what)
    made = {name: _array(arrow, values) for name, values in columns.items()}
    for key in dict.fromkeys(key for row in metadata or () for key in row):
        values = [row.get(key) for row in metadata or ()]
        made[f"metadata.{key}" if key in columns else key] = _of_values(arrow, values)
    return arrow.table(made)


def to_pandas(columns: Mapping[str, Any], metadata: Sequence[Mapping[str, Any]] | None) -> Any:
    """The same as a ``pandas.DataFrame``: whole numbers and booleans with nulls keep their type."""
    pandas = library("pandas", "pandas", "to_pandas")
    table = to_arrow(columns, metadata, "to_pandas")
    return pandas.DataFrame(
        {name: _series(pandas, table.column(name)) for name in table.column_names}
    )


def to_polars(columns: Mapping[str, Any], metadata: Sequence[Mapping[str, Any]] | None) -> Any:
    """The same as a ``polars.DataFrame``."""
    polars = library("polars", "polars", "to_polars")
    return polars.from_arrow(to_arrow(columns, metadata, "to_polars"))


def _array(arrow: Any, values: Any) -> Any:
    """A column of numbers, ids or vectors. NaN stands for a number that a row has not."""
    if isinstance(values, np.ndarray) and values.ndim == 2:
        flat = arrow.array(np.ascontiguousarray(values).reshape(-1))
        if not values.shape[1]:
            return arrow.nulls(len(values), arrow.list_(arrow.float32()))
        return arrow.FixedSizeListArray.from_arrays(flat, values.shape[1])
    if isinstance(values, np.ndarray):
        return arrow.array(values, from_pandas=True)
    return _of_values(arrow, values)


def _of_values(arrow: Any, values: Sequence[Any]) -> Any:
    """A column of JSON values."""
    kinds = {type(one) for one in values if one is not None}
    if kinds == {int} and max(one for one in values if one is not None) > _MAX_I64:
        kinds, type_ = {int}, arrow.uint64()
    else:
        type_ = None
    try:
        if len(kinds) > 1 and kinds != {int, float}:
            raise TypeError("several types")
        return arrow.array(values, type_)
    except (TypeError, ValueError, OverflowError):  # ArrowInvalid is a ValueError
        return arrow.array([None if one is None else orjson.dumps(one).decode() for one in values])


def _series(pandas: Any, column: Any) -> Any:
    """As pandas has it; by default it makes floats of whole numbers with nulls."""
    nullable = {
        "int64": pandas.Int64Dtype(), "uint64": pandas.UInt64Dtype(), "bool": pandas.BooleanDtype(),
    }  # fmt: skip
    dtype = nullable.get(str(column.type)) if column.null_count else None
    return column.to_pandas() if dtype is None else column.to_pandas(types_mapper=lambda _: dtype)
