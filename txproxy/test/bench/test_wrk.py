"""Tests for :mod:`bench.wrk`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

try:
    from bench.fleet import Finished
    from bench.wrk import WrkResult, parse
except ModuleNotFoundError:
    skip = "bench is no part of an installed package"

REPORT = """\
Running 1s test @ http://127.0.0.1:8080/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.52ms    1.01ms  21.03ms   96.85%
    Req/Sec    42.01k     2.16k   46.58k    70.00%
  Latency Distribution
     50%    1.41ms
     75%    1.60ms
     90%    1.82ms
     99%   980.00us
  100 requests in 1.00s, 122.30KB read
Requests/sec:  41774.40
Transfer/sec:     51.23MB
bench: p99.9 12318 us, 125000 bytes
"""


class ParseTests(SynchronousTestCase):
    """What wrk prints."""

    def parsed(self, text: str, body_bytes: int = 0, status: int = 0) -> WrkResult:
        return parse(Finished(text, 1.0, 0.5, status), body_bytes)

    def test_figures(self) -> None:
        """All figures are read, in microseconds."""
        found = self.parsed(REPORT)
        self.assertEqual((found.requests, found.rate, found.errors), (100, 41774.4, ()))
        self.assertEqual((found.p50_us, found.p99_us, found.p999_us), (1410.0, 980.0, 12318.0))

    def test_bodies(self) -> None:
        """Replies that are shorter than they should be are an error."""
        self.assertEqual(self.parsed(REPORT, 1250).errors, ())
        self.assertEqual(self.parsed(REPORT, 1251).errors, ("only 1250 bytes came for each request",))

    def test_cut(self) -> None:
        """A report without its end is an error."""
        found = self.parsed(REPORT.partition("bench:")[0])
        self.assertEqual(found.errors, ("wrk did not run the script to its end",))

    def test_failed(self) -> None:
        """So are errors that wrk counted."""
        found = self.parsed(REPORT.replace("Requests/sec", "  Non-2xx or 3xx responses: 7\nRequests/sec"))
        self.assertEqual(found.errors, ("Non-2xx or 3xx responses: 7",))

    def test_nothing(self) -> None:
        """wrk that could not begin completed nothing."""
        found = self.parsed("unable to connect\n", status=1)
        self.assertEqual(
            (found.requests, found.errors[:2]), (0, ("wrk ended with status 1", "wrk completed no request"))
        )
