"""Conditions of ours and of clients, and what a 304 makes of a stored reply (RFC 9111 section 4.3)."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txproxy.policy.caching.dates import parse_date
from txproxy.policy.caching.validation import (
    Validators,
    asks_origin,
    conditional_fields,
    freshened,
    has_conditions,
    has_strong_date,
    is_not_modified,
    is_same_representation,
    not_modified_of,
    validators_of,
    without_conditions,
)
from txproxy.test.policy.caching.heads import DATE, EARLIER, LATER, reply_of, request_of, values_in
from txproxy.wire.fields import Field
from txproxy.wire.messages import ReplyHead

_E, _L = b"ETag", b"Last-Modified"
_INM, _IMS = b"If-None-Match", b"If-Modified-Since"
_AT = parse_date(DATE) or 0.0

_VALIDATORS: list[tuple[str, list[Field], Validators]] = [
    ("none", [], Validators(None, None)),
    ("strong", [(b"etag", b'"a"')], Validators(b'"a"', None)),
    ("weak", [(_E, b'W/"a"')], Validators(b'W/"a"', None)),
    ("empty, but quoted (RFC 9110 8.8.3)", [(_E, b'""')], Validators(b'""', None)),
    ("with a comma", [(_E, b'"a,b"')], Validators(b'"a,b"', None)),
    ("with obs-text", [(_E, b'"\xfc"')], Validators(b'"\xfc"', None)),
    ("unquoted", [(_E, b"a")], Validators(None, None)),
    ("half quoted", [(_E, b'"a')], Validators(None, None)),
    ("a space within", [(_E, b'"a b"')], Validators(None, None)),
    ("a weakness in lower case (8.8.3: case-sensitive)", [(_E, b'w/"a"')], Validators(None, None)),
    ("something behind", [(_E, b'"a" ')], Validators(b'"a"', None)),
    ("two", [(_E, b'"a"'), (_E, b'"b"')], Validators(None, None)),
    ("a date", [(_L, DATE)], Validators(None, DATE)),
    ("both", [(_L, DATE), (_E, b'"a"')], Validators(b'"a"', DATE)),
    ("a date that is none", [(_L, b"yesterday")], Validators(None, None)),
    ("two dates", [(_L, DATE), (_L, DATE)], Validators(None, None)),
]

_BOTH = ((_E, b'"a"'), (_L, DATE))
_NOT_MODIFIED: list[tuple[str, list[Field], tuple[Field, ...], bool]] = [
    ("no condition", [], _BOTH, False),
    ("the tag", [(_INM, b'"a"')], _BOTH, True),
    ("another tag", [(_INM, b'"b"')], _BOTH, False),
    ("a part of the tag", [(_INM, b'"aa"')], _BOTH, False),
    ("first of several", [(_INM, b'"a", "b", "c"')], _BOTH, True),
    ("second of several", [(_INM, b'"b", "a", "c"')], _BOTH, True),
    ("last of several", [(_INM, b'"b", "c", "a"')], _BOTH, True),
    ("in a second field", [(_INM, b'"b"'), (_INM, b'"a"')], _BOTH, True),
    ("empty members", [(_INM, b', ,"b",, "a" ,')], _BOTH, True),
    ("without whitespace", [(_INM, b'"b","a"')], _BOTH, True),
    ("weak in the request (8.8.3.2)", [(_INM, b'W/"a"')], _BOTH, True),
    ("weak among several", [(_INM, b'"b", W/"a"')], _BOTH, True),
    ("weak in the reply", [(_INM, b'"a"')], ((_E, b'W/"a"'),), True),
    ("weak in both", [(_INM, b'W/"a"')], ((_E, b'W/"a"'),), True),
    ("obs-text", [(_INM, b'"\xc3\xbc"')], ((_E, b'"\xc3\xbc"'),), True),
    ("a comma within", [(_INM, b'"x", "a,b"')], ((_E, b'"a,b"'),), True),
    ("a member that is half of one", [(_INM, b'"a"')], ((_E, b'"a,b"'),), False),
    ("what stands between tags is none", [(_INM, b'"x" , "y"')], ((_E, b'" , "'),), False),
    ("any", [(_INM, b"*")], _BOTH, True),
    ("any, and there is no tag", [(_INM, b"*")], (), True),
    ("* among others", [(_INM, b'*, "a"')], _BOTH, False),
    ("a tag, and there is none", [(_INM, b'"a"')], (), False),
    ("unquoted", [(_INM, b"a")], _BOTH, False),
    ("both unquoted", [(_INM, b"a")], ((_E, b"a"),), False),
    ("unquoted in the reply", [(_INM, b'"a"')], ((_E, b"a"),), False),
    ("a weakness in lower case", [(_INM, b'w/"a"')], _BOTH, False),
    ("something before", [(_INM, b'x"a"')], _BOTH, False),
    ("something between", [(_INM, b'"b" x, "a"')], _BOTH, False),
    ("no comma between", [(_INM, b'"b" "a"')], _BOTH, False),
    ("something behind", [(_INM, b'"a" x')], _BOTH, False),
    ("an open quote", [(_INM, b'"a", "')], _BOTH, False),
    ("an empty field", [(_INM, b"")], _BOTH, False),
    ("modified at that time", [(_IMS, DATE)], ((_L, DATE),), True),
    ("modified before", [(_IMS, DATE)], ((_L, EARLIER),), True),
    ("modified later", [(_IMS, DATE)], ((_L, LATER),), False),
    ("rfc850-date", [(_IMS, b"Tuesday, 15-Nov-94 08:12:31 GMT")], ((_L, DATE),), True),
    ("no date", [(_IMS, b"now")], ((_L, DATE),), False),
    ("two dates (13.1.3)", [(_IMS, DATE), (_IMS, DATE)], ((_L, DATE),), False),
    ("the tag comes before the date (13.2.2)", [(_INM, b'"a"'), (_IMS, EARLIER)], _BOTH, True),
    ("another tag, though not modified", [(_INM, b'"b"'), (_IMS, LATER)], _BOTH, False),
    ("another tag, though there is none", [(_INM, b'"b"'), (_IMS, LATER)], ((_L, DATE),), False),
    ("Date stands in for Last-Modified (4.3.2)", [(_IMS, DATE)], ((b"Date", DATE),), True),
    ("Date is later", [(_IMS, DATE)], ((b"Date", LATER),), False),
    ("Date, for Last-Modified is none", [(_IMS, DATE)], ((_L, b"x"), (b"Date", LATER)), False),
    ("Last-Modified comes before Date", [(_IMS, DATE)], ((_L, DATE), (b"Date", LATER)), True),
    ("received at that time", [(_IMS, DATE)], (), True),
    ("received later", [(_IMS, EARLIER)], (), False),
]

_SAME: list[tuple[str, list[Field], list[Field], bool]] = [
    ("the same strong tag", [(_E, b'"a"')], [(_E, b'"a"')], True),
    ("another strong tag (MUST NOT)", [(_E, b'"a"')], [(_E, b'"b"')], False),
    ("another strong tag, the same date", [*_BOTH], [(_E, b'"b"'), (_L, DATE)], False),
    ("the same weak tag", [(_E, b'W/"a"')], [(_E, b'W/"a"')], True),
    ("a weak tag for a strong one", [(_E, b'"a"')], [(_E, b'W/"a"')], True),
    ("a strong tag for a weak one: nginx with gzip", [(_E, b'W/"a"')], [(_E, b'"a"')], True),
    ("the same, and the same date", [(_E, b'W/"a"'), (_L, DATE)], [(_E, b'"a"'), (_L, DATE)], True),
    ("another strong tag for a weak one", [(_E, b'W/"a"')], [(_E, b'"b"')], False),
    (
        "another strong tag for a weak one, the same date",
        [(_E, b'W/"a"'), (_L, DATE)],
        [(_E, b'"b"'), (_L, DATE)],
        False,
    ),
    ("another weak tag", [(_E, b'"a"')], [(_E, b'W/"b"')], False),
    ("another weak tag for a weak one", [(_E, b'W/"a"')], [(_E, b'W/"b"')], False),
    ("the same tag, another date", [*_BOTH], [(_E, b'"a"'), (_L, LATER)], True),
    ("the same that is not valid", [(_E, b"a"), (_L, DATE)], [(_E, b"a")], True),
    ("the same date", [(_L, DATE)], [(_L, DATE)], True),
    ("the same date, written in another way", [(_L, DATE)], [(_L, b"Tue Nov 15 08:12:31 1994")], True),
    ("another date", [(_L, DATE)], [(_L, LATER)], False),
    ("a date that is none", [(_L, DATE)], [(_L, b"x")], False),
    ("two that are none", [(_L, b"x")], [(_L, b"x")], False),
    ("the date, and the tag left out", [*_BOTH], [(_L, DATE)], True),
    ("a date, where only a tag is known", [(_E, b'"a"')], [(_L, DATE)], False),
    ("a tag, where only a date is known", [(_L, DATE)], [(_E, b'"a"')], False),
    ("a tag too, and the date is weak", [(_L, DATE)], [(_E, b'"a"'), (_L, DATE)], False),
    ("a tag too, and the date is strong", [(_L, DATE), (b"Date", LATER)], [(_E, b'"a"'), (_L, DATE)], True),
    ("a weak tag too", [(_L, DATE)], [(_E, b'W/"a"'), (_L, DATE)], True),
    ("no validator at all: it was asked for this one", [*_BOTH], [], True),
]

_SAME_HEAD: list[tuple[str, list[Field], list[Field], int | None, dict[str, Any], bool]] = [
    ("nothing said", [*_BOTH], [], None, {}, True),
    ("the same tag", [*_BOTH], [(_E, b'"a"')], None, {}, True),
    ("another tag", [*_BOTH], [(_E, b'"b"')], None, {}, False),
    ("a weak tag is another value", [*_BOTH], [(_E, b'W/"a"')], None, {}, False),
    ("another date", [*_BOTH], [(_E, b'"a"'), (_L, LATER)], None, {}, False),
    ("a validator that the stored one lacks", [], [(_L, LATER)], None, {}, False),
    ("the same length", [(b"Content-Length", b"5")], [(b"Content-Length", b"5")], None, {}, True),
    ("no length said", [(b"Content-Length", b"5")], [], None, {}, True),
    ("another length", [(b"Content-Length", b"5")], [(b"Content-Length", b"6")], None, {}, False),
    ("the length of the stored body", [], [(b"Content-Length", b"6")], 6, {}, True),
    ("not that length", [], [(b"Content-Length", b"6")], 7, {}, False),
    ("leading zeros", [(b"Content-Length", b"5")], [(b"Content-Length", b"05")], None, {}, True),
    ("no bytes", [], [(b"Content-Length", b"00")], 0, {}, True),
    ("a length that cannot be known", [(b"Transfer-Encoding", b"chunked")], [(b"Content-Length", b"6")], None, {}, True),
    ("another status (head-410-update)", [*_BOTH], [(_E, b'"a"')], None, {"status": 410}, False),
]  # fmt: skip

# header-list.mjs
_NOT_UPDATED = (
    b"Content-Encoding", b"Content-Length", b"Content-MD5", b"Content-Range", b"ETag", b"Content-Digest", b"Digest",
    b"Repr-Digest", b"Trailer",
)  # fmt: skip
_OF_A_CONNECTION = (
    b"Keep-Alive", b"Proxy-Authenticate", b"Proxy-Authentication-Info", b"Proxy-Authorization", b"Proxy-Connection",
    b"TE", b"Upgrade",
)  # fmt: skip
_UPDATED = (
    b"Test-Header", b"X-Test-Header", b"Content-Foo", b"X-Content-Foo", b"Cache-Control", b"Content-Location",
    b"Content-Security-Policy", b"Content-Type", b"Clear-Site-Data", b"Expires", b"Public-Key-Pins", b"Set-Cookie",
    b"Set-Cookie2", b"X-Frame-Options", b"X-XSS-Protection", b"Last-Modified", b"Vary", b"Date", b"Age",
)  # fmt: skip


class ValidatorsTests(SynchronousTestCase):
    """What we ask a backend with."""

    def test_cases(self) -> None:
        for says, fields, expected in _VALIDATORS:
            self.assertEqual(validators_of(reply_of(*fields)), expected, says)

    def test_conditions(self) -> None:
        """Both are sent, byte for byte, where there are both (4.3.1)."""
        tag, date = (_INM, b'W/"a"'), (_IMS, DATE)
        for validators, expected in (
            (Validators(b'W/"a"', DATE), [tag, date]),
            (Validators(b'W/"a"', None), [tag]),
            (Validators(None, DATE), [date]),
            (Validators(None, None), []),
        ):
            self.assertEqual(conditional_fields(validators), expected)

    def test_withoutConditions(self) -> None:
        """The client's own conditions and ranges are taken away; all else stays, in order."""
        gone = [b"if-match", b"If-None-Match", b"IF-MODIFIED-SINCE", b"If-Unmodified-Since", b"If-Range", b"Range"]
        kept: list[Field] = [(b"A", b"1"), (b"If", b"2"), (b"Ranges", b"3"), (b"a", b"4")]
        self.assertEqual(without_conditions([*kept[:2], *((name, b"x") for name in gone), *kept[2:]]), kept)

    def test_hasConditions(self) -> None:
        """Each of them is seen, in any case of letters."""
        for name in (
            b"if-match",
            b"If-None-Match",
            b"IF-MODIFIED-SINCE",
            b"If-Unmodified-Since",
            b"If-Range",
            b"Range",
        ):
            self.assertTrue(has_conditions(request_of((name, b"x"))), name)
        self.assertFalse(has_conditions(request_of((b"If", b"x"), (b"Ranges", b"y"))))

    def test_asksOrigin(self) -> None:
        """If-Match and If-Unmodified-Since are the origin's to judge."""
        for name, expected in ((b"if-match", True), (b"If-Unmodified-Since", True), (b"If-None-Match", False)):
            self.assertIs(asks_origin(request_of((name, b"x"))), expected, name)

    def test_strongDate(self) -> None:
        """A date is strong a second after it (RFC 9110 section 8.8.2.2)."""
        for modified, made, expected in (
            (DATE, DATE, False),
            (DATE, LATER, True),
            (DATE, EARLIER, False),
            (DATE, b"x", False),
            (b"x", DATE, False),
        ):
            self.assertIs(has_strong_date(reply_of((_L, modified), (b"Date", made))), expected)
        self.assertFalse(has_strong_date(reply_of()))


class IsNotModifiedTests(SynchronousTestCase):
    """Clients' conditions answered from the store."""

    def test_cases(self) -> None:
        for says, asked, stored, expected in _NOT_MODIFIED:
            self.assertIs(is_not_modified(request_of(*asked), reply_of(*stored), _AT), expected, says)

    def test_methodsAndStatuses(self) -> None:
        """Conditions count where the answer would be a success, to GET and HEAD (RFC 9110 section 13.2.1)."""
        for method, status, expected in (
            (b"GET", 200, True),
            (b"HEAD", 200, True),
            (b"GET", 203, True),
            (b"GET", 299, True),
            (b"GET", 300, False),
            (b"POST", 200, False),
            (b"GET", 404, False),
            (b"GET", 301, False),
        ):
            request = request_of((_INM, b'"a"'), method=method)
            self.assertIs(
                is_not_modified(request, reply_of((_E, b'"a"'), status=status), _AT), expected, (method, status)
            )

    @given(st.lists(st.sampled_from([b'"', b"W/", b"a", b",", b" ", b"*", b'"a"', b"\t", b"\xff"]), max_size=12))
    def test_anything(self, pieces: list[bytes]) -> None:
        """Whatever a client says, 304 is said only if the tag stands there."""
        request = request_of()
        request.fields = [(_INM, b"".join(pieces))]
        if is_not_modified(request, reply_of((_E, b'"a"')), _AT):
            self.assertTrue(b'"a"' in b"".join(pieces) or pieces == [b"*"])

    def test_fieldsOfA304(self) -> None:
        """All but what describes the representation (RFC 9110 section 15.4.5)."""
        kept = [
            b"Cache-Control", b"Content-Location", b"Date", b"ETag", b"Expires", b"vary", b"Set-Cookie", b"Set-Cookie",
            b"Access-Control-Allow-Origin", b"Content-Security-Policy", b"CDN-Cache-Control",
        ]  # fmt: skip
        gone = [
            b"Content-Type", b"content-length", b"Content-Encoding", b"Content-Language", b"Last-Modified", b"Digest",
            b"Content-Digest", b"Content-Disposition", b"Content-MD5", b"Content-Range", b"Repr-Digest", b"Trailer",
        ]  # fmt: skip
        stored = reply_of(*((name, b"1") for name in kept + gone))
        self.assertEqual([name for name, _ in not_modified_of(stored)], kept)

    def test_lastModifiedOfA304(self) -> None:
        """It is told where no entity tag is, for then clients ask by it."""
        stored = reply_of((_L, DATE), (b"Content-Type", b"x"), (b"Transfer-Encoding", b"chunked"))
        self.assertEqual(not_modified_of(stored), [(_L, DATE)])


class SameRepresentationTests(SynchronousTestCase):
    """What a 304 or a reply to HEAD is about."""

    def test_notModified(self) -> None:
        for says, stored, fresh, expected in _SAME:
            told = is_same_representation(reply_of(*stored), reply_of(*fresh, status=304))
            self.assertIs(told, expected, says)

    def test_head(self) -> None:
        for says, stored, fresh, total_bytes, how, expected in _SAME_HEAD:
            told = is_same_representation(reply_of(*stored), reply_of(*fresh, method=b"HEAD", **how), total_bytes)
            self.assertIs(told, expected, says)


class FreshenedTests(SynchronousTestCase):
    """What a 304 makes of a stored head (RFC 9111 section 3.2, update304.mjs)."""

    def test_lists(self) -> None:
        """Each field of the public suite's list is updated, or is not."""
        for names, expected in ((_UPDATED, b"2"), (_NOT_UPDATED, b"1")):
            for name in names:
                stored, fresh = reply_of((name, b"1")), reply_of((name.upper(), b"2"), status=304)
                self.assertEqual(values_in(freshened(stored, fresh).fields, name), [expected], name)

    def test_notAdded(self) -> None:
        """What describes the body, and what belongs to a connection, is not taken from a 304 at all."""
        names = (*_NOT_UPDATED, *_OF_A_CONNECTION, b"Foo")
        fresh = reply_of((b"Connection", b"foo"), *((name, b"1") for name in names), status=304)
        fresh.fields.append((b"Transfer-Encoding", b"chunked"))
        head = freshened(reply_of((b"A", b"1")), fresh)
        self.assertEqual(head.fields, [(b"A", b"1")])
        self.assertEqual(head.known, {})
        self.assertIsNone(head.options)

    def test_places(self) -> None:
        """All fields of one name are replaced where the first stood; what is new comes last; the rest stays."""
        stored = reply_of((b"A", b"1"), (b"B", b"1"), (b"a", b"2"), (b"C", b"1"))
        fresh = reply_of((b"D", b"3"), (b"a", b"3"), (b"A", b"4"), status=304)
        self.assertEqual(
            freshened(stored, fresh).fields, [(b"a", b"3"), (b"A", b"4"), (b"B", b"1"), (b"C", b"1"), (b"D", b"3")]
        )

    def test_times(self) -> None:
        """Age and Date of the old reply say nothing of the new one."""
        stored = reply_of((b"Date", DATE), (b"Age", b"100"), (b"A", b"1"))
        head = freshened(stored, reply_of(status=304))
        self.assertEqual((head.fields, head.known), ([(b"A", b"1")], {}))
        head = freshened(stored, reply_of((b"Date", LATER), (b"Age", b"1"), status=304))
        self.assertEqual(head.fields, [(b"Date", LATER), (b"Age", b"1"), (b"A", b"1")])
        self.assertEqual(head.known[b"date"], LATER)

    def test_known(self) -> None:
        """What the proxy acts on follows the fields."""
        stored = reply_of((b"Content-Type", b"a"), (b"Via", b"1.1 a"), (b"Content-Length", b"5"), (b"x_y", b"1"))
        fresh = reply_of(
            (b"content-type", b"b"), (b"Via", b"1.1 b"), (b"via", b"1.1 c"), (b"Content-Length", b"9"), status=304
        )
        known = freshened(stored, fresh).known
        self.assertEqual(known, {b"content-type": b"b", b"via": b"1.1 b, 1.1 c", b"content-length": b"5", b"_": b"1"})

    def test_theRestStays(self) -> None:
        """Status and length are those of the stored reply, what was made of its old head is not, and it is itself
        left alone."""
        stored = reply_of((b"Content-Length", b"5"), (b"A", b"1"), status=203)
        stored.lines = stored.block = b"made"
        head = freshened(stored, reply_of((b"A", b"2"), status=304))
        self.assertEqual((head.status, head.reason, head.content_length, head.chunked), (203, b"Said", 5, False))
        self.assertEqual((head.lines, head.block), (None, None))
        self.assertEqual(values_in(stored.fields, b"A"), [b"1"])

    def test_staysAbout(self) -> None:
        """After any update the stored reply has the validators by which its body is known, and no field twice that
        was there once."""

        def check(head: ReplyHead) -> None:
            self.assertEqual(values_in(head.fields, b"ETag"), [b'"a"'])
            self.assertEqual(values_in(head.fields, b"Content-Length"), [b"5"])

        head = freshened(reply_of((_E, b'W/"a"')), reply_of((b"etag", b'"a"'), status=304))
        self.assertEqual(head.fields, [(_E, b'W/"a"')])
        stored = reply_of((_E, b'"a"'), (b"Content-Length", b"5"))
        for fields in ([(_E, b'"b"')], [(_E, b'W/"a"')], [(b"content-length", b"7")], []):
            check(freshened(stored, reply_of(*fields, status=304)))
