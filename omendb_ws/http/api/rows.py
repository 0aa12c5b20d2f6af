"""Routes of rows: add as JSON or as an array; get, delete and update, one or many.

An id in a path is text: the wire takes a decimal text for an integer where ids are integers.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, Final

import orjson
from fastapi import Request
from omendb_core.model.change import RowBatch
from omendb_core.model.errors import BadRequest, NotFound, OmenError

from ...wire import text as wire_text
from ...wire.fields import check_batch_pair, check_name, read_fields, shown
from ...wire.messages import Add, Uploaded
from ...wire.opcodes import Field
from .answers import JsonAnswer
from .api import COLLECTION, Answer, Api, asking_of, in_path
from .arrays import npy_rows, raw_rows
from .bodies import JSON, content_type, read, read_json, read_text
from .documents import COLLECTION_IN_PATH, ROW_ID, Document, body_of
from .gate import Asking
from .json_schema import Json
from .parameters import fields_of, read_query
from .refusals import Refused, other_type
from .repeats import IDEMPOTENCY_KEY, add_once
from .searches import answer_op

OCTETS: Final = "application/octet-stream"
NPY: Final = "application/x-npy"

#: Of an add, what stands in the query; of one that is an array, and of one without a header.
BATCH: Final = fields_of("add", "producer", "batch")
_OF_ARRAYS: Final = fields_of("add", "producer", "batch", "unless_near")
DIM: Final = Field("dim", "integer", required=True, least=1, most="max_dim")
INCLUDE: Final = fields_of("get", "include")
#: Of a PATCH: metadata in any writing, with escapes, takes no more than so many times its limit.
_WRITTEN_TIMES: Final = 8
_LEAST_PATCH_BYTES: Final = 1 << 10
_BYTES: Final[Json] = {"type": "string", "format": "binary"}
_ADDING: Final = Document(
    "add_rows",
    "Add rows",
    "add",
    f"As the op `add`; right: write. An array (`{OCTETS}`: little-endian float32 rows, one behind"
    f" the other, with `dim`; `{NPY}`: a NumPy file in two dimensions, of any real type) is for"
    " collections whose ids are `auto`. `unless_near` stands in the query with an array, in the"
    " body with JSON.",
    query=(*_OF_ARRAYS, replace(DIM, required=False)),
    body={**body_of("add"), OCTETS: _BYTES, NPY: _BYTES},
    statuses=(409,),
    headers=(IDEMPOTENCY_KEY,),
    tag="rows",
)


def add_routes(api: Api) -> None:
    """Add them."""
    rows, one = f"{COLLECTION}/rows", f"{COLLECTION}/rows/{{id:row_id}}"
    api.route("POST", rows, add, _ADDING)
    for endpoint, op in ((get_rows, "get"), (delete_rows, "delete")):
        body, summary = body_of(op), f"{op.capitalize()} rows"
        statuses = (409,) if op == "get" else ()  # of another epoch than it asks for
        document = Document(
            endpoint.__name__, summary, op, body=body, tag="rows", statuses=statuses
        )
        api.route("POST", f"{rows}/{op}", endpoint, document)
    path = (COLLECTION_IN_PATH, ROW_ID)
    getting = Document("get_row", "Get a row", "get", path=path, query=INCLUDE, tag="rows")
    deleting = Document("delete_row", "Delete a row", "delete", path=path, tag="rows")
    updating = Document(
        "update_row",
        "Replace the metadata of a row",
        "update",
        path=path,
        body=body_of("update"),
        tag="rows",
    )
    api.route("GET", one, get_row, getting)
    api.route("DELETE", one, delete_row, deleting)
    api.route("PATCH", one, update_row, updating)


async def add(request: Request) -> Answer:
    """As the op ``add``."""
    asking = asking_of(request)
    kind = content_type(asking)
    if kind in (OCTETS, NPY):
        return await _add_array(request, kind)
    if kind != JSON:
        raise other_type(f"Content-Type: must be {JSON}, {OCTETS} or {NPY}")
    given = read_query(asking.query, BATCH)
    conversation = await asking.enter()
    body, collection = await read_json(asking), in_path(request, "collection")
    ask = partial(conversation.ask, "add", body, collection=collection, **given)
    return await add_once(asking, conversation, collection, body, ask)


async def _add_array(request: Request, kind: str) -> Answer:
    asking = asking_of(request)
    limits = asking.context.limits
    fields = _OF_ARRAYS if kind == NPY else (*_OF_ARRAYS, DIM)
    values = read_fields(read_query(asking.query, fields), fields, limits)
    check_batch_pair(values)
    dim = values.pop("dim", None)
    conversation = await asking.enter()
    parts = await read(asking, limits.max_message_bytes, "max_message_bytes")
    data = parts[0] if len(parts) == 1 else b"".join(parts)
    del parts
    rows = npy_rows(data, limits) if dim is None else raw_rows(data, dim, limits)
    collection = in_path(request, "collection")
    ask = partial(conversation.upload, _Upload(collection, rows, len(data), values))
    return await add_once(asking, conversation, collection, data, ask)


class _Upload:
    """An add out of an array, once it has its number."""

    def __init__(
        self, collection: str, rows: RowBatch | OmenError, size_bytes: int, values: dict[str, Any]
    ) -> None:
        self._collection = check_name(collection, "collection")
        self._rows = rows
        self._size_bytes = size_bytes
        self._values = values

    def __call__(self, number: int) -> Uploaded:
        """The add of that number."""
        return Uploaded(Add(number, self._collection, self._rows, **self._values), self._size_bytes)


async def get_rows(request: Request) -> Answer:
    """As the op ``get``."""
    return await answer_op(request, "get")


async def delete_rows(request: Request) -> Answer:
    """As the op ``delete``."""
    return await answer_op(request, "delete")


async def get_row(request: Request) -> Answer:
    """As the op ``get`` with one id; 404 if it is not there."""
    asking = asking_of(request)
    given = read_query(asking.query, INCLUDE)
    found = await _ask_of_one(request, asking, "get", given)
    if bytes(found[-16:]).endswith(b'"rows":[null]}'):
        raise NotFound(f"id: there is no row {shown(in_path(request, 'id'))}")
    return JsonAnswer(asking, found)


async def delete_row(request: Request) -> Answer:
    """As the op ``delete`` with one id."""
    asking = asking_of(request)
    read_query(asking.query, ())
    return JsonAnswer(asking, await _ask_of_one(request, asking, "delete", {}))


async def _ask_of_one(
    request: Request, asking: Asking, op: str, given: dict[str, Any]
) -> bytes | memoryview:
    """The answer to an op of many, asked of the one row in the path. Refused, which says ``id``."""
    conversation = await asking.enter()
    collection, row_id = in_path(request, "collection"), in_path(request, "id")
    try:
        return await conversation.ask(op, collection=collection, ids=[row_id], **given)
    except Refused as refused:
        raise refused.renamed("ids:", "id:") from None


async def update_row(request: Request) -> Answer:
    """As the op ``update`` with one row: the body holds its ``metadata``."""
    asking = asking_of(request)
    read_query(asking.query, ())
    conversation = await asking.enter()
    row = await _row_of(asking, in_path(request, "id"))
    found = await conversation.ask(
        "update", f'{{"rows":[{row}]}}', collection=in_path(request, "collection")
    )
    return JsonAnswer(asking, found)


async def _row_of(asking: Asking, row_id: str) -> str:
    """The body with the id in it. It is not written anew: numbers stay as they were written."""
    most_bytes = _WRITTEN_TIMES * asking.context.limits.max_metadata_bytes + _LEAST_PATCH_BYTES
    text = await read_text(asking, most_bytes, f"{_WRITTEN_TIMES} x max_metadata_bytes")
    try:
        body = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        if not wire_text.is_of_infinity(error.msg):
            raise wire_text.no_json(error.msg, error.pos).error from None
        body = {"metadata": {}}  # what is wrong with it is for the wire
    if type(body) is not dict:
        raise BadRequest("a request is a JSON object")
    if "id" in body:
        raise BadRequest("id: unknown field")
    written = text.rstrip()[:-1]
    return f'{written}{"," if body else ""}"id":{orjson.dumps(row_id).decode()}}}'
