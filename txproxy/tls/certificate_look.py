"""One look at the files of a section: what is done in a thread, where a slow file system holds up nobody."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from txproxy.config.model import Certificate
from txproxy.tls.certificate_files import Stamp, is_settled, stamp_of
from txproxy.tls.certificates import Authorities, CertificateError, Inspection, inspect_pair, load_authorities

_STAMPS_AT_ONCE = 16
"""Pairs whose stamps are compared between two pauses: a quarter of a millisecond, if nothing has changed."""


class SeenPair(NamedTuple):
    """A pair whose files are looked at."""

    files: Certificate
    stamp: Stamp | None
    """When they were read last; None: read them anyhow."""


class SeenAuthorities(NamedTuple):
    """A file of authorities that is looked at."""

    name: str
    """Empty: there is none."""
    stamp: Stamp | None


class LookedAt(NamedTuple):
    """What has changed since the last look."""

    pairs: dict[int, Inspection]
    """By their position."""
    authorities: Authorities | CertificateError | None
    """None: no change."""
    authorities_stamp: Stamp
    unsettled: frozenset[int]
    """Positions of pairs that changed so lately that the next change may not show; read again at the next look."""
    are_authorities_settled: bool


def look(pairs: tuple[SeenPair, ...], authorities: SeenAuthorities, now: float, pause: Callable[[], None]) -> LookedAt:
    """Return what has changed; what has not is not read.

    It touches nothing but files, so any thread can do it.

    :param now: in seconds since 1970.
    :param pause: called again and again, to wait a moment. Only one thread runs at a time, and whoever never waits is
        made to let go after 5 ms; so long the reactor would stand still.
    """
    changed: dict[int, Inspection] = {}
    unsettled = set()
    for position, (files, seen) in enumerate(pairs):
        if position % _STAMPS_AT_ONCE == _STAMPS_AT_ONCE - 1:
            pause()
        stamp = stamp_of((files.chain, files.key, files.ocsp))
        if stamp == seen:
            continue
        changed[position] = found = inspect_pair(files, now)
        if not is_settled(found.stamp, now):
            unsettled.add(position)
        pause()
    stamp = stamp_of((authorities.name,))
    found_authorities: Authorities | CertificateError | None = None
    if authorities.name and stamp != authorities.stamp:
        try:
            found_authorities = load_authorities(authorities.name, now)
        except CertificateError as error:
            found_authorities = error
    return LookedAt(changed, found_authorities, stamp, frozenset(unsettled), is_settled(stamp, now))
