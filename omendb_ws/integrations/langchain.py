"""LangChain over a collection: a vector store, and retrievers that follow the stream.

A document is a row: its id a string, its metadata that of the row, its text the metadata's key
``text_key``. What LangChain's calls take beside their own arguments goes to ``search`` as it is, so
every search may be shaped. Asyncio calls embed by the embedding's own asyncio methods, and wait for
the client in a thread.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, Self

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables.config import run_in_executor
from langchain_core.vectorstores import VectorStore
from pydantic import Field, PrivateAttr

from omendb_ws import Answer, LiveAnswer
from omendb_ws.errors import BadId, BadMetadata, BadRequest, NotFound
from omendb_ws.sync import Client, LiveQuery

#: Of a collection that a store makes: its newest documents.
CAPACITY: Final = 100_000


class OmenVectorStore(VectorStore):
    """Documents in a collection whose ids are strings.

    The first add makes the collection where there is none: of the embedding's dimension, for the
    newest ``capacity`` documents, with ``definition`` (``metric``, ``columns``, ``ttl``,
    ``durability``, …) as ``create`` takes it. Only declared ``columns`` can be filtered by.
    ``db`` is the caller's to close. A document's text and metadata together may have what the
    server's ``max_metadata_bytes`` says, by default 4 KiB.
    """

    def __init__(
        self,
        db: Client,
        collection: str,
        embedding: Embeddings,
        *,
        text_key: str = "text",
        capacity: int = CAPACITY,
        **definition: Any,
    ) -> None:
        self.db = db
        self.collection = collection
        self.text_key = text_key
        self._embedding = embedding
        self._definition = {**definition, "capacity": capacity, "ids": "str"}

    @property
    def embeddings(self) -> Embeddings:
        """What turns texts into vectors."""
        return self._embedding

    # -- documents in -------------------------------------------------------------------------

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        **options: Any,
    ) -> list[str]:
        """Add documents, and return their ids; one whose id is there is replaced.

        ``options`` are those of ``add`` (``unless_near``, …). Raises the client's errors, and
        BadRequest for lists of different lengths.
        """
        listed = list(texts)
        vectors = self._embedding.embed_documents(listed) if listed else []
        return self._add(listed, vectors, metadatas, ids, options)

    async def aadd_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        **options: Any,
    ) -> list[str]:
        """As ``add_texts``."""
        listed = list(texts)
        vectors = await self._embedding.aembed_documents(listed) if listed else []
        return await run_in_executor(None, self._add, listed, vectors, metadatas, ids, options)

    def delete(self, ids: list[str] | None = None, **_: Any) -> bool:
        """Delete documents; whether each was there does not matter. Raises BadId without ids."""
        if ids is None:
            raise BadId("ids: missing; `drop` removes a collection with all its documents")
        self.db.delete(self.collection, ids)
        return True

    # -- documents out ------------------------------------------------------------------------

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Return the documents with these ids that are there, in that order."""
        rows = self.db.get(self.collection, list(ids), include=["metadata"])
        return [self.document(row.id, row.metadata) for row in rows if row is not None]

    def similarity_search(self, query: str, k: int = 4, **options: Any) -> list[Document]:
        """Return the ``k`` nearest documents. ``options`` are those of ``search``."""
        return [one for one, _ in self.similarity_search_with_score(query, k, **options)]

    async def asimilarity_search(self, query: str, k: int = 4, **options: Any) -> list[Document]:
        """As ``similarity_search``."""
        return [one for one, _ in await self.asimilarity_search_with_score(query, k, **options)]

    def similarity_search_with_score(
        self, query: str, k: int = 4, **options: Any
    ) -> list[tuple[Document, float]]:
        """Return the ``k`` nearest documents, with their scores: larger is nearer."""
        return self._search(self._embedding.embed_query(query), k, options)

    async def asimilarity_search_with_score(
        self, query: str, k: int = 4, **options: Any
    ) -> list[tuple[Document, float]]:
        """As ``similarity_search_with_score``."""
        vector = await self._embedding.aembed_query(query)
        return await run_in_executor(None, self._search, vector, k, options)

    def similarity_search_by_vector(
        self, embedding: list[float], k: int = 4, **options: Any
    ) -> list[Document]:
        """Return the ``k`` documents that are nearest to a vector."""
        return [one for one, _ in self._search(embedding, k, options)]

    def max_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **options: Any
    ) -> list[Document]:
        """Return ``k`` of the ``fetch_k`` nearest documents, near the query and unlike each other.

        ``lambda_mult`` from 0 (unlike) to 1 (near); the server chooses, over the whole window.
        """
        vector = self._embedding.embed_query(query)
        return self.max_marginal_relevance_search_by_vector(
            vector, k, fetch_k, lambda_mult, **options
        )

    def max_marginal_relevance_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        **options: Any,
    ) -> list[Document]:
        """As ``max_marginal_relevance_search``."""
        mmr = {"lambda": lambda_mult, "candidates": max(k, fetch_k)}
        return [one for one, _ in self._search(embedding, k, {**options, "mmr": mmr})]

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        """From 0 to 1: of ``cosine`` the score, below 0 nothing."""
        metric = self.db.describe(self.collection).metric
        if metric != "cosine":
            raise BadRequest(f"metric: {metric} has no scores from 0 to 1; ask for scores instead")
        return lambda score: min(1.0, max(0.0, score))

    # -- the stream ---------------------------------------------------------------------------

    def as_live_retriever(self, k: int = 4, **options: Any) -> LiveRetriever:
        """A retriever that keeps its query standing. ``options`` are those of ``live``."""
        return LiveRetriever(store=self, k=k, options=options)

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        db: Client | None = None,
        collection: str = "documents",
        **definition: Any,
    ) -> Self:
        """A store that holds ``texts``; ``db`` is needed, the rest is the constructor's."""
        if db is None:
            raise BadRequest("db: missing; a client of omendb_ws.sync.connect")
        made = cls(db, collection, embedding, **definition)
        made.add_texts(texts, metadatas, ids=ids)
        return made

    # -- inside -------------------------------------------------------------------------------

    def document(self, id: int | str, metadata: Mapping[str, Any] | None) -> Document:
        """A row as a document."""
        others = dict(metadata or {})
        text = others.pop(self.text_key, "")
        return Document(id=str(id), page_content=str(text), metadata=others)

    def documents(self, answer: Answer | LiveAnswer) -> list[Document]:
        """The rows of an answer as documents, best first."""
        return [self.document(row.id, row.metadata) for row in answer]

    def _add(
        self,
        texts: list[str],
        vectors: list[list[float]],
        metadatas: list[dict[str, Any]] | None,
        ids: Sequence[str | None] | None,
        options: Mapping[str, Any],
    ) -> list[str]:
        if not texts:
            return []
        for name, given in (("metadatas", metadatas), ("ids", ids)):
            if given is not None and len(given) != len(texts):
                raise BadRequest(f"{name}: {len(given)} for {len(texts)} texts")
        named = [one or str(uuid.uuid4()) for one in ids or [None] * len(texts)]
        rows: list[dict[str, Any]] = []
        for text, of_one in zip(texts, metadatas or [{}] * len(texts), strict=True):
            if self.text_key in of_one:
                what = f"metadata.{self.text_key}: is the key of the text"
                raise BadMetadata(what, row=len(rows))
            rows.append({**of_one, self.text_key: text})
        add = partial(self.db.add, self.collection, vectors, named, rows, **options)
        try:
            add()
        except NotFound:
            self.db.create(self.collection, dim=len(vectors[0]), if_exists="ok", **self._definition)
            add()
        return named

    def _search(
        self, vector: list[float], k: int, options: Mapping[str, Any]
    ) -> list[tuple[Document, float]]:
        found: Answer = self.db.search(self.collection, vector, k, include=["metadata"], **options)
        return [(self.document(row.id, row.metadata), row.score or 0.0) for row in found]


class LiveRetriever(BaseRetriever):
    """A retriever whose query stands in the server, which tells it when the documents change.

    ``invoke`` of the query before costs no search: its documents are here. Another query moves it.
    ``watch`` and ``awatch`` yield the documents of a query each time they change, as rows come,
    leave and expire. ``options`` are those of ``live`` (``filter``, ``decay``, ``min_score``, …).
    """

    store: OmenVectorStore
    k: int = 4
    options: dict[str, Any] = Field(default_factory=dict)

    _lock: threading.Lock = PrivateAttr(default_factory=threading.Lock)
    _live: LiveQuery | None = PrivateAttr(default=None)
    _query: str | None = PrivateAttr(default=None)
    _documents: list[Document] = PrivateAttr(default_factory=list)

    def watch(self, query: str) -> Iterator[list[Document]]:
        """Yield the documents of ``query`` now, and whenever they have changed, the latest."""
        with self._standing(self.store.embeddings.embed_query(query)) as live:
            for answer in live:
                yield self.store.documents(answer)

    async def awatch(self, query: str) -> AsyncIterator[list[Document]]:
        """As ``watch``. It is over at once when its iteration is left or cancelled."""
        vector = await self.store.embeddings.aembed_query(query)
        # Of its own: a watch waits for as long as nothing changes.
        with ThreadPoolExecutor(1, "omendb-watch") as waiting:
            live = await run_in_executor(None, self._standing, vector)
            try:
                while (answer := await run_in_executor(waiting, next, live, None)) is not None:
                    yield self.store.documents(answer)
            finally:
                live.close()

    def close(self) -> None:
        """End the standing query of ``invoke``; the next call begins another one."""
        with self._lock:
            live, self._live, self._query = self._live, None, None
        if live is not None:
            live.close()

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        with self._lock:
            if self._live is None:
                self._live = self._standing(self.store.embeddings.embed_query(query))
            elif query != self._query:
                self._live.move(self.store.embeddings.embed_query(query))
            self._query = query
            self._live.__enter__()  # subscribes anew where the connection was lost since
            try:
                self._documents = self.store.documents(self._live.next(0))
            except TimeoutError:  # nothing has changed since
                pass
            except StopIteration:
                self._live = None
                raise NotFound(f"{self.store.collection}: the collection was dropped") from None
            return list(self._documents)

    def _standing(self, vector: list[float]) -> LiveQuery:
        options = {"include": ["metadata"], **self.options}
        live: LiveQuery = self.store.db.live(self.store.collection, vector, self.k, **options)
        return live
