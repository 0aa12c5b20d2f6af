"""Runs a command under what a systemd unit forbids, as far as a process may forbid it to itself.

``python -m tests.deploy.sandbox UNIT COMMAND …``: the system calls of ``SystemCallFilter``, the
address families of ``RestrictAddressFamilies``, no new privileges, and no memory that is written
and executed. By libseccomp, which systemd brings along; as systemd itself does.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Final

LIBRARY: Final = "libseccomp.so.2"
#: Of <seccomp.h> and <sys/prctl.h>.
_ALLOW, _ERRNO, _EQUAL = 0x7FFF0000, 0x00050000, 4
_NO_NEW_PRIVILEGES, _MEMORY_DENY_WRITE_EXECUTE = 38, 65


class Comparison(ctypes.Structure):
    """``struct scmp_arg_cmp``."""

    _fields_ = (
        ("argument", ctypes.c_uint),
        ("how", ctypes.c_int),
        ("one", ctypes.c_uint64),
        ("two", ctypes.c_uint64),
    )


def unit(path: Path) -> dict[str, list[str]]:
    """The lines of its section [Service], by name; a name may stand more than once."""
    found: dict[str, list[str]] = {}
    section = ""
    for line in path.read_text().splitlines():
        if line.startswith("["):
            section = line
        elif section == "[Service]" and line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def calls(*groups: str) -> set[str]:
    """The names of the system calls in systemd's ``groups``, and in those that they name."""
    found: set[str] = set()
    for group in groups:
        listed = subprocess.run(
            ["systemd-analyze", "--no-pager", "syscall-filter", group],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        for line in map(str.strip, listed.stdout.splitlines()[1:]):
            if line.startswith("@"):
                found |= calls(line)
            elif line and not line.startswith("#"):
                found.add(line)
    return found


def allowed(service: dict[str, list[str]]) -> set[str]:
    """What the unit's filters leave."""
    left: set[str] = set()
    for line in service["SystemCallFilter"]:
        if line.startswith("~"):
            left -= calls(*line[1:].split())
        else:
            left |= calls(*line.split())
    return left


def forbid(service: dict[str, list[str]]) -> None:
    """Put it on this process, and whatever it starts."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl: no new privileges")
    seccomp = ctypes.CDLL(LIBRARY)
    seccomp.seccomp_init.restype = ctypes.c_void_p
    refused = _ERRNO | errno.EPERM
    # A pointer that is not told to be one is cut to 32 bits.
    filters = ctypes.c_void_p(seccomp.seccomp_init(refused))
    families = {
        int(getattr(socket, name)) for name in service["RestrictAddressFamilies"][0].split()
    }
    for name in allowed(service):
        number = seccomp.seccomp_syscall_resolve_name(name.encode())
        if number < 0:  # of another processor
            continue
        if name != "socket":
            seccomp.seccomp_rule_add(filters, _ALLOW, number, 0)
            continue
        for family in families:
            only = Comparison(0, _EQUAL, family, 0)
            seccomp.seccomp_rule_add_array(filters, _ALLOW, number, 1, ctypes.byref(only))
    if service["MemoryDenyWriteExecute"] == ["yes"]:
        # As of Linux 6.3; before, systemd does it by a filter.
        libc.prctl(_MEMORY_DENY_WRITE_EXECUTE, 1, 0, 0, 0)
    if seccomp.seccomp_load(filters) != 0:
        raise OSError("seccomp: the filter was not taken")


def main() -> None:
    path, *command = sys.argv[1:]
    forbid(unit(Path(path)))
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
