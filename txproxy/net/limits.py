"""Limits that the operating system puts on this process."""

from __future__ import annotations

from contextlib import suppress


def raise_descriptor_limit(wanted: int) -> int:
    """
    Raise the soft limit of open file descriptors, as far as the hard limit allows; it is never lowered.

    @param wanted: how many descriptors the process would like to have.
    @return: the soft limit now in force; C{wanted} itself where the platform knows no limit. No exception: a caller
        that got less than it wanted accepts fewer connections.
    """
    try:
        import resource
    except ImportError:
        return wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    target = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if target <= soft:
        return soft
    # A sandbox or a kernel-wide ceiling may refuse what the hard limit promises.
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
