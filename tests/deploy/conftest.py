"""Fixtures of the tests of ``deploy/``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.certificates import Certificate, make_certificate
from tests.deploy.balancers import KINDS, Kind, needed


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    return make_certificate(tmp_path)


@pytest.fixture(params=KINDS, ids=[kind.name for kind in KINDS])
def kind(request: pytest.FixtureRequest) -> Kind:
    """Each balancer that is there."""
    found: Kind = request.param
    needed(found)
    return found
