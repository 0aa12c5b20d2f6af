"""Every way in which the engine can compute: numpy, and what the C extension has on this machine.

A module whose tests hold for each of them says ``pytestmark = pytest.mark.usefixtures("variant")``
and imports the fixture.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from omendb_core import native

NUMPY = "numpy"
VARIANTS = [NUMPY, *(native.compiled.lanes() if native.is_there else [])]


@pytest.fixture(scope="module", params=VARIANTS, name="variant")
def each_variant(request: pytest.FixtureRequest) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "is_used", request.param != NUMPY)
        patch.setattr(native, "lanes", request.param)
        yield request.param
