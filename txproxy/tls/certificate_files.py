"""What is remembered of files, so that it is seen when they change."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import NamedTuple


class FileStamp(NamedTuple):
    """What tells a file from what it was before; symbolic links are followed."""

    modified_ns: int
    changed_ns: int
    """Also moves when its permissions change, or when a file of another age and the same size is put in its place."""
    size: int
    inode: int
    device: int


Stamp = tuple[FileStamp | None, ...]
"""Of several files; None for one that is not there."""

_SETTLED_AFTER_NS = 2_000_000_000
"""Times of files are as coarse as 2 s (FAT); within that, a second change may leave no trace in them."""


def stamp_of(names: Iterable[str]) -> Stamp:
    """Return the stamp of files as they are now.

    It is taken before they are read: a change in between is seen by the next look.

    :param names: an empty one stands for no file.
    """
    return tuple(map(_file_stamp, names))


def is_settled(stamp: Stamp, now: float) -> bool:
    """Tell whether files have not changed for so long that their next change will show in the stamp.

    :param now: when the stamp was taken, in seconds since 1970.
    """
    limit = now * 1e9 - _SETTLED_AFTER_NS
    return all(each is None or each.changed_ns < limit for each in stamp)


def _file_stamp(name: str) -> FileStamp | None:
    if not name:
        return None
    try:
        status = os.stat(name)
    except (OSError, ValueError):
        return None
    return FileStamp(status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, status.st_dev)
