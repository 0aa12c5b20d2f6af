"""Where other nodes are told to reach one that listens on all addresses."""

from __future__ import annotations

import pytest

from omendb_ws.node.advertised import reached_at


@pytest.mark.parametrize(
    ("url", "local", "expected"),
    [
        ("ws://127.0.0.1:1/v1", "10.0.0.5", "ws://127.0.0.1:1/v1"),
        ("ws://db.example:1/v1", "10.0.0.5", "ws://db.example:1/v1"),
        ("ws://0.0.0.0:8765/v1", "10.0.0.5", "ws://10.0.0.5:8765/v1"),
        ("wss://[::]:8765/v1", "10.0.0.5", "wss://10.0.0.5:8765/v1"),
        ("ws://[::]:8765/v1", "fd00::5", "ws://[fd00::5]:8765/v1"),
        ("ws://0.0.0.0:8765/v1", None, "ws://0.0.0.0:8765/v1"),
    ],
)
def test_a_node_that_listens_everywhere_is_reached_at_its_address_on_the_way_to_nats(
    url: str, local: str | None, expected: str
) -> None:
    assert reached_at(url, local) == expected
