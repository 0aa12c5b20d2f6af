"""A browser behind nginx, HAProxy and Caddy: the console and the JavaScript client under a path."""

from __future__ import annotations

from pathlib import Path

from tests.certificates import Certificate
from tests.deploy.balancers import Kind, balancing
from tests.server.http.api.served import served
from tests.server.raw import client
from tests.web.runtimes import Chromium


async def test_the_console_and_the_client_work_under_the_path(
    kind: Kind, certificate: Certificate, tmp_path: Path, chromium: Chromium
) -> None:
    async with (
        served() as server,
        client(server) as raw,
        balancing(kind, [server, server], certificate, tmp_path) as balancer,
        chromium.page() as page,
    ):
        await raw.create(capacity=100)
        await raw.add(*range(1, 21))
        # Nobody has signed the test's certificate.
        await page.call("Security.setIgnoreCertificateErrors", ignore=True)
        await page.open(f"{balancer.http_url}/")
        await page.until("document.querySelector('#map-about').textContent.startsWith('20 rows')")
        await page.until("document.querySelector('#server').textContent.includes('/vec/v1')")
        await page.run("document.querySelector('[name=random]').click()")
        await page.until("document.querySelectorAll('#query tbody tr').length === 10")
        told = await page.run("""
          const { connect } = await import(new URL("client.js", document.baseURI).href);
          const db = await connect(new URL("v1", document.baseURI).href.replace("http", "ws"));
          for await (const answer of db.live("items", [1, 0], { k: 1 })) {
            db.close();
            return answer.length;
          }
        """)
        assert told == 1
        assert page.errors == []
    asked = {url.split("/")[3] for url in page.requests if url.startswith(("http", "ws"))}
    assert asked == {"vec"}
