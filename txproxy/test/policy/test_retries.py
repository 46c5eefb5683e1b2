"""May a failed try be followed by another, where, and how soon."""

from __future__ import annotations

from itertools import product
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txproxy import errors
from txproxy.policy.retries import IDEMPOTENT, Decision, Failure, Kind, RetrySettings, backoff_s, decide

_SETTINGS = RetrySettings()
_FIRST = Failure(
    error=errors.ConnectFailed(),
    method=b"GET",
    tries=1,
    resent=0,
    reused=False,
    reply_begun=False,
    bytes_down=False,
    body_held=True,
    replaced=False,
)

_REPLACE = Decision(Kind.REPLACE)
_ELSEWHERE = Decision(Kind.ELSEWHERE)
_AGAIN = Decision(Kind.AGAIN)


def _no(why: str) -> Decision:
    return Decision(Kind.GIVE_UP, why)


_REFUSED: dict[str, Any] = {"error": errors.ConnectFailed()}
_UNREACHED: dict[str, Any] = {"error": errors.ConnectTimeout()}
_RESET: dict[str, Any] = {"error": errors.NoReply()}
_SILENT: dict[str, Any] = {"error": errors.ReplyTimeout()}
_DEAD_IDLE: dict[str, Any] = {"error": errors.NoReply(), "reused": True}
_UNPROCESSED: dict[str, Any] = {"error": errors.Unprocessed()}

_CASES: list[tuple[str, dict[str, Any], Decision]] = [
    # The backend cannot have seen the request (R1).
    ("refused", _REFUSED, _ELSEWHERE),
    ("refused, any method", {**_REFUSED, "method": b"POST"}, _ELSEWHERE),
    ("not accepted in time", {**_UNREACHED, "method": b"POST"}, _ELSEWHERE),
    ("refused by the second", {**_REFUSED, "tries": 2}, _ELSEWHERE),
    ("refused by the third", {**_REFUSED, "tries": 3}, _no("tries")),
    ("refused by more than there should be", {**_REFUSED, "tries": 4}, _no("tries")),
    ("refused, after an idle connection was dead", {**_REFUSED, "replaced": True}, _ELSEWHERE),
    ("refused, after one was asked again", {**_REFUSED, "tries": 2, "resent": 1}, _ELSEWHERE),
    ("refused, and the body is gone", {**_REFUSED, "method": b"PUT", "body_held": False}, _no("body-too-large")),
    ("the same at the last try", {**_REFUSED, "body_held": False, "tries": 3}, _no("tries")),
    ("refused, after an interim reply of another", {**_REFUSED, "bytes_down": True}, _no("reply-begun")),
    # It may have seen it, and gave no answer (R2).
    ("closed", _RESET, _AGAIN),
    ("silent", _SILENT, _AGAIN),
    ("closed within the head", {**_RESET, "reply_begun": True}, _AGAIN),
    ("silent within the head", {**_SILENT, "reply_begun": True}, _AGAIN),
    ("closed, POST", {**_RESET, "method": b"POST"}, _no("not-idempotent")),
    ("silent, POST", {**_SILENT, "method": b"POST"}, _no("not-idempotent")),
    ("closed, POST on an idle connection", {**_DEAD_IDLE, "method": b"POST"}, _no("not-idempotent")),
    ("closed, POST with a long body", {**_RESET, "method": b"POST", "body_held": False}, _no("not-idempotent")),
    ("closed again", {**_RESET, "resent": 1}, _no("tries")),
    ("silent again", {**_SILENT, "resent": 1}, _no("tries")),
    ("closed, by the third that was reached at all", {**_RESET, "tries": 3}, _AGAIN),
    ("closed after an interim reply", {**_RESET, "bytes_down": True}, _no("reply-begun")),
    ("closed, a short PUT", {**_RESET, "method": b"PUT"}, _AGAIN),
    ("closed, a long PUT (R5)", {**_RESET, "method": b"PUT", "body_held": False}, _no("body-too-large")),
    ("silent, a long PUT", {**_SILENT, "method": b"PUT", "body_held": False}, _no("body-too-large")),
    ("closed again, a long PUT", {**_RESET, "body_held": False, "resent": 1}, _no("tries")),
    # The backend says that it did nothing about it (RFC 9113 section 8.7).
    ("not processed", _UNPROCESSED, _REPLACE),
    ("not processed, POST", {**_UNPROCESSED, "method": b"POST"}, _REPLACE),
    ("not processed, whatever was tried before", {**_UNPROCESSED, "tries": 9, "resent": 9}, _REPLACE),
    # A refusal is a sign of overload: only the first next try is free of the budget.
    ("not processed, twice", {**_UNPROCESSED, "method": b"POST", "replaced": True}, _AGAIN),
    ("not processed, and sent again before", {**_UNPROCESSED, "replaced": True, "resent": 1, "tries": 2}, _AGAIN),
    ("not processed, twice, at the last try", {**_UNPROCESSED, "replaced": True, "tries": 3}, _no("tries")),
    ("not processed, after an interim reply of another", {**_UNPROCESSED, "bytes_down": True}, _no("reply-begun")),
    ("not processed, and the body is gone", {**_UNPROCESSED, "body_held": False}, _no("body-too-large")),
    # An idle connection had been closed meanwhile (P2).
    ("dead idle connection", _DEAD_IDLE, _REPLACE),
    ("whatever was tried before", {**_DEAD_IDLE, "tries": 9, "resent": 9}, _REPLACE),
    ("the second dead one", {**_DEAD_IDLE, "replaced": True}, _AGAIN),
    ("the second dead one, and asked again before", {**_DEAD_IDLE, "replaced": True, "resent": 1}, _no("tries")),
    ("not dead: a reply had begun", {**_DEAD_IDLE, "reply_begun": True}, _AGAIN),
    ("not dead: an interim reply", {**_DEAD_IDLE, "reply_begun": True, "bytes_down": True}, _no("reply-begun")),
    ("not dead: silent", {**_SILENT, "reused": True}, _AGAIN),
    ("dead, and the body is gone", {**_DEAD_IDLE, "method": b"PUT", "body_held": False}, _no("body-too-large")),
]  # fmt: skip

_FINAL = (
    errors.BadReply(), errors.ReplyCut(), errors.NoBackend(), errors.QueueFull(), errors.QueueTimeout(),
    errors.BadRequest(), errors.BadBody(), errors.RequestTimeout(), errors.ClientLeft(), errors.WriteTimeout(),
    errors.InternalError(), errors.ShuttingDown(),
)  # fmt: skip


class DecideTests(SynchronousTestCase):
    """What follows a failure."""

    def test_table(self) -> None:
        """With three tries, two of them of what may have been seen."""
        for name, facts, decision in _CASES:
            self.assertEqual(decide(_FIRST._replace(**facts), _SETTINGS), decision, name)

    def test_methods(self) -> None:
        """What may be done twice is a matter of the method alone (RFC 9110 section 9.2.2); methods have a case."""
        for method in (b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"):
            self.assertIn(method, IDEMPOTENT)
            self.assertEqual(decide(_FIRST._replace(**{**_RESET, "method": method}), _SETTINGS), _AGAIN, method)
        for method in (b"POST", b"PATCH", b"CONNECT", b"BREW", b"get"):
            decision = decide(_FIRST._replace(**{**_RESET, "method": method}), _SETTINGS)
            self.assertEqual(decision, _no("not-idempotent"), method)

    def test_otherFailuresAreFinal(self) -> None:
        """A reply that is wrong, a full queue, a client's fault, a bug: nobody would ask why there was no retry."""
        for error, reused, held in product(_FINAL, (False, True), (False, True)):
            failure = _FIRST._replace(error=error, reused=reused, body_held=held)
            self.assertEqual(decide(failure, _SETTINGS), _no(""), error)

    def test_defaults(self) -> None:
        """As the documentation says."""
        self.assertEqual(_SETTINGS, RetrySettings(3, 2, 0.2, 3, 0.025, 0.25, 65536))

    def test_limits(self) -> None:
        """Each kind of retry has its own, the first try included; one means none."""
        for tries, done, kind in (
            (1, 1, Kind.GIVE_UP),
            (2, 1, Kind.ELSEWHERE),
            (2, 2, Kind.GIVE_UP),
            (9, 8, Kind.ELSEWHERE),
        ):
            for idempotent_tries in (1, 5):
                settings = _SETTINGS._replace(tries=tries, idempotent_tries=idempotent_tries)
                failure = _FIRST._replace(**_REFUSED, tries=done)
                self.assertIs(decide(failure, settings).kind, kind, (tries, done))
        for tries, resent, kind in ((1, 0, Kind.GIVE_UP), (2, 0, Kind.AGAIN), (2, 1, Kind.GIVE_UP), (5, 3, Kind.AGAIN)):
            for others in (1, 5):
                settings = _SETTINGS._replace(idempotent_tries=tries, tries=others)
                failure = _FIRST._replace(**_SILENT, resent=resent)
                self.assertIs(decide(failure, settings).kind, kind, (tries, resent))

    def test_laws(self) -> None:
        """Of all failures that there can be."""
        kinds = (errors.ConnectFailed(), errors.NoReply(), errors.ReplyTimeout(), errors.BadReply())
        flags = product((False, True), repeat=5)
        for error, method, tries, resent, (reused, begun, down, held, replaced) in product(
            kinds, (b"GET", b"POST"), (1, 2, 3), (0, 1), list(flags)
        ):
            failure = Failure(error, method, tries, resent, reused, begun, down, held, replaced)
            kind, why = decide(failure, _SETTINGS)
            if kind is not Kind.GIVE_UP:
                self.assertEqual(why, "")
                self.assertTrue(held and not down, failure)
            if kind in (Kind.REPLACE, Kind.AGAIN):
                self.assertEqual(method, b"GET")
            if kind is Kind.REPLACE:
                self.assertTrue(reused and not (begun or replaced), failure)
            if why == "body-too-large":
                # The body alone was in the way.
                self.assertIsNot(decide(failure._replace(body_held=True), _SETTINGS).kind, Kind.GIVE_UP)


class BackoffTests(SynchronousTestCase):
    """How long is waited before a request is sent again."""

    def test_bounds(self) -> None:
        """Anywhere from 25 to 250 ms, so that many clients do not come back at once."""
        for random, seconds in ((0.0, 0.025), (0.5, 0.1375), (1.0, 0.25)):
            self.assertAlmostEqual(backoff_s(_SETTINGS, lambda number=random: number), seconds)
        none = _SETTINGS._replace(backoff_min_s=0.0, backoff_max_s=0.0)
        self.assertEqual(backoff_s(none, lambda: 0.7), 0.0)

    @given(st.floats(0, 1, exclude_max=True), st.floats(0, 10), st.floats(0, 10))
    def test_between(self, random: float, one_s: float, other_s: float) -> None:
        """Never outside the bounds by more than rounding."""
        settings = _SETTINGS._replace(backoff_min_s=min(one_s, other_s), backoff_max_s=max(one_s, other_s))
        seconds = backoff_s(settings, lambda: random)
        self.assertTrue(settings.backoff_min_s - 1e-9 <= seconds <= settings.backoff_max_s + 1e-9)
