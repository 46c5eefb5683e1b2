"""What one process can tell of itself: all that the admin interface shows."""

from __future__ import annotations

import hashlib
import os
import resource
from functools import lru_cache
from typing import Any

from txproxy import __version__
from txproxy.cache.pressure import resident_bytes
from txproxy.config.dump import dump
from txproxy.config.model import Config, Listener
from txproxy.observe.gathering import Ledger, last_errors, numbers_of
from txproxy.ports import shown_address
from txproxy.upstream.status import BackendStatus

Report = dict[str, Any]
"""As JSON has it; ``docs/admin.md`` says what is in it."""


class Reporter:
    """Reports on a process and its proxy.

    :param service: a ``ProxyService``.
    :param number: of the process among its like, from 1.
    :param counts: tell what was counted, too.
    """

    def __init__(self, service: Any, number: int = 1, counts: bool = True) -> None:
        self._service = service
        self._number = number
        self._ledger = Ledger() if counts else None

    def report(self) -> Report:
        """Return how everything is."""
        return _report(self._service, self._number, self._ledger)


def _report(service: Any, number: int, ledger: Ledger | None) -> Report:
    now = service.clocks.wall()
    assembled = service.assembled or service.leaving
    offset_s = now - service.clocks.monotonic()
    return {
        "version": __version__,
        "started_at": service.started_at,
        "now": now,
        "state": "ready" if service.running else "stopping",
        "config": config_part(service.config, service.path, service.loaded_at, service.last_reload),
        "workers": [_process(service, number, assembled)],
        "listeners": [] if assembled is None else _listeners(service, assembled),
        "routes": routes_part(service.config),
        "clusters": {} if assembled is None else _clusters(assembled),
        "cache": None if assembled is None or assembled.cache is None else _cache(assembled.cache),
        "certificates": [] if assembled is None else _certificates(assembled, now),
        "numbers": {} if assembled is None or ledger is None else ledger.steady(numbers_of(assembled)),
        "errors": [] if assembled is None else last_errors(assembled.counters, offset_s),
    }


def config_part(config: Config, path: str, loaded_at: float, last_reload: Any) -> dict[str, Any]:
    """Return what a report says of the configuration.

    :param path: of its file; empty if it has none.
    :param loaded_at: since when it is served, in seconds since 1970.
    :param last_reload: a ``ReloadResult``, or None.
    """
    last = None
    if last_reload is not None:
        at, is_served, errors, summary = last_reload
        last = {"at": at, "ok": is_served, "errors": list(errors), "summary": summary}
    return {"path": path, "hash": config_hash(config), "loaded_at": loaded_at, "last_reload": last}


def config_hash(config: Config) -> str:
    """Return what tells configurations apart; those that say the same have the same one. Secrets are not in it."""
    return _hash_of(_Same(config))


class _Same:
    """A configuration as the same object; comparing what is in it would take as long as writing it down."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.config is self.config

    def __hash__(self) -> int:
        return id(self.config)


@lru_cache(maxsize=2)
def _hash_of(same: _Same) -> str:
    return hashlib.sha256(dump(same.config).encode()).hexdigest()[:12]


def _process(service: Any, number: int, assembled: Any) -> dict[str, Any]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "number": number,
        "pid": os.getpid(),
        "started_at": service.started_at,
        "rss_bytes": resident_bytes() or 0,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "descriptors": _descriptors(),
        "loop_lag_s": 0.0 if assembled is None else assembled.counters.loop_lag.worst_s,
        "connections": 0 if assembled is None else assembled.gate.connections,
    }


def _descriptors() -> int:
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return 0


def _listeners(service: Any, assembled: Any) -> list[dict[str, Any]]:
    return [
        {
            "name": listener.name,
            "url": _url(listener, service.ports.get(listener.name)),
            "protocol": listener.protocol,
            "tls": bool(listener.tls),
            "connections": len(assembled.sites[listener.name].connections),
        }
        for listener in assembled.config.listeners
    ]


def _url(listener: Listener, port: Any) -> str:
    # Without a port it accepts no more.
    return f"{listener.scheme}://{listener.address if port is None else shown_address(port)}"


def routes_part(config: Config) -> list[dict[str, Any]]:
    """Return what a report says of the routes."""
    return [
        {"name": each.name, "hosts": list(each.hosts), "path": each.path, "cluster": each.cluster or each.choose}
        for each in config.routes
    ]


def _clusters(assembled: Any) -> dict[str, Any]:
    settings = assembled.config.clusters
    return {
        name: {"balance": settings[name].balance, "backends": [_backend(each) for each in roster.status()]}
        for name, roster in assembled.rosters.items()
    }


def _backend(status: BackendStatus) -> dict[str, Any]:
    told: dict[str, Any] = status._asdict()
    told["since"] = told.pop("since_s")
    check = status.last_check
    told["last_check"] = check and {
        "at": check.at_s,
        "passed": check.passed,
        "reason": check.reason,
        "took_s": check.took_s,
    }
    return told


def _cache(engine: Any) -> dict[str, Any]:
    told: dict[str, Any] = engine.statistics()._asdict()
    store, health = told.pop("store")._asdict(), told.pop("health")._asdict()
    store["outdated"] = store.pop("expired")  # Requests are counted by that name.
    return told | store | {"store": health}


def _certificates(assembled: Any, now: float) -> list[dict[str, Any]]:
    return [
        {
            "section": name,
            "names": list(pair.names),
            "file": str(pair.source.chain),
            "expires_at": pair.not_after,
            "days_left": int((pair.not_after - now) // 86400),
        }
        for name, section in assembled.tls.items()
        for pair in section.keeper.pairs
    ]
