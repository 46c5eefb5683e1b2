"""Reports as ``top`` gets them."""

from __future__ import annotations

from typing import Any


def backend(name: str, state: str = "up", **more: Any) -> dict[str, Any]:
    return {
        "name": name, "entry": name, "state": state, "since": 90.0, "weight": 1, "share": 1.0, "backup": False, "active": 0,
        "queued": 0, "connections": 0, "idle": 0, "failures": 0, "ejections": 0, "last_error": "", "last_check": None, **more,
    }  # fmt: skip


def report(now: float, numbers: dict[str, int] | None = None, **more: Any) -> dict[str, Any]:
    return {
        "version": "1.2", "started_at": 0.0, "now": now, "state": "ready",
        "config": {"path": "/p.toml", "hash": "abc", "loaded_at": 0.0, "last_reload": None},
        "workers": [{"number": 1, "pid": 7, "started_at": 0.0, "rss_bytes": 50 << 20, "cpu_s": now / 10, "descriptors": 9,
                     "loop_lag_s": 0.002, "connections": 3}],
        "listeners": [{"name": "web", "url": "http://h:1", "protocol": "http", "tls": False, "connections": 3}],
        "routes": [],
        "clusters": {"api": {"balance": "round_robin", "backends": [
            backend("a:1"), backend("b:1", "down", last_error="refused"), backend("c:1", active=4)]}},
        "cache": None, "certificates": [], "numbers": numbers or {}, "errors": [], **more,
    }  # fmt: skip
