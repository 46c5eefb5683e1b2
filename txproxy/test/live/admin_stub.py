"""An admin interface that serves the real page and tells it of a proxy that is not there.

So the page can be shown what no proxy would say at a test's command: hostile names, certificates that end, half an hour
of traffic in a second, or nothing at all.
"""

from __future__ import annotations

import copy
import json
import math
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

from txproxy.admin.page import load_page

from .client import DEADLINE_S

_NOW = 1_772_704_800.0
_STATES = {"serve": "up", "drain": "draining", "maintain": "maintenance"}
_SPREAD = (2, 9, 30, 62, 41, 22, 14, 9, 5, 3, 1.6, 0.5, 0.12, 0.02, 0, 0, 0)
"""How many of 200 requests fall into each bucket of latency."""


def _backend(name: str, state: str = "up", **more: Any) -> dict[str, Any]:
    return {
        "name": name, "entry": name, "state": state, "since": _NOW - 7300, "weight": 1, "share": 1.0, "backup": False,
        "active": 0, "queued": 0, "connections": 8, "idle": 8, "failures": 0, "ejections": 0, "last_error": "",
        "last_check": None, **more,
    }  # fmt: skip


def sample_report() -> dict[str, Any]:
    """Return what a busy proxy with a few troubles would tell."""
    days = 86400
    return {
        "version": "0.1.0", "started_at": _NOW - 3 * days - 4000, "now": _NOW, "state": "ready",
        "config": {"path": "/etc/txproxy/proxy.toml", "hash": "5f0c3d7ab210", "loaded_at": _NOW - 7200, "last_reload":
                   {"at": _NOW - 7200, "ok": True, "errors": [], "summary": "1 cluster changed, 1 backend added"}},
        "workers": [
            {"number": number, "pid": 4100 + number, "started_at": _NOW - 3 * days, "rss_bytes": (58 + 3 * number) << 20,
             "cpu_s": 0.0, "descriptors": 180, "loop_lag_s": 0.0004 + 0.0003 * number, "connections": 171 + 9 * number}
            for number in range(1, 3)
        ],
        "listeners": [
            {"name": "https", "url": "https://0.0.0.0:443", "protocol": "http", "tls": True, "connections": 342},
            {"name": "web", "url": "http://0.0.0.0:80", "protocol": "http", "tls": False, "connections": 9},
        ],
        "routes": [],
        "clusters": {
            "api": {"balance": "least_connections", "backends": [
                _backend("10.0.0.11:8080", weight=2), _backend("10.0.0.12:8080"),
                _backend("10.0.0.13:8080", "ejected", since=_NOW - 23, failures=5, ejections=2, connections=0, idle=0,
                         last_error="no reply within 60 s"),
                _backend("10.0.0.14:8080", "draining", since=_NOW - 95, connections=3, idle=0),
            ]},
            "site": {"balance": "ring_hash", "backends": [
                _backend("10.0.1.21:8080", entry="site.internal:8080"), _backend("10.0.1.22:8080", entry="site.internal:8080"),
                _backend("10.0.9.9:8080", "down", backup=True, since=_NOW - 4020, connections=0, idle=0,
                         last_error="connection refused"),
            ]},
        },
        "cache": {"hits": 0, "misses": 0, "expired": 0, "revalidated": 0, "stale": 0, "bypassed": 0, "collapsed": 0,
                  "objects": 18_423, "held_bytes": 181 << 20},
        "certificates": [
            {"section": "main", "names": ["example.com", "www.example.com"], "file": "/etc/tls/example.pem",
             "expires_at": _NOW + 71.4 * days, "days_left": 71},
            {"section": "main", "names": ["api.example.com"], "file": "/etc/tls/api.pem",
             "expires_at": _NOW + 12.2 * days, "days_left": 12},
            {"section": "main", "names": ["old.example.com"], "file": "/etc/tls/old.pem",
             "expires_at": _NOW + 3.1 * days, "days_left": 3},
        ],
        "numbers": {},
        "errors": [
            {"at": _NOW - 9 - 41 * number, "id": f"5f0c3d7a{number:08x}", "method": method, "target": target,
             "route": route, "backend": backend, "status": status, "end": end}
            for number, (method, target, route, backend, status, end) in enumerate([
                ("GET", "/v1/orders?customer=88120&limit=50", "api", "10.0.0.13:8080", 504, "reply-timeout"),
                ("GET", "/v1/orders/10017", "api", "10.0.0.13:8080,10.0.0.11:8080", 504, "reply-timeout"),
                ("POST", "/v1/carts/77/items", "api", "10.0.0.13:8080", 502, "bad-reply"),
                ("GET", "/downloads/manual.pdf", "site", "10.0.1.22:8080", 0, "reply-cut"),
                ("GET", "/v1/orders/../../etc/passwd", "", "", 400, "bad-request"),
                ("PUT", "/v1/images/4711", "api", "", 413, "body-too-large"),
            ])
        ],
    }  # fmt: skip


class AdminStub:
    """Serves the page, a report and the orders; a context manager.

    :param token: what has to be sent to see anything but the page; empty: nothing.
    """

    def __init__(self, token: str = "") -> None:
        self.report = sample_report()
        """What it tells; to be changed at will."""
        self.token = token
        self.asked: list[tuple[str, Any]] = []
        """Path and content of each POST."""
        self.refusal = ""
        """If not empty, what all orders are answered with, and status 409."""
        self.is_away = False
        """If true, connections are closed without a reply."""
        self.reloaded: tuple[int, Any] = (200, {"ok": True, "errors": [], "summary": "nothing has changed"})
        """Status and content of the answer to a reload."""
        self.answers = threading.Event()
        """Orders are answered while it is set, as it is at first."""
        self.answers.set()
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        page = load_page()

        class Handler(BaseHTTPRequestHandler):
            stub = self

            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                if self.stub.is_away:
                    self.close_connection = True
                elif self.path == "/":
                    self.answer(200, page.body, "text/html; charset=utf-8")
                elif self.is_let_in():
                    self.say(200, self.stub.next_report()) if self.path == "/status" else self.say(
                        404, {"error": "no such path"}
                    )

            def do_POST(self) -> None:
                content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if self.is_let_in():
                    self.say(*self.stub.obey(self.path, content))

            def is_let_in(self) -> bool:
                is_right = self.headers.get("Authorization") == f"Bearer {self.stub.token}"
                if self.stub.token and not is_right:
                    self.say(401, {"error": "a token is needed"})
                return not self.stub.token or is_right

            def say(self, status: int, content: Any) -> None:
                self.answer(status, json.dumps(content).encode(), "application/json")

            def answer(self, status: int, body: bytes, kind: str) -> None:
                self.send_response(status)
                fields = {"Content-Type": kind, "Content-Length": len(body), "Content-Security-Policy": page.policy}
                for name, value in fields.items():
                    self.send_header(name, str(value))
                self.end_headers()
                self.wfile.write(body)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> AdminStub:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """Of the page."""
        return f"http://127.0.0.1:{self._server.server_port}/"

    def next_report(self) -> dict[str, Any]:
        """Return the report of one second later."""
        with self._lock:
            report = self.report
            report["now"] += 1
            second = report["now"] - _NOW
            rate = (
                420
                + 130 * math.sin(second / 41)
                + 45 * math.sin(second / 7)
                + 24 * math.sin(second * 2.1) * math.sin(second / 3.3)
            )
            failing = 0.004 + 0.05 * math.exp(-(((second - 130) / 18) ** 2))
            slower = 1 + 5 * failing / 0.05
            for status, part in (("200", 0.9), ("304", 0.04), ("404", 0.03), ("502", failing)):
                self._counts[f"route|status|api|{status}"] += int(rate * part)
            for index, part in enumerate(_SPREAD):
                self._counts[f"route|seconds|api|{index}"] += int(
                    rate * part / 200 * (slower if index > 7 else 1) + 0.5
                )
            report["numbers"] = dict(self._counts)
            for worker in report["workers"]:
                worker["cpu_s"] += 0.021 + rate / 38000
            for number, backend in enumerate(
                each for cluster in report["clusters"].values() for each in cluster["backends"]
            ):
                if backend["state"] == "up":
                    backend["active"] = max(0, int(rate / 90 + 3 * math.sin(second / 3 + number)))
                    backend["connections"] = 12
                    backend["idle"] = 12 - backend["active"]
            if report["cache"]:
                for name, part in (
                    ("hits", 0.61),
                    ("misses", 0.11),
                    ("revalidated", 0.03),
                    ("stale", 0.004),
                    ("bypassed", 0.2),
                ):
                    report["cache"][name] += int(rate * part)
            return copy.deepcopy(report)

    def obey(self, path: str, content: Any) -> tuple[int, Any]:
        """Carry out an order."""
        self.asked.append((path, content))
        self.answers.wait(DEADLINE_S)
        if self.refusal:
            return 409, {"error": self.refusal}
        if path == "/cache/purge":
            return 200, {"purged": 17}
        if path == "/reload":
            return self.reloaded
        _, _, cluster, _, name, order = map(unquote, path.split("/"))
        for backend in self.report["clusters"][cluster]["backends"]:
            if backend["name"] == name:
                backend |= {"state": _STATES[order], "since": self.report["now"]}
        return 200, {}
