"""A program as tests/vectors/run.py asks for it, over this project's codec: it answers on standard
output."""

from __future__ import annotations

import base64
import json
import sys
from typing import Any

from omendb_ws.wire import binary_replies, text_replies

from .cases import CASES
from .golden import named

_ENCODED = {case.name: case.encode for case in CASES}


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """One line's answer. What it encodes is found by its name, as nothing reads ``meaning``."""
    if "encode" in question:
        data = _ENCODED[question["name"]]()
        if question["as_text"]:
            return {"text": data.decode()}
        return {"base64": base64.b64encode(data).decode()}
    sent = question["decode"]
    if "text" in sent:
        return {"meaning": named(text_replies.decode_incoming(sent["text"].encode()))}
    return {"meaning": named(binary_replies.decode_incoming(base64.b64decode(sent["base64"])))}


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))))
