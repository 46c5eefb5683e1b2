"""What is told of the cache (RFC 9211)."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txproxy.policy.caching.cache_status import Forward, Outcome, Word, cache_status, hit_status, word_of

FRESH_HIT = Outcome(from_store=True)

_CASES: list[tuple[str, Outcome, bytes, Word]] = [
    ("fresh", FRESH_HIT._replace(ttl_s=376), b"p; hit; ttl=376", Word.HIT),
    ("fresh for less than a second", FRESH_HIT._replace(ttl_s=0), b"p; hit; ttl=0", Word.HIT),
    (
        "stale-while-revalidate",
        Outcome(from_store=True, is_stale=True, ttl_s=-412, detail=b"stale-while-revalidate"),
        b"p; hit; ttl=-412; detail=stale-while-revalidate",
        Word.STALE,
    ),
    ("a miss, stored", Outcome(Forward.URI_MISS, is_stored=True, ttl_s=60), b"p; fwd=uri-miss; ttl=60; stored", Word.MISS),
    ("a miss, not stored", Outcome(Forward.URI_MISS, detail=b"no-store"), b"p; fwd=uri-miss; detail=no-store", Word.MISS),
    ("another variant", Outcome(Forward.VARY_MISS), b"p; fwd=vary-miss", Word.MISS),
    ("another reason", Outcome(Forward.MISS), b"p; fwd=miss", Word.MISS),
    ("a part", Outcome(Forward.PARTIAL), b"p; fwd=partial", Word.MISS),
    ("the request wanted it", Outcome(Forward.REQUEST), b"p; fwd=request", Word.MISS),
    ("shared a fetch", Outcome(Forward.URI_MISS, is_collapsed=True), b"p; fwd=uri-miss; collapsed", Word.MISS),
    (
        "shared a fetch that was stored",
        Outcome(Forward.URI_MISS, is_collapsed=True, is_stored=True),
        b"p; fwd=uri-miss; stored; collapsed",
        Word.MISS,
    ),
    (
        "it still holds",
        Outcome(Forward.STALE, 304, from_store=True, is_stored=True),
        b"p; fwd=stale; fwd-status=304; stored",
        Word.REVALIDATED,
    ),
    (
        "it still holds, though the request wanted it asked",
        Outcome(Forward.REQUEST, 304, from_store=True),
        b"p; fwd=request; fwd-status=304",
        Word.REVALIDATED,
    ),
    ("it holds no more", Outcome(Forward.STALE, is_stored=True), b"p; fwd=stale; stored", Word.EXPIRED),
    (
        "stale-if-error",
        Outcome(Forward.STALE, 503, from_store=True, is_stale=True, ttl_s=-5, detail=b"stale-if-error"),
        b"p; fwd=stale; fwd-status=503; ttl=-5; detail=stale-if-error",
        Word.STALE,
    ),
    ("passed by", Outcome(Forward.BYPASS), b"p; fwd=bypass", Word.BYPASS),
    ("an unsafe method", Outcome(Forward.METHOD), b"p; fwd=method", Word.BYPASS),
    ("only-if-cached", Outcome(detail=b"only-if-cached"), b"p; detail=only-if-cached", Word.MISS),
    ("stored and collapsed are said of forwarded requests only", Outcome(from_store=True, is_stored=True, is_collapsed=True), b"p; hit", Word.HIT),
    ("a number that an sf-integer can hold", FRESH_HIT._replace(ttl_s=10**20), b"p; hit; ttl=999999999999999", Word.HIT),
    ("and the least one", FRESH_HIT._replace(ttl_s=-(10**20)), b"p; hit; ttl=-999999999999999", Word.HIT),
]  # fmt: skip

_BARE = re.compile(rb'[A-Za-z*][!#$%&\'*+.^_`|~0-9A-Za-z:/-]*|"(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*"')
"""sf-token or sf-string (RFC 8941)."""


class CacheStatusTests(SynchronousTestCase):
    """What is said, in both fields."""

    def test_cases(self) -> None:
        for says, outcome, expected, word in _CASES:
            self.assertEqual((cache_status(b"p", outcome), word_of(outcome)), (expected, word), says)

    def test_hit(self) -> None:
        """The quick way says the same."""
        for name in (b"p", b"a b"):
            self.assertEqual(hit_status(name, 12), cache_status(name, FRESH_HIT._replace(ttl_s=12)))

    def test_names(self) -> None:
        """A token as it is, anything else as a string (RFC 8941 sections 3.3.3 and 3.3.4)."""
        for name, expected in (
            (b"txproxy", b"txproxy"),
            (b"cdn.example:80/a", b"cdn.example:80/a"),
            (b"*", b"*"),
            (b"1st", b'"1st"'),
            (b"a b", b'"a b"'),
            (b'a"b\\', b'"a\\"b\\\\"'),
            (b"a;b\r\nc\xff", b'"a;bc"'),
            (b"", b'""'),
        ):
            self.assertEqual(cache_status(name, FRESH_HIT), expected + b"; hit")

    def test_longDetail(self) -> None:
        """It is cut."""
        self.assertEqual(cache_status(b"p", Outcome(detail=b"a" * 500)), b"p; detail=" + b"a" * 256)

    def test_words(self) -> None:
        """All reasons of RFC 9211 section 2.2, and the words of the contract."""
        self.assertEqual(
            {forward.value for forward in Forward},
            {b"bypass", b"method", b"uri-miss", b"vary-miss", b"miss", b"request", b"stale", b"partial"},
        )
        self.assertEqual(
            {word.value for word in Word}, {b"HIT", b"MISS", b"STALE", b"EXPIRED", b"REVALIDATED", b"BYPASS"}
        )

    @given(st.binary(max_size=40))
    def test_anything(self, text: bytes) -> None:
        """Whatever a name or a detail holds, it is a valid item, and no line is broken."""
        said = cache_status(b"p", Outcome(detail=text)).removeprefix(b"p").removeprefix(b"; detail=")
        self.assertTrue(not text or _BARE.fullmatch(said), said)
