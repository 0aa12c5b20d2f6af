"""``omendb-ws usage``: what a tenant may use, and uses."""

from __future__ import annotations

from pathlib import Path

from tests.server.tenant_files import limits, with_tenants

from .here import run, server


def test_usage_is_told_to_any_token_as_a_table_or_as_json(tmp_path: Path) -> None:
    text = limits(weight=2.5, max_connections=10_000, max_memory_bytes=3 << 20, rows_per_second=0.5)
    with server(with_tenants(tmp_path, text)) as url:
        made = ("create", "items", "--dim", 2, "--capacity", 2, "--url", url)
        assert run(*made, "--token", "token-root").code == 0
        ran = run("usage", "--url", url, "--token", "token-writer")
        assert ran.code == 0, ran.err
        lines = ran.out.splitlines()
        assert lines[:2] == ["tenant acme, weight 2.5", ""]
        cells = {tuple(line.rsplit(maxsplit=2)) for line in lines[2:]}
        assert ("connections", "1", "10,000") in cells
        assert ("subscriptions", "0", "-") in cells
        assert ("collections", "1", "-") in cells
        (memory,) = [line for line in lines if line.startswith("memory bytes")]
        assert memory.endswith("3.0 MiB")
        (rate,) = [line for line in lines if line.startswith("rows per second")]
        assert rate.split() == ["rows", "per", "second", "0", "0.5"]
        found = run("usage", "--json", "--url", url, "--token", "token-other").document
        assert found["tenant"] == "umbrella"
        assert (found["use"]["collections"], found["limits"]["max_connections"]) == (0, None)


def test_over_a_tenants_connections_it_is_said_and_code_1(tmp_path: Path) -> None:
    text = limits(messages_per_second=1, max_connections=1)
    with server(with_tenants(tmp_path, text)) as url:
        from omendb_ws.sync import connect

        with connect(url, token="token-root"):
            ran = run("usage", "--url", url, "--token", "token-reader")
            assert ran.code == 1
            assert ran.err == (
                f"omendb-ws: {url}: max_connections: this tenant has 1 of 1 (quota)\n"
            )
