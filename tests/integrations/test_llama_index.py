"""The LlamaIndex vector store. (LlamaIndex has no tests for all stores.)"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from omendb_ws import errors, sync
from tests.patience import UNHURRIED

pytest.importorskip(
    "llama_index.core", reason="llama-index-core is not installed: make test-integrations"
)


@pytest.fixture(scope="module")
def db() -> Iterator[sync.Client]:
    with sync.connect("memory://", server_settings=UNHURRIED) as db:
        yield db


def node(id: str, vector: list[float], document: str | None = None, **metadata: Any) -> Any:
    from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode

    made = TextNode(id_=id, text=f"text of {id}", embedding=vector, metadata=metadata)
    if document is not None:
        made.relationships[NodeRelationship.SOURCE] = RelatedNodeInfo(node_id=document)
    return made


@pytest.fixture
def store(db: sync.Client) -> Iterator[Any]:
    from omendb_ws.integrations.llama_index import OmenVectorStore

    made = OmenVectorStore(db, "nodes", capacity=50, columns={"n": "i64", "kind": "str"})
    made.add([
        node("north", [0, 1], "a", n=1, kind="x"), node("east", [1, 0], "a", n=2, kind="y"),
        node("south", [0, -1], "b", n=3, kind="x"),
    ])  # fmt: skip
    yield made
    made.clear()


def query(vector: list[float] | None = None, k: int = 3, **fields: Any) -> Any:
    from llama_index.core.vector_stores.types import VectorStoreQuery

    return VectorStoreQuery(query_embedding=vector or [0, 1], similarity_top_k=k, **fields)


async def test_nodes_come_back_as_they_went_in_with_their_scores(store: Any) -> None:
    found = store.query(query(k=2))
    assert (found.ids, found.similarities) == (["north", "east"], [1, 0])
    [first, _] = found.nodes
    assert (first.text, first.metadata) == ("text of north", {"n": 1, "kind": "x"})
    assert first.ref_doc_id == "a"
    assert (await store.aquery(query([1, 0.1], k=1))).ids == ["east"]
    assert [one.node_id for one in store.get_nodes(["south", "west"])] == ["south"]
    assert await store.async_add([]) == []


def test_filters_are_the_servers(store: Any) -> None:
    from llama_index.core.vector_stores.types import MetadataFilter, MetadataFilters

    def ids(condition: str, *filters: Any, **fields: Any) -> set[str]:
        made = [
            one if isinstance(one, MetadataFilters)
            else MetadataFilter(key=one[0], operator=one[1], value=one[2])
            for one in filters
        ]  # fmt: skip
        asked = MetadataFilters(filters=made, condition=condition)
        return set(store.query(query(filters=asked, **fields)).ids)

    assert ids("and", ("n", ">=", 2), ("kind", "==", "x")) == {"south"}
    assert ids("or", ("n", "<", 2), ("kind", "in", ["y"])) == {"north", "east"}
    assert ids("not", ("n", "==", 2)) == {"north", "south"}
    assert ids("and", ("kind", "!=", "y"), doc_ids=["a"]) == {"north"}
    assert set(store.query(query(doc_ids=["b"])).ids) == {"south"}
    with pytest.raises(errors.BadRequest, match=r"^filters\.kind: text_match"):
        ids("and", ("kind", "text_match", "x"))


async def test_documents_nodes_and_what_passes_filters_are_deleted(store: Any) -> None:
    from llama_index.core.vector_stores.types import MetadataFilter, MetadataFilters

    store.delete("a")
    assert store.query(query()).ids == ["south"]
    await store.adelete_nodes(["south"])
    assert store.query(query()).ids == []
    store.add([node("one", [1, 0], n=1), node("two", [1, 0], n=2)])
    store.delete_nodes(filters=MetadataFilters(filters=[MetadataFilter(key="n", value=1)]))
    assert store.query(query()).ids == ["two"]
    with pytest.raises(errors.BadRequest, match=r"^node_ids: "):
        store.delete_nodes()


def test_what_it_cannot_do_is_refused_by_name(store: Any) -> None:
    from llama_index.core.vector_stores.types import VectorStoreQueryMode

    assert store.query(query(k=1, mode=VectorStoreQueryMode.MMR)).ids == ["north"]
    with pytest.raises(errors.BadRequest, match=r"^mode: hybrid"):
        store.query(query(mode=VectorStoreQueryMode.HYBRID))
    with pytest.raises(errors.BadRequest, match=r"^node_ids: "):
        store.query(query(node_ids=["north"]))
    with pytest.raises(errors.BadMetadata, match=r"^metadata\.text: ") as caught:
        store.add([node("a", [1, 0]), node("b", [1, 0], text="mine")])
    assert caught.value.row == 1


def test_an_index_stands_on_it(db: sync.Client) -> None:
    from llama_index.core import MockEmbedding, StorageContext, VectorStoreIndex
    from llama_index.core.schema import Document

    from omendb_ws.integrations.llama_index import OmenVectorStore

    store = OmenVectorStore(db, "index")
    index = VectorStoreIndex.from_documents(
        [Document(text="a lighthouse", metadata={"n": 1}, id_="d")],
        storage_context=StorageContext.from_defaults(vector_store=store),
        embed_model=MockEmbedding(embed_dim=4),
    )
    [found] = index.as_retriever(similarity_top_k=1).retrieve("where?")
    assert (found.text, found.metadata) == ("a lighthouse", {"n": 1})
    index.delete_ref_doc("d")
    assert store.query(query([1, 1, 1, 1])).ids == []
    store.clear()
    store.clear()
