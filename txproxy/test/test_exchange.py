"""The record of one request with its reply."""

from __future__ import annotations

import gc

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txproxy.errors import BadRequest, ProxyError
from txproxy.exchange import NOT_YET, Exchange, Reply


def _ended(connect: float, leased: float, replied: float, ended: float, backend: object = "b") -> Exchange:
    exchange = Exchange(b"id-1", None, None, 100.0)
    exchange.connect_at, exchange.leased_at, exchange.replied_at, exchange.ended_at = connect, leased, replied, ended
    exchange.backend = backend
    return exchange


class TimingsTests(SynchronousTestCase):
    """Where the time went (O1)."""

    def test_eachPhaseHasItsTime(self) -> None:
        """Queue, connecting, first byte, transfer, and in total."""
        self.assertEqual(_ended(101.0, 103.0, 106.0, 110.0).timings(), (1.0, 2.0, 3.0, 4.0, 10.0))

    def test_thePhaseThatItEndedInHasTheRest(self) -> None:
        """A wait that was given up is time spent waiting, not transferring."""
        for connect, leased, expected in (
            (101.0, 103.0, (1.0, 2.0, 7.0, 0.0, 10.0)),
            (101.0, NOT_YET, (1.0, 9.0, 0.0, 0.0, 10.0)),
            (NOT_YET, NOT_YET, (10.0, 0.0, 0.0, 0.0, 10.0)),
        ):
            self.assertEqual(_ended(connect, leased, NOT_YET, 110.0).timings(), expected)

    def test_withoutABackendAllTimeIsTheReplys(self) -> None:
        """A refusal of ours waited for nobody."""
        self.assertEqual(_ended(NOT_YET, NOT_YET, NOT_YET, 110.0, None).timings(), (0.0, 0.0, 0.0, 10.0, 10.0))

    @settings(max_examples=80, deadline=None)
    @given(st.lists(st.floats(0, 1e6), min_size=4, max_size=4), st.integers(0, 3), st.booleans())
    def test_phasesAddUpToTheTotal(self, steps: list[float], reached: int, backend: bool) -> None:
        """Whatever phase it ended in: no phase is negative and their sum is the total to the millisecond."""
        moments, now = [], 100.0
        for step in steps:
            now += step
            moments.append(now)
        known = [moment if number < reached else NOT_YET for number, moment in enumerate(moments[:3])]
        exchange = _ended(known[0], known[1], known[2], now, "b" if backend or reached else None)
        *phases, total = exchange.timings()
        self.assertTrue(all(phase >= 0 for phase in phases))
        self.assertAlmostEqual(sum(phases), total, places=3)
        self.assertAlmostEqual(total, now - 100.0, places=3)


class RecordTests(SynchronousTestCase):
    """What a new record says, and what it can hold."""

    def test_aNewExchangeHasDoneNothing(self) -> None:
        """Nothing sent, nothing tried, no party but the client."""
        client = object()
        exchange = Exchange(b"id-1", None, client, 7.0)
        self.assertIs(exchange.client, client)
        self.assertEqual((exchange.id, exchange.started_at), (b"id-1", 7.0))
        self.assertEqual((exchange.status, exchange.tries, exchange.bytes_in, exchange.bytes_out), (0, 0, 0, 0))
        self.assertEqual((exchange.backends_tried, exchange.end_reason), ((), ""))
        self.assertFalse(exchange.ended or exchange.head_sent or exchange.connection_replaced)
        for name in (
            "request",
            "reply",
            "route",
            "cluster",
            "backend",
            "server",
            "body",
            "attempt",
            "error",
            "forward",
        ):
            self.assertIsNone(getattr(exchange, name), name)

    def test_aMisspeltNameIsAnError(self) -> None:
        """Records are slotted: a stage that sets what does not exist learns of it."""
        with self.assertRaises(AttributeError):
            Exchange(b"id-1", None, None, 0.0).statsu = 1  # type: ignore[attr-defined]
        with self.assertRaises(AttributeError):
            Reply(200).statsu = 1  # type: ignore[attr-defined]

    def test_aFailureLeavesNoCycle(self) -> None:
        """A client that sends a million bad requests must not have them all wait for the garbage collector."""

        def refuse() -> None:
            exchange = Exchange(b"id-1", None, None, 0.0)
            try:
                try:
                    raise ValueError("the frames of what has led to it count too")
                except ValueError:
                    raise BadRequest("no") from None
            except ProxyError as error:
                exchange.failed(error)

        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        refuse()
        self.assertEqual(gc.collect(), 0)

    def test_representation(self) -> None:
        """What a debugger shows: the id, and how far it has come."""
        exchange = Exchange(b"id-\xff", None, None, 0.0)
        self.assertEqual(repr(exchange), "<Exchange id-\xff status 0, tries 0>")
        exchange.ended, exchange.end_reason = True, "no-route"
        self.assertEqual(repr(exchange), "<Exchange id-\xff ended no-route>")

    def test_aReplyOfOurs(self) -> None:
        """Nothing but a status is needed."""
        reply = Reply(204)
        self.assertEqual((reply.status, reply.body, reply.fields, reply.reason), (204, b"", (), "ok"))
        reply = Reply(403, b"no", ((b"A", b"b"),), "denied")
        self.assertEqual(
            (reply.status, reply.body, reply.fields, reply.reason), (403, b"no", ((b"A", b"b"),), "denied")
        )
