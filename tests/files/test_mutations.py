"""Files with changed bytes end no process, take no memory, and are refused in one line or read.

``make torture`` reads many more of them (FILE_MUTATIONS).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.files.mutations import KINDS

COUNT = int(os.environ.get("FILE_MUTATIONS", "100"))
TIMEOUT_SECONDS = 300 + COUNT // 10
#: All of them together; the files themselves are a few KiB.
MAX_GROWN_BYTES = 256 << 20


@pytest.mark.parametrize("kind", KINDS)
def test_files_with_changed_bytes_are_read_or_refused(kind: str) -> None:
    command = [sys.executable, "-W", "error", "-m", "tests.files.mutations", kind, "0", str(COUNT)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
    )
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    said = json.loads(done.stdout)
    assert said["read"] + said["refused"] == COUNT
    assert said["grown_bytes"] < MAX_GROWN_BYTES


#: Files that ended the process once, with what was wrong in their names; the kind is their ending.
FOUND = sorted(Path(__file__).with_name("found").iterdir())
READ_ONE = """
import sys
from omendb_ws.files.chunks import FileError
from tests.files.mutations import KINDS, read
try:
    read(KINDS[sys.argv[1]][1](open(sys.argv[2], "rb").read()))
except FileError as error:
    print(error)
"""


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.name)
def test_a_file_that_ended_the_process_is_refused(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", READ_ONE, path.suffix[1:], str(path)],
        capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    assert len(done.stdout.splitlines()) == 1, done.stdout
