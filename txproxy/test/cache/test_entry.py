"""One stored reply: how long it is of use, what it is verified by, what it takes of memory."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from copy import deepcopy
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txproxy.cache.entry import NEVER, PLAIN, Entry, Measure, Seal, Terms, Variant
from txproxy.cache.footprint import allocated_bytes, deep_bytes
from txproxy.cache.memory import MemoryStore
from txproxy.cache.stored_head import StoredHead
from txproxy.policy.caching.directives import ResponseDirectives, parse_response
from txproxy.policy.caching.fields import joined
from txproxy.policy.caching.freshness import Freshness
from txproxy.test.cache.entries import (
    ETAG,
    NOW,
    SILENT,
    entry_of,
    key_of,
    language_of,
    reply_of,
    request_of,
    stale_for,
)
from txproxy.wire.messages import ReplyHead

_URL = b"http://a.example/x"


class EntryTests(SynchronousTestCase):
    """What it is made of."""

    def test_theBodyIsOnePiece(self) -> None:
        """From one, from many, from none."""
        for body, expected in ((b"abc", b"abc"), ([b"a", b"", b"bc"], b"abc"), ([], b"")):
            entry = Entry(key_of(_URL), Variant(), reply_of(), body, Terms(Freshness(1), SILENT))
            self.assertEqual((entry.body, entry.head.content_length), (expected, len(expected)))

    def test_fieldsThatAreStored(self) -> None:
        """Each row: lines of a reply, names of those that are stored, and of those that are known (RFC 9111 section 3.1)."""
        for lines, stored, known in (
            (b"A: 1|b: 2|A: 3", b"A b A", b""),
            (b"Connection: a, close|A: 1|B: 2", b"B", b""),
            (b"Keep-Alive: x|TE: x|Upgrade: x|Proxy-Connection: x|Proxy-Authenticate: x|A: 1", b"A", b""),
            (b"Proxy-Authentication-Info: x|Transfer-Encoding: chunked|A: 1", b"A", b""),
            # Section 5.2.2.4 and 5.2.2.7.
            (b'Cache-Control: no-cache="a, B"|A: 1|b: 2|C: 3', b"Cache-Control C", b""),
            (b'Cache-Control: private="a"|A: 1|a: 2|B: 2', b"Cache-Control B", b""),
            (b'Cache-Control: private="date", no-cache="set-cookie"|Date: x|Set-Cookie: a|Via: 1.1 a', b"Cache-Control Via", b"via"),
            (b"Cache-Control: private, no-cache|A: 1", b"Cache-Control A", b""),
            (b"Date: x|ETag: x|Set-Cookie: a|Set-Cookie: b", b"Date ETag Set-Cookie Set-Cookie", b"date"),
        ):  # fmt: skip
            reply = reply_of(*lines.split(b"|"))
            count = len(reply.fields)
            terms = Terms(Freshness(1), parse_response(joined(reply.fields, b"cache-control")))
            head = Entry(key_of(_URL), Variant(), reply, b"", terms).head
            self.assertEqual([name for name, _ in head.fields], [*stored.split(), b"Content-Length"], lines)
            self.assertEqual(list(head.known), known.split(), lines)
            self.assertEqual(len(reply.fields), count, "the reply is left as it is")

    def test_itsUrl(self) -> None:
        """Whatever a route adds to the key."""
        for added in (b"", b"4:main", b"4:main6:a b cd"):
            self.assertEqual(entry_of(_URL, added=added).url, _URL)

    def test_itsName(self) -> None:
        """For logs."""
        self.assertEqual(repr(entry_of(b"http://a/")), "<Entry b'http://a/ ' 200 7 bytes>")


class UseTests(SynchronousTestCase):
    """RFC 9111 section 4.2.4, RFC 5861: until when something can come of a stored reply."""

    def test_usefulUntil(self) -> None:
        """Each row: lifetime, directives, lines, the seconds after it came; asked for when it is ten seconds old."""
        for lifetime_s, said, lines, expected in (
            (60, stale_for(), [], 60),
            (0, stale_for(), [], 0),
            (-5, stale_for(), [], -5),
            (60, stale_for(30), [], 90),
            (60, stale_for(None, 40), [], 100),
            (60, stale_for(30, 40), [], 100),
            (60, stale_for(40, 30), [], 100),
            # What no clock reaches does no harm.
            (10**400, stale_for(10**400), [], 2 * 10**10),
            # With a validator it can always be asked about (RFC 9111 section 4.3).
            (0, stale_for(), [ETAG], NEVER),
            (0, stale_for(), [b"last-modified: x"], NEVER),
            (0, stale_for(), [b"X-ETag: x"], 0),
            (0, stale_for(), [b"X: etag: x"], 0),
        ):
            entry = entry_of(_URL, *lines, lifetime_s=lifetime_s, said=said)
            self.assertEqual(entry.useful_until(NOW + 10), NOW + expected, (lifetime_s, said, lines))
            self.assertEqual(entry.has_validator, expected == NEVER)

    def test_theRealRecordsFit(self) -> None:
        """Those of the policy."""
        terms = Terms(Freshness(60, 5, NOW), parse_response(b"max-age=60, stale-while-revalidate=7"))
        entry = Entry(key_of(_URL), Variant(), reply_of(), b"", terms)
        self.assertEqual(entry.useful_until(NOW), NOW + 62)


class SealTests(SynchronousTestCase):
    """Whatever is changed on the way shows."""

    def test_aChangeOfAnyPartBreaksIt(self) -> None:
        """Also of where one part ends and the next begins."""
        lines = (b"Content-Length: 7", b"X: y")

        def entry() -> Entry:
            return entry_of(_URL, *lines, variant=Variant((b"x",), b"v"))

        seal = Seal.of(entry())
        self.assertEqual(seal, Seal.of(entry()))
        self.assertEqual(seal.length, 7)
        for name, value in (
            ("key", b"http://a.example/y "),
            ("key", _URL + b" v"),
            ("variant", Variant((b"x",), b"")),
            ("body", b"contens"),
            ("body", b"conten"),
            ("body", b""),
        ):
            other = entry()
            setattr(other, name, value)
            self.assertNotEqual(seal, Seal.of(other), name)
        other = entry()
        other.head.lines = other.head.lines.replace(b"y", b"z")
        self.assertNotEqual(seal, Seal.of(other))
        moved = entry_of(b"http://a", added=b"b", variant=Variant((b"x",), b"c"))
        same = entry_of(b"http://a", added=b"bc", variant=Variant((b"x",), b""))
        self.assertNotEqual(Seal.of(moved), Seal.of(same))


class PickleTests(SynchronousTestCase):
    """For stores outside this process."""

    def test_itComesBackAsItWas(self) -> None:
        """With its seal, in any form of pickles from the third on; ``deepcopy`` goes the same way."""
        said = parse_response(b'max-age=60, private="x-user"')
        for made in (
            entry_of(_URL, ETAG, b"Content-Type: a/b", variant=Variant((b"x",), b"v"), said=said, tags=(b"a", b"b")),
            entry_of(_URL, body=b"", added=b"4:main", lifetime_s=10**400),
        ):
            made.seal = Seal.of(made)
            copies = [pickle.loads(pickle.dumps(made, form)) for form in range(2, pickle.HIGHEST_PROTOCOL + 1)]  # noqa: S301 - our own
            for entry in (*copies, deepcopy(made)):
                self.assertIsNot(entry, made)
                self.assertEqual((entry.seal, Seal.of(entry)), (made.seal, made.seal))
                for name in ("key", "variant", "body", "directives", "tags", "url", "has_validator"):
                    self.assertEqual(getattr(entry, name), getattr(made, name), name)
                for name in ReplyHead.__slots__:
                    self.assertEqual(getattr(entry.head, name), getattr(made.head, name), name)
                for name in Freshness.__slots__:
                    self.assertEqual(getattr(entry.freshness, name), getattr(made.freshness, name), name)
                self.assertEqual([type(each) for each in (entry, entry.head)], [Entry, StoredHead])
                self.assertEqual(entry.useful_until(NOW), made.useful_until(NOW))

    def test_whatAStoreNotedStaysBehind(self) -> None:
        """Its counters, what it made for HTTP/2, and above all the others in its bucket."""
        store = MemoryStore(2**26, 2**20, language_of)
        made = entry_of(_URL)
        for entry in (made, entry_of(b"http://other.example/")):
            store.put(entry, NOW)
        store.lookup(made.key, request_of())
        made.head.block = b"block"
        assert made.bucket is not None
        self.assertEqual((len(made.bucket), made.hits), (2, 1))
        data = pickle.dumps(made)
        self.assertNotIn(b"other.example", data)
        entry = pickle.loads(data)  # noqa: S301 - our own
        noted = (entry.bucket, entry.hits, entry.footprint_bytes, entry.block_counted, entry.head.block)
        self.assertEqual(noted, (None, 0, 0, False, None))
        self.assertEqual([name for name in Entry.__slots__ if not hasattr(entry, name)], [])
        self.assertTrue(store.put(entry, NOW))
        self.assertIs(store.lookup(made.key, request_of()), entry)

    def test_aChangeShows(self) -> None:
        """A byte of what is sealed that was turned on the way."""
        made = entry_of(_URL, b"X-Where: head", body=b"where: body")
        made.seal = Seal.of(made)
        data = pickle.dumps(made)
        for old, new in ((b"where: body", b"where: bodx"), (b"X-Where: head", b"X-Where: heax")):
            self.assertIn(old, data)
            entry = pickle.loads(data.replace(old, new))  # noqa: S301 - our own
            self.assertNotEqual(entry.seal, Seal.of(entry))

    def test_whatAnotherVersionMadeIsNoEntry(self) -> None:
        """It raises, which is what a store may do."""
        kinds: tuple[Any, ...] = (Entry, StoredHead)
        for kind in kinds:
            self.assertRaises(ValueError, kind.__new__(kind).__setstate__, (1, 2, 3))


class MeasureTests(SynchronousTestCase):
    """What an entry holds alone."""

    def settled(self, measure: Measure, **changes: Any) -> Entry:
        seal, reason = changes.pop("seal", None), changes.pop("reason", b"OK")
        entry = entry_of(changes.pop("url", _URL), b"Content-Length: 7", *changes.pop("lines", []), **changes)
        entry.seal, entry.head.reason = seal, reason
        measure.settle(entry)
        return entry

    def alone(self, **changes: Any) -> int:
        """Return the footprint of an entry that shares what it can with two before it."""
        measure = Measure()
        for _ in range(2):
            self.settled(measure, **changes)
        return self.settled(measure, **changes).footprint_bytes

    def test_allThatItHoldsIsCounted(self) -> None:
        """By hand, for one that shares with others what can be shared."""
        entry = entry_of(_URL, b"Content-Length: 7")
        parts = (entry, entry.key, entry.body, entry.head, entry.head.lines, entry.freshness)
        floats = 2  # When it was received, and its age then; the lifetime is a small number.
        expected = sum(map(allocated_bytes, parts)) + floats * deep_bytes(0.5) + deep_bytes(1000)
        self.assertEqual(self.alone(), expected)

    def test_theShortSumIsTheLongOne(self) -> None:
        """Each record asked for its size, each value looked into; what is shared left out."""
        for lifetime_s, seal in ((60, None), (1000, None), (0.5, Seal(1000, 2000)), (2**40, Seal(1, 2))):
            measure = Measure()
            changes: dict[str, Any] = {"lifetime_s": lifetime_s, "seal": seal}
            entry = [self.settled(measure, **changes) for _ in range(3)][-1]
            parts = (entry, entry.key, entry.body, entry.head, entry.head.lines)
            numbers = deep_bytes(entry.freshness) + deep_bytes(len(entry.body)) + deep_bytes(entry.footprint_bytes)
            self.assertEqual(entry.footprint_bytes, sum(map(allocated_bytes, parts)) + numbers + deep_bytes(seal))

    def test_whatIsPlainIsOneForAll(self) -> None:
        """And costs none of them anything."""
        entry = self.settled(Measure(), variant=Variant((), b""))
        self.assertIs(entry.variant, PLAIN)
        self.assertEqual(entry.footprint_bytes, self.settled(Measure()).footprint_bytes)

    def test_whatAddsToIt(self) -> None:
        """Each row: what is different, and how much more it is."""
        bare = self.alone()
        for changes, expected in (
            ({"url": _URL + bytes(160)}, 160),
            ({"body": bytes(7 + 16 * 20)}, 320 + deep_bytes(1000)),  # Its length is a number of its own.
            ({"lines": [b"X: " + b"y" * 155]}, 160),
            ({"lifetime_s": 1000}, deep_bytes(1000)),
            ({"seal": Seal(1000, 2000)}, deep_bytes(Seal(1000, 2000))),
        ):
            self.assertEqual(self.alone(**changes) - bare, expected, changes)

    def test_whatManyHoldIsCountedTwice(self) -> None:
        """By the first, which has its own, and the second, whose the others share."""
        changes: list[tuple[dict[str, Any], Callable[[Entry], object]]] = [
            ({"variant": Variant((b"accept",), b"text/plain")}, lambda entry: entry.variant),
            ({"said": stale_for(1000, 2000)}, lambda entry: entry.directives),
            ({"tags": (b"one", b"two")}, lambda entry: entry.tags),
            ({"reason": b"Quite fine"}, lambda entry: entry.head.reason),
            ({"lines": [b"Date: Sat, 21 Nov 2026 16:00:00 GMT"]}, lambda entry: entry.head.known),
        ]
        for change, part in changes:
            measure = Measure()
            for _ in range(3):
                self.settled(measure)
            made = [self.settled(measure, **_copied(change)) for _ in range(4)]
            sizes = [entry.footprint_bytes for entry in made]
            self.assertEqual(sizes[0], sizes[1], change)
            self.assertEqual(sizes[2], sizes[3], change)
            self.assertEqual(sizes[1] - sizes[2], deep_bytes(part(made[0])), change)
            self.assertIs(part(made[1]), part(made[3]), change)
            self.assertEqual(part(made[0]), part(made[3]), change)

    def test_whatIsLongIsNotShared(self) -> None:
        """So that what is remembered stays small; each counts its own."""
        measure = Measure()
        made = [self.settled(measure, tags=(b"x" * 2000, b"%d" % number)) for number in (7, 7, 7, 7)]
        self.assertGreater(made[3].footprint_bytes, self.alone() + 2000)
        self.assertIsNot(made[2].tags, made[3].tags)

    def test_whatIsEqualButOfAnotherKindIsNotShared(self) -> None:
        """No tags, and no fields that are known, are not the same nothing."""
        measure = Measure()
        entry = entry_of(_URL, variant=Variant((b"a",), b"b"), tags=((b"a",), b"b"))  # type: ignore[arg-type]
        for _ in range(4):
            measure.settle(entry)
            self.assertEqual((type(entry.tags), type(entry.head.known)), (tuple, dict))
            self.assertIs(type(entry.variant), Variant)
        entry.tags = ()
        for _ in range(4):
            measure.settle(entry)
            self.assertEqual((entry.tags, entry.head.known), ((), {}))

    def test_aBlockIsCountedOnce(self) -> None:
        """However often it is looked at; and again when the entry is measured anew."""
        measure = Measure()
        entry = [self.settled(measure) for _ in range(3)][-1]
        before = entry.footprint_bytes
        measure.add_block(entry)
        self.assertEqual(entry.footprint_bytes, before)
        entry.head.block = bytes(100)
        for _ in range(2):
            measure.add_block(entry)
            self.assertEqual(entry.footprint_bytes, before + allocated_bytes(bytes(100)))
        measure.settle(entry)  # Now with shared parts.
        self.assertEqual(entry.footprint_bytes, self.alone() + allocated_bytes(bytes(100)))


def _copied(change: dict[str, Any]) -> dict[str, Any]:
    """Return the same in other objects."""
    return {
        name: type(value)(*value)
        if isinstance(value, ResponseDirectives)
        else type(value)(list(value))
        if name in ("tags", "reason")
        else value
        for name, value in change.items()
    }
