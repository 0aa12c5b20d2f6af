"""The reference of the clients: Python by introspection and mkdocstrings, JavaScript by its types.

Every name is asked for where users import it, so it does not matter where a class lives.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import omendb_ws
import omendb_ws.sync

from .markdown import MADE, code, first_sentence, table

_WEB = Path(omendb_ws.__file__).parent / "web"
#: Classes with methods, in the order of the page; all other classes hold attributes only.
_STREAMS = (
    "LiveQuery", "MatchFeed", "NovelFeed", "Feed", "CountWatch", "StatsWatch", "ClusterWatch",
    "MapWatch",
)  # fmt: skip
_ANSWERS = (
    "Answer", "Row", "Rows", "LiveAnswer", "Left", "FeedRows", "Gap", "Added", "ShardAdded",
    "Counts", "Snapshot",
    "Description", "UnavailableCollection", "Picture", "Plane", "Backoff",
)  # fmt: skip


def _call(name: str, function: Callable[..., Any]) -> str:
    """``name(collection, vector=None, k=10, *, …)``: without types, which follow below."""
    signature = inspect.signature(function)
    shown = [
        one.replace(annotation=inspect.Parameter.empty)
        for one in signature.parameters.values()
        if one.name != "self"
    ]
    return f"{name}{inspect.Signature(shown)}"


def _members(name: str) -> list[str]:
    """What users call of a class: where it has a synchronous twin, what both have."""
    twin = getattr(omendb_ws.sync, name, None)
    return [
        one
        for one, member in inspect.getmembers(getattr(omendb_ws, name))
        if not one.startswith("_")
        and (isinstance(member, property) or inspect.isfunction(member))
        and (twin is None or hasattr(twin, one))
    ]


def _rows(cls: type, members: Iterable[str]) -> list[list[str]]:
    rows = []
    for name in members:
        member = inspect.getattr_static(cls, name)
        shown = name if isinstance(member, property) else _call(name, member)
        rows.append([code(shown), first_sentence(member.__doc__)])
    return rows


def _api(*names: str) -> str:
    return "".join(f"\n::: omendb_ws.{name}\n" for name in names)


def _api_of_class(name: str) -> str:
    members = "".join(f"        - {one}\n" for one in _members(name))
    return f"\n::: omendb_ws.{name}\n    options:\n      members:\n{members}"


def python() -> str:
    """The Python clients."""
    streams = ""
    for name in _STREAMS:
        cls = getattr(omendb_ws, name)
        rows = table(["member", "what it does"], _rows(cls, _members(name)))
        streams += f"\n### {name}\n\n{first_sentence(cls.__doc__)}\n\n{rows}"
    stepping = omendb_ws.sync.Subscription
    steps = [one for one in vars(stepping) if not one.startswith("_")]
    answers = [[code(name), first_sentence(getattr(omendb_ws, name).__doc__)] for name in _ANSWERS]
    return (
        f"{MADE}# Python API\n\n"
        "`omendb_ws.connect` opens the asyncio client, `omendb_ws.sync.connect` the same one "
        "without `await`: same names, same parameters, same answers. Errors are under "
        "[errors](errors.md). Every docstring is below the summary.\n\n"
        "```python\nimport omendb_ws\nfrom omendb_ws.sync import connect\n```\n\n"
        "## Summary\n\n"
        + table(
            ["function", "what it does"],
            [
                [code(_call("omendb_ws.connect", omendb_ws.connect)),
                 "Opens a client: `async with` or `await`"],
                [code("omendb_ws.sync.connect(…)"), "The same without `await`: `with`"],
            ],
        )
        + "\n### Client\n\n"
        + table(["method", "what it does"], _rows(omendb_ws.Client, _members("Client")))
        + streams
        + "\n### Answers\n\n"
        + table(["class", "what it is"], answers)
        + "\n### Subscriptions without `await`\n\n"
        "The synchronous client's are iterators, and have these besides:\n\n"
        + table(["member", "what it does"], _rows(stepping, sorted(steps)))
        + "\n## In full\n"
        + _api("connect", "Client")
        + "".join(_api_of_class(name) for name in _STREAMS)
        + _api(*_ANSWERS)
        + _api("sync.connect", "sync.Subscription")
    )  # fmt: skip


def _comment(text: str) -> str:
    """The prose of a ``/** … */``."""
    inside = text.strip().removeprefix("/**").removesuffix("*/")
    lines = [re.sub(r"^\s*\* ?", "", line).rstrip() for line in inside.splitlines()]
    return "\n".join(lines).strip()


def javascript() -> str:
    """The browser's client, out of its types: the comment of the file, then every export; and the
    same of what is beside it."""
    head, declarations = _typed("client.d.ts")
    text = f"{MADE}# JavaScript API\n\n{head}\n{declarations}"
    for name in ("snapshots.d.ts", "cluster.d.ts"):
        more, others = _typed(name)
        text += f"\n---\n\n{more}\n{others}"
    return text


def _typed(name: str) -> tuple[str, str]:
    """What a file of types says of itself, and its exports."""
    types = (_WEB / name).read_text("utf-8")
    _, head, *chunks = re.split(r"^(?=/\*\*|export |import )", types, flags=re.M)
    exports = [chunk for chunk in chunks if not chunk.startswith("import ")]
    return _comment(head), "".join(_declarations(exports))


def _declarations(chunks: list[str]) -> Iterator[str]:
    """Each ``export`` under its name, the comment before it as prose, itself as code."""
    about = ""
    for chunk in chunks:
        if chunk.startswith("/**"):
            about = f"\n{_comment(chunk)}\n"
            continue
        name = re.match(r"export \w+ (\w+)", chunk)
        assert name is not None, chunk
        yield f"\n## {name[1]}\n{about}\n```ts\n{chunk.strip()}\n```\n"
        about = ""
