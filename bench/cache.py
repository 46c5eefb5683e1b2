"""Scenarios of replies that are stored: what a hit costs, and what many stored replies do."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import ClassVar

from bench import client, wrk
from bench.counted_store import NUMBERS
from bench.fleet import StartError
from bench.procs import cpu_by_program, rss_bytes
from bench.proxies import OURS, PROXIES, RunningProxy
from bench.requests import WARM_UP_S, RequestScenario, traffic
from bench.scenario import Bench, Column, Sample, Scenario
from bench.wrk import Load

MIB = 1 << 20
OBJECTS = 1000
STRIDE = 7919
"""From one target to the next: prime, so that all come, and in another order than that in which they were stored."""

NOT_COMPARED = {
    "envoy": "its filter for that is no more than work in progress, says its documentation",
    "traefik": "it has no cache without a plugin",
    "caddy": "it has no cache without a plugin, which its wheel does not have",
    "proxy.py": "it stores replies and never answers with them",
    "twisted.web.proxy": "it has no cache",
}
HOST = ("Host: bench",)
"""As the bench's own client says, which has the replies stored: it is part of what they are stored under."""
WINDOWS = 4
"""For each cost of a hit among many, each half as long as others."""
_BACKEND_US = 0.5
"""Of the backend for each request, above which it must have answered some of them."""
_FIGURE_WAIT_S = 30.0


def load_of(objects: int) -> Load:
    """Return requests for so many targets in turn, in heads that all differ."""
    return Load(script="cached.lua", arguments=(str(objects), str(STRIDE)))


class CacheHit(RequestScenario):
    """Hits on one object."""

    name = "cachehit"
    summary = "hits of 1 KiB on keep-alive connections, every request head the same"
    parts: ClassVar[tuple[str, ...]] = ("cache", "readcached")
    skips = NOT_COMPARED
    load = Load(headers=HOST, path="/cached/0")

    def measure(self, bench: Bench, proxy: RunningProxy, seed: int) -> Sample:
        """Have all stored, count, and see that the backend was not asked."""
        self.fill(proxy)
        load = replace(self.load, connections=bench.settings.connections)
        if bench.is_cold(proxy):
            wrk.run(bench.fleet, proxy.port, load, WARM_UP_S, 2 * seed)
        before = cpu_by_program(proxy.pid)
        backend = cpu_by_program(bench.backend.pid)
        sample = traffic(bench, proxy, load, 2 * seed + 1, bench.settings.seconds)
        requests = sample.values.get("requests", 0.0)
        if not requests:
            return sample
        programs = {
            name: (spent - before.get(name, 0)) / 1e3 / requests for name, spent in cpu_by_program(proxy.pid).items()
        }
        if len(programs) > 1:
            sample.notes.append("of these " + ", ".join(f"{name} {cost:.1f} µs" for name, cost in programs.items()))
        asked_us = (sum(cpu_by_program(bench.backend.pid).values()) - sum(backend.values())) / 1e3 / requests
        if asked_us > _BACKEND_US:
            sample.errors.append(f"the backend spent {asked_us:.1f} µs on each: these are not hits")
        status = client.field_of(proxy.port, self.load.path, b"X-Cache-Status")
        if status != b"HIT" and not bench.settings.bare_peers:
            sample.errors.append(f"X-Cache-Status is {status!r}, not HIT")
        return sample

    def fill(self, proxy: RunningProxy) -> None:
        """Ask for all once."""
        client.fetch(proxy.port, self.load.path)


class CacheDiffering(CacheHit):
    """Hits on many objects, in heads that all differ."""

    name = "cachediffering"
    summary = "hits of 1 KiB on 1,000 objects, in heads that all differ"
    load = replace(load_of(OBJECTS), path="/cached/0")

    def fill(self, proxy: RunningProxy) -> None:
        """Ask for all once."""
        client.send_requests(proxy.port, 0, OBJECTS, target="/cached/{0}")


class CacheHit64k(CacheHit):
    """Hits of larger bodies."""

    name = "cachehit64k"
    summary = "hits of 64 KiB on keep-alive connections, every request head the same"
    parts = ("cache",)
    load = Load(headers=HOST, path="/cached64k", body_bytes=65536)


class CacheFill(Scenario):
    """Many stored replies: their memory, and what a hit costs among them."""

    name = "cachefill"
    summary = "1,000, 10,000 and 100,000 stored replies of 1 KiB: memory, and what a hit costs"
    main = "all_100000"
    fresh = True
    max_rounds = 1
    needs = "wrk"
    parts = ("cache", "counted")
    skips = {proxy.name: "it does not say what it accounts for" for proxy in PROXIES if proxy.name != OURS}
    marks = (1_000, 10_000, 100_000)
    columns = (
        Column("hot_1000", "hit µs at 1,000"),
        Column("hot_10000", "at 10,000"),
        Column("hot_100000", "at 100,000"),
        Column("all_10000", "all 10,000 in turn"),
        Column("all_100000", "all 100,000 in turn"),
        Column("accounted", "accounted MiB"),
        Column("grown", "RSS grown MiB"),
        Column("rss_share", "RSS / accounted", 3),
        Column("overhead", "accounted over content, bytes each", 0),
        Column("rss_overhead", "RSS over content, bytes each", 0),
    )
    # The marks of this project.
    most_overhead = 1024
    most_apart = 0.15
    most_steeper = 1.1

    def measure(self, bench: Bench, proxy: RunningProxy, seed: int) -> Sample:
        """Warm up, fill up to each mark, and look."""
        hot = replace(load_of(self.marks[0]), connections=bench.settings.connections)
        sample = Sample()
        # What all requests leave behind, hits or not: memories of heads, connections, the allocator's arenas.
        client.send_requests(proxy.port, 0, 4 * OBJECTS)
        client.send_requests(proxy.port, 0, 16, target="/cached/{0}")
        wrk.run(bench.fleet, proxy.port, Load(bench.settings.connections, HOST, path="/cached/0"), WARM_UP_S)
        _, accounted, content = self._numbers(bench, 16)
        before = rss_bytes(proxy.pid)
        filled = 16
        for mark in self.marks:
            client.send_requests(proxy.port, filled, mark - filled, target="/cached/{0}")
            filled = mark
            numbers = self._numbers(bench, mark)
            rss = rss_bytes(proxy.pid)
            every = replace(load_of(mark), connections=bench.settings.connections)
            for key, load in (("hot", hot), ("all", every)):
                wrk.run(bench.fleet, proxy.port, load, WARM_UP_S, seed)
                taken = [
                    traffic(bench, proxy, load, seed + turn, bench.settings.seconds / 2) for turn in range(WINDOWS)
                ]
                sample.errors += [error for each in taken for error in each.errors]
                # These are compared with each other, minutes apart: the least disturbed window says most.
                sample.values[f"{key}_{mark}"] = min(each.values.get("cpu_us", float("inf")) for each in taken)
        objects, held, inside = numbers
        if objects != self.marks[-1]:
            sample.errors.append(f"{objects:,} replies are stored, not {self.marks[-1]:,}")
        added = objects - 16
        sample.values |= {
            "accounted": (held - accounted) / MIB,
            "grown": (rss - before) / MIB,
            "rss_share": (rss - before) / (held - accounted),
            "overhead": (held - accounted - inside + content) / added,
            "rss_overhead": (rss - before - inside + content) / added,
        }
        self._judge(sample)
        return sample

    def _judge(self, sample: Sample) -> None:
        values = sample.values
        if abs(values["rss_share"] - 1) > self.most_apart:
            sample.warnings.append(f"RSS is further than {self.most_apart:.0%} from what is accounted for")
        if max(values["overhead"], values["rss_overhead"]) > self.most_overhead:
            sample.warnings.append(f"more than {self.most_overhead:,} bytes over the content of each")
        steeper = values[f"hot_{self.marks[-1]}"] / values[f"hot_{self.marks[0]}"]
        if steeper > self.most_steeper:
            sample.warnings.append(f"a hit costs {steeper:.2f} times what it does among {self.marks[0]:,}")

    def _numbers(self, bench: Bench, objects: int) -> tuple[int, int, int]:
        """Return how many are stored, the bytes accounted for them, and their content, once they are so many."""
        deadline = time.monotonic() + _FIGURE_WAIT_S
        text = ""
        while time.monotonic() < deadline:
            place = bench.fleet.directory / NUMBERS
            text = place.read_text() if place.exists() else ""
            if text and int(text.split()[0]) >= objects:
                count, held, content = map(int, text.split())
                return count, held, content
            time.sleep(0.2)
        raise StartError(f"the store does not hold {objects:,} replies: {text!r}")
