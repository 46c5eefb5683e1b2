"""Every number of a process in one place, by flat names: all of them count from the start and never fall.

What a name begins with says whose it is: ``route``, ``cluster``, ``pool``, ``transitions``, ``cache``, ``store``,
``store_health``, ``tls``, ``loop``; the rest are ``Counters``' own. What rises and falls (connections, states, memory)
is no number of this kind: it stands in the report itself, so that nothing is kept of a worker that is gone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from txproxy.observe.counters import Counters

OF_POOLS = ("created", "reused", "failed", "discarded", "queued", "exhausted")
OF_CACHES = ("hits", "misses", "expired", "revalidated", "stale", "bypassed", "collapsed")
OF_STORES = ("stored", "replaced", "evicted", "expired", "purged", "refused")
OF_STORES_HEALTH = ("failures", "bypassed", "corrupted")
_MOST_GONE = 2000


class Ledger:
    """Keeps numbers from falling: what counts may be replaced by another that begins at 0, as by a reload."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}
        self._before: dict[str, int] = {}
        """What those that were replaced had counted."""

    def steady(self, numbers: Mapping[str, int], is_part: bool = False) -> dict[str, int]:
        """Return numbers of the same names, none of them less than it was.

        :param numbers: as they are now; those that are not among them any more keep their last values, up to 2,000 of
            them: servers that the DNS names for a day are forgotten in the end.
        :param is_part: those that are not among them were not looked at, and are not asked for.
        """
        last, before = self._last, self._before
        for name in last.keys() & numbers.keys():
            if numbers[name] < last[name]:
                before[name] = before.get(name, 0) + last[name]
        last.update(numbers)
        if is_part:
            return {name: number + before.get(name, 0) for name, number in numbers.items()}
        gone = [name for name in last if name not in numbers]
        for name in gone[: max(0, len(gone) - _MOST_GONE)]:
            del last[name]
            before.pop(name, None)
        return last | {name: last[name] + count for name, count in before.items()}


def numbers_of(assembled: Any) -> dict[str, int]:
    """Return the numbers of a process as its objects have them; 0 is left out.

    :param assembled: what serves; see ``txproxy.assembly``.
    """
    assembled.ending.flush()
    found: dict[str, int] = dict(assembled.counters.numbers())
    if assembled.cache is not None:
        found.update(cache_numbers(assembled.cache))
    for key, stats in pools_of(assembled):
        found.update(pool_numbers(key, stats))
    found.update(transition_numbers(assembled))
    return found


def pools_of(assembled: Any) -> Iterator[tuple[str, Any]]:
    """Yield the statistics of each backend's connections, with the end of their names."""
    for name, cluster in assembled.clusters.items():
        for backend in cluster.backends:
            yield f"{name}|{backend.name}", backend.pool.stats


def pool_numbers(key: str, stats: Any) -> Iterator[tuple[str, int]]:
    """Yield the numbers of one backend's connections."""
    for what in OF_POOLS:
        if count := getattr(stats, what):
            yield f"pool|{what}|{key}", count


def transition_numbers(assembled: Any) -> Iterator[tuple[str, int]]:
    """Yield how often each backend came to each state."""
    for name, cluster in assembled.clusters.items():
        for (backend, state), count in cluster.transitions.items():
            yield f"transitions|{state}|{name}|{backend}", count


def cache_numbers(engine: Any) -> Iterator[tuple[str, int]]:
    """Yield the numbers of a cache and of its store."""
    told = engine.statistics()
    for kind, names, source in (
        ("cache", OF_CACHES, told),
        ("store", OF_STORES, told.store),
        ("store_health", OF_STORES_HEALTH, told.health),
    ):
        for what in names:
            if count := getattr(source, what):
                yield f"{kind}|{what}", count


def last_errors(counters: Counters, offset_s: float) -> list[dict[str, Any]]:
    """Return the last exchanges that ended badly, the oldest first.

    :param offset_s: seconds since 1970 less seconds of the monotonic clock.
    """
    return [
        {"at": each.ended_at + offset_s} | {name: value for name, value in each._asdict().items() if name != "ended_at"}
        for each in counters.figures.errors
    ]
