"""LangChain's own tests for vector stores (the package ``langchain-tests``), sync and async."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from langchain_core.vectorstores import VectorStore

from omendb_ws import sync
from omendb_ws.integrations.langchain import OmenVectorStore
from tests.patience import UNHURRIED

vectorstores = pytest.importorskip(
    "langchain_tests.integration_tests.vectorstores",
    reason="langchain-tests is not installed: make test-integrations",
)


@pytest.fixture(scope="module")
def db() -> Iterator[sync.Client]:
    with sync.connect("memory://", server_settings=UNHURRIED) as db:
        yield db


class TestStandard(vectorstores.VectorStoreIntegrationTests):  # type: ignore[misc, name-defined]
    """All of them: nothing is left out."""

    @pytest.fixture
    def vectorstore(self, db: sync.Client) -> Iterator[VectorStore]:
        embedding = self.get_embeddings()
        db.create("documents", dim=len(embedding.embed_query("")), capacity=100, ids="str")
        yield OmenVectorStore(db, "documents", embedding)
        db.drop("documents")
