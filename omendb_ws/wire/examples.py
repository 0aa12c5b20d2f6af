"""Examples of what is sought, in JSON: each an id or a list of numbers (PROTOCOL section 5).

Ids stay as they came until the collection's kind of ids is known; vectors become arrays. Knows no
definition and no message.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import numpy as np
import orjson
from omendb_core.model.errors import BadRequest, OmenError

from . import vectors
from .hits import array_text


def read(values: Sequence[Any], name: str) -> list[Any]:
    """Each an id as it came, or a vector float32 (dim,); those that are arrays stay as they are.

    Raises BadVector or BadRequest naming ``name``, with the ``row``.
    """
    return [_one(value, name, row) for row, value in enumerate(values)]


def read_in_pieces(values: list[Any], name: str) -> Generator[None, None, None]:
    """Put arrays in place of lists of numbers, unless there is a fault in them."""
    for row, value in enumerate(values):
        if type(value) is not list:
            continue
        try:
            values[row] = _one(value, name, row)
        except OmenError:  # which of the request's faults is told is for whoever reads it
            return
        yield


def as_json(examples: Sequence[Any]) -> list[Any]:
    """The same as JSON has them."""
    return [
        orjson.Fragment(array_text(one)) if isinstance(one, np.ndarray) else one for one in examples
    ]


def _one(value: Any, name: str, row: int) -> Any:
    if type(value) is list:
        return vectors.from_list(value, name, row)[0]
    if type(value) is int or type(value) is str or isinstance(value, np.ndarray):
        return value
    raise BadRequest(f"{name}: must be ids or lists of numbers", row=row)
