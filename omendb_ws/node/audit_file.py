"""The file of the audit log: where the settings name it, and what is wrong with it at the start."""

from __future__ import annotations

import logging

from ..access.audit import lost_line
from ..runtime.line_file import LineFile, check
from .config import Settings

log = logging.getLogger(__name__)


class AuditFileError(ValueError):
    """An audit log that cannot be written; the message names the file."""


def audit_file(settings: Settings) -> LineFile | None:
    """The file that the settings name, not opened yet."""
    return None if settings.audit_file is None else LineFile(settings.audit_file, lost_line)


def check_audit_file(path: str) -> tuple[str, ...]:
    """What is unwise about it. AuditFileError if it cannot be opened, or made."""
    try:
        return tuple(f"audit_file {one}" for one in check(path))
    except OSError as error:
        raise AuditFileError(f"audit_file {path}: {error.strerror or error}") from None


def begin(file: LineFile) -> None:
    """Open it. AuditFileError: a server that is to keep an audit log does not start without it."""
    for warning in check_audit_file(file.path):
        log.warning("%s", warning)
    try:
        file.start()
    except OSError as error:
        raise AuditFileError(f"audit_file {file.path}: {error.strerror or error}") from None
