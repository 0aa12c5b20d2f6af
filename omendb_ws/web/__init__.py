"""The files of the browser: the client, its types, the console, the protocol for machines.

Static, the same for everybody, and part of the package: no build step. ``FILES`` is the table of
what is served (PROTOCOL section 10); nothing else in this folder can be asked for. Knows nothing of
the server.
"""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Final

_SCRIPT: Final = "text/javascript; charset=utf-8"
_STYLE: Final = "text/css; charset=utf-8"
HTML: Final = "text/html; charset=utf-8"

_CONSOLE: Final = {
    "style.css": _STYLE,
    "main.js": _SCRIPT,
    "charts.js": _SCRIPT,
    "cluster.js": _SCRIPT,
    "collections.js": _SCRIPT,
    "copies.js": _SCRIPT,
    "door.js": _SCRIPT,
    "lines.js": _SCRIPT,
    "moving.js": _SCRIPT,
    "numbers.js": _SCRIPT,
    "picture.js": _SCRIPT,
    "plain.js": _SCRIPT,
    "query.js": _SCRIPT,
    "rights.js": _SCRIPT,
    "server.js": _SCRIPT,
    "shape.js": _SCRIPT,
    "usage.js": _SCRIPT,
    "who.js": _SCRIPT,
    # Charts: uPlot 1.6.32 (MIT, uPlot-LICENSE.txt), as it is on the npm registry.
    "uPlot.iife.min.js": _SCRIPT,
    "uPlot.min.css": _STYLE,
    "uPlot-LICENSE.txt": "text/plain; charset=utf-8",
}

#: What client.js is made of; it imports all of them.
_CLIENT: Final = (
    *("adder", "client", "connection", "errors", "feed", "frames", "link", "live", "requests"),
    *("seen", "subscription", "tokens"),
)

#: path -> name of the file, content type.
FILES: Final[dict[str, tuple[str, str]]] = {
    "/": ("console/index.html", HTML),
    "/client.js": ("client.js", _SCRIPT),
    **{f"/client/{name}.js": (f"client/{name}.js", _SCRIPT) for name in _CLIENT},
    "/client.d.ts": ("client.d.ts", "text/plain; charset=utf-8"),
    "/snapshots.js": ("snapshots.js", _SCRIPT),
    "/snapshots.d.ts": ("snapshots.d.ts", "text/plain; charset=utf-8"),
    "/cluster.js": ("cluster.js", _SCRIPT),
    "/cluster.d.ts": ("cluster.d.ts", "text/plain; charset=utf-8"),
    "/asyncapi.yaml": ("asyncapi.yaml", "application/yaml"),
    **{f"/console/{name}": (f"console/{name}", kind) for name, kind in _CONSOLE.items()},
}


#: 9 takes 3.1 ms of the loop's time for asyncapi.yaml and not 0.6, and saves 0.3 % of all files.
_LEVEL: Final = 6
#: Beside the headers, of some 400 bytes, that much fits into one packet as it is.
_SMALL_BYTES: Final = 1024


@dataclass(frozen=True, slots=True)
class Content:
    """The bytes of a file as they are sent; ``etag`` changes with them."""

    body: bytes
    etag: str

    @classmethod
    def of(cls, body: bytes) -> Content:
        """``body`` with its tag."""
        return cls(body, f'"{hashlib.sha256(body).hexdigest()[:32]}"')


@dataclass(frozen=True, slots=True)
class WebFile:
    """A file in both encodings."""

    content_type: str
    plain: Content
    gzipped: Content

    @property
    def is_worth_gzip(self) -> bool:
        """Whether one who takes both gets gzip: the file is not small, and gets smaller by it."""
        size_bytes = len(self.plain.body)
        return size_bytes > _SMALL_BYTES and len(self.gzipped.body) < size_bytes


@lru_cache
def load(path: str) -> WebFile:
    """The file behind ``path``, one of ``FILES``; read and compressed once."""
    name, content_type = FILES[path]
    body = files(__name__).joinpath(name).read_bytes()
    # Without a time, so that its tag is the same after a restart.
    gzipped = gzip.compress(body, _LEVEL, mtime=0)
    return WebFile(content_type, Content.of(body), Content.of(gzipped))
