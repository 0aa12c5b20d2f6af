"""What things of a cluster are called in NATS. Pure.

A stream and its one subject for each collection, by a random ``key`` that is never used again; one
key-value bucket for the cluster. Names of collections and tenants become tokens of a key: what may
not stand in one is written ``=XX``, so that different names stay different. (What a
cluster and a node may be called is checked by the settings.)
"""

from __future__ import annotations

import re
from typing import Final

_ESCAPED: Final = re.compile(r"=([0-9A-F]{2})")
_PLAIN: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")


def bucket(cluster: str) -> str:
    """The cluster's key-value bucket."""
    return f"OMENDB-{cluster}"


def stream(cluster: str, key: str) -> str:
    """The stream of a collection."""
    return f"OMENDB-{cluster}-{key}"


def subject(cluster: str, key: str) -> str:
    """The one subject of that stream."""
    return f"omendb.{cluster}.{key}"


def definition_entry(tenant: str, name: str) -> str:
    """The entry of a collection: its key, and whether it is made."""
    return f"def.{_token(tenant)}.{_token(name)}"


def owner_entry(key: str) -> str:
    """The entry that says who should append to a collection's stream."""
    return f"own.{key}"


def node_entry(node: str) -> str:
    """The entry that a node beats in."""
    return f"node.{node}"


def secret_entry() -> str:
    """The entry of what the nodes of a cluster know each other by."""
    return "secret"


def format_entry() -> str:
    """The entry of what all of this is written in."""
    return "format"


def held_entry(node: str) -> str:
    """The entry of what a node holds."""
    return f"held.{node}"


def leaving_entry(node: str) -> str:
    """The entry that says that a node is to hold nothing."""
    return f"leave.{node}"


def healing_entry(key: str) -> str:
    """The entry that says that a collection is to be healed."""
    return f"heal.{key}"


def defined_by(entry: str) -> tuple[str, str] | None:
    """Tenant and name of a definition's entry; None if it is none."""
    parts = entry.split(".")
    if len(parts) != 3 or parts[0] != "def":
        return None
    try:
        return _text(parts[1]), _text(parts[2])
    except UnicodeDecodeError:
        return None


def _token(text: str) -> str:
    """``text`` as a token; the empty one is a lone ``=``, which no other becomes."""
    return "".join(chr(b) if b in _PLAIN else f"={b:02X}" for b in text.encode()) or "="


def _text(token: str) -> str:
    if token == "=":
        return ""
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), token).encode("latin-1").decode()
