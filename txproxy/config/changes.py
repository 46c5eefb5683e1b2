"""What is different between two configurations, in words for a line of the log."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from txproxy.config.model import Config

_MOST_NAMES = 10
"""Of one kind of change in one line."""

_AT_START_ONLY = ("workers", "user", "group")
"""Keys of ``[proxy]`` that a running process cannot follow."""


def changes(before: Config, after: Config) -> list[str]:
    """Return what is different, as ``routes changed: api, site``; nothing if all is the same."""
    said: list[str] = []
    kinds: list[tuple[str, Callable[[Config], Mapping[str, Any]]]] = [
        ("listeners", lambda config: {each.name: each for each in config.listeners}),
        ("tls sections", lambda config: config.tls),
        ("routes", lambda config: {each.name: each for each in config.routes}),
        ("clusters", lambda config: {name: _without_backends(each) for name, each in config.clusters.items()}),
        ("backends", _backends),
    ]
    for kind, of in kinds:
        said += _differences(kind, of(before), of(after))
    # Names are told apart above; the order of routes decides where nothing else does.
    names = [[each.name for each in config.routes] for config in (before, after)]
    if names[0] != names[1] and sorted(names[0]) == sorted(names[1]):
        said.append("routes are in another order")
    for section in ("proxy", "log", "admin", "cache", "stage"):
        keys = _keys(getattr(before, section), getattr(after, section))
        if keys:
            said.append(f"{section} changed: {_listed(keys)}")
    return said


def left_for_a_restart(before: Config, after: Config) -> list[str]:
    """Return the keys that have changed and that nobody follows before the next start."""
    return [f"proxy.{key}" for key in _AT_START_ONLY if getattr(before.proxy, key) != getattr(after.proxy, key)]


def _backends(config: Config) -> dict[str, Any]:
    return {f"{name} {backend.address}": backend for name, each in config.clusters.items() for backend in each.backends}


def _without_backends(cluster: Any) -> Any:
    return cluster.model_copy(update={"backends": ()})


def _differences(kind: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    sorts = {
        "added": [name for name in after if name not in before],
        "removed": [name for name in before if name not in after],
        "changed": [name for name in after if name in before and after[name] != before[name]],
    }
    for word, names in sorts.items():
        if names:
            yield f"{kind} {word}: {_listed(names)}"


def _keys(before: Any, after: Any) -> list[str]:
    if before == after:
        return []
    tables = [{} if each is None else dict(each) for each in (before, after)]
    return sorted(key for key in {*tables[0], *tables[1]} if tables[0].get(key) != tables[1].get(key))


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMES
    shown = ", ".join(names[:_MOST_NAMES])
    return f"{shown} and {more} more" if more > 0 else shown
