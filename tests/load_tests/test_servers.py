"""Loads that need a server of a certain kind: one that asks who one is, one that loses patience."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from omendb_core.model.errors import Unauthenticated

from load_tests.simulation import coordinator, scenario
from load_tests.simulation.results import Result
from load_tests.simulation.server import Target
from omendb_ws.access.keyring import key_entry, new_token
from omendb_ws.wire.opcodes import RIGHTS
from tests.certificates import make_certificate
from tests.load_tests.served import long_enough, served

SMALL = {"seconds": 0.5, "warm_up_seconds": 0.1, "interval_seconds": 0.2}


def run(url: str, load: dict[str, Any], **tables: Any) -> Result:
    document = {"load": {**SMALL, **load}, **tables}
    return coordinator.run(scenario.parse("test", document, {}), Target(url, None))


def test_a_token_goes_with_every_connection_over_tls(tmp_path: Path) -> None:
    certificate, token = make_certificate(tmp_path), new_token()
    keys = tmp_path / "keys.toml"
    keys.write_text(key_entry("load", "load", (*RIGHTS, "operator"), token))
    keys.chmod(0o600)
    settings = {
        "api_key_file": str(keys),
        "tls_certificate_file": certificate.certificate_file,
        "tls_key_file": certificate.key_file,
    }
    asked: dict[str, Any] = {
        "collection": {"dim": 8, "capacity": 50},
        "search": {"arrivals": "poisson", "rate": 100, "verified": 0.5},
        "connect": {"arrivals": "poisson", "rate": 50},
        "live": {"verified": 1.0},
        "add": {"arrivals": "constant", "rate": 20},
    }
    trusted = {"ca_file": certificate.certificate_file}
    with served(settings) as url:
        assert url.startswith("wss:")
        made = long_enough(lambda: run(url, {**trusted, "token": token}, **asked))
        with pytest.raises(Unauthenticated):
            run(url, {**trusted, "token": "wrong"}, **asked)
        with pytest.raises(Unauthenticated):
            run(url, trusted, **asked)
        with pytest.raises(OSError, match="certificate"):
            run(url, {"token": token}, **asked)
    assert {one.name: one.errors for one in made.operations if one.errors} == {}
    assert all(one.count for one in made.operations)
    assert all(truth.compared and not truth.mismatches for _, truth in made.truths)
    assert len(made.truths) == 2
    assert made.resources.metrics_after["omendb_searches_total"] > 0
    assert token not in str(made)


def test_readers_that_take_nothing_are_seen_to_be_given_up_and_slow_ones_to_have_gaps() -> None:
    with served({"max_pending_bytes": 1 << 20, "max_pending_rows": 100}, stall_seconds=1.0) as url:
        made = run(
            url,
            {"seconds": 4.0},
            collection={"dim": 1024, "capacity": 200},
            add={"arrivals": "constant", "rate": 100, "rows": 10},
            feed={"connections": 2, "vector": True, "reads": False},
            match={
                "connections": 2, "vector": True, "min_score": -1, "bytes_per_second": 100_000,
            },
            live={"verified": 1.0},
        )  # fmt: skip
    pushes = {one.kind: one for one in made.pushes}
    assert pushes["feed"].errors == {"closed_4408": 2}
    assert not pushes["match"].errors
    assert pushes["match"].gaps > 0
    assert pushes["live"].truth is not None
    assert pushes["live"].truth.mismatches == 0, "nobody else minds"
    assert made.operations[0].count > 0
