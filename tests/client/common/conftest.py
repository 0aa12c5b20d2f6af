"""Every test here runs once for each kind of client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from .places import KINDS, Place, opened


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def place(kind: str) -> AsyncIterator[Place]:
    async with opened(kind) as there:
        yield there


@pytest.fixture
async def db(place: Place) -> AsyncIterator[Any]:
    async with place.connect() as client:
        yield client
