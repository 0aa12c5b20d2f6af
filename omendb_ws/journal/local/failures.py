"""What an error of the operating system means for those who wait for the disk."""

from __future__ import annotations

import errno
from typing import Final

from omendb_core.model.errors import OmenError, StorageFailed, StorageFull, Unavailable

from ..interface import Damaged

#: What a disk without room says.
FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
#: What a system says that is short of something for now: descriptors, memory, a moment.
PASSING: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EINTR})


def storage_error(doing: str, error: OSError) -> StorageFull | StorageFailed:
    """An error in writing. What passes is refused as a full disk refuses: it may be tried again."""
    kind = StorageFull if error.errno in FULL | PASSING else StorageFailed
    return kind(f"cannot {doing} the log: {error.strerror}")


def unreadable(error: OSError, path: str) -> OmenError:
    """An error in reading: damage, or a want of descriptors or memory, which passes."""
    if error.errno in PASSING:
        return Unavailable(f"{path} cannot be read now: {error.strerror}")
    return Damaged(f"it cannot be read: {error.strerror}", path, 0)
