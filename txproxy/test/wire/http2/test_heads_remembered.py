"""Heads of requests in HTTP/2 that a listener remembers: the second time means the same as the first."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txproxy.errors import BadRequest, HeadersTooLarge
from txproxy.test.wire.http2.heads_case import LIMITS, fields_with
from txproxy.test.wire.reading import facts
from txproxy.wire.http2 import sections
from txproxy.wire.http2.requests import Http2RequestParser
from txproxy.wire.limits import HeadLimits


class ParserTests(SynchronousTestCase):
    """The parser of a listener remembers."""

    def setUp(self) -> None:
        self.parser = Http2RequestParser(LIMITS)

    def test_theSameHeadMeansTheSame(self) -> None:
        """Whether it is understood for the first time or recalled; lists of the same fields are the same head."""
        models = [self.parser.parse(fields_with((b"a", b"b")), True) for _ in range(4)]
        self.assertIs(models[3], models[2])
        self.assertEqual(facts(models[3]), facts(models[0]))

    def test_theEndOfTheStreamCounts(self) -> None:
        """The same fields mean another length."""
        for _ in range(4):
            self.assertFalse(self.parser.parse(fields_with(), True).has_body)
            self.assertTrue(self.parser.parse(fields_with(), False).has_body)

    def test_nearlyTheSameIsNotTheSame(self) -> None:
        """Another order, another cut between name and value, one other byte."""
        one, other = (b"ab", b"c"), (b"a", b"bc")
        for _ in range(4):
            for fields in ([one], [other], [one, other], [other, one]):
                self.assertEqual(self.parser.parse(fields_with(*fields), True).fields[1:], fields)

    def test_whatIsRefusedIsRefusedAgain(self) -> None:
        """No verdict is softer the second time."""
        for _ in range(4):
            self.assertRaises(BadRequest, self.parser.parse, fields_with((b"A", b"b")), True)
            self.assertRaises(BadRequest, self.parser.parse, fields_with((b"content-length", b"5")), True)

    def test_limitsAreThoseOfTheListener(self) -> None:
        """Another listener's parser may refuse what this one lets pass."""
        strict = Http2RequestParser(HeadLimits(fields=1))
        for _ in range(3):
            self.assertEqual(len(self.parser.parse(fields_with((b"a", b"b")), True).fields), 2)
            self.assertRaises(HeadersTooLarge, strict.parse, fields_with((b"a", b"b")), True)

    def test_namesAreNotRememberedWithoutEnd(self) -> None:
        """Clients that invent names, many or long ones, fill no memory; they mean the same all the time."""
        long = b"x-" + b"n" * 63
        for number in range(5000):
            fields = [(b"x-%d" % number, b"1"), (long, b"2")]
            for ended in (True, False):
                self.assertEqual(self.parser.parse(fields_with(*fields), ended).fields[1:], fields)
        self.assertIsNone(sections._kinds.recall(long))
        self.assertLessEqual(len(sections._kinds), 4096)
        self.assertIsNotNone(sections._kinds.recall(b"x-4999"))
        for _ in range(3):
            self.assertRaises(BadRequest, self.parser.parse, fields_with((b"transfer-encoding", b"chunked")), True)

    def test_largeHeadsAreNotRemembered(self) -> None:
        """They are understood each time."""
        models = [self.parser.parse(fields_with((b"a", b"b" * 2000)), True) for _ in range(4)]
        self.assertEqual(len({id(model) for model in models}), 4)
