"""What ends the processes of a local cluster when the command that started them is killed.

Run as a script, with nothing of the package loaded, as the head of a process group that they all
belong to: it waits until its standard input ends, which it does however its parent goes, removes
the directory that it is told, and ends what is left of its group.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys


def main() -> None:
    """Wait, and clear up."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    shutil.rmtree(sys.argv[1], ignore_errors=True)
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    main()
