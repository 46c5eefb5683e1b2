"""Cache directives, as they are understood; what comes of them is in the table of cases."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txproxy.policy.caching.directives import (
    ANY_STALENESS,
    GREATEST_DELTA_S,
    NOTHING_ASKED,
    NOTHING_SAID,
    RequestDirectives,
    ResponseDirectives,
    parse_delta,
    parse_request,
    parse_response,
)

_NO_STORE = {"no_store": True}

# Cache-Control, and what it says.
_SAID: tuple[tuple[bytes, dict[str, Any]], ...] = (
    (b"", {}),
    (b" , ,\t", {}),
    (b"no-store", _NO_STORE),
    (b"public", {"public": True}),
    (b"public=1", {}),
    (b'public=""', {}),
    (b"public x", {}),
    (b"must-revalidate", {"must_revalidate": True}),
    (b"proxy-revalidate", {"proxy_revalidate": True}),
    (b"proxy-revalidate=1", {"proxy_revalidate": True}),
    (b"must-understand", {"must_understand": True}),
    (b"must-understand=1", {}),
    (b"no-cache", {"no_cache": True}),
    (b"private", {"private": True}),
    (b'no-cache="A, b,,A"', {"no_cache_fields": (b"a", b"b")}),
    (b'no-cache="a", no-cache=B', {"no_cache_fields": (b"a", b"b")}),
    (b'no-cache, no-cache="a"', {"no_cache": True}),
    (b'private=" X-User "', {"private_fields": (b"x-user",)}),
    (b'private="a:b"', {"private": True}),
    (b'private="a", no-cache="b"', {"private_fields": (b"a",), "no_cache_fields": (b"b",)}),
    (b"max-age=1, s-maxage=2", {"max_age": 1, "s_maxage": 2}),
    (b"stale-while-revalidate=3, stale-if-error=4", {"stale_while_revalidate": 3, "stale_if_error": 4}),
    (b"stale-while-revalidate=-3, stale-if-error=4.0", {}),
    (b"max-age=9999999999", {"max_age": GREATEST_DELTA_S}),
    (b"max-age=-1", {"max_age": 0}),
    (b"max-age", {"max_age": 0}),
    (b"=1, max-age=1", {"max_age": 1}),
    (b'"max-age=1", max-age=2', {"max_age": 2}),
    (b'x="\\"", max-age=1', {"max_age": 1}),
    (b'max-age="1', _NO_STORE),
    (b'max-age=1, x="\\"', _NO_STORE),
    (b'max-age=1, x"', _NO_STORE),
    (b"max-age=1," * 63 + b"x", {"max_age": 1}),
    (b"max-age=1," * 64 + b"x", _NO_STORE),
    (b'x="",' + b"max-age=1," * 63, {"max_age": 1}),
    (b'x="",' + b"max-age=1," * 64, _NO_STORE),
    (b"max-age=1, x" + b"y" * 1012, {"max_age": 1}),
    (b"max-age=1, x" + b"y" * 1013, _NO_STORE),
)

# CDN-Cache-Control beside "no-store, max-age=9", and what both say; None if only the other counts.
_TARGETED: tuple[tuple[bytes, dict[str, Any] | None], ...] = (
    (b"", None),
    (b" ", None),
    (b"max-age=1,", None),
    (b"Max-Age=1", None),
    (b"max-age=1", {"max_age": 1}),
    (b"max-age=1;x=2", {"max_age": 1}),
    (b"max-age=1, max-age=2", {"max_age": 2}),
    (b"max-age=-1", {"max_age": 0}),
    (b"max-age", {"max_age": 0}),
    (b"max-age=?0", {}),
    (b"max-age=1.0", {"max_age": 0}),
    (b'max-age="1"', {"max_age": 0}),
    (b'stale-if-error="1", stale-while-revalidate=2', {"stale_while_revalidate": 2}),
    (b"no-store", _NO_STORE),
    (b"no-store=?1", _NO_STORE),
    (b"no-store=x", _NO_STORE),
    (b"no-store=?0", {}),
    (b"public, must-revalidate", {"public": True, "must_revalidate": True}),
    (b"public=1", {}),
    (b"s-maxage=1", {"s_maxage": 1}),
    (b'private="a"', {"private_fields": (b"a",)}),
    (b'no-cache="a, B"', {"no_cache_fields": (b"a", b"b")}),
    (b"no-cache=a", {"no_cache": True}),
    (b'no-cache=("a")', {"no_cache": True}),
    (b"no-cache=?0", {}),
    (b"private=1", {"private": True}),
    (b"none", {}),
)

# Cache-Control of a request, and what it asks for.
_ASKED: tuple[tuple[bytes, dict[str, Any]], ...] = (
    (b"", {}),
    (b"no-cache, no-store, only-if-cached", {"no_cache": True, "no_store": True, "only_if_cached": True}),
    (b"no-cache=x, no-store=y, only-if-cached=z", {"no_cache": True, "no_store": True}),
    (b"max-age=1, min-fresh=2, max-stale=3, stale-if-error=4",
     {"max_age": 1, "min_fresh": 2, "max_stale": 3, "stale_if_error": 4}),
    (b"max-age=3, max-age=1, max-age=2", {"max_age": 1}),
    (b"min-fresh=1, min-fresh=3, min-fresh=2", {"min_fresh": 3}),
    (b"max-stale=3, max-stale=1, max-stale=2", {"max_stale": 1}),
    (b"max-stale", {"max_stale": ANY_STALENESS}),
    (b"max-stale, max-stale=1", {"max_stale": 1}),
    (b"max-age=x, min-fresh=x, max-stale=x, stale-if-error=x", {"max_age": 0, "min_fresh": GREATEST_DELTA_S}),
    (b"max-age, min-fresh, stale-if-error", {"max_age": 0, "min_fresh": GREATEST_DELTA_S}),
    (b"min-fresh=0", {"min_fresh": 0}),
    (b'max-age="5"', {"max_age": 5}),
    (b'max-age="5', {"no_cache": True, "no_store": True}),
    (b"x" * 1024, {}),
    (b"x" * 1025, {"no_cache": True, "no_store": True}),
)  # fmt: skip

_PRAGMA = (
    (b"no-cache", True), (b"No-Cache", True), (b"x, no-cache", True), (b"no-cache=x", False), (b"", False),
    (b"no-cachex", False),
)  # fmt: skip

_DELTAS = (
    (b"0", 0), (b"00", 0), (b"1", 1), (b"010", 10), (b"2147483647", 2**31 - 1), (b"2147483648", 2**31),
    (b"2147483649", 2**31), (b"9999999999", 2**31), (b"10000000000", 2**31), (b"1" * 5000, 2**31),
    (b"0" * 5000 + b"7", 7), (b"", None), (b"-1", None), (b"+1", None), (b" 1", None), (b"1 ", None), (b"1.0", None),
    (b"1_0", None), (b"\xb2", None), (b"x", None),
)  # fmt: skip

_values = st.binary(max_size=80) | st.lists(
    st.sampled_from(
        [b"max-age", b"no-cache", b"private", b"x", b"=", b",", b'"', b"\\", b" ", b"1", b"max-stale", b"s-maxage"]
    ),
    max_size=30,
).map(b"".join)


class ParseResponseTests(SynchronousTestCase):
    """``parse_response``"""

    def test_cacheControl(self) -> None:
        for value, said in _SAID:
            self.assertEqual(parse_response(value), ResponseDirectives(**said), value)

    def test_none(self) -> None:
        self.assertEqual(parse_response(None), NOTHING_SAID)
        self.assertEqual(NOTHING_SAID, ResponseDirectives())

    def test_targeted(self) -> None:
        other = b"no-store, max-age=9"
        for value, said in _TARGETED:
            expected = parse_response(other) if said is None else ResponseDirectives(**said, is_targeted=True)
            self.assertEqual(parse_response(other, value), expected, value)

    def test_targetedAlone(self) -> None:
        self.assertEqual(parse_response(None, b""), NOTHING_SAID)
        self.assertEqual(parse_response(None, b"max-age=1").max_age, 1)

    def test_targetedThatIsTooLong(self) -> None:
        """It may be valid, so what stands beside it does not count; and it is not read."""
        longest = b"max-age=1, x" + b"y" * 1012
        self.assertEqual(parse_response(None, longest), ResponseDirectives(max_age=1, is_targeted=True))
        self.assertEqual(parse_response(b"max-age=9", longest + b"y"), ResponseDirectives(no_store=True))

    @given(_values)
    def test_noStoreIsNeverMissed(self, value: bytes) -> None:
        """Whatever stands before it or behind it in another field: a peer may have written that."""
        self.assertTrue(parse_response(value + b", no-store").no_store)
        self.assertTrue(parse_response(b"no-store, " + value).no_store)

    @given(_values, _values)
    def test_anyBytes(self, value: bytes, targeted: bytes) -> None:
        said = parse_response(value, targeted)
        for seconds in (said.max_age, said.s_maxage, said.stale_while_revalidate, said.stale_if_error):
            self.assertTrue(seconds is None or 0 <= seconds <= GREATEST_DELTA_S)

    def test_withheldFields(self) -> None:
        self.assertEqual(parse_response(b'no-cache="a", private="b, c"').withheld_fields, (b"b", b"c", b"a"))
        self.assertEqual(parse_response(b"no-cache, private").withheld_fields, ())

    def test_forbidsStale(self) -> None:
        for value in (b"must-revalidate", b"proxy-revalidate", b"no-cache", b"s-maxage=0", b"s-maxage=9"):
            self.assertTrue(parse_response(value).forbids_stale, value)
        self.assertFalse(parse_response(b'max-age=9, no-cache="a", private, public').forbids_stale)


class ParseRequestTests(SynchronousTestCase):
    """``parse_request``"""

    def test_cacheControl(self) -> None:
        for value, asked in _ASKED:
            self.assertEqual(parse_request(value, None), RequestDirectives(**asked), value)

    def test_none(self) -> None:
        self.assertEqual(parse_request(None, None), NOTHING_ASKED)
        self.assertEqual(NOTHING_ASKED, RequestDirectives())

    def test_pragma(self) -> None:
        for value, no_cache in _PRAGMA:
            self.assertEqual(parse_request(None, value), RequestDirectives(no_cache=no_cache), value)
            self.assertEqual(parse_request(b"", value), NOTHING_ASKED, value)

    @given(_values, _values)
    def test_anyBytes(self, value: bytes, pragma: bytes) -> None:
        parse_request(value, pragma)
        parse_request(None, pragma)


class ParseDeltaTests(SynchronousTestCase):
    """``parse_delta``"""

    def test_deltas(self) -> None:
        for text, seconds in _DELTAS:
            self.assertEqual(parse_delta(text), seconds, text[:20])
