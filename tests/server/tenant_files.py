"""Servers that know two tenants by keys, and a tenants file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omendb_ws.node.config import Settings

from .raw import with_keys


def with_tenants(directory: Path, text: str, **fields: Any) -> Settings:
    """Settings of a server that knows ``KEYS``, and the tenants file with that text."""
    path = directory / "tenants.toml"
    path.write_text(text)
    return with_keys(directory, tenants_file=str(path), **fields)


def limits(tenant: str = "acme", **fields: Any) -> str:
    """A tenant's table."""
    lines = [f"{name} = {value}" for name, value in fields.items()]
    return "\n".join([f"[tenants.{tenant}]", *lines, ""])
