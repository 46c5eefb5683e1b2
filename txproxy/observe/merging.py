"""The reports of several workers as one: what their supervisor tells of all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from txproxy.observe.figures import MOST_ERRORS

Report = dict[str, Any]
"""As JSON has it: see ``txproxy.admin.report``."""

_WORST_FIRST = ("maintenance", "draining", "down", "ejected", "trial", "checking", "up")
_SUMMED = ("active", "queued", "connections", "idle")


def merged(reports: Sequence[Report], numbers: Mapping[str, int] | None = None) -> Report:
    """Return one report for all workers.

    Connections, requests and sizes are added up. What all should agree on is told as the worker has it that has loaded
    its configuration last, but for backends: see ``_backend``. It began when the first of them did. A worker that has
    stopped, and will be gone in a moment, has nothing of that left to tell.

    :param reports: of each worker, at least one; they are not changed.
    :param numbers: of all, the dead included; the sums of these if omitted.
    """
    latest = max(reports, key=lambda each: (bool(each["listeners"]), each["config"]["loaded_at"]))
    if numbers is None:
        sums: Counter[str] = Counter()
        for each in reports:
            sums.update(each["numbers"])
        numbers = sums
    return latest | {
        "started_at": min(each["started_at"] for each in reports),
        "now": max(each["now"] for each in reports),
        "state": "ready" if any(each["state"] == "ready" for each in reports) else "stopping",
        "workers": sorted((worker for each in reports for worker in each["workers"]), key=lambda each: each["number"]),
        "listeners": _listeners(reports, latest),
        "clusters": {
            name: cluster
            | {"backends": _backends([each["clusters"][name] for each in reports if name in each["clusters"]])}
            for name, cluster in latest["clusters"].items()
        },
        "cache": _cache([each["cache"] for each in reports if each["cache"] is not None]),
        "certificates": _certificates(reports),
        "numbers": dict(numbers),
        "errors": sorted((error for each in reports for error in each["errors"]), key=lambda each: each["at"])[
            -MOST_ERRORS:
        ],
    }


def _listeners(reports: Iterable[Report], latest: Report) -> list[dict[str, Any]]:
    connections: Counter[str] = Counter()
    for each in reports:
        connections.update({listener["name"]: listener["connections"] for listener in each["listeners"]})
    return [listener | {"connections": connections[listener["name"]]} for listener in latest["listeners"]]


def _backends(clusters: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    by_name: dict[str, list[dict[str, Any]]] = {}
    for cluster in clusters:
        for backend in cluster["backends"]:
            by_name.setdefault(backend["name"], []).append(backend)
    return [_backend(each) for each in by_name.values()]


def _backend(views: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return one backend as several workers see it.

    A verdict reaches all within a second, so the state is that of most of them, and the worse one of two that as many
    have: one that has just begun, and knows nothing yet, does not speak for all. It has been so since the first came to
    it. Failures are the most that one has seen, the last check is the latest.
    """
    votes = Counter(view["state"] for view in views)
    state = min(votes, key=lambda each: (-votes[each], _rank(each)))
    agreed = [view for view in views if view["state"] == state]
    first = min(agreed, key=lambda view: view["since"])
    checks = [view["last_check"] for view in views if view["last_check"] is not None]
    errors = [view["last_error"] for view in (first, *agreed, *views) if view["last_error"]]
    return (
        first
        | {name: sum(view[name] for view in views) for name in _SUMMED}
        | {name: max(view[name] for view in views) for name in ("failures", "ejections")}
        | {
            "last_error": errors[0] if errors else "",
            "last_check": max(checks, key=lambda check: check["at"]) if checks else None,
        }
    )


def _rank(state: str) -> int:
    return _WORST_FIRST.index(state) if state in _WORST_FIRST else -1


def _cache(caches: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return the sums of caches; one store that is away makes all count as away."""
    if not caches:
        return None
    sums: dict[str, Any] = {}
    for cache in caches:
        for name, value in cache.items():
            if isinstance(value, Mapping):
                sums[name] = _cache([each for each in (sums.get(name), value) if each is not None])
            elif isinstance(value, bool):
                sums[name] = value or sums.get(name, False)
            else:
                sums[name] = sums.get(name, 0) + value
    return sums


def _certificates(reports: Iterable[Report]) -> list[dict[str, Any]]:
    """Return each certificate once; where workers have two of one file, the one that ends first."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for each in reports:
        for certificate in each["certificates"]:
            key = certificate["section"], certificate["file"]
            if key not in found or certificate["expires_at"] < found[key]["expires_at"]:
                found[key] = certificate
    return list(found.values())
