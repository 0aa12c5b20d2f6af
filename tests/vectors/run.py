"""Asks a program in any language about every golden message: ``python run.py COMMAND ARGUMENT …``.

The program reads lines of JSON from its standard input, and answers each with a line (README.md
says which). Needs nothing but Python. Ends with 1 if an answer is wrong, 2 if one is missing.
"""

from __future__ import annotations

import base64
import json
import math
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
#: What says how this project's own codec holds a message, and no message says.
OURS = {"type", "binary"}
HEADER_BYTES = 32
JSON_BYTES_AT = 24


def question(case: dict[str, Any], data: bytes) -> dict[str, Any]:
    """What the program is asked: of the server's messages what they mean, of its own the bytes."""
    if case["sent_by"] == "client":
        return {"name": case["name"], "encode": case["meaning"], "as_text": "text" in case}
    sent = {"text": case["text"]} if "text" in case else {"base64": base64.b64encode(data).decode()}
    return {"name": case["name"], "decode": sent}


def message(case: dict[str, Any]) -> bytes:
    """The message itself."""
    return case["text"].encode() if "text" in case else (FOLDER / case["file"]).read_bytes()


def fault(case: dict[str, Any], data: bytes, answer: Any) -> str | None:
    """What is wrong with an answer; None if it is right."""
    if not isinstance(answer, dict):
        return f"not an object: {answer!r}"
    if case["sent_by"] == "server":
        return difference(case["meaning"], answer.get("meaning"), "meaning")
    if "text" in case:
        return difference(json.loads(data), json.loads(answer.get("text", "null")), "text")
    return frame_difference(data, base64.b64decode(answer.get("base64", "")))


def difference(wanted: Any, found: Any, at: str) -> str | None:
    """Where two values differ first. What is missing is null; numbers are compared as float32."""
    if isinstance(wanted, dict):
        if not isinstance(found, dict):
            return f"{at}: {found!r} instead of an object"
        names = (wanted.keys() | found.keys()) - OURS
        each = [difference(wanted.get(one), found.get(one), f"{at}.{one}") for one in sorted(names)]
    elif isinstance(wanted, list):
        if not isinstance(found, list) or len(wanted) != len(found):
            return f"{at}: {found!r} instead of {wanted!r}"
        pairs = enumerate(zip(wanted, found, strict=True))
        each = [difference(*pair, f"{at}[{place}]") for place, pair in pairs]
    else:
        each = [None if is_same(wanted, found) else f"{at}: {found!r} instead of {wanted!r}"]
    return next((one for one in each if one is not None), None)


def is_same(wanted: Any, found: Any) -> bool:
    """Whether two values without parts are equal; false is what is missing, too."""
    if isinstance(wanted, float) and isinstance(found, int | float) and abs(found) < 3.4e38:
        [rounded] = struct.unpack("<f", struct.pack("<f", found))
        return wanted == found or math.isclose(wanted, rounded, rel_tol=1e-7)
    if wanted is False or wanted is None:
        return found is False or found is None
    return type(wanted) is type(found) and bool(wanted == found)


def frame_difference(wanted: bytes, found: bytes) -> str | None:
    """Where two frames differ; their JSON may be written in another way."""
    (head, body, rest), (other_head, other_body, other_rest) = split(wanted), split(found)
    if head != other_head:
        return f"header: {other_head.hex(' ')} instead of {head.hex(' ')}"
    if rest != other_rest:
        return f"sections: {other_rest.hex(' ')} instead of {rest.hex(' ')}"
    return difference(body, other_body, "json")


def split(frame: bytes) -> tuple[bytes, Any, bytes]:
    """The header without the length of the JSON, the JSON, and the sections behind it."""
    if len(frame) < HEADER_BYTES:
        return frame, None, b""
    [size] = struct.unpack_from("<I", frame, JSON_BYTES_AT)
    head = frame[:JSON_BYTES_AT] + frame[JSON_BYTES_AT + 4 : HEADER_BYTES]
    body = frame[HEADER_BYTES : HEADER_BYTES + size]
    return head, json.loads(body or b"null"), frame[HEADER_BYTES + size + -size % 8 :]


def run(command: list[str]) -> int:
    """Ask about every case, one after the other, and say what is wrong."""
    cases = json.loads((FOLDER / "index.json").read_text("utf-8"))
    lines = "".join(json.dumps(question(one, message(one))) + "\n" for one in cases)
    done = subprocess.run(command, input=lines, stdout=subprocess.PIPE, text=True, check=False)
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.strip()]
    skipped = wrong = 0
    for case, answer in zip(cases, answers, strict=False):
        if isinstance(answer, dict) and answer.get("skip"):
            skipped += 1
        elif (why := fault(case, message(case), answer)) is not None:
            wrong += 1
            print(f"{case['name']}: {why}")
    right = min(len(answers), len(cases)) - skipped - wrong
    print(f"{right} right, {wrong} wrong, {skipped} skipped, {len(cases) - len(answers)} missing")
    return 1 if wrong else 2 * (len(answers) != len(cases))


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
