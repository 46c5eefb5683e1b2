"""The tree of errors against the table of causes that users are promised."""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from txproxy import errors
from txproxy.errors import Fault, ProxyError

_DOWN, _UP, _US = Fault.DOWNSTREAM, Fault.UPSTREAM, Fault.US

# Class: status, end reason, whose fault, may another backend be tried, is the client's connection closed.
_TABLE: dict[type[ProxyError], tuple[int, str, Fault, bool, bool]] = {
    errors.BadRequest: (400, "bad-request", _DOWN, False, True),
    errors.BadBody: (400, "bad-body", _DOWN, False, True),
    errors.UnsupportedCoding: (501, "bad-coding", _DOWN, False, True),
    errors.UnsupportedVersion: (505, "bad-version", _DOWN, False, True),
    errors.UriTooLong: (414, "uri-too-long", _DOWN, False, True),
    errors.HeadersTooLarge: (431, "headers-too-large", _DOWN, False, True),
    errors.BodyTooLarge: (413, "body-too-large", _DOWN, False, True),
    errors.RequestTimeout: (408, "request-timeout", _DOWN, False, True),
    errors.ExpectationFailed: (417, "bad-expectation", _DOWN, False, True),
    errors.MethodRefused: (405, "method-refused", _DOWN, False, True),
    errors.NotStored: (504, "only-if-cached", _DOWN, False, False),
    errors.LoopDetected: (508, "loop", _DOWN, False, True),
    errors.NoRoute: (404, "no-route", _DOWN, False, False),
    errors.Misdirected: (421, "misdirected", _DOWN, False, False),
    errors.ClientLeft: (499, "client-left", _DOWN, False, True),
    errors.WriteTimeout: (0, "write-timeout", _DOWN, False, True),
    errors.BadProxyHeader: (0, "bad-proxy-header", _DOWN, False, True),
    errors.UntrustedProxy: (0, "untrusted-proxy", _DOWN, False, True),
    errors.ConnectFailed: (502, "connect-failed", _UP, True, False),
    errors.TlsFailed: (502, "connect-failed", _UP, True, False),
    errors.NoHttp2: (502, "connect-failed", _UP, True, False),
    errors.ConnectTimeout: (504, "connect-timeout", _UP, True, False),
    errors.TlsVerify: (502, "tls-verify", _UP, True, False),
    errors.ReplyTimeout: (504, "reply-timeout", _UP, False, False),
    errors.BadReply: (502, "bad-reply", _UP, False, False),
    errors.NoReply: (502, "bad-reply", _UP, False, False),
    errors.Unprocessed: (502, "bad-reply", _UP, True, False),
    errors.ReplyCut: (502, "reply-cut", _UP, False, False),
    errors.BackendClosed: (0, "backend-closed", _UP, False, False),
    errors.NoBackend: (503, "no-backend", _UP, False, False),
    errors.QueueFull: (503, "queue-full", _US, False, False),
    errors.QueueTimeout: (503, "queue-timeout", _US, False, False),
    errors.IdleTimeout: (0, "idle-timeout", _US, False, False),
    errors.TooOld: (0, "max-age", _US, False, False),
    errors.InternalError: (500, "internal", _US, False, False),
    errors.ShuttingDown: (503, "shutdown", _US, False, True),
}


def _leaves(parent: type[ProxyError]) -> set[type[ProxyError]]:
    children = [each for each in parent.__subclasses__() if each.__module__ == errors.__name__]
    return {parent} if not children else set().union(*map(_leaves, children))


class ErrorTableTests(SynchronousTestCase):
    """The same failure always gives the same status, end reason and fate of the connection."""

    def test_everyErrorIsInTheTable(self) -> None:
        """No failure is left to chance."""
        parents = {errors.BadReply, errors.ConnectFailed, errors.NoReply}
        self.assertEqual(_leaves(ProxyError) | parents, set(_TABLE))

    def test_statusReasonAndFate(self) -> None:
        """Each failure has the status and the end reason that users are promised, and says whose fault it is."""
        for kind, expected in _TABLE.items():
            error = kind("seen")
            found = (error.status, error.end_reason, error.fault, error.retryable, error.closes)
            self.assertEqual(found, expected, kind.__name__)

    def test_endReasonsTellFailuresApart(self) -> None:
        """One end reason, one cause, in a form that log readers can match; some causes are kinds of others."""
        kinds_of_others = (errors.NoHttp2, errors.NoReply, errors.TlsFailed, errors.Unprocessed)
        reasons = [kind.end_reason for kind in _TABLE if kind not in kinds_of_others]
        self.assertEqual(len(set(reasons)), len(reasons))
        for reason in reasons:
            self.assertTrue(re.fullmatch("[a-z]+(-[a-z]+)*", reason), reason)

    def test_onlyWhatWasNotAnsweredIsSentAgain(self) -> None:
        """A backend that said nothing may be asked once more; one that gave a wrong answer may not."""
        self.assertEqual({kind for kind in _TABLE if kind.resendable}, {errors.NoReply, errors.ReplyTimeout})

    def test_whoMustComeBackIsToldWhen(self) -> None:
        """Every 503 of ours names a time (RFC 9110 section 10.2.3); nothing else does."""
        for kind in _TABLE:
            self.assertEqual(kind().retry_after_s > 0, kind.status == 503, kind.__name__)

    def test_clientsAreToldASentenceAndNothingOfTheInside(self) -> None:
        """One sentence without addresses, numbers, names of code or versions."""
        for kind in _TABLE:
            self.assertTrue(re.fullmatch("[A-Z][A-Za-z ]+[.]", kind.sentence), kind.sentence)
            self.assertLess(len(kind.sentence), 80)
            self.assertNotIn("secret", kind("secret").sentence)

    def test_theDetailIsForTheLog(self) -> None:
        """What was seen is kept; without it the sentence stands for it."""
        for kind in _TABLE:
            self.assertEqual((str(kind("what was seen")), kind("what was seen").detail), ("what was seen",) * 2)
            self.assertEqual((str(kind()), kind().detail), (kind.sentence, ""))

    def test_faultsAreSidesOfTheTree(self) -> None:
        """A client's fault is a DownstreamError; a backend's an UpstreamError, unless our own queue was full."""
        for kind, (_, _, fault, _, _) in _TABLE.items():
            self.assertEqual(issubclass(kind, errors.DownstreamError), fault is _DOWN, kind.__name__)
            if fault is _UP:
                self.assertTrue(issubclass(kind, errors.UpstreamError))

    def test_anInternalErrorSaysWhetherItWasLogged(self) -> None:
        """So that one failure makes one line."""
        self.assertFalse(errors.InternalError("x").logged)
        self.assertTrue(errors.InternalError("x", logged=True).logged)
        self.assertFalse(errors.BadReply("x").logged)
