"""What is counted of routes and clusters, and how numbers travel."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txproxy.errors import BadRequest, ClientLeft, ReplyCut
from txproxy.exchange import NOT_YET, Exchange, Passage
from txproxy.observe.counters import Counters
from txproxy.observe.figures import MOST_ERRORS, MOST_NAMES, OTHERS
from txproxy.observe.loop_lag import LoopLag
from txproxy.test.observe.test_access_log import Named, exchange, unreadable
from txproxy.wire.forwarding import PLAIN_RULES


class _Route(Named):
    request_rules = PLAIN_RULES


_API, _WEB = _Route("api"), _Route("web")
_APP = Named("app")


def ended(
    route: Any = _API, status: int = 200, took_s: float = 0.5, queue_s: float = 0.0, connect_s: float = 0.0
) -> Exchange:
    """Return an exchange whose reply's head came after 0.004 s at its backend."""
    made = exchange()
    made.route, made.cluster, made.status, made.tries = route, _APP, status, 1
    made.connect_at = 10.0 + queue_s
    made.leased_at = made.connect_at + connect_s
    made.replied_at, made.ended_at = made.leased_at + 0.004, 10.0 + took_s
    return made


class RouteTests(SynchronousTestCase):
    """What is counted by routes."""

    def test_statuses(self) -> None:
        """Requests are counted by route and status, in whatever order they end."""
        counters = Counters()
        counters.ended([ended(), ended(status=404), ended(), ended(_WEB), ended(status=404)])
        counters.ended([ended(), unreadable()])
        numbers = counters.numbers()
        found = {name: count for name, count in numbers.items() if name.startswith("route|status")}
        expected = {"api|200": 3, "api|404": 2, "web|200": 1, "|400": 1}
        self.assertEqual(found, {f"route|status|{name}": count for name, count in expected.items()})
        self.assertEqual(numbers["outcomes|200|ok"], 4)

    def test_bytes(self) -> None:
        """Bytes are counted by route, and altogether."""
        counters = Counters()
        counters.ended([ended(), ended(_WEB), ended()])
        numbers = counters.numbers()
        self.assertEqual([numbers[f"route|bytes_in|{name}"] for name in ("api", "web")], [6, 3])
        self.assertEqual([numbers[f"route|bytes_out|{name}"] for name in ("api", "web")], [24690, 12345])
        self.assertEqual((counters.bytes_in, counters.bytes_out), (9, 37035))

    def test_total(self) -> None:
        """How long requests took from the first byte to the end."""
        counters = Counters()
        counters.ended([ended(took_s=0.0105), ended(took_s=0.0106), ended(took_s=3)])
        numbers = counters.numbers()
        found = {name: count for name, count in numbers.items() if name.startswith("route|seconds|")}
        self.assertEqual(found, {"route|seconds|api|5": 2, "route|seconds|api|12": 1})
        self.assertAlmostEqual(numbers["route|seconds_us|api"], 3_021_100, places=-1)

    def test_tunnels(self) -> None:
        """How long tunnels last says nothing about how long requests take."""
        counters = Counters()
        upgraded = ended(status=101, took_s=0.5)
        connected = ended(took_s=100)
        connected.request = connected.request.__class__(b"CONNECT", b"a:1", 1, [], {})
        counters.ended([upgraded, connected, ended(took_s=100)])
        numbers = counters.numbers()
        self.assertEqual([numbers["route|status|api|101"], numbers["route|status|api|200"]], [1, 2])
        self.assertEqual(sum(count for name, count in numbers.items() if name.startswith("route|seconds|")), 1)

    def test_manyNames(self) -> None:
        """Routes beyond a bound share their figures."""
        counters = Counters()
        for number in range(MOST_NAMES + 50):
            counters.ended([ended(_Route(f"r{number}"))])
        names = {name.split("|")[2] for name in counters.numbers() if name.startswith("route|status")}
        self.assertEqual(len(names), MOST_NAMES + 1)
        self.assertEqual(counters.numbers()[f"route|status|{OTHERS}|200"], 50)


class ClusterTests(SynchronousTestCase):
    """What is counted by clusters."""

    def test_phases(self) -> None:
        """Waiting, connecting and the backend's own time; waits that are next to nothing are counted together."""
        counters = Counters()
        counters.ended([ended(queue_s=0.0001) for _ in range(7)] + [ended(queue_s=0.03), ended(connect_s=0.0015)])
        numbers = {name: count for name, count in counters.numbers().items() if name.startswith("cluster|")}
        self.assertEqual(
            {name: count for name, count in numbers.items() if "_us|" not in name},
            {
                "cluster|tries|app": 9,
                "cluster|leases|app": 9,
                "cluster|queue|app|6": 1,
                "cluster|connect|app|2": 1,
                "cluster|first_byte|app|3": 9,
            },
        )
        self.assertAlmostEqual(numbers["cluster|queue0_us|app"], 700, places=-1)
        self.assertAlmostEqual(numbers["cluster|queue_us|app"], 30_000, places=-1)
        self.assertAlmostEqual(numbers["cluster|first_byte_us|app"], 36_000, places=-1)

    def test_fromTheCache(self) -> None:
        """What no backend was asked for has no phases."""
        counters = Counters()
        stored = ended()
        stored.connect_at = stored.leased_at = stored.replied_at = NOT_YET
        stored.tries = 0
        counters.ended([stored])
        self.assertEqual([name for name in counters.numbers() if name.startswith("cluster|")], [])

    def test_noHead(self) -> None:
        """A backend whose reply never came has no time until its head."""
        counters = Counters()
        failed = ended(status=504)
        failed.end_reason, failed.replied_at = "reply-timeout", NOT_YET
        counters.ended([failed])
        numbers = counters.numbers()
        self.assertEqual(numbers["cluster|leases|app"], 1)
        self.assertEqual([name for name in numbers if name.startswith("cluster|first_byte")], [])

    def test_retries(self) -> None:
        """Tries after the first are retries, also next to exchanges without any try."""
        counters = Counters()
        first, second = ended(), ended()
        first.tries, second.tries = 0, 2
        counters.ended([first, second])
        self.assertEqual((counters.retries, counters.numbers()["cluster|tries|app"]), (1, 2))

    def test_passages(self) -> None:
        """Connections of tcp listeners are no requests."""
        counters = Counters()
        passage = Passage(b"1", None, 10.0)
        passage.cluster, passage.end_reason, passage.tries, passage.ended_at = _APP, "ok", 1, 500.0
        passage.connect_at = passage.leased_at = passage.replied_at = 10.01
        passage.bytes_in, passage.bytes_out = 5, 7
        counters.ended([passage])
        numbers = counters.numbers()
        self.assertEqual((numbers["cluster|passages|app|ok"], numbers["bytes_in"], numbers["bytes_out"]), (1, 5, 7))
        self.assertEqual([name for name in numbers if name.startswith(("route|", "cluster|first_byte"))], [])


class LastErrorsTests(SynchronousTestCase):
    """The last exchanges that ended badly."""

    def test_which(self) -> None:
        """Those that failed for a reason are kept, but not those whose client left."""
        counters = Counters()
        for error in (ReplyCut(), ClientLeft(), BadRequest()):
            failed = ended()
            failed.failed(error)
            failed.end_reason = error.end_reason
            counters.ended([failed, ended()])
        self.assertEqual([each.end for each in counters.figures.errors], ["reply-cut", "bad-request"])
        kept = counters.figures.errors[0]
        self.assertEqual((kept.id, kept.method, kept.target, kept.route), ("0123abcd", "GET", "/a?b=c", "api"))
        self.assertEqual((kept.backend, kept.status, kept.ended_at), ("10.0.0.2:80,10.0.0.1:80", 200, 10.5))

    def test_bounded(self) -> None:
        """The last ones are kept, with no more than the beginning of what a client has sent."""
        counters = Counters()
        for number in range(3):
            batch = []
            for index in range(MOST_ERRORS):
                failed = (
                    unreadable() if index % 2 else exchange(b"GET /" + b"x" * 5000 + b" HTTP/1.1\r\nHost: a\r\n\r\n")
                )
                failed.route, failed.end_reason, failed.ended_at = None, "bad-request", 100.0 * number + index
                failed.failed(BadRequest())
                batch.append(failed)
            counters.ended(batch)
        errors = counters.figures.errors
        self.assertEqual((len(errors), max(each.ended_at for each in errors)), (MOST_ERRORS, 249.0))
        self.assertLessEqual(max(len(each.target) for each in errors), 200)


class LoopLagTests(SynchronousTestCase):
    """How late regular calls come."""

    def test_late(self) -> None:
        """What comes too late is counted; calls that were left out are not late, and later ones are in time again."""
        lag = LoopLag()
        for now in (10.0, 10.1, 10.23, 10.3, 10.75, 10.8, 10.9):
            lag.ticked(now, 0.1)
        self.assertAlmostEqual(lag.worst_s, 0.35)
        numbers = lag.numbers()
        self.assertEqual(sum(count for name, count in numbers.items() if name.startswith("loop|lag|")), 6)
        self.assertEqual((numbers["loop|lag|6"], numbers["loop|lag|9"]), (1, 1))
        self.assertAlmostEqual(numbers["loop|lag_us"], 380_000, places=-2)

    def test_recent(self) -> None:
        """The worst is that of the last seconds."""
        lag = LoopLag()
        now = 0.0
        lag.ticked(now, 0.1)
        lag.ticked(0.15, 0.1)
        for count in range(2, 250):
            lag.ticked(now + count * 0.1, 0.1)
        self.assertLess(lag.worst_s, 0.01)
