"""The numbers of one worker, as they are told to the supervisor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from txproxy.observe.counters import Counters
from txproxy.observe.gathering import (
    OF_POOLS,
    Ledger,
    cache_numbers,
    pool_numbers,
    pools_of,
    transition_numbers,
)

_POOLS_AT_ONCE = 50
"""Backends whose pools are looked at in one go: requests wait meanwhile."""
_MOST_TOLD = 20_000
"""Names that are remembered before those that are gone are looked for: servers that the DNS names no more."""


class Numbers:
    """Finds out which numbers have changed since it was asked last."""

    def __init__(self) -> None:
        self._assembled: Any = None
        self._told: dict[str, int] = {}
        self._ledger = Ledger()
        self._pools: Iterator[tuple[str, Any]] = iter(())
        self._most = _MOST_TOLD

    def changed(self, assembled: Any, is_all: bool = False) -> dict[str, int]:
        """Return the numbers that have changed.

        :param assembled: what serves now; see ``txproxy.assembly``.
        :param is_all: look at every pool; else at some of them, in turn.
        """
        is_full = len(self._told) > self._most
        is_all = is_all or is_full
        found: dict[str, int] = dict(assembled.counters.numbers())
        if assembled.cache is not None:
            found.update(cache_numbers(assembled.cache))
        for key, stats in pools_of(assembled) if is_all else self._some_pools(assembled):
            found.update(pool_numbers(key, stats))
        found.update(transition_numbers(assembled))
        # What a reload has replaced begins at 0, and the supervisor keeps the larger number.
        found = self._ledger.steady(found, is_part=not is_all)
        told = self._told
        changed = {name: number for name, number in found.items() if number and told.get(name) != number}
        told |= changed
        if is_full:
            self._told = {name: number for name, number in told.items() if name in found}
            # As many as there really are would else be looked for again and again.
            self._most = max(_MOST_TOLD, 2 * len(self._told))
        return changed

    def _some_pools(self, assembled: Any) -> Iterator[tuple[str, Any]]:
        if assembled is not self._assembled:
            self._assembled, self._pools = assembled, iter(())
        for _ in range(_POOLS_AT_ONCE):
            each = next(self._pools, None)
            if each is None:
                self._pools = iter(list(pools_of(assembled)))
                break
            yield each


def last_lines(numbers: Mapping[str, int], has_tls: bool) -> Iterator[str]:
    """Yield what is said at the end of a run.

    :param numbers: of all workers.
    :param has_tls: some listener has.
    """
    counters = Counters()
    counters.take(numbers)
    yield from pool_lines(numbers)
    if has_tls:
        yield counters.tls.summary()
    yield f"stopped: {counters.summary()}"


def pool_lines(numbers: Mapping[str, int]) -> Iterator[str]:
    """Return a line for each backend: what became of the connections to it.

    :param numbers: of all workers.
    """
    pools: dict[str, dict[str, int]] = {}
    for name, number in numbers.items():
        kind, _, rest = name.partition("|")
        if kind == "pool":
            what, _, place = rest.partition("|")
            pools.setdefault(place, {})[what] = number
    for place, stats in sorted(pools.items()):
        created, reused, failed, discarded, queued, exhausted = (stats.get(name, 0) for name in OF_POOLS)
        yield (
            f"backend {place.partition('|')[2]}: {created} connections made, {reused} times reused, {failed} failed, "
            f"{discarded} closed while idle; {queued} requests queued, {exhausted} refused"
        )
