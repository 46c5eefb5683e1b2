"""Which of the entries of one key answers a request (RFC 9111 section 4.1)."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txproxy.cache.entry import PLAIN, Entry, Variant
from txproxy.cache.variants import MOST_VARIANTS, Variants, chosen, displaced_by, members_of, without
from txproxy.test.cache.entries import entry_of, language_of, request_of

_LANGUAGE = (b"accept-language",)
_BOTH = (b"accept", b"accept-language")


def _variant(value: bytes | None, names: tuple[bytes, ...] = _LANGUAGE) -> Entry:
    return entry_of(b"http://a/", variant=PLAIN if value is None else Variant(names, value))


class ChosenTests(SynchronousTestCase):
    """One of several, or none."""

    def test_theOneThatAnswers(self) -> None:
        """Each row: what is stored, what is asked for, which one it is."""
        for stored, asked, expected in (
            ([None], b"en", 0),
            ([b"en"], b"en", 0),
            ([b"en"], b"fr", None),
            ([b"fr", b"en"], b"en", 1),
            ([b"fr", b"en"], b"fr", 0),
            ([b"fr", b"en"], b"de", None),
        ):
            entries = tuple(map(_variant, stored))
            found = chosen(entries if len(entries) > 1 else entries[0], request_of(accept_language=asked), language_of)
            self.assertIs(found, None if expected is None else entries[expected], (stored, asked))

    def test_aFieldThatIsAbsent(self) -> None:
        """It answers only where it is absent too."""
        entry = _variant(b"-")
        self.assertIs(chosen(entry, request_of(), language_of), entry)
        self.assertIsNone(chosen(entry, request_of(accept_language=b"en"), language_of))


class MembersTests(SynchronousTestCase):
    """None, one, several."""

    def test_allOfThem(self) -> None:
        """As a tuple."""
        one, two, three = (_variant(value) for value in (b"1", b"2", b"3"))
        cases: list[tuple[Variants | None, tuple[Entry, ...]]] = [
            (None, ()),
            (one, (one,)),
            ((one, two), (one, two)),
        ]
        for found, expected in cases:
            self.assertEqual(members_of(found), expected)
        removals: list[tuple[Variants, Entry, Variants | None]] = [
            (one, one, None),
            ((one, two), one, two),
            ((one, two), two, one),
            ((one, two, three), two, (one, three)),
            ((one, two), three, (one, two)),
        ]
        for all_of_them, gone, left in removals:
            self.assertEqual(without(all_of_them, gone), left)


class DisplacedTests(SynchronousTestCase):
    """What goes for a new one."""

    def test_whatANewOneReplaces(self) -> None:
        """Each row: what is stored, what comes, what it replaces."""
        for stored, names, value, expected in (
            ([], _LANGUAGE, b"en", []),
            # The same variant.
            ([b"en"], _LANGUAGE, b"en", [0]),
            ([b"fr", b"en"], _LANGUAGE, b"en", [1]),
            # Another one.
            ([b"en"], _LANGUAGE, b"fr", []),
            # Without Vary, before or now.
            ([None], (), b"", [0]),
            ([None], _LANGUAGE, b"en", [0]),
            ([b"fr", b"en"], (), b"", [0, 1]),
            # By other fields: what is known of it no longer says whom it answers.
            ([b"fr", b"en"], _BOTH, b"en", [0, 1]),
        ):
            members = tuple(map(_variant, stored))
            entry = _variant(value, names) if names else _variant(None)
            self.assertEqual(displaced_by(entry, members), ([members[at] for at in expected], []), (stored, names))

    def test_tooManyVariants(self) -> None:
        """The one that was found least often goes; of those the oldest. What is replaced makes room as well."""
        members = tuple(_variant(b"%d" % number) for number in range(MOST_VARIANTS))
        self.assertEqual(displaced_by(_variant(b"new"), members[1:]), ([], []))
        self.assertEqual(displaced_by(_variant(b"new"), members), ([], [members[-1]]))
        self.assertEqual(displaced_by(_variant(b"5"), members), ([members[5]], []))
        for member in members:
            member.hits = 2
        for number in (10, 20):
            members[number].hits = 1
        self.assertEqual(displaced_by(_variant(b"new"), members), ([], [members[20]]))
