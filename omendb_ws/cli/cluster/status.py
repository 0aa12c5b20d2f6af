"""``omendb-ws cluster status``: the nodes of a cluster, and what they hold."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from .. import reaching
from ..output import age, plain, print_json, table

#: What becomes of a collection that no node owns, by its ``healing``.
_TROUBLES: Final = {
    None: "no node owns it at the moment",
    "due": "its log is not what was written; it is healed soon",
    "waiting": "its log is not what was written; it waits to be healed",
    "lost": "its log is not what was written, and no node has any of it",
}
_PLACES_HEADING: Final = ("collection", "tenant", "owner", "other replicas")
_HEADING: Final = ("node", "state", "owns", "holds", "rows", "up for", "version", "address")


def status(
    url: reaching.Url = reaching.DEFAULT_URL,
    token: reaching.Token = None,
    token_file: reaching.TokenFile = None,
    ca_file: reaching.CaFile = None,
    timeout_seconds: reaching.TimeoutSeconds = reaching.TIMEOUT_SECONDS,
    as_json: reaching.Json = False,
) -> None:
    """Print the nodes of a cluster, where its collections are, and its NATS servers.

    Any node knows it.

    It needs the right operator; with admin on all collections one sees one's tenant's part.

    \b
    Examples:
      omendb-ws cluster status
      omendb-ws cluster status --json | jq -r '.nodes[] | select(.state == "gone").node'
    """
    at = reaching.address(url, token, token_file, ca_file, timeout_seconds)
    found = reaching.reach(at, lambda db: db.cluster())
    if as_json:
        print_json(found)
        return
    print(table(_HEADING, [_row(one) for one in found["nodes"]], "llrrrrll"))
    print(f"\n{found['collections']:,} collections, {found['ownerless']:,} without an owner")
    if found["places"]:
        print(table(_PLACES_HEADING, [_place(one) for one in found["places"]], "llll"))
    if (left_out := found["collections"] - len(found["places"])) > 0:
        print(f"and {left_out:,} more")
    for one in found["places"]:
        if one["owner"] is None:
            print(f"{plain(one['collection'])} of tenant {plain(one['tenant'])}: {_trouble(one)}")
    if not found["fresh"]:
        print(f"{plain(found['node'])} cannot reach NATS: this is of some time ago")
    for one in found["nats"] or ():
        is_it = f", which {plain(found['node'])} uses" if one["connected"] else ""
        print(f"NATS at {plain(one['address'])}{is_it}")


def _place(place: Mapping[str, Any]) -> tuple[str, ...]:
    others = [
        plain(one["node"]) + ("" if one["state"] == "follower" else f" ({plain(one['state'])})")
        for one in place["replicas"]
        if one["node"] != place["owner"]
    ]
    return (
        plain(place["collection"]),
        plain(place["tenant"]),
        plain(place["owner"]),
        ", ".join(others) or plain(None),
    )


def _trouble(place: Mapping[str, Any]) -> str:
    """Also where a newer server says what this one does not know."""
    healing = place["healing"]
    return _TROUBLES.get(healing, plain(healing))


def _row(node: Mapping[str, Any]) -> tuple[str, ...]:
    is_gone = node["state"] == "gone"
    return (
        plain(node["node"]),
        node["state"],
        f"{node['owned']:,}",
        f"{node['collections']:,}",
        f"{node['rows']:,}",
        age(None if is_gone else max(0.0, time.time() - node["since"])),
        plain(node["version"]),
        plain(node["address"]),
    )
