"""Folders that are the root of processes: an image as Linux' own namespaces give it.

A root is this machine's file system with a layer of its own over it, so nothing is downloaded and
nothing of the machine is changed. Needs root, ``unshare``, ``setpriv`` and overlayfs.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.patience import PATIENCE_SECONDS

TOOLS = ("unshare", "nsenter", "setpriv", "chroot", "mount")
#: Where the tests' Python is; in an image it is on the PATH.
PYTHON = Path(sys.base_prefix) / "bin"
BASE_PATH = f"{PYTHON}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Root:
    """A layer over this machine's files, in ``folder``."""

    folder: Path

    def make(self) -> Root:
        for name in ("upper", "work", "root"):
            (self.folder / name).mkdir(parents=True)
        # Whoever is not root is to find Python, as at its place in an image.
        for parent in (*reversed(PYTHON.parents), PYTHON):
            layered = self.inside(str(parent))
            layered.mkdir(exist_ok=True)
            layered.chmod(0o755)
        return self

    def inside(self, path: str) -> Path:
        """Where a file of the layer is seen from outside."""
        return self.folder / "upper" / path.lstrip("/")

    def start(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        workdir: str = "/",
        user: str = "0:0",
        mounts: Sequence[str] = (),
        network: bool = True,
    ) -> subprocess.Popen[str]:
        """Start a command with this root, as process 1 of its own, killed with its parent."""
        root = self.folder / "root"
        layers = f"lowerdir=/,upperdir={self.folder}/upper,workdir={self.folder}/work"
        script = [
            f"mount -t overlay overlay -o {shlex.quote(layers)} {root}",
            f"mount -t proc proc {root}/proc",
            f"mount --rbind /dev {root}/dev",
            *(f"{mount.format(root=root)}" for mount in mounts),
            *(() if network else ("ip link set lo up",)),
            shlex.join(
                [
                    "exec", "env", "-i", *(f"{k}={v}" for k, v in environment.items()),
                    "chroot", str(root), *as_user(user), "sh", "-c",
                    f'cd {shlex.quote(workdir)} && exec "$@"', "sh", *command,
                ]
            ),
        ]  # fmt: skip
        apart = ["--mount", "--pid", *(() if network else ("--net",))]
        return subprocess.Popen(
            ["unshare", *apart, "--fork", "--kill-child", "bash", "-ec", "\n".join(script)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, command: Sequence[str], environment: Mapping[str, str], workdir: str) -> None:
        """Run a command to its good end."""
        process = self.start(command, environment=environment, workdir=workdir)
        out, errors = process.communicate(timeout=5 * PATIENCE_SECONDS)
        assert process.returncode == 0, f"{shlex.join(command)}: {out}{errors}"


def as_user(user: str) -> list[str]:
    """What a command of ``user`` (numbers) begins with: no rights of root's, none to be had."""
    if user == "0:0":
        return []
    uid, gid = user.split(":")
    return [
        "setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--no-new-privs",
        "--bounding-set=-all", "--inh-caps=-all",
    ]  # fmt: skip


def child_of(process: subprocess.Popen[str]) -> int:
    """The process that ``unshare`` started: the first in its namespace."""
    return int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])


def execute(
    process: int, command: Sequence[str], environment: Mapping[str, str], user: str
) -> subprocess.CompletedProcess[str]:
    """Run a command beside a process, in all its namespaces: ``podman exec``."""
    return subprocess.run(
        [
            "nsenter", f"--target={process}", "--mount", "--net", "--pid", "--root", "--wd",
            "env", "-i", *(f"{k}={v}" for k, v in environment.items()), *as_user(user), *command,
        ],
        capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False,
    )  # fmt: skip


@cache
def missing() -> str:
    """Why there can be no such root here; empty if there can."""
    if os.geteuid() != 0:
        return "not root"
    if absent := [tool for tool in TOOLS if shutil.which(tool) is None]:
        return f"{', '.join(absent)} is not there"
    tried = subprocess.run(
        ["unshare", "--mount", "--pid", "--net", "--fork", "bash", "-ec",
         "d=$(mktemp -d); mount -t tmpfs tmpfs $d; mkdir $d/u $d/w $d/r;"
         " mount -t overlay overlay -o lowerdir=/,upperdir=$d/u,workdir=$d/w $d/r"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return tried.stderr
