"""Which requests share a variant (RFC 9111 section 4.1)."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txproxy.policy.caching.fields import FieldTable
from txproxy.policy.caching.vary import MOST_NAMES, secondary_key, vary_names
from txproxy.test.policy.caching.heads import reply_of, request_of
from txproxy.wire.fields import Field

_NAMES: list[tuple[str, list[Field], tuple[bytes, ...] | None]] = [
    ("no Vary", [], ()),
    ("one name, in lower case", [(b"Vary", b"Foo")], (b"foo",)),
    ("sorted, each once", [(b"Vary", b"Foo, bar,FOO")], (b"bar", b"foo")),
    ("several fields are one list (RFC 9110 5.3)", [(b"Vary", b"Foo"), (b"vary", b"Bar")], (b"bar", b"foo")),
    ("an empty one names nothing", [(b"Vary", b"")], ()),
    ("empty members are ignored (RFC 9110 5.6.1)", [(b"Vary", b", ,Foo,")], (b"foo",)),
    # vary-parse.mjs, all required
    ("*", [(b"Vary", b"*")], None),
    ("*, *", [(b"Vary", b"*, *")], None),
    ("* on two lines", [(b"Vary", b"*"), (b"Vary", b"*")], None),
    (", *", [(b"Vary", b", *")], None),
    (", * on two lines", [(b"Vary", b""), (b"Vary", b"*")], None),
    ("*, Foo", [(b"Vary", b"*, Foo")], None),
    ("Foo, *", [(b"Vary", b"Foo, *")], None),
    # What is doubtful is not reused.
    ("no token", [(b"Vary", b"Foo Bar")], None),
    ("quoted", [(b"Vary", b'"Foo"')], None),
    ("as many as may be", [(b"Vary", b",".join(b"f%d" % n for n in range(MOST_NAMES)))], tuple(sorted(b"f%d" % n for n in range(MOST_NAMES)))),
    ("too many", [(b"Vary", b",".join(b"f%d" % n for n in range(MOST_NAMES + 1)))], None),
    ("as long as may be", [(b"Vary", b"f" * 1024)], (b"f" * 1024,)),
    ("too long", [(b"Vary", b"f" * 1025)], None),
    # What the backend sees in them is not what the client sent.
    ("the client's address", [(b"Vary", b"X-Forwarded-For")], None),
    ("the client's address, the standard way", [(b"Vary", b"Forwarded")], None),
    ("our name for the request", [(b"Vary", b"X-Request-Id")], None),
    ("who the client is", [(b"Vary", b"Accept, X-Client-Cert-Subject")], None),
    ("the way it came", [(b"Vary", b"Via")], None),
    ("the scheme, which the primary key holds", [(b"Vary", b"X-Forwarded-Proto")], (b"x-forwarded-proto",)),
]  # fmt: skip

_AE, _AL = b"Accept-Encoding", b"Accept-Language"

_PAIRS: list[tuple[str, list[Field], list[Field], bool]] = [
    ("the same (vary-match)", [(b"Foo", b"1")], [(b"Foo", b"1")], True),
    ("another value (vary-no-match)", [(b"Foo", b"1")], [(b"Foo", b"2")], False),
    ("one is absent (vary-omit)", [(b"Foo", b"1")], [], False),
    ("both are absent (vary-3-omit)", [], [], True),
    ("empty is not absent (4.1)", [(b"Foo", b"")], [], False),
    ("other fields do not matter (vary-cache-key)", [(b"Foo", b"1"), (b"Other", b"2")], [(b"Foo", b"1")], True),
    ("one of two differs (vary-2-no-match)", [(b"Foo", b"1"), (b"Bar", b"a")], [(b"Foo", b"2"), (b"Bar", b"a")], False),
    ("values of two do not run together", [(b"Foo", b"1"), (b"Bar", b"2")], [(b"Foo", b"2"), (b"Bar", b"1")], False),
    ("nor when one looks like the mark of another", [(b"Bar", b"1,-")], [(b"Bar", b"1"), (b"Foo", b"-")], False),
    ("fields combined (vary-normalise-combine)", [(b"Foo", b"1, 2")], [(b"Foo", b"1"), (b"Foo", b"2")], True),
    ("whitespace (vary-normalise-space)", [(b"Foo", b"1,2")], [(b"Foo", b" 1,\t2 ")], True),
    ("order of an unknown field", [(b"Foo", b"1,2")], [(b"Foo", b"2,1")], False),
    ("case of an unknown field", [(b"Foo", b"a")], [(b"Foo", b"A")], False),
    ("whitespace in quotes", [(b"Foo", b'"a, b"')], [(b"Foo", b'"a,b"')], False),
    ("whitespace after quotes", [(b"Foo", b'"a, b" ,  "c"')], [(b"Foo", b'"a, b","c"')], True),
    ("whitespace between quotes, and more than one comma", [(b"Foo", b'"a" , b ,c, "d"')], [(b"Foo", b'"a",b,c,"d"')], True),
    ("whitespace that is beside no comma", [(b"Foo", b'a "b", c')], [(b"Foo", b'a"b", c')], False),
    ("an escaped quote ends nothing", [(b"Foo", b'"a\\", b"')], [(b"Foo", b'"a\\",b"')], False),
    ("as many quotes as are looked at", [(b"Foo", b'"a", ' * 16)], [(b"Foo", b'"a",' * 16)], True),
    ("very many quotes: as it is", [(b"Foo", b'"a", ' * 40)], [(b"Foo", b'"a",' * 40)], False),
    ("a user agent is no list", [(b"User-Agent", b"a, b")], [(b"User-Agent", b"a,b")], False),
    ("a cookie is no list", [(b"Cookie", b"a=1, b")], [(b"Cookie", b"a=1,b")], False),
    ("a long value, too long to be remembered", [(b"Foo", b"a, " * 200 + b"b")], [(b"Foo", b"a," * 200 + b"b")], True),
    ("named by Connection: it does not reach the backend", [(b"Foo", b"1")], [(b"Foo", b"1"), (b"Connection", b"foo")], False),
    ("named by Connection in both", [(b"Foo", b"1"), (b"Connection", b"Foo")], [(b"Connection", b"foo"), (b"Foo", b"1")], True),
    ("another is named by Connection", [(b"Foo", b"1"), (b"Connection", b"x")], [(b"Foo", b"1")], True),
    # Accept-Encoding (RFC 9110 12.5.3)
    ("K2", [(_AE, b"gzip, br")], [(_AE, b"br,gzip")], True),
    ("case", [(_AE, b"GZIP")], [(_AE, b"gzip")], True),
    ("two fields", [(_AE, b"gzip"), (_AE, b"br")], [(_AE, b"br, gzip")], True),
    ("fewer", [(_AE, b"gzip, br")], [(_AE, b"gzip")], False),
    ("absent accepts all", [(_AE, b"identity")], [], False),
    ("empty accepts none, absent accepts all", [(_AE, b"")], [], False),
    ("refused ones", [(_AE, b"gzip, br;q=0")], [(_AE, b"gzip")], True),
    ("all refused is none accepted", [(_AE, b"br;q=0.000")], [(_AE, b"")], True),
    ("identity refused", [(_AE, b"gzip, identity;q=0")], [(_AE, b"gzip")], False),
    ("refused of all", [(_AE, b"*, br;q=0")], [(_AE, b"*")], False),
    ("all others refused", [(_AE, b"gzip, *;q=0")], [(_AE, b"gzip")], False),
    ("weights that are written in another way", [(_AE, b"gzip ; q=0.5, br;Q=1.0")], [(_AE, b"br, gzip;q=0.500")], True),
    ("other weights", [(_AE, b"gzip;q=0.5, br")], [(_AE, b"br;q=0.5, gzip")], False),
    ("the old name of gzip", [(_AE, b"x-gzip")], [(_AE, b"gzip")], True),
    ("the old name of gzip with another weight", [(_AE, b"x-gzip;q=0.5, gzip")], [(_AE, b"gzip")], False),
    ("nor are they one by the other's weight", [(_AE, b"x-gzip;q=0.5, gzip")], [(_AE, b"gzip;q=0.5")], False),
    ("the old name of compress", [(_AE, b"x-compress")], [(_AE, b"compress")], True),
    ("no weight is the whole", [(_AE, b"gzip;q=1, br;q=0.1")], [(_AE, b"gzip, br;q=0.1")], True),
    ("an empty fraction", [(_AE, b"gzip;q=1.")], [(_AE, b"gzip")], True),
    ("a thousandth less", [(_AE, b"gzip;q=0.999")], [(_AE, b"gzip")], False),
    ("as many as are put in order", [(_AE, b",".join(b"c%d" % n for n in range(32)))], [(_AE, b",".join(b"c%d" % n for n in reversed(range(32))))], True),
    ("the old and the new name", [(_AE, b"x-gzip, gzip")], [(_AE, b"gzip")], True),
    ("one twice, the same", [(_AE, b"gzip, gzip")], [(_AE, b"gzip")], True),
    ("two weights of one: as it is", [(_AE, b"gzip, gzip;q=0")], [(_AE, b"gzip;q=0, gzip")], False),
    ("a weight above 1: as it is", [(_AE, b"gzip;q=1.5, br")], [(_AE, b"br, gzip;q=1.5")], False),
    ("not valid: as it is", [(_AE, b"gzip;q=x, br")], [(_AE, b"br, gzip;q=x")], False),
    ("not valid, but for whitespace", [(_AE, b"gzip;q=x, br")], [(_AE, b"gzip;q=x,br")], True),
    ("very many: as they are", [(_AE, b",".join(b"c%d" % n for n in range(33)))], [(_AE, b",".join(b"c%d" % n for n in reversed(range(33))))], False),
    # Accept-Language (RFC 9110 12.5.4)
    ("order (vary-normalise-lang-order)", [(_AL, b"en, de")], [(_AL, b"de, en")], True),
    ("case (vary-normalise-lang-case)", [(_AL, b"en, de")], [(_AL, b"eN, De")], True),
    ("whitespace (vary-normalise-lang-space)", [(_AL, b"en, de")], [(_AL, b" en ,   de")], True),
    ("K2, two languages", [(_AL, b"en")], [(_AL, b"fr")], False),
    ("which is liked more", [(_AL, b"en, fr;q=0.5")], [(_AL, b"fr, en;q=0.5")], False),
    ("a language that is refused", [(_AL, b"en, fr;q=0")], [(_AL, b"en")], False),
    # The same semantics are asked for (4.1): that a server chooses the best it has is a guess.
    ("vary-normalise-lang-select is not", [(_AL, b"en, de")], [(_AL, b"fr;q=0.5, de;q=1.0")], False),
    ("not valid", [(_AL, b"en;x, de")], [(_AL, b"de, en;x")], False),
]  # fmt: skip

_SELECTING = (b"accept-encoding", b"accept-language", b"bar", b"cookie", b"foo", b"user-agent")


_NOT_AS_SENT = (
    b"Forwarded", b"If-Match", b"If-Modified-Since", b"If-None-Match", b"If-Range", b"If-Unmodified-Since", b"Range",
    b"Via", b"X-Client-Cert-Fingerprint", b"X-Client-Cert-Subject", b"X-Client-Cert-Verify", b"X-Forwarded-For",
    b"X-Forwarded-Port", b"X-Request-Id",
)  # fmt: skip
_NOT_LISTS = (
    b"authorization", b"content-type", b"cookie", b"date", b"from", b"host", b"origin", b"proxy-authorization",
    b"referer", b"user-agent",
)  # fmt: skip


class VaryNamesTests(SynchronousTestCase):
    """What a reply says."""

    def test_cases(self) -> None:
        for says, fields, expected in _NAMES:
            reply = reply_of(*fields)
            self.assertEqual(vary_names(reply), expected, says)
            self.assertEqual(vary_names(reply, FieldTable(reply.fields)), expected, says)

    def test_notAsSent(self) -> None:
        """What the backend sees of these is ours: ranges and conditions are taken away, the rest is made anew."""
        for name in _NOT_AS_SENT:
            self.assertIsNone(vary_names(reply_of((b"Vary", b"Foo, " + name))), name)
        for name in (b"x-forwarded-host", b"x-forwarded-proto"):  # The primary key holds them.
            self.assertEqual(vary_names(reply_of((b"Vary", name))), (name,))

    @given(st.lists(st.binary(max_size=40)))
    def test_anything(self, values: list[bytes]) -> None:
        """Whatever a backend says, there is an answer."""
        reply = reply_of()
        reply.fields = [(b"Vary", value) for value in values]
        names = vary_names(reply)
        self.assertTrue(names is None or b"*" not in names)


class SecondaryKeyTests(SynchronousTestCase):
    """Which requests select the same."""

    def test_cases(self) -> None:
        for says, one, other, expected in _PAIRS:
            keys = [secondary_key(_SELECTING, request_of(*fields)) for fields in (one, other)]
            self.assertEqual(keys[0] == keys[1], expected, (says, keys))

    def test_notLists(self) -> None:
        """In what is no list, whitespace beside a comma is a part of the value."""
        for name in _NOT_LISTS:
            keys = set()
            for value in (b"a,b", b"a, b"):
                request = request_of()
                request.fields = [(name, value)]
                keys.add(secondary_key((name,), request))
            self.assertEqual(len(keys), 2, name)

    def test_withoutVary(self) -> None:
        """Every request selects the same."""
        self.assertEqual(secondary_key((), request_of((b"Foo", b"1"))), b"")

    @given(
        st.lists(st.sampled_from([b"gzip", b"br", b"x-gzip", b"*", b"identity;q=0", b"zstd;q=0.5"]), max_size=6),
        st.randoms(),
    )
    def test_orderOfCodings(self, members: list[bytes], random: object) -> None:
        """Any order of the same members is one variant."""
        shuffled = list(members)
        random.shuffle(shuffled)  # type: ignore[attr-defined]
        requests = [request_of((_AE, b", ".join(each))) for each in (members, shuffled)]
        self.assertEqual(len({secondary_key((b"accept-encoding",), request) for request in requests}), 1, shuffled)

    @given(st.binary(max_size=60), st.binary(max_size=60), st.sampled_from(_SELECTING))
    def test_anything(self, one: bytes, other: bytes, name: bytes) -> None:
        """Whatever a client says, there is an answer, and values that have different letters are kept apart."""
        keys = []
        for value in (one, other):
            request = request_of()
            request.fields = [(name, value)]
            keys.append(secondary_key((name,), request))
        if keys[0] == keys[1] and name in (b"foo", b"bar", b"cookie", b"user-agent"):
            self.assertEqual(*(value.translate(None, b" \t") for value in (one, other)))

    def test_noQuadraticWork(self) -> None:
        """64 KiB of what is worst take a few milliseconds; if each byte were looked at for each, it would be minutes."""
        for value in (b" \t" * 32768, b'"' + b"\\" * 65534, b", " * 32768, b'"a' * 32768, b"gzip;" + b" " * 65530):
            for name in (b"foo", b"accept-encoding"):
                request = request_of()
                request.fields = [(name, value)]
                before = time.process_time()
                secondary_key((name,), request)
                self.assertLess(time.process_time() - before, 1, value[:8])
