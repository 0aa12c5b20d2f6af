"""The law: which records of a stream count. Pure, the same for everybody who reads it.

A record counts only if its term is the highest seen before it in the log, and its version is the
next one. Everything else is *void*, for everybody, for ever: what a deposed owner appended behind
its successor's fence. So two owners cannot both append what counts, whatever they believe.

A record of a term that has not begun, or one that would count and does not go on from the record
before it by the chain of checksums, is no matter of owners: the stream is not what was written, and
``Broken`` says so.
"""

from __future__ import annotations

from ..local.records import Header, Type
from .records import Broken, Record


class Judge:
    """Reads a stream's records in order, from a checkpoint on; ``term`` is the highest seen."""

    def __init__(self) -> None:
        self.term = 0
        self.version = 0
        #: The checksum of the last record that counted, terms aside.
        self.chain = 0
        self._has_begun = False

    def counts(self, record: Record) -> bool:
        """Whether ``record``, the next of the stream, counts. Raises Broken."""
        if not self._has_begun:
            self._begin(record)
            return True
        header = record.header
        if header is None:
            is_new = record.term > self.term
            self.term = max(self.term, record.term)
            return is_new
        if record.term > self.term:
            raise Broken(f"a record of term {record.term}, which has not begun")
        if record.term != self.term or _version_before(header) != self.version:
            return False
        if record.previous != self.chain:
            raise Broken(f"the record before version {header.version} is not the one it followed")
        self.version, self.chain = header.version, record.checksum
        return True

    def _begin(self, record: Record) -> None:
        header = record.header
        if header is None or header.type is not Type.OPEN:
            raise Broken("it does not begin with a checkpoint")
        self._has_begun = True
        self.term, self.version, self.chain = record.term, header.version, record.checksum


def _version_before(header: Header) -> int:
    """The version of the window that a record is for."""
    is_bare = header.type in (Type.OPEN, Type.KEEP)  # no change
    is_empty = header.type is Type.ADD and not header.n
    return header.version if is_bare or is_empty else header.version - 1
