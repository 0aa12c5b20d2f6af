"""Files with changed bytes end no process, take no memory, and are refused in one line or read.

``make torture`` reads many more of them (FILE_MUTATIONS).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

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
