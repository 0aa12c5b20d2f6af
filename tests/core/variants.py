"""Every way in which the engine can compute: numpy, and what the C extension has on this machine.

A module whose tests hold for each of them imports a fixture of this one, and says
``pytestmark = pytest.mark.usefixtures("variant")`` (or ``"engine"``).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from omendb_core import native

NUMPY = "numpy"
VARIANTS = [NUMPY, *(native.compiled.lanes() if native.is_there else [])]


#: With and without the extension, where the arithmetic of scores plays no part.
ENGINES = VARIANTS[:2]


@contextmanager
def computing_with(variant: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "is_used", variant != NUMPY)
        patch.setattr(native, "lanes", variant)
        yield


@pytest.fixture(scope="module", params=VARIANTS, name="variant")
def each_variant(request: pytest.FixtureRequest) -> Iterator[str]:
    with computing_with(request.param):
        yield request.param


@pytest.fixture(scope="module", params=ENGINES, name="engine")
def each_engine(request: pytest.FixtureRequest) -> Iterator[str]:
    with computing_with(request.param):
        yield request.param
