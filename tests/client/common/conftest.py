"""Every test here runs once for each kind of client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator
from typing import Any

import pytest
from omendb_core.model.errors import Unsupported

from .http_bridge import NOT_OVER_HTTP
from .places import KINDS, OWN, Place, opened


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """What HTTP has no route for is skipped there; a refused move is told to nobody who waits."""
    if "asyncio-http" in item.name and "move" in item.name:
        pytest.skip(NOT_OVER_HTTP)
    try:
        return (yield)
    except BaseException as error:
        if _is_not_over_http(error):
            pytest.skip(NOT_OVER_HTTP)
        raise


def _is_not_over_http(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(map(_is_not_over_http, error.exceptions))
    return isinstance(error, Unsupported) and error.message == NOT_OVER_HTTP


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def place(kind: str) -> AsyncIterator[Place]:
    async with opened(kind) as there:
        yield there


@pytest.fixture(params=[*KINDS, OWN])
async def db(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    async with opened(request.param) as there, there.connect() as client:
        yield client


@pytest.fixture
async def shared(place: Place) -> AsyncIterator[Any]:
    """A client of ``place``, which others may join."""
    async with place.connect() as client:
        yield client
