"""Scenarios of one large body."""

from __future__ import annotations

import time
from abc import abstractmethod

from bench import bulk, tls_client
from bench.fleet import children_cpu_s
from bench.proxies import WITHOUT_FLOW_CONTROL, WITHOUT_TCP, WITHOUT_TLS, RunningProxy
from bench.scenario import Bench, Column, Sample, Scenario

MIB = 1 << 20
GIB = 1 << 30


class BodyScenario(Scenario):
    """One large body on one connection."""

    main = "cpu_ms"
    backend = "bulk"
    columns = (
        Column("cpu_ms", "CPU ms/GiB", 0),
        Column("mib_s", "MiB/s", 0),
        Column("proxy_busy", "proxy core %", 0),
    )
    skips = WITHOUT_FLOW_CONTROL

    @abstractmethod
    def transfer(self, bench: Bench, port: int, count: int) -> int:
        """Move *count* bytes through the proxy on *port*; return how many arrived."""

    def measure(self, bench: Bench, proxy: RunningProxy, seed: int) -> Sample:
        """Transfer once and check the count."""
        del seed
        size = bench.settings.size_mib * MIB
        self.transfer(bench, proxy.port, min(size, 8 * MIB))
        own_before = time.process_time() + children_cpu_s()
        with bench.window(proxy) as used:
            got = self.transfer(bench, proxy.port, size)
        own_s = time.process_time() + children_cpu_s() - own_before
        sample = Sample()
        if got != size:
            sample.errors.append(f"{got} of {size} bytes arrived")
        sample.values = {
            "cpu_ms": used.proxy_s * 1e3 * GIB / size,
            "mib_s": size / MIB / used.wall_s,
            "proxy_busy": 100 * used.proxy_s / used.wall_s,
        }
        sample.warnings = bench.remarks(used, own_s)
        return sample


class Download(BodyScenario):
    """From the backend to the client."""

    name = "download"
    summary = "a reply body of --size-mib on one connection"

    def transfer(self, bench: Bench, port: int, count: int) -> int:
        """Fetch *count* bytes; return how many came."""
        del bench
        return bulk.download(port, count)


class Upload(BodyScenario):
    """From the client to the backend."""

    name = "upload"
    summary = "a request body of --size-mib with Content-Length; the backend confirms the count"

    def transfer(self, bench: Bench, port: int, count: int) -> int:
        """Send *count* bytes; return how many the backend counted."""
        del bench
        return bulk.upload(port, count)


class TcpDownload(Download):
    """From the backend to the client, unread."""

    name = "tcpdownload"
    summary = "as download through listeners that pass bytes through unread"
    parts = ("tcp", "bulk")
    skips = WITHOUT_TCP


class TcpUpload(Upload):
    """From the client to the backend, unread."""

    name = "tcpupload"
    summary = "as upload through such listeners"
    parts = ("tcp", "bulk")
    skips = WITHOUT_TCP


class TlsDownload(BodyScenario):
    """From the backend to a client that speaks TLS."""

    name = "tlsdownload"
    summary = "as download on a connection that speaks TLS 1.3"
    tls = True
    skips = WITHOUT_TLS

    def transfer(self, bench: Bench, port: int, count: int) -> int:
        """Fetch *count* bytes; return how many came."""
        del bench
        return tls_client.download(port, count)


class TlsUpload(BodyScenario):
    """From a client that speaks TLS to the backend."""

    name = "tlsupload"
    summary = "as upload on a connection that speaks TLS 1.3"
    tls = True
    skips = WITHOUT_TLS

    def transfer(self, bench: Bench, port: int, count: int) -> int:
        """Send *count* bytes; return how many the backend counted."""
        del bench
        return tls_client.upload(port, count)
