"""Lifetimes and ages in numbers (RFC 9111 section 4.2); what they lead to is in the table of cases."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txproxy.policy.caching.directives import GREATEST_DELTA_S, parse_response
from txproxy.policy.caching.freshness import CacheRules, Freshness, freshness_of
from txproxy.test.policy.caching.scenario import NOW, RULES, reply_of, said_by

# Field lines, seconds since the second of NOW when the request went out and the reply came; lifetime and initial age.
_NUMBERS = (
    ("Cache-Control: max-age=60", 0.0, 0.0, (60.0, 0.0)),
    ("Cache-Control: max-age=60|Date: @", 0.0, 0.0, (60.0, 0.0)),
    ("Cache-Control: max-age=60|Date: @", 0.25, 0.75, (60.0, 0.5)),
    # Date has whole seconds: within its own nothing has aged.
    ("Cache-Control: max-age=60|Date: @", 0.875, 0.875, (60.0, 0.0)),
    ("Cache-Control: max-age=60|Date: @-1", 0.875, 0.875, (60.0, 1.0)),
    ("Cache-Control: max-age=60|Date: @+1", 0.875, 0.875, (60.0, 0.0)),
    ("Cache-Control: max-age=60|Age: 7|Date: @-5", 0.0, 2.0, (60.0, 9.0)),
    ("Cache-Control: max-age=60|Age: 7|Date: @-8", 0.0, 2.0, (60.0, 10.0)),
    ("Cache-Control: max-age=60|Age: 7", 2.0, 0.0, (60.0, 7.0)),
    ("Cache-Control: max-age=60|Age: x", 0.0, 2.0, (60.0, 2147483648.0)),
    ("Cache-Control: max-age=60|Age: 2147483647", 0.0, 2.0, (60.0, 2147483648.0)),
    ("Cache-Control: max-age=60|Date: Mon, 01 Jan 0001 00:00:00 GMT", 0.0, 0.0, (60.0, 2147483648.0)),
    ("Expires: @+60|Date: @+10", 0.0, 0.0, (50.0, 0.0)),
    ("Expires: @+60|Date: @-10", 0.0, 0.0, (70.0, 10.0)),
    ("Expires: @-60|Date: @", 0.0, 0.0, (-60.0, 0.0)),
    ("Expires: @+60", 0.0, 0.75, (59.25, 0.75)),
    ("Expires: @+60|Date: x", 0.5, 0.5, (59.5, 0.0)),
    ("Expires: x|Date: @-10", 0.0, 0.0, (0.0, 10.0)),
    ("", 0.0, 0.0, (0.0, 0.0)),
)  # fmt: skip

# Field lines, status, rules; lifetime, and whether the reply itself says it.
_TTL = CacheRules(default_ttl_s=60, negative_ttl_s=5)
_ALWAYS = CacheRules(default_ttl_s=60, negative_ttl_s=5, ttl_s=7)
_LIFETIMES = (
    ("", 200, RULES, (0.0, False)),
    ("", 200, _TTL, (60.0, False)),
    ("", 399, _TTL, (0.0, False)),
    ("", 399, _TTL._replace(statuses=frozenset((399,))), (60.0, False)),
    ("", 400, _TTL._replace(statuses=frozenset((400,))), (5.0, False)),
    ("", 404, _TTL, (5.0, False)),
    ("", 404, _TTL._replace(statuses=frozenset((200,))), (0.0, False)),
    ("Cache-Control: public", 404, _TTL._replace(statuses=frozenset((200,))), (5.0, False)),
    ("Cache-Control: max-age=0", 200, _TTL, (0.0, True)),
    ("Cache-Control: s-maxage=0", 404, _TTL, (0.0, True)),
    ("Expires: 0", 200, _TTL, (0.0, True)),
    ("CDN-Cache-Control: x|Expires: @+9", 200, _TTL, (60.0, False)),
    ("Pragma: a, NO-CACHE", 200, _TTL, (0.0, False)),
    ("", 200, _ALWAYS, (7.0, True)),
    ("Cache-Control: s-maxage=0", 200, _ALWAYS, (7.0, True)),
    ("Pragma: no-cache", 200, _ALWAYS, (7.0, True)),
    ("", 500, _ALWAYS, (0.0, False)),
    ("Cache-Control: max-age=0", 500, _ALWAYS, (0.0, True)),
    ("Cache-Control: max-age=1", 500, _ALWAYS, (7.0, True)),
    ("Cache-Control: public", 500, _ALWAYS, (7.0, True)),
    ("", 500, _ALWAYS._replace(statuses=frozenset((500,))), (7.0, True)),
)


class FreshnessOfTests(SynchronousTestCase):
    """``freshness_of``"""

    def test_numbers(self) -> None:
        for lines, requested_s, received_s, expected in _NUMBERS:
            reply = reply_of(lines)
            found = freshness_of(reply, said_by(reply.fields), NOW + requested_s, NOW + received_s, RULES)
            self.assertEqual((found.lifetime_s, found.initial_age_s), expected, lines)
            self.assertEqual(found.received_at, NOW + received_s)

    def test_lifetimes(self) -> None:
        for lines, status, rules, expected in _LIFETIMES:
            reply = reply_of(lines, status)
            found = freshness_of(reply, said_by(reply.fields), NOW, NOW, rules)
            self.assertEqual((found.lifetime_s, found.is_explicit), expected, (lines, status))

    def test_twoDigitYearsAreSeenFromWhenItCame(self) -> None:
        reply = reply_of("Expires: Thursday, 18-Aug-50 02:01:18 GMT|Date: Sun, 18 Aug 1996 02:01:18 GMT")
        found = freshness_of(reply, parse_response(None), 840333678.0, 840333678.0, RULES)
        self.assertLess(found.lifetime_s, 0)

    @given(st.binary(max_size=30), st.binary(max_size=30), st.binary(max_size=30))
    def test_anyBytes(self, age: bytes, date: bytes, expires: bytes) -> None:
        reply = reply_of()
        reply.fields = [(b"Age", age), (b"Date", date), (b"Expires", expires)]
        found = freshness_of(reply, parse_response(None), NOW, NOW, RULES)
        self.assertTrue(0 <= found.initial_age_s <= GREATEST_DELTA_S)


class FreshnessTests(SynchronousTestCase):
    """``Freshness``"""

    def test_whileItLasts(self) -> None:
        freshness = Freshness(60.0, 10.0, NOW)
        self.assertEqual(freshness.age_s(NOW + 5), 15)
        self.assertEqual(freshness.age_s(NOW + 0.5), 10.5)
        self.assertEqual(freshness.staleness_s(NOW + 5), -45)
        self.assertTrue(freshness.is_fresh(NOW + 49.5))
        self.assertFalse(freshness.is_fresh(NOW + 50))

    def test_afterwards(self) -> None:
        self.assertEqual(Freshness(60.0, 10.0, NOW).staleness_s(NOW + 55), 5)

    def test_clockPutBack(self) -> None:
        freshness = Freshness(60.0, 10.0, NOW)
        self.assertEqual(freshness.age_s(NOW - 1000), 10)
        self.assertEqual(freshness.staleness_s(NOW - 1000), -50)

    def test_youngIfNothingElseIsSaid(self) -> None:
        freshness = Freshness(60.0)
        self.assertEqual((freshness.initial_age_s, freshness.received_at, freshness.is_explicit), (0.0, 0.0, True))

    def test_shown(self) -> None:
        self.assertEqual(repr(Freshness(60.0, 1.5, 7.0)), "<Freshness 60 s, 1.5 s old at 7.000>")

    def test_nothingBesideItsSlots(self) -> None:
        self.assertFalse(hasattr(Freshness(1.0), "__dict__"))


class CacheRulesTests(SynchronousTestCase):
    """``CacheRules``"""

    def test_takes(self) -> None:
        self.assertTrue(RULES.takes(200))
        self.assertFalse(RULES.takes(201))
        listed = CacheRules(statuses=frozenset((201,)))
        self.assertTrue(listed.takes(201))
        self.assertFalse(listed.takes(200))
        self.assertFalse(CacheRules(statuses=frozenset()).takes(200))
