"""The LangChain vector store, and retrievers that follow the stream."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings

from omendb_ws import errors, sync
from omendb_ws.integrations.langchain import LiveRetriever, OmenVectorStore
from tests.client.proxy import Proxy
from tests.patience import PATIENCE_SECONDS, UNHURRIED, wait_until
from tests.server.raw import running

PLACES = {"north": [0.0, 1.0], "east": [1.0, 0.0], "north-east": [0.8, 0.6], "south": [0.0, -1.0]}


class Compass(Embeddings):
    """Texts are directions; counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [PLACES[one] for one in texts]

    def embed_query(self, text: str) -> list[float]:
        self.asked += 1
        return PLACES[text]


@pytest.fixture(scope="module")
def db() -> Iterator[sync.Client]:
    with sync.connect("memory://", server_settings=UNHURRIED) as db:
        yield db


@pytest.fixture
def store(db: sync.Client) -> Iterator[OmenVectorStore]:
    """One that holds north, east and south."""
    made = OmenVectorStore(db, "places", Compass(), capacity=100, columns={"cold": "bool"})
    texts = ["north", "east", "south"]
    metadatas = [{"cold": one == "north", "n": at} for at, one in enumerate(texts)]
    made.add_texts(texts, metadatas, ids=texts)
    yield made
    db.drop("places")


def texts_of(documents: list[Document]) -> list[str]:
    return [one.page_content for one in documents]


def test_the_first_add_makes_the_collection(store: OmenVectorStore, db: sync.Client) -> None:
    made = db.describe("places")
    assert (made.dim, made.capacity, made.ids, made.metric) == (2, 100, "str", "cosine")
    assert made.columns == {"cold": "bool"}


async def test_searches_are_shaped_filtered_and_have_scores(store: OmenVectorStore) -> None:
    assert texts_of(store.similarity_search("north", k=2)) == ["north", "east"]
    [(best, score), _, (_, worst)] = store.similarity_search_with_score("east", k=3)
    assert best == Document(id="east", page_content="east", metadata={"cold": False, "n": 1})
    assert (score, worst) == (1, 0)
    assert texts_of(store.similarity_search("north", filter={"cold": False})) == ["east", "south"]
    assert texts_of(await store.asimilarity_search("north", k=1, exclude=["north"])) == ["east"]
    relevant = store.similarity_search_with_relevance_scores("north", k=3)
    assert [score for _, score in relevant] == [1, 0, 0]
    store.add_texts(["north-east"])
    assert texts_of(store.similarity_search_by_vector([1, 0.1], k=2)) == ["east", "north-east"]
    unlike = store.max_marginal_relevance_search("east", k=2, lambda_mult=0.1)
    assert texts_of(unlike) == ["east", "south"]
    assert texts_of(await store.amax_marginal_relevance_search("east", k=1)) == ["east"]


async def test_documents_are_found_by_id_replaced_and_deleted(store: OmenVectorStore) -> None:
    assert texts_of(store.get_by_ids(["south", "west", "north"])) == ["south", "north"]
    assert await store.aadd_texts(["north-east"], ids=["south"]) == ["south"]
    assert texts_of(await store.aget_by_ids(["south"])) == ["north-east"]
    assert store.delete(["south", "west"])
    assert store.get_by_ids(["south"]) == []
    [made] = store.add_documents([Document(page_content="south")])
    assert texts_of(store.get_by_ids([made])) == ["south"]
    assert store.add_texts([]) == []


def test_what_cannot_be_is_refused_by_name_and_nothing_changes(
    store: OmenVectorStore, db: sync.Client
) -> None:
    before = db.describe("places")
    with pytest.raises(errors.BadRequest, match=r"^ids: 2 for 1 texts"):
        store.add_texts(["north"], ids=["a", "b"])
    with pytest.raises(errors.BadRequest, match=r"^metadatas: 0 for 1 texts"):
        store.add_texts(["north"], [])
    with pytest.raises(errors.BadMetadata, match=r"^metadata\.text: ") as caught:
        store.add_texts(["north", "east"], [{}, {"text": "mine"}])
    assert caught.value.row == 1
    with pytest.raises(errors.BadId, match=r"^ids: missing"):
        store.delete()
    with pytest.raises(errors.BadRequest, match=r"^db: missing"):
        OmenVectorStore.from_texts(["north"], Compass())
    with pytest.raises(errors.NotFound):
        OmenVectorStore(db, "elsewhere", Compass()).similarity_search("north")
    assert db.describe("places") == before


def test_a_store_is_made_of_texts(db: sync.Client) -> None:
    made = OmenVectorStore.from_texts(
        ["north"], Compass(), [{"n": 1}], ids=["a"], db=db, collection="made", text_key="body",
        metric="dot",
    )  # fmt: skip
    assert made.similarity_search("north") == [
        Document(id="a", page_content="north", metadata={"n": 1})
    ]
    with pytest.raises(errors.BadRequest, match=r"^metric: dot"):
        made.similarity_search_with_relevance_scores("north")
    db.drop("made")


def test_a_live_retriever_has_the_documents_of_now_without_asking(store: OmenVectorStore) -> None:
    compass: Any = store.embeddings
    retriever = store.as_live_retriever(k=1)
    assert texts_of(retriever.invoke("east")) == ["east"]
    assert texts_of(retriever.invoke("east")) == ["east"]
    assert compass.asked == 1
    store.delete(["east"])
    wait_until(lambda: texts_of(retriever.invoke("east")) == ["south"])
    store.add_texts(["north-east"], ids=["new"])
    wait_until(lambda: texts_of(retriever.invoke("east")) == ["north-east"])
    assert compass.asked == 1
    assert texts_of(retriever.invoke("north")) == ["north"]
    assert compass.asked == 2
    retriever.close()
    assert texts_of(retriever.invoke("north")) == ["north"]
    retriever.close()
    retriever.close()


def test_a_live_retriever_takes_what_shapes_a_live_query(store: OmenVectorStore) -> None:
    retriever = store.as_live_retriever(filter={"cold": False}, min_score=0.5)
    assert isinstance(retriever, LiveRetriever)
    assert texts_of(retriever.invoke("east")) == ["east"]
    retriever.close()


def test_watch_yields_the_documents_each_time_they_change(store: OmenVectorStore) -> None:
    watch = store.as_live_retriever(k=1).watch("east")
    assert texts_of(next(watch)) == ["east"]
    store.delete(["east"])
    assert texts_of(next(watch)) == ["south"]
    watch.close()  # type: ignore[attr-defined]


async def test_awatch_yields_them_too_and_ends_when_it_is_cancelled(
    store: OmenVectorStore,
) -> None:
    seen: asyncio.Queue[list[str]] = asyncio.Queue()

    async def follow() -> None:
        async for documents in store.as_live_retriever(k=1).awatch("north"):
            seen.put_nowait(texts_of(documents))

    following = asyncio.create_task(follow())
    assert await seen.get() == ["north"]
    await store.adelete(["north"])
    assert await seen.get() == ["east"]
    following.cancel()
    await asyncio.wait([following])
    assert following.cancelled()


def test_a_live_retriever_of_a_dropped_collection_says_so(db: sync.Client) -> None:
    gone = OmenVectorStore.from_texts(["north"], Compass(), db=db, collection="gone")
    retriever = gone.as_live_retriever()
    retriever.invoke("north")
    db.drop("gone")

    def is_refused() -> bool:
        try:
            retriever.invoke("north")
        except errors.NotFound:
            return True
        return False

    wait_until(is_refused)


async def test_after_a_lost_connection_a_live_retriever_has_the_documents_of_now() -> None:
    # In threads, as the server is on this loop.
    async with running(**UNHURRIED) as server, Proxy(server.url) as proxy:
        other = await asyncio.to_thread(sync.connect, server.url)
        db = await asyncio.to_thread(sync.connect, proxy.url)
        store = OmenVectorStore(db, "places", Compass(), capacity=10)
        await store.aadd_texts(["north"])
        retriever = store.as_live_retriever(k=1)
        assert texts_of(await retriever.ainvoke("east")) == ["north"]
        proxy.cut()
        await OmenVectorStore(other, "places", Compass()).aadd_texts(["east"])
        async with asyncio.timeout(PATIENCE_SECONDS):
            while texts_of(await retriever.ainvoke("east")) != ["east"]:
                pass
        for close in (retriever.close, db.close, other.close):
            await asyncio.to_thread(close)
