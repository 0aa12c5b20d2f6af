"""LlamaIndex over a collection: a vector store that keeps nodes and their texts.

A node is a row: its id a string; its metadata, text and relations are the row's metadata. Filters
are the server's, on declared columns. Asyncio calls wait for the client in a thread.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.schema import BaseNode, MetadataMode
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    FilterCondition,
    FilterOperator,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
    VectorStoreQueryResult,
)
from llama_index.core.vector_stores.utils import metadata_dict_to_node, node_to_metadata_dict

from omendb_ws.errors import BadMetadata, BadRequest, NotFound
from omendb_ws.sync import Client

#: Of a collection that a store makes: its newest nodes.
CAPACITY: Final = 100_000
#: Keys of the metadata that are the store's own.
_TEXT: Final = "text"
_CONTENT: Final = "_node_content"
_KIND: Final = "_node_type"
_DOCUMENT: Final = "ref_doc_id"
_OWN: Final = (_TEXT, _CONTENT, _KIND, _DOCUMENT)
#: What LlamaIndex writes besides, for other stores.
_OF_OTHERS: Final = ("document_id", "doc_id")
_OPERATORS: Final = {
    FilterOperator.EQ: "$eq", FilterOperator.NE: "$ne", FilterOperator.GT: "$gt",
    FilterOperator.GTE: "$gte", FilterOperator.LT: "$lt", FilterOperator.LTE: "$lte",
    FilterOperator.IN: "$in", FilterOperator.NIN: "$nin",
}  # fmt: skip


class OmenVectorStore(BasePydanticVectorStore):
    """Nodes in a collection whose ids are strings.

    The first add makes the collection where there is none: of the embeddings' dimension, for the
    newest ``capacity`` nodes, with ``definition`` as ``create`` takes it, and a column
    ``ref_doc_id``. ``db`` is the caller's to close. A node's text, metadata and relations together
    may have what the server's ``max_metadata_bytes`` says, by default 4 KiB.
    """

    stores_text: bool = True
    collection: str

    _db: Client = PrivateAttr()
    _definition: dict[str, Any] = PrivateAttr()

    def __init__(
        self, db: Client, collection: str, *, capacity: int = CAPACITY, **definition: Any
    ) -> None:
        super().__init__(stores_text=True, collection=collection)
        columns = {**definition.pop("columns", {}), _DOCUMENT: "str"}
        self._db = db
        self._definition = {**definition, "capacity": capacity, "ids": "str", "columns": columns}

    @classmethod
    def class_name(cls) -> str:
        """Its name where LlamaIndex writes one."""
        return "OmenVectorStore"

    @property
    def client(self) -> Client:
        """The client."""
        return self._db

    # -- nodes in -----------------------------------------------------------------------------

    def add(self, nodes: Sequence[BaseNode], **options: Any) -> list[str]:
        """Add nodes with their embeddings, and return their ids; one that is there is replaced."""
        if not nodes:
            return []
        ids = [str(node.node_id) for node in nodes]
        rows = [_metadata(node, row) for row, node in enumerate(nodes)]
        vectors = [node.get_embedding() for node in nodes]
        try:
            self._db.add(self.collection, vectors, ids, rows, **options)
        except NotFound:
            self._db.create(
                self.collection, dim=len(vectors[0]), if_exists="ok", **self._definition
            )
            self._db.add(self.collection, vectors, ids, rows, **options)
        return ids

    async def async_add(self, nodes: Sequence[BaseNode], **options: Any) -> list[str]:
        """As ``add``."""
        return await asyncio.to_thread(self.add, nodes, **options)

    def delete(self, ref_doc_id: str, **_: Any) -> None:
        """Delete the nodes of a document."""
        self._delete_where({_DOCUMENT: ref_doc_id})

    async def adelete(self, ref_doc_id: str, **_: Any) -> None:
        """As ``delete``."""
        await asyncio.to_thread(self.delete, ref_doc_id)

    def delete_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
        **_: Any,
    ) -> None:
        """Delete nodes by id, or those that pass ``filters``."""
        if (node_ids is None) == (filters is None):
            raise BadRequest("node_ids: give either these or filters")
        if node_ids is not None:
            self._db.delete(self.collection, node_ids)
        else:
            self._delete_where(_filter(filters))

    async def adelete_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
        **_: Any,
    ) -> None:
        """As ``delete_nodes``."""
        await asyncio.to_thread(self.delete_nodes, node_ids, filters)

    def clear(self) -> None:
        """Remove the collection; the next add makes it anew."""
        with suppress(NotFound):
            self._db.drop(self.collection)

    async def aclear(self) -> None:
        """As ``clear``."""
        await asyncio.to_thread(self.clear)

    # -- nodes out ----------------------------------------------------------------------------

    def get_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None
    ) -> list[BaseNode]:
        """Return the nodes with these ids that are there, in that order."""
        if node_ids is None or filters is not None:
            raise BadRequest("node_ids: missing; nodes by filters are those of a query")
        rows = self._db.get(self.collection, node_ids, include=["metadata"])
        return [_node(row.metadata) for row in rows if row is not None]

    async def aget_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None
    ) -> list[BaseNode]:
        """As ``get_nodes``."""
        return await asyncio.to_thread(self.get_nodes, node_ids, filters)

    def query(self, query: VectorStoreQuery, **options: Any) -> VectorStoreQueryResult:
        """Return the nodes nearest to the query's embedding, with their scores.

        The modes are ``default`` and ``mmr`` (``mmr_threshold`` from 0, unlike each other, to 1);
        ``options`` are those of ``search``. Raises BadRequest for another mode, or none of it.
        """
        if query.query_embedding is None:
            raise BadRequest("query_embedding: missing")
        if query.node_ids:
            raise BadRequest("node_ids: no search is among these; ask for get_nodes")
        if query.mode == VectorStoreQueryMode.MMR:
            nearness = 0.5 if query.mmr_threshold is None else query.mmr_threshold
            options = {**options, "mmr": {"lambda": nearness}}
        elif query.mode != VectorStoreQueryMode.DEFAULT:
            raise BadRequest(f"mode: {query.mode.value} is none of default, mmr")
        conditions = [_filter(query.filters)] if query.filters is not None else []
        if query.doc_ids:
            conditions.append({_DOCUMENT: {"$in": list(query.doc_ids)}})
        if conditions:
            options = {**options, "filter": {"$and": conditions}}
        found = self._db.search(
            self.collection, query.query_embedding, query.similarity_top_k,
            include=["metadata"], **options,
        )  # fmt: skip
        return VectorStoreQueryResult(
            nodes=[_node(row.metadata) for row in found],
            similarities=[row.score for row in found],
            ids=[str(row.id) for row in found],
        )

    async def aquery(self, query: VectorStoreQuery, **options: Any) -> VectorStoreQueryResult:
        """As ``query``."""
        return await asyncio.to_thread(self.query, query, **options)

    # -- inside -------------------------------------------------------------------------------

    def _delete_where(self, filter: Mapping[str, Any]) -> None:
        """Delete all that pass, as many at a time as a search finds."""
        dim = self._db.describe(self.collection).dim
        most = self._db.limits().max_k
        while True:
            found = self._db.search(self.collection, [1.0] * dim, most, filter=filter)
            if not len(found):
                return
            self._db.delete(self.collection, found.ids)


def _metadata(node: BaseNode, row: int) -> dict[str, Any]:
    """A node as metadata; its own metadata once, so that filters see it."""
    taken = [name for name in _OWN if name in node.metadata]
    if taken:
        raise BadMetadata(f"metadata.{taken[0]}: is a key of the store's own", row=row)
    made: dict[str, Any] = node_to_metadata_dict(node, remove_text=True)
    content = json.loads(made[_CONTENT])
    content["metadata"] = {}
    for name in set(_OF_OTHERS) - node.metadata.keys():
        made.pop(name, None)
    made.update(node.metadata)
    text = node.get_content(metadata_mode=MetadataMode.NONE)
    return {**made, _CONTENT: json.dumps(content, ensure_ascii=False), _TEXT: text}


def _node(metadata: Mapping[str, Any] | None) -> BaseNode:
    whole = dict(metadata or {})
    node = metadata_dict_to_node(whole, whole.get(_TEXT))
    node.metadata = {name: value for name, value in whole.items() if name not in _OWN}
    return node


def _filter(filters: MetadataFilters | None) -> dict[str, Any]:
    """The filter of PROTOCOL section 5. Raises BadRequest for operators that it has not."""
    if filters is None or not filters.filters:
        return {}
    each = [_condition(one) for one in filters.filters]
    if filters.condition == FilterCondition.OR:
        return {"$or": each}
    both = {"$and": each}
    return {"$not": both} if filters.condition == FilterCondition.NOT else both


def _condition(one: Any) -> dict[str, Any]:
    if isinstance(one, MetadataFilters):
        return _filter(one)
    operator = _OPERATORS.get(one.operator)
    if operator is None:
        raise BadRequest(f"filters.{one.key}: {one.operator.value} is not there")
    return {one.key: {operator: one.value}}
