"""Cookies of a request."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txproxy.wire.cookies import cookie_finder, cookie_of, cookies_of, mentions_of

# Values of Cookie fields, and what the cookie "at" is in them.
_CASES: tuple[tuple[tuple[bytes, ...], bytes | None], ...] = (
    ((), None),
    ((b"",), None),
    ((b"at=1",), b"1"),
    ((b"a=0; at=1; b=2",), b"1"),
    ((b"a=0;at=1;b=2",), b"1"),
    ((b" at = 1 ;b=2",), b"1"),
    ((b"\tat\t=\t1\t",), b"1"),
    ((b"at=",), b""),
    ((b"at=1=2==",), b"1=2=="),
    ((b'at="1 2"',), b'"1 2"'),
    ((b"at=1; at=2",), b"1"),
    ((b"a=0", b"at=1", b"at=2"), b"1"),
    ((b"b=at=1",), None),
    ((b"bat=1; ata=2; a=3",), None),
    ((b"At=1; AT=2",), None),
    ((b"at",), None),
    ((b"at; at=1",), b"1"),
    ((b"; ;=;at=1",), b"1"),
    ((b"=at",), None),
    ((b"at=\xff\x80",), b"\xff\x80"),
    ((b"a=1, at=2",), None),
)


class CookieTests(SynchronousTestCase):
    """A cookie is found as RFC 6265 section 5.4 writes it."""

    def test_table(self) -> None:
        """The first of its name, in its own case, its value as it stands, in any of several fields."""
        for values, expected in _CASES:
            for spelling in (b"Cookie", b"cookie", b"COOKIE"):
                fields = [(b"Host", b"at=9"), *((spelling, value) for value in values), (b"X-Cookie", b"at=8")]
                self.assertEqual(cookie_of(fields, b"at"), expected, values)
                self.assertEqual(cookie_finder(b"at")(fields), expected, values)

    def test_several(self) -> None:
        """All of a name, in their order."""
        fields = [(b"Cookie", b"at=1; b=2; at=3"), (b"cookie", b"at=4")]
        self.assertEqual(list(cookies_of(fields, b"at")), [b"1", b"3", b"4"])

    def test_otherFieldsOfThatLength(self) -> None:
        """Only Cookie holds cookies."""
        self.assertIsNone(cookie_of([(b"Accept", b"at=1"), (b"Set-Cookie", b"at=1")], b"at"))

    @settings(max_examples=200, deadline=None)
    @given(st.lists(st.binary(max_size=12), max_size=3), st.sampled_from([b"a", b"at"]))
    def test_anyBytes(self, values: list[bytes], name: bytes) -> None:
        """Whatever a client sends, it is no error; what is found stood there."""
        found = cookie_of([(b"Cookie", value) for value in values], name)
        self.assertTrue(found is None or any(found in value for value in values))


class MentionTests(SynchronousTestCase):
    """What some server may find."""

    def test_table(self) -> None:
        """Behind anything that some take for an end, in any case, with or without a value; not a part of a word."""
        for value, expected in (
            (b"at=1", 1), (b"a=1; at=2", 1), (b"a=1 at=2", 1), (b"a=1\tat=2", 1), (b"a=1,at=2", 1), (b"AT=1", 1),
            (b"at", 1), (b"at;a=1", 1), (b"at , a=1", 1), (b'a="1; at=2"', 1), (b"at=1; at=2; At=3", 3),
            (b"bat=1; ata=2; b-at=3; a.at=4", 0), (b"a=at", 0), (b"a=at=1", 0), (b"", 0), (b"at!=1", 0),
        ):  # fmt: skip
            self.assertEqual(mentions_of(b"at")([(b"Host", b"at=9"), (b"cookie", value)]), expected, value)
        self.assertEqual(mentions_of(b"at")([(b"Cookie", b"at=1"), (b"COOKIE", b"at=2"), (b"X-Cook", b"at=2")]), 2)
        self.assertEqual(mentions_of(b"a.t")([(b"Cookie", b"axt=1; a.t=2")]), 1)
        self.assertEqual(mentions_of(b"a_t")([(b"Cookie", b"a_t=1; a.t=2; a t=3; a[t=4; a-t=5; axt=6")]), 4)

    @given(st.binary(max_size=30), st.sampled_from([b"at=1", b" at=1", b";at=", b"; At=1; at=2", b""]))
    @settings(max_examples=300, deadline=None)
    def test_neverLessThanAreFound(self, noise: bytes, more: bytes) -> None:
        """Whatever RFC 6265 finds is mentioned."""
        fields = [(b"Cookie", noise + more)]
        self.assertGreaterEqual(mentions_of(b"at")(fields), len(list(cookies_of(fields, b"at"))))
