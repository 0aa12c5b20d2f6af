"""Fixtures of the tests of ``deploy/``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.certificates import Certificate, make_certificate
from tests.deploy.balancers import KINDS, Kind, needed
from tests.web.runtimes import Chromium, browser, missing


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    return make_certificate(tmp_path)


@pytest.fixture(params=KINDS, ids=[kind.name for kind in KINDS])
def kind(request: pytest.FixtureRequest) -> Kind:
    """Each balancer that is there."""
    found: Kind = request.param
    needed(found)
    return found


@pytest.fixture(scope="session")
def chromium() -> Iterator[Chromium]:
    if missing():
        pytest.skip(f"not installed: {', '.join(missing())}")
    with browser() as found:
        yield found
