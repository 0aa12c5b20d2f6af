"""Every test here runs once for each kind of client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from .places import KINDS, OWN, Place, opened


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
