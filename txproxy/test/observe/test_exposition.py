"""Metrics as Prometheus reads them."""

from __future__ import annotations

import re
from typing import Any

from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text
from twisted.trial.unittest import SynchronousTestCase

from txproxy.observe.counters import Counters
from txproxy.observe.exposition import exposition, exposition_pieces
from txproxy.observe.histogram import BOUNDS_S
from txproxy.test.observe.test_access_log import unreadable
from txproxy.test.observe.test_counters import ended
from txproxy.test.observe.test_gathering import backend, cache, report

_OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_UNITS = ("seconds", "bytes", "fds")


def full_report() -> dict[str, Any]:
    """Return a report that has everything in it."""
    counters = Counters()
    counters.connections = 12
    counters.ended([ended(took_s=0.001 * number - 0.0001, queue_s=0.0001) for number in range(1, 101)])
    counters.ended([ended(queue_s=0.04, connect_s=0.003, status=503), unreadable()])
    counters.tls.handshakes, counters.tls.resumed = 9, 4
    counters.tls.failures["peer"] += 2
    counters.http2_failures["protocol_error"] += 1
    counters.proxy_failures["untrusted-proxy"] += 1
    counters.loop_lag.ticked(1.0, 0.1)
    counters.loop_lag.ticked(1.103, 0.1)
    numbers = counters.numbers() | {
        "pool|created|app|10.0.0.1:80": 3,
        "pool|reused|app|unix:/run/a|b": 5,
        "transitions|ejected|app|10.0.0.1:80": 2,
        "cache|hits": 7,
        "cache|collapsed": 1,
        "store|evicted": 4,
        "route|seconds|odd|99": 1,
        "something|unknown": 1,
    }
    certificate = {"section": "main", "names": ["a.example"], "file": "/a.pem", "expires_at": 2e9, "days_left": 9}
    last = {"at": 5.0, "ok": False, "errors": ["x"], "summary": ""}
    config = {"path": "/p", "hash": "abc", "loaded_at": 1.0, "last_reload": last}
    return report(
        0,
        backend("10.0.0.1:80", "ejected"),
        backend('odd"\\\nname'),
        numbers=numbers,
        cache=cache(3),
        certificates=[certificate, certificate],
        config=config,
    )


def samples(text: bytes) -> dict[str, dict[frozenset[tuple[str, str]], float]]:
    """Return all samples by name and labels."""
    found: dict[str, dict[frozenset[tuple[str, str]], float]] = {}
    for family in read_text(text.decode()):
        for sample in family.samples:
            series = found.setdefault(sample.name, {})
            key = frozenset(sample.labels.items())
            assert key not in series, f"{sample.name}{sample.labels} is there twice"
            series[key] = sample.value
    return found


def value(found: dict[str, dict[frozenset[tuple[str, str]], float]], name: str, **labels: str) -> float:
    return found[f"txproxy_{name}"][frozenset(labels.items())]


class FormatTests(SynchronousTestCase):
    """Both formats are as their parsers, and promtool, want them."""

    def test_negotiation(self) -> None:
        """OpenMetrics for who accepts it, else the text format, whatever Accept says."""
        for accept, is_open in (
            ("", False),
            ("*/*", False),
            ("text/plain", False),
            ("application/openmetrics-text", True),
            ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1", True),
            ("application/openmetrics-text;q=0.1, text/plain", False),
            ("application/openmetrics-text;q=0", False),
            ("application/openmetrics-text;version=9999;q=x", False),
            ("Application/OpenMetrics-Text ; charset=utf-8", True),
            (";;;,,q=\x00" * 1000, False),
        ):
            text, kind = exposition(full_report(), accept)
            self.assertEqual((kind == _OPENMETRICS, text.endswith(b"# EOF\n")), (is_open, is_open), accept)
            if not is_open:
                self.assertEqual(kind, "text/plain; version=0.0.4; charset=utf-8")

    def test_sameInBoth(self) -> None:
        """Both formats have the same samples."""
        plain = samples(exposition(full_report())[0])
        families = read_openmetrics(exposition(full_report(), _OPENMETRICS)[0].decode())
        strict = {sample.name for family in families for sample in family.samples}
        self.assertEqual(strict, set(plain))

    def test_names(self) -> None:
        """Counters end in _total, what has a unit is named by it, everything has a text that says what it is."""
        for family in read_text(exposition(full_report())[0].decode()):
            name = family.name
            self.assertRegex(name, r"^txproxy_[a-z0-9]+(_[a-z0-9]+)*$")
            self.assertTrue(family.documentation.endswith("."), name)
            self.assertNotRegex(name, r"_(ms|milliseconds|kb|us|minutes)\b")
            if family.type == "histogram":
                self.assertTrue(name.endswith("_seconds"), name)
            elif family.type == "counter":
                self.assertTrue(all(sample.name.endswith("_total") for sample in family.samples))
            else:
                self.assertFalse(re.search(r"_(total|count|sum|bucket)$", name), name)

    def test_histograms(self) -> None:
        """Buckets are cumulative, the last is +Inf and as large as the count."""
        found = samples(exposition(full_report())[0])
        names = [name.removesuffix("_bucket") for name in found if name.endswith("_bucket")]
        self.assertEqual(len(names), 5)
        for name in names:
            for key in found[f"{name}_count"]:
                series = [
                    (float(dict(labels)["le"]), count)
                    for labels, count in found[f"{name}_bucket"].items()
                    if labels >= key
                ]
                series.sort()
                counts = [count for _, count in series]
                self.assertEqual([bound for bound, _ in series], [*BOUNDS_S, float("inf")])
                self.assertEqual(counts, sorted(counts))
                self.assertEqual(counts[-1], found[f"{name}_count"][key])
                self.assertGreaterEqual(found[f"{name}_sum"][key], 0)

    def test_pieces(self) -> None:
        """However many series there are, they come in small pieces that make one text."""
        many = full_report()
        many["clusters"]["app"]["backends"] = [
            backend(f"10.1.{number // 250}.{number % 250}:80") for number in range(700)
        ]
        for accept in ("", _OPENMETRICS):
            pieces = list(exposition_pieces(many, accept)[0])
            self.assertLess(max(len(piece) for piece in pieces), 20_000)
            text = b"".join(pieces)
            self.assertEqual(text.count(b"# TYPE txproxy_backend_weight "), 1)
            self.assertEqual(text, exposition(many, accept)[0])
            self.assertEqual(len(samples(text.removesuffix(b"# EOF\n"))["txproxy_backend_weight"]), 700)
        list(read_openmetrics(text.decode()))

    def test_nothing(self) -> None:
        """A proxy that has served nothing has metrics too."""
        text, _ = exposition(report(0, numbers={}))
        self.assertEqual(value(samples(text), "client_connections_total"), 0)
        list(read_openmetrics(exposition(report(0, numbers={}), _OPENMETRICS)[0].decode()))


class FigureTests(SynchronousTestCase):
    """What the numbers mean is what is exposed."""

    def setUp(self) -> None:
        self.found = samples(exposition(full_report())[0])

    def test_requests(self) -> None:
        """By route and status; ends and rejections by reason."""
        self.assertEqual(value(self.found, "requests_total", route="api", status="200"), 100)
        self.assertEqual(value(self.found, "requests_total", route="", status="400"), 1)
        self.assertEqual(value(self.found, "exchanges_total", end="bad-request"), 1)
        self.assertEqual(value(self.found, "requests_rejected_total", reason="bad-request"), 1)
        self.assertEqual(value(self.found, "requests_rejected_total", reason="headers-too-large"), 0)
        self.assertNotIn(frozenset({("reason", "client-left")}), self.found["txproxy_requests_rejected_total"])

    def test_durations(self) -> None:
        """The percentiles can be computed, and what was counted together is in the first bucket."""
        self.assertEqual(value(self.found, "request_duration_seconds_bucket", route="api", le="0.05"), 50)
        self.assertAlmostEqual(value(self.found, "request_duration_seconds_sum", route="api"), 5.54, places=4)
        for name, first in (("queue", 100), ("connect", 100), ("first_byte", 0)):
            series = f"upstream_{name}_duration_seconds"
            self.assertEqual(value(self.found, f"{series}_count", cluster="app"), 101, name)
            self.assertEqual(value(self.found, f"{series}_bucket", cluster="app", le="0.0005"), first, name)
        self.assertAlmostEqual(value(self.found, "upstream_queue_duration_seconds_sum", cluster="app"), 0.05, places=4)
        self.assertAlmostEqual(value(self.found, "event_loop_lag_seconds_sum"), 0.003, places=5)

    def test_backends(self) -> None:
        """Pools, states, transitions; a name with whatever in it is one label."""
        self.assertEqual(
            value(self.found, "backend_connection_reuses_total", cluster="app", backend="unix:/run/a|b"), 5
        )
        of = {"cluster": "app", "backend": "10.0.0.1:80"}
        self.assertEqual(value(self.found, "backend_transitions_total", state="ejected", **of), 2)
        self.assertEqual(value(self.found, "backend_state", state="ejected", **of), 1)
        self.assertEqual(value(self.found, "backend_state", state="up", **of), 0)
        self.assertEqual(value(self.found, "backend_weight", cluster="app", backend='odd"\\\nname'), 2)

    def test_others(self) -> None:
        """The cache, TLS, the process, the configuration."""
        self.assertEqual(value(self.found, "cache_requests_total", result="hit"), 7)
        self.assertEqual(value(self.found, "cache_removals_total", reason="evicted"), 4)
        self.assertEqual(value(self.found, "cache_size_bytes"), 100)
        self.assertEqual(value(self.found, "tls_resumptions_total"), 4)
        self.assertEqual(value(self.found, "tls_handshake_failures_total", cause="peer"), 2)
        self.assertEqual(value(self.found, "worker_resident_memory_bytes", worker="0"), 5)
        self.assertEqual(value(self.found, "config_last_reload_successful"), 0)
        name = {"section": "main", "file": "/a.pem", "host": "a.example"}
        self.assertEqual(value(self.found, "certificate_expiry_timestamp_seconds", **name), 2e9)

    def test_bounded(self) -> None:
        """Reasons that stages make up are bounded."""
        numbers = {f"outcomes|200|made-up-{number}": 1 for number in range(1000)}
        ends = samples(exposition(report(0, numbers=numbers))[0])["txproxy_exchanges_total"]
        self.assertEqual((len(ends), sum(ends.values())), (201, 1000))
