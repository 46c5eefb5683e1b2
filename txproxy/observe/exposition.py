"""A report as Prometheus reads it: in its own text format, or as OpenMetrics. ``docs/metrics.md`` has all series."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

from prometheus_client import exposition as text_format
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.openmetrics import exposition as openmetrics_format

from txproxy.errors import DownstreamError
from txproxy.observe.histogram import BOUNDS_S, BUCKETS

_MOST_AT_ONCE = 100
"""Samples that are written in one go, in half a millisecond."""
_MOST_REASONS = 200
_STATES = ("up", "down", "ejected", "trial", "checking", "draining", "maintenance")
_HARMLESS = frozenset(
    (
        "bad-proxy-header",
        "client-left",
        "no-route",
        "only-if-cached",
        "request-timeout",
        "untrusted-proxy",
        "write-timeout",
    )
)
"""Ends for which what a request says is not to blame."""
_BOUNDS = (*(f"{bound:g}" if bound < 1 else f"{bound:.1f}" for bound in BOUNDS_S), "+Inf")
_MICRO = 1e-6


def exposition(report: Mapping[str, Any], accept: str = "") -> tuple[bytes, str]:
    """Return all metrics as text, and its content type.

    :param report: see ``txproxy.admin.report``.
    :param accept: the field Accept of who asks: OpenMetrics if it is in it, else the text format of Prometheus.
    """
    pieces, content_type = exposition_pieces(report, accept)
    return b"".join(pieces), content_type


def exposition_pieces(report: Mapping[str, Any], accept: str = "") -> tuple[Iterator[bytes], str]:
    """Return the same as ``exposition``, to be written piece by piece: each takes no more than half a millisecond."""
    if _wants_openmetrics(accept):
        write: Callable[[Any], bytes] = openmetrics_format.generate_latest
        return _pieces(report, write, b"# EOF\n"), openmetrics_format.CONTENT_TYPE_LATEST
    return _pieces(report, text_format.generate_latest, b""), text_format.CONTENT_TYPE_PLAIN_0_0_4


def _wants_openmetrics(accept: str) -> bool:
    """Return whether OpenMetrics is accepted, and not less than the other."""
    best = {"application/openmetrics-text": 0.0, "text/plain": 0.0}
    for part in accept.lower().split(",")[:50]:
        kind, *parameters = [each.strip() for each in part.split(";")]
        if kind in best:
            best[kind] = max(best[kind], _quality(parameters))
    return 0 < best["application/openmetrics-text"] >= best["text/plain"]


def _quality(parameters: Iterable[str]) -> float:
    for each in parameters:
        name, _, value = each.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


class _One:
    """A collector of one family."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client."""
        yield self._metric


def _pieces(report: Mapping[str, Any], write: Callable[[Any], bytes], end: bytes) -> Iterator[bytes]:
    for metric in _Families(report).collect():
        samples = metric.samples
        for begin in range(0, max(1, len(samples)), _MOST_AT_ONCE):
            metric.samples = samples[begin : begin + _MOST_AT_ONCE]
            text = write(_One(metric)).removesuffix(end)
            if begin:
                text = b"".join(line for line in text.splitlines(keepends=True) if not line.startswith(b"# "))
            yield text
    yield end


class _Counter(NamedTuple):
    """A counter of the report's numbers, as it is exposed."""

    prefix: str
    """Of the flat names of its numbers, up to the labels."""
    name: str
    help: str
    labels: tuple[str, ...] = ()
    """In the order in which the flat names have them."""
    factor: float = 1


_ROUTE = ("route",)
_BACKEND = ("cluster", "backend")

_COUNTERS = (
    _Counter("connections", "client_connections", "Connections that clients have made."),
    _Counter("route|status", "requests", "Requests that have ended, by the status of the reply.", ("route", "status")),
    _Counter("route|bytes_in", "request_body_bytes", "Content of requests that has come in.", _ROUTE),
    _Counter("route|bytes_out", "reply_body_bytes", "Content of replies that was given to clients.", _ROUTE),
    _Counter("retries", "retries", "Tries after the first of a request."),
    _Counter("cluster|tries", "tries", "Requests that were sent, or were to be sent, to a backend.", ("cluster",)),
    _Counter("cluster|passages", "tcp_passages", "Connections of tcp listeners that have ended.", ("cluster", "end")),
    _Counter("pool|created", "backend_connections_made", "Connections that were made.", _BACKEND),
    _Counter("pool|reused", "backend_connection_reuses", "Requests that took a connection which was there.", _BACKEND),
    _Counter("pool|failed", "backend_connection_failures", "Connections that could not be made.", _BACKEND),
    _Counter("pool|discarded", "backend_connections_discarded", "Idle connections that were closed.", _BACKEND),
    _Counter("pool|queued", "backend_requests_queued", "Requests that had to wait for a connection.", _BACKEND),
    _Counter("pool|exhausted", "backend_requests_refused", "Requests for which there was no place to wait.", _BACKEND),
    _Counter(
        "transitions", "backend_transitions", "Changes of state, by the one come to.", ("state", "cluster", "backend")
    ),
    _Counter("accept_pauses", "accept_pauses", "Times that max_connections was reached."),
    _Counter("refused_per_ip", "connections_refused_per_ip", "Connections beyond max_connections_per_ip."),
    _Counter("proxy_failures", "proxy_header_failures", "Connections without a valid PROXY header.", ("reason",)),
    _Counter("http2_failures", "http2_connection_errors", "HTTP/2 connections ended by an error.", ("code",)),
    _Counter("underscores_dropped", "requests_with_dropped_fields", "Requests that lost fields with underscores."),
    _Counter("log_lines_lost", "access_log_lines_lost", "Lines that the access log had no time for."),
    _Counter("tls|handshakes", "tls_handshakes", "TLS handshakes with clients that were completed."),
    _Counter("tls|resumed", "tls_resumptions", "Handshakes that went on with an earlier session."),
    _Counter("tls|failures", "tls_handshake_failures", "TLS handshakes that failed.", ("cause",)),
    _Counter("tls|reloads", "certificate_reloads", "Times that certificates were replaced."),
    _Counter("tls|failed_reloads", "certificate_reload_failures", "Changed certificates that were refused."),
    _Counter("store_health|failures", "cache_store_failures", "Calls of the store of the cache that failed."),
    _Counter("store_health|corrupted", "cache_store_corruptions", "Stored replies whose seal was broken."),
    _Counter("cache|collapsed", "cache_collapsed_requests", "Requests that were served by the fetch of another."),
    _Counter("store|stored", "cache_stores", "Replies that were stored."),
    _Counter("store|refused", "cache_stores_refused", "Replies that were too large to be stored."),
)  # fmt: skip
_RESULTS = {
    "hits": "hit",
    "misses": "miss",
    "expired": "expired",
    "revalidated": "revalidated",
    "stale": "stale",
    "bypassed": "bypass",
}
_REMOVALS = ("replaced", "evicted", "expired", "purged")


class _Families:
    """A collector over one report.

    :param report: see ``exposition``.
    """

    def __init__(self, report: Mapping[str, Any]) -> None:
        self._report = report
        self._by_prefix: dict[str, list[tuple[str, int]]] = {}
        for name, value in report["numbers"].items():
            parts = name.split("|", 2)
            rest = parts[2] if len(parts) > 2 else ""
            if parts[0] in ("transitions", "proxy_failures", "http2_failures", "outcomes"):
                parts, rest = parts[:1], name.partition("|")[2]
            self._by_prefix.setdefault("|".join(parts[:2]), []).append((rest, value))

    def collect(self) -> Iterator[Metric]:
        """Yield all families."""
        yield InfoMetricFamily("txproxy_build", "The version that runs.", {"version": self._report["version"]})
        for counter in _COUNTERS:
            yield self._counter(counter)
        yield from self._ends()
        yield self._durations(
            "request", "From a request's first byte to the end of its reply.", "route|seconds", "route"
        )
        of_cluster = partial(self._durations, label="cluster")
        yield of_cluster("upstream_first_byte", "From the connection to the head of the reply.", "cluster|first_byte")
        yield of_cluster(
            "upstream_queue", "Until there was a connection, or one was begun.", "cluster|queue", zeros="queue0_us"
        )
        yield of_cluster("upstream_connect", "Making a connection; 0 if one was there.", "cluster|connect", zeros="0")
        yield self._loop_lag()
        yield from self._cache()
        yield from self._gauges()

    def _counter(self, counter: _Counter) -> Metric:
        family = CounterMetricFamily(f"txproxy_{counter.name}", counter.help, labels=counter.labels)
        found = self._by_prefix.get(counter.prefix, [("", 0)] if not counter.labels else [])
        for rest, value in found:
            labels = rest.split("|", len(counter.labels) - 1) if counter.labels else []
            if len(labels) == len(counter.labels):
                family.add_metric(labels, value * counter.factor)
        return family

    def _ends(self) -> Iterator[Metric]:
        """Yield how exchanges ended, and which of them said what is not accepted."""
        ends: dict[str, int] = {}
        for rest, value in self._by_prefix.get("outcomes", ()):
            end = rest.partition("|")[2]
            # A stage may give any reason.
            end = end if end in ends or len(ends) < _MOST_REASONS else "(others)"
            ends[end] = ends.get(end, 0) + value
        family = CounterMetricFamily("txproxy_exchanges", "Exchanges that have ended, by reason.", labels=("end",))
        rejected = CounterMetricFamily(
            "txproxy_requests_rejected", "Requests that were refused for what they say.", labels=("reason",)
        )
        for end, value in sorted(ends.items()):
            family.add_metric((end,), value)
        for reason in sorted(_REJECTING):
            rejected.add_metric((reason,), ends.get(reason, 0))
        yield family
        yield rejected

    def _durations(self, name: str, text: str, prefix: str, label: str, zeros: str = "") -> Metric:
        """Return a histogram with a series for each route or cluster.

        :param zeros: the number that has the sum of those that were counted by ``leases`` alone; "0" if it is 0.
        """
        family = HistogramMetricFamily(f"txproxy_{name}_duration_seconds", text, labels=(label,))
        counts: dict[str, list[int]] = {}
        for rest, value in self._by_prefix.get(prefix, ()):
            key, _, index = rest.rpartition("|")
            if index.isdecimal() and int(index) < BUCKETS:
                counts.setdefault(key, [0] * BUCKETS)[int(index)] += value
        sums = dict(self._by_prefix.get(f"{prefix}_us", ()))
        if zeros:
            more = dict(self._by_prefix.get(f"cluster|{zeros}", ()))
            for key, leases in self._by_prefix.get("cluster|leases", ()):
                buckets = counts.setdefault(key, [0] * BUCKETS)
                buckets[0] += max(0, leases - sum(buckets))
                sums[key] = sums.get(key, 0) + more.get(key, 0)
        for key, buckets in counts.items():
            family.add_metric((key,), _cumulative(buckets), sums.get(key, 0) * _MICRO)
        return family

    def _loop_lag(self) -> Metric:
        buckets = [0] * BUCKETS
        for rest, value in self._by_prefix.get("loop|lag", ()):
            if rest.isdecimal() and int(rest) < BUCKETS:
                buckets[int(rest)] += value
        lag_us = sum(value for _, value in self._by_prefix.get("loop|lag_us", ()))
        family = HistogramMetricFamily(
            "txproxy_event_loop_lag_seconds", "How much too late a call came that is due every 0.1 s.", labels=()
        )
        family.add_metric((), _cumulative(buckets), lag_us * _MICRO)
        return family

    def _cache(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "txproxy_cache_requests", "Requests by what the cache did for them.", labels=("result",)
        )
        removed = CounterMetricFamily(
            "txproxy_cache_removals", "Stored replies that are gone, by the reason.", labels=("reason",)
        )
        cache = self._report["cache"]
        if cache is not None or any(name.startswith("cache|") for name in self._by_prefix):
            for what, result in _RESULTS.items():
                requests.add_metric((result,), self._number(f"cache|{what}"))
            for what in _REMOVALS:
                removed.add_metric((what,), self._number(f"store|{what}"))
        yield requests
        yield removed
        if cache is not None:
            yield _gauge("cache_objects", "Stored replies.", cache["objects"])
            yield _gauge("cache_size_bytes", "What stored replies take of memory.", cache["held_bytes"])
            yield _gauge("cache_store_away", "1 while the store fails and is passed by.", cache["store"]["is_away"])

    def _number(self, prefix: str) -> int:
        return sum(value for _, value in self._by_prefix.get(prefix, ()))

    def _gauges(self) -> Iterator[Metric]:
        report = self._report
        yield _gauge("ready", "1 while requests are accepted, 0 once it stops.", report["state"] == "ready")
        yield _gauge("start_time_seconds", "When it was started, since 1970.", report["started_at"])
        config = report["config"]
        yield InfoMetricFamily("txproxy_config", "The configuration that is served.", {"hash": config["hash"]})
        yield _gauge("config_loaded_timestamp_seconds", "Since when it is served, since 1970.", config["loaded_at"])
        last = config["last_reload"]
        yield _gauge("config_last_reload_successful", "0 if the last reload was refused.", last is None or last["ok"])
        listeners = {(each["name"],): each["connections"] for each in report["listeners"]}
        yield _gauges("listener_connections", "Open connections of clients.", ("listener",), listeners)
        yield from self._of_workers()
        yield from self._of_backends()
        expiries: dict[tuple[str, ...], float] = {}
        for each in report["certificates"]:
            key = each["section"], each["file"], each["names"][0] if each["names"] else ""
            expiries[key] = min(each["expires_at"], expiries.get(key, each["expires_at"]))
        labels = ("section", "file", "host")
        yield _gauges("certificate_expiry_timestamp_seconds", "When a certificate ends, since 1970.", labels, expiries)

    def _of_workers(self) -> Iterator[Metric]:
        workers = {str(each["number"]): each for each in self._report["workers"]}
        yield _gauge("workers", "Processes that serve.", len(workers))
        for name, text, key in (
            ("worker_connections", "Open connections of clients.", "connections"),
            ("worker_resident_memory_bytes", "Memory that it takes.", "rss_bytes"),
            ("worker_open_fds", "Open descriptors.", "descriptors"),
            ("worker_start_time_seconds", "When it was started, since 1970.", "started_at"),
            ("worker_event_loop_lag_recent_max_seconds", "The worst of the last 10 to 20 s.", "loop_lag_s"),
        ):
            yield _gauges(name, text, ("worker",), {(number,): each[key] for number, each in workers.items()})
        cpu = CounterMetricFamily("txproxy_worker_cpu_seconds", "Processor time that it has had.", labels=("worker",))
        for number, each in workers.items():
            cpu.add_metric((number,), each["cpu_s"])
        yield cpu

    def _of_backends(self) -> Iterator[Metric]:
        backends = {
            (name, each["name"]): each
            for name, cluster in self._report["clusters"].items()
            for each in cluster["backends"]
        }
        states = {(*key, state): each["state"] == state for key, each in backends.items() for state in _STATES}
        yield _gauges("backend_state", "1 for the state that it is in.", (*_BACKEND, "state"), states)
        for name, text, key in (
            ("backend_requests_active", "Requests that it was given and that have not ended.", "active"),
            ("backend_requests_waiting", "Requests that wait for a connection to it.", "queued"),
            ("backend_connections", "Connections to it, those being made included.", "connections"),
            ("backend_connections_idle", "Connections to it that carry nothing.", "idle"),
            ("backend_weight", "Its share of the requests.", "weight"),
            ("backend_state_since_timestamp_seconds", "When it came to its state, since 1970.", "since"),
        ):
            yield _gauges(name, text, _BACKEND, {place: each[key] for place, each in backends.items()})


def _cumulative(buckets: Iterable[int]) -> list[tuple[str, float]]:
    total, found = 0, []
    for bound, count in zip(_BOUNDS, buckets, strict=True):
        total += count
        found.append((bound, float(total)))
    return found


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"txproxy_{name}", text, value=float(value))


def _gauges(name: str, text: str, labels: tuple[str, ...], values: Mapping[Any, float]) -> Metric:
    family = GaugeMetricFamily(f"txproxy_{name}", text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, float(value))
    return family


def _reasons_of(error: type[Any]) -> set[str]:
    return {error.end_reason}.union(*(_reasons_of(each) for each in error.__subclasses__()))


_REJECTING = frozenset(_reasons_of(DownstreamError)) - _HARMLESS - {"internal"}
