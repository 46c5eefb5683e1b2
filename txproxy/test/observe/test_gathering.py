"""Numbers that never fall, and what several workers tell together."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txproxy.observe.counters import Counters
from txproxy.observe.figures import LastError
from txproxy.observe.gathering import Ledger, last_errors, numbers_of
from txproxy.observe.merging import merged
from txproxy.test.talk import GET, TalkCase, reply


class LedgerTests(SynchronousTestCase):
    """A reload may replace what counts."""

    def test_neverFalls(self) -> None:
        """What begins anew goes on from what was counted before, as often as that happens."""
        ledger = Ledger()
        told = [ledger.steady({"a": count, "b": 1})["a"] for count in (5, 7, 2, 3, 0, 4, 4)]
        self.assertEqual(told, [5, 7, 9, 10, 10, 14, 14])

    def test_gone(self) -> None:
        """What is gone keeps its number, and counts on from there when it comes back."""
        ledger = Ledger()
        ledger.steady({"a": 5, "b": 2})
        self.assertEqual(ledger.steady({"b": 3}), {"a": 5, "b": 3})
        self.assertEqual(ledger.steady({"a": 1, "b": 3}), {"a": 6, "b": 3})

    def test_part(self) -> None:
        """What was not looked at is neither told nor forgotten."""
        ledger = Ledger()
        for number in range(5000):
            ledger.steady({f"pool|created|c|{number}": 5}, is_part=True)
        self.assertEqual(ledger.steady({"pool|created|c|0": 2}, is_part=True), {"pool|created|c|0": 7})

    def test_bounded(self) -> None:
        """Names that come for a while only are forgotten in the end, the oldest first."""
        ledger = Ledger()
        for number in range(5000):
            told = ledger.steady({f"pool|created|c|{number}": 1, "connections": number})
        self.assertLessEqual(len(told), 2002)
        self.assertIn("pool|created|c|4999", told)
        self.assertEqual(told["connections"], 4999)

    def test_errors(self) -> None:
        """The last errors are told with the time of the day."""
        counters = Counters()
        counters.figures.errors.append(LastError(3.5, "id", "GET", "/", "api", "b", 502, "connect-failed"))
        (told,) = last_errors(counters, 1000.0)
        self.assertEqual((told["at"], told["end"], told["route"]), (1003.5, "connect-failed", "api"))
        self.assertEqual(set(told), {"at", "id", "method", "target", "route", "backend", "status", "end"})


class NumbersTests(TalkCase):
    """What a proxy has counted."""

    def test_all(self) -> None:
        """Requests that have just ended are in it, and pools, states and the cache of its own."""
        proxy = self.proxy(route="cache = true")
        client, backend = self.busy(proxy)
        backend.says(reply(b"ok", b"Cache-Control: max-age=60"))
        self.assertStatus(client, 200)
        client.says(GET)
        self.assertStatus(client, 200)
        cluster = proxy.assembled.clusters["app"]
        cluster.order(cluster.backends[0], "drain")
        numbers = numbers_of(proxy.assembled)
        self.assertEqual([numbers[f"cache|{what}"] for what in ("hits", "misses")], [1, 1])
        self.assertEqual((numbers["route|status|all|200"], numbers["store|stored"]), (2, 1))
        self.assertEqual(numbers["pool|created|app|10.0.0.1:80"], 1)
        self.assertEqual(numbers["transitions|draining|app|10.0.0.1:80"], 1)
        self.assertEqual((numbers["cluster|leases|app"], numbers["connections"]), (1, 1))


def backend(name: str, state: str = "up", since: float = 100.0, **others: Any) -> dict[str, Any]:
    """Return what a report says of a backend."""
    return {
        "name": name, "entry": name, "state": state, "since": since, "weight": 2, "share": 1.0, "backup": False,
        "active": 1, "queued": 0, "connections": 3, "idle": 2, "failures": 0, "ejections": 0, "last_error": "",
        "last_check": None,
    } | others  # fmt: skip


def cache(hits: int, away: bool = False) -> dict[str, Any]:
    """Return what a report says of a cache."""
    store = {"is_away": away, "failures": 0, "bypassed": 0, "corrupted": 0}
    return {"hits": hits, "misses": 1, "objects": 4, "held_bytes": 100, "store": store}


def report(number: int, *backends: dict[str, Any], **others: Any) -> dict[str, Any]:
    """Return the report of a worker."""
    worker = {
        "number": number, "pid": 1000 + number, "started_at": 10.0 + number, "rss_bytes": 5, "cpu_s": 1.0,
        "descriptors": 9, "loop_lag_s": 0.0, "connections": 3,
    }  # fmt: skip
    return {
        "version": "1.2",
        "started_at": 10.0 + number,
        "now": 500.0 + number,
        "state": "ready",
        "config": {"path": "/p", "hash": "abc", "loaded_at": 10.0 + number, "last_reload": None},
        "workers": [worker],
        "listeners": [{"name": "web", "url": "http://x", "protocol": "http", "tls": False, "connections": 3}],
        "routes": [{"name": "api", "hosts": [], "path": "/", "cluster": "app"}],
        "clusters": {"app": {"balance": "round_robin", "backends": list(backends)}},
        "cache": None,
        "certificates": [],
        "numbers": {"connections": 4, "route|status|api|200": 2},
        "errors": [],
    } | others


class MergedTests(SynchronousTestCase):
    """Several workers are shown as one proxy."""

    def test_sums(self) -> None:
        """Connections, requests and numbers are added up; the workers stand side by side."""
        first, second = report(1, backend("b")), report(0, backend("b"), backend("c"))
        told = merged([first, second])
        self.assertEqual([worker["number"] for worker in told["workers"]], [0, 1])
        self.assertEqual(told["listeners"][0]["connections"], 6)
        self.assertEqual(told["numbers"], {"connections": 8, "route|status|api|200": 4})
        (b, c) = told["clusters"]["app"]["backends"]
        self.assertEqual([b[name] for name in ("active", "connections", "idle", "weight")], [2, 6, 4, 2])
        self.assertEqual((c["name"], c["connections"]), ("c", 3))
        self.assertEqual((told["started_at"], told["now"]), (10.0, 501.0))

    def test_one(self) -> None:
        """One worker's report is the report."""
        only = report(0, backend("b"), cache=cache(3))
        self.assertEqual(merged([only]), only)

    def test_changesNothing(self) -> None:
        """The reports themselves stay as they are."""
        reports = [report(number, backend("b"), cache=cache(1)) for number in range(2)]
        expected = [report(number, backend("b"), cache=cache(1)) for number in range(2)]
        merged(reports)
        self.assertEqual(reports, expected)

    def test_theDead(self) -> None:
        """Numbers that somebody else has summed, those of the dead included, are taken instead."""
        self.assertEqual(merged([report(0)], {"connections": 99})["numbers"], {"connections": 99})

    def test_states(self) -> None:
        """A state is that of most workers, since the first of them knew; of as many the worse one."""
        for states, expected in (
            ((("up", 5.0), ("down", 9.0), ("down", 8.0)), ("down", 8.0)),
            ((("checking", 9.0), ("up", 5.0), ("up", 6.0)), ("up", 5.0)),
            ((("up", 5.0), ("ejected", 9.0)), ("ejected", 9.0)),
            ((("draining", 5.0), ("down", 9.0)), ("draining", 5.0)),
        ):
            views = [report(number, backend("b", *state)) for number, state in enumerate(states)]
            (told,) = merged(views)["clusters"]["app"]["backends"]
            self.assertEqual((told["state"], told["since"]), expected)

    def test_facts(self) -> None:
        """Failures are the most that a worker has seen, the last check is the latest, an error is not lost."""
        old, new = ({"at": at, "passed": False, "reason": "x", "took_s": 0.1} for at in (1.0, 2.0))
        first = report(0, backend("b", failures=3, last_check=new))
        second = report(1, backend("b", ejections=2, last_error="refused", last_check=old))
        (told,) = merged([first, second])["clusters"]["app"]["backends"]
        self.assertEqual((told["failures"], told["ejections"], told["last_error"]), (3, 2, "refused"))
        self.assertEqual(told["last_check"], new)

    def test_caches(self) -> None:
        """Caches are added up; one store that is away is told."""
        told = merged([report(0, cache=cache(3)), report(1, cache=cache(4, away=True)), report(2)])["cache"]
        self.assertEqual((told["hits"], told["objects"], told["store"]["is_away"]), (7, 8, True))

    def test_certificates(self) -> None:
        """A certificate is told once; while workers have two, it is the one that ends first."""

        def pair(ends: float) -> dict[str, Any]:
            return {"section": "main", "names": ["a"], "file": "x", "expires_at": ends, "days_left": 1}

        told = merged([report(0, certificates=[pair(9.0)]), report(1, certificates=[pair(8.0)])])
        self.assertEqual(told["certificates"], [pair(8.0)])

    def test_configuration(self) -> None:
        """While a reload rolls through, the newest configuration is told."""
        newer = report(0, config={"path": "/p", "hash": "new", "loaded_at": 99.0, "last_reload": None})
        newer["clusters"] = {"other": {"balance": "random", "backends": [backend("b")]}}
        told = merged([report(1, backend("c")), newer, report(2)])
        self.assertEqual((told["config"]["hash"], list(told["clusters"])), ("new", ["other"]))

    def test_stopping(self) -> None:
        """It is ready as long as one worker is."""
        self.assertEqual(merged([report(0, state="stopping"), report(1)])["state"], "ready")
        self.assertEqual(merged([report(0, state="stopping")])["state"], "stopping")

    def test_stopped(self) -> None:
        """A worker that has stopped before the others takes nothing of what they tell with it, whenever it has begun."""
        gone = report(0, state="stopping", clusters={}, listeners=[], config={"loaded_at": 99.0})
        told = merged([report(1, backend("a"), state="stopping"), gone])
        self.assertEqual([each["name"] for each in told["clusters"]["app"]["backends"]], ["a"])
        self.assertEqual(len(told["listeners"]), 1)

    def test_errors(self) -> None:
        """Of the last errors of all, the last 50 are told."""
        lists = [[{"at": float(at), "end": "x"} for at in range(first, 200, 2)] for first in (0, 1)]
        told = merged([report(number, errors=errors) for number, errors in enumerate(lists)])
        self.assertEqual([each["at"] for each in told["errors"]], [float(at) for at in range(150, 200)])
