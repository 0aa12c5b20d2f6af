"""``omendb-ws usage``: what the tenant of a token may use, and uses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import reaching
from .output import plain, print_json, size, table


def usage(
    url: reaching.Url = reaching.DEFAULT_URL,
    token: reaching.Token = None,
    token_file: reaching.TokenFile = None,
    ca_file: reaching.CaFile = None,
    timeout_seconds: reaching.TimeoutSeconds = reaching.TIMEOUT_SECONDS,
    as_json: reaching.Json = False,
) -> None:
    """Print what the tenant of a token may use, and uses at this moment. Any token may ask.

    A dash stands for no limit but the server's, and for what this token must not know.

    \b
    Examples:
      omendb-ws usage
      omendb-ws usage --token-file token.txt --json
    """
    at = reaching.address(url, token, token_file, ca_file, timeout_seconds)
    found = reaching.reach(at, lambda db: db.usage())
    if as_json:
        print_json(found)
    else:
        print(f"tenant {plain(found['tenant'])}, weight {plain(found['limits']['weight'])}\n")
        print(table(("", "used", "limit"), _rows(found), "lrr"))


def _rows(found: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """What there is beside what there may be."""
    limits = found["limits"]
    rows = []
    for name, value in found["use"].items():
        shown = size if name.endswith("_bytes") else _number
        limit = limits.get(name, limits.get(f"max_{name}"))
        rows.append((name.replace("_", " "), shown(value), shown(limit)))
    return rows


def _number(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else plain(value)
