"""Streams handwritten digits, and serves a page that follows them by ``EventSource`` alone."""

from __future__ import annotations

from pathlib import Path

from examples import serving
from examples.digits.__main__ import COLLECTION, stream

if __name__ == "__main__":
    backend = serving.Backend(settings={"http_port": 0})
    told = {"collection": COLLECTION}
    serving.run("events", Path(__file__).with_name("page"), stream, told, backend)
