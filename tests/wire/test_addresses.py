"""Addresses are shown without what may be a secret in them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from omendb_ws.wire.addresses import shown
from tests.patience import PATIENCE_SECONDS

SHOWN = {
    "ws://127.0.0.1:8765/v1": "ws://127.0.0.1:8765/v1",
    "ws://me:s3cr3t@host:1/v1": "ws://host:1/v1",
    "ws://s3cr3t@host": "ws://host",
    "ws://a@s3cr3t@host/v1": "ws://host/v1",
    "wss://host/v1?token=s3cr3t": "wss://host/v1",
    "wss://host/v1#s3cr3t": "wss://host/v1",
    "wss://host/v1?x=a@b&token=s3cr3t": "wss://host/v1",
    "me:s3cr3t@host/v1": "host/v1",
    "memory://name": "memory://name",
    "ws://host/a@b": "ws://host/a@b",
}


@pytest.mark.parametrize("url", SHOWN)
def test_an_address_without_its_secrets(url: str) -> None:
    assert shown(url) == SHOWN[url]


@pytest.mark.parametrize("command", ["ping", "list", "drop items --yes"])
@pytest.mark.parametrize("scheme", ["ws", "http"])
def test_a_command_that_fails_says_the_address_without_them(command: str, scheme: str) -> None:
    url = f"{scheme}://me:s3cr3t@127.0.0.1:1/v1?token=s3cr3t"
    done = subprocess.run(
        [sys.executable, "-m", "omendb_ws", *command.split()],
        env={**os.environ, "OMENDB_URL": url},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode
    assert f"{scheme}://127.0.0.1:1/v1: " in done.stderr
    assert "s3cr3t" not in done.stdout + done.stderr
