"""The prototype's bodies as requests of the protocol (PROTOCOL section 11): pure.

Its calls are about one collection, ``default``, which the first add makes. Knows JSON texts and the
table of fields; who may do what, and what is there, is for the sessions. Rows are not written anew,
so their numbers stay as they were written.
"""

from __future__ import annotations

import re
from typing import Any, Final

import orjson
from omendb_core.admission.checks import check_ids, check_shape
from omendb_core.model.errors import BadRequest
from omendb_core.model.types import Definition, WindowLimits
from omendb_core.scoring import score

from ...wire import numbers
from ...wire import text as wire_text
from ...wire.fields import refuse_unknown
from ...wire.limits import Limits
from ...wire.rows import parse_rows

COLLECTION: Final = "default"
_SEARCH_FIELDS: Final = frozenset(("vector", "k", "include_metadata"))
_VECTORS: Final = re.compile(r'[ \t\n\r]*\{[ \t\n\r]*"vectors"[ \t\n\r]*:')


def read_object(text: str) -> dict[str, Any]:
    """The JSON object that ``text`` is. BadRequest, NonFinite."""
    try:
        body = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        if wire_text.is_of_infinity(error.msg):
            raise wire_text.not_finite(0).error from None
        raise wire_text.no_json(error.msg, error.pos).error from None
    if type(body) is not dict:
        raise BadRequest("the body must be a JSON object")
    return body


def add_of_row(text: str) -> str:
    """The fields of ``add``, for the one row that ``text`` is. BadRequest, NonFinite."""
    read_object(text)
    return f'{{"rows":[{text}]}}'


def add_of_batch(text: str) -> str:
    """The fields of ``add``, for rows under ``vectors``. BadRequest, NonFinite.

    The usual text, of vectors and nothing else, is not read, as it may be long: the rest of it may
    hold what an add may, but no ``rows`` besides.
    """
    found = _VECTORS.match(text)
    if found is None or '"rows"' in text:
        body = read_object(text)
        refuse_unknown(body, ("vectors",))
        if "vectors" not in body:
            raise BadRequest("vectors: missing")
        if found is None:
            raise BadRequest('the body must begin with "vectors"')
    return f'{{"rows":{text[found.end() :]}'


def search_of(text: str) -> str:
    """The fields of ``search``. BadRequest, NonFinite."""
    asked = read_object(text)
    refuse_unknown(asked, _SEARCH_FIELDS)
    if "vector" not in asked:
        raise BadRequest("vector: missing")
    wants_metadata = asked.pop("include_metadata", False)
    if type(wants_metadata) is not bool:
        raise BadRequest("include_metadata: must be true or false")
    include = {"include": ["metadata"]} if wants_metadata else {}
    return orjson.dumps({**asked, **include}).decode()


def create_for(add: str, capacity: int, limits: Limits) -> str:
    """The fields of ``create`` before the first ``add``. OmenError where its rows are at fault:
    a refused request makes nothing.
    """
    body = read_object(add)
    numbers.check_integers(add, numbers.metadata_of(body))
    rows = body.get("rows")
    if type(rows) is not list or not rows or type(rows[0]) is not dict:
        raise BadRequest("rows: must be a list of objects, at least 1")
    vector = rows[0].get("vector")
    dim = len(vector) if type(vector) is list else 0
    definition = Definition(max(dim, 1), capacity, ids="str")
    batch = parse_rows(rows, definition, limits)
    check_shape(batch, definition, WindowLimits(max_rows=limits.max_rows))
    check_ids(batch.ids, definition, len(rows))
    score.prepare(batch.vectors, definition.metric)
    made = {"dim": dim, "capacity": capacity, "metric": definition.metric, "ids": "str"}
    return orjson.dumps({"collection": COLLECTION, **made, "if_exists": "ok"}).decode()
