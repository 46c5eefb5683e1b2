"""What happened between two reports of the admin interface."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from txproxy.observe.histogram import BUCKETS, quantile_s

_LOOKUPS = ("hits", "misses", "expired", "revalidated", "stale", "bypassed")
_FROM_CACHE = ("hits", "revalidated", "stale")


class BackendFigures(NamedTuple):
    """One backend."""

    cluster: str
    name: str
    state: str
    lasts_s: float
    """How long it has been in this state."""
    active: int
    queued: int
    connections: int
    rate: float
    """Requests that it was given per second."""
    last_error: str


class WorkerFigures(NamedTuple):
    """One process."""

    number: int
    pid: int
    connections: int
    rss_bytes: int
    cpu: float
    """Part of a processor that it has used, 0 to 1."""
    loop_lag_s: float


class Figures(NamedTuple):
    """All that is shown; rates are per second."""

    version: str
    state: str
    lasts_s: float
    """How long the proxy has been running."""
    config_hash: str
    is_reload_refused: bool
    rate: float
    statuses: Mapping[str, float]
    """Parts of the requests by their status' class: ``2xx``; 0 to 1."""
    p50_s: float
    p99_s: float
    cache_ratio: float | None
    """Part of the look-ups that the cache has answered; None if there were none."""
    workers: tuple[WorkerFigures, ...]
    backends: tuple[BackendFigures, ...]


def compare(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> Figures:
    """Return what happened between two reports.

    :param before: None if there is none yet: then nothing has happened. A report of another start of the proxy is none.
    :param after: the later one.
    """
    if before is None or before["started_at"] != after["started_at"] or before["now"] >= after["now"]:
        before = after
    passed_s = max(after["now"] - before["now"], 1e-3)
    rises = _rises(before["numbers"], after["numbers"])
    statuses: dict[str, int] = {}
    buckets = [0] * BUCKETS
    given: dict[tuple[str, str], int] = {}
    for name, rise in rises:
        parts = name.split("|")
        if parts[0] == "outcomes" and len(parts) == 3:
            kind = f"{parts[1][:1]}xx"
            statuses[kind] = statuses.get(kind, 0) + rise
        elif parts[:2] == ["route", "seconds"] and parts[-1].isdecimal() and int(parts[-1]) < BUCKETS:
            buckets[int(parts[-1])] += rise
        elif parts[0] == "pool" and len(parts) == 4 and parts[1] in ("created", "reused"):
            key = parts[2], parts[3]
            given[key] = given.get(key, 0) + rise
    total = sum(statuses.values())
    last = after["config"]["last_reload"]
    return Figures(
        version=after["version"],
        state=after["state"],
        lasts_s=after["now"] - after["started_at"],
        config_hash=after["config"]["hash"],
        is_reload_refused=bool(last) and not last["ok"],
        rate=total / passed_s,
        statuses={kind: count / total for kind, count in sorted(statuses.items())},
        p50_s=quantile_s(buckets, 0.5),
        p99_s=quantile_s(buckets, 0.99),
        cache_ratio=_cache_ratio(before["cache"], after["cache"]),
        workers=tuple(_workers(before, after, passed_s)),
        backends=tuple(_backends(after, given, passed_s)),
    )


def _rises(before: Mapping[str, int], after: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    for name, number in after.items():
        rise = number - before.get(name, 0)
        if rise > 0:
            yield name, rise


def _cache_ratio(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> float | None:
    if not before or not after:
        return None
    rises = {name: max(0, after[name] - before[name]) for name in _LOOKUPS}
    total = sum(rises.values())
    return sum(rises[name] for name in _FROM_CACHE) / total if total else None


def _workers(before: Mapping[str, Any], after: Mapping[str, Any], passed_s: float) -> Iterator[WorkerFigures]:
    used = {each["pid"]: each["cpu_s"] for each in before["workers"]}
    for each in after["workers"]:
        cpu = max(0.0, each["cpu_s"] - used.get(each["pid"], each["cpu_s"])) / passed_s
        yield WorkerFigures(
            each["number"], each["pid"], each["connections"], each["rss_bytes"], cpu, each["loop_lag_s"] or 0.0
        )


def _backends(
    after: Mapping[str, Any], given: Mapping[tuple[str, str], int], passed_s: float
) -> Iterator[BackendFigures]:
    for cluster, settings in after["clusters"].items():
        for each in settings["backends"]:
            yield BackendFigures(
                cluster,
                each["name"],
                each["state"],
                after["now"] - each["since"],
                each["active"],
                each["queued"],
                each["connections"],
                given.get((cluster, each["name"]), 0) / passed_s,
                each["last_error"],
            )
