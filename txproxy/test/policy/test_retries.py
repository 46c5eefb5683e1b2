"""May a failed try be followed by another."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txproxy import errors
from txproxy.policy.retries import IDEMPOTENT, Failure, may_replace_connection, may_try_another

_REFUSED = Failure(errors.ConnectFailed(), b"POST", 1, False, False, True, False)
_DEAD_IDLE = Failure(errors.BadReply(), b"GET", 1, True, False, True, False)


class TryAnotherTests(SynchronousTestCase):
    """Another backend, if this one cannot have seen the request."""

    def test_whatNeverArrivedMayBeSentElsewhere(self) -> None:
        """Refused and unanswered connects, whatever the method (R1)."""
        for error in (errors.ConnectFailed(), errors.ConnectTimeout()):
            for method in (b"GET", b"POST", b"PATCH", b"BREW"):
                self.assertTrue(may_try_another(_REFUSED._replace(error=error, method=method), 3))

    def test_whatMayHaveArrivedIsNotSentElsewhere(self) -> None:
        """A backend that may have acted on a request is the only one that gets it (R2)."""
        for error in (
            errors.BadReply(), errors.ReplyTimeout(), errors.ReplyCut(), errors.QueueFull(), errors.QueueTimeout(),
            errors.NoBackend(), errors.BadRequest(), errors.ClientLeft(), errors.InternalError(), errors.ShuttingDown(),
        ):  # fmt: skip
            self.assertFalse(may_try_another(_REFUSED._replace(error=error, method=b"GET"), 3), error)

    def test_triesAreCounted(self) -> None:
        """Up to the limit, the first included."""
        for tries, most, allowed in (
            (1, 1, False),
            (1, 2, True),
            (2, 2, False),
            (2, 3, True),
            (3, 3, False),
            (4, 3, False),
        ):
            self.assertEqual(may_try_another(_REFUSED._replace(tries=tries), most), allowed, (tries, most))

    def test_aBodyThatIsGoneCannotBeSentAgain(self) -> None:
        """Bytes that are not held any more are not made up (R5)."""
        self.assertFalse(may_try_another(_REFUSED._replace(body_held=False), 3))


class ReplaceConnectionTests(SynchronousTestCase):
    """A new connection to the same backend, where an idle one turned out to be dead."""

    def test_onlyIdempotentMethods(self) -> None:
        """Nobody knows whether the backend has seen the request (RFC 9110 section 9.2.2, R2)."""
        for method in (b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"):
            self.assertTrue(may_replace_connection(_DEAD_IDLE._replace(method=method)), method)
            self.assertIn(method, IDEMPOTENT)
        for method in (b"POST", b"PATCH", b"CONNECT", b"BREW", b"get"):
            self.assertFalse(may_replace_connection(_DEAD_IDLE._replace(method=method)), method)

    def test_onlyOnceAndOnlyAReusedOne(self) -> None:
        """A fresh connection, a second time, after a byte of a reply, without the body: none of these (P2)."""
        self.assertTrue(may_replace_connection(_DEAD_IDLE))
        self.assertFalse(may_replace_connection(_DEAD_IDLE._replace(reused=False)))
        self.assertFalse(may_replace_connection(_DEAD_IDLE._replace(replaced=True)))
        self.assertFalse(may_replace_connection(_DEAD_IDLE._replace(reply_begun=True)))
        self.assertFalse(may_replace_connection(_DEAD_IDLE._replace(body_held=False)))

    def test_triesDoNotMatter(self) -> None:
        """It is the same backend: this is not another try."""
        self.assertTrue(may_replace_connection(_DEAD_IDLE._replace(tries=9)))
