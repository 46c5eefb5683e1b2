"""Keeps private keys out of files that a crash leaves behind."""

from __future__ import annotations

import ctypes
import sys

_PR_SET_DUMPABLE = 4  # prctl(2)


def keep_out_of_core_dumps() -> bool:
    """Have the system write no core dump of this process, and let nobody but root attach to it.

    :return: whether that was done; there is no way to do it on systems other than Linux.
    """
    if sys.platform != "linux":
        return False
    return bool(ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) == 0)
