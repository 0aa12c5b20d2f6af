"""Links between nodes whose certificates are from an authority that the machine does not know."""

from __future__ import annotations

from pathlib import Path

import pytest

from omendb_ws.net.lines import line_opener
from omendb_ws.net.tls import TlsError, authorities
from tests.certificates import make_certificate
from tests.server.links.pair import pair
from tests.server.raw import client, settings

MAX_BYTES = 1 << 20


async def test_a_node_trusts_the_authorities_of_its_file_and_no_others(tmp_path: Path) -> None:
    made = make_certificate(tmp_path)
    given = settings(tls_certificate_file=made.certificate_file, tls_key_file=made.key_file)
    for file in (None, made.certificate_file):
        opener = line_opener(MAX_BYTES, authorities(file))
        async with pair(given, open_line=opener) as nodes:
            async with client(nodes["b"], ssl=made.trusting()) as raw:
                await raw.create("items")
            nodes.place("items", "b")
            async with client(nodes["a"], ssl=made.trusting()) as raw:
                reply = await raw.ask("search", collection="items", vector=[1, 0])
                if file is None:
                    assert reply["error"]["code"] == "unavailable"
                else:
                    assert reply["ok"]["results"] == []


def test_a_file_that_holds_no_certificates_is_named(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("nothing")
    with pytest.raises(TlsError, match=r"ca\.pem"):
        authorities(str(file))
