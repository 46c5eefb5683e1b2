"""Which certificate a name leads to."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txproxy.policy.certificate_index import CertificateIndex, Entry, asked_name, presented_name


def index(*entries: str | Entry[str]) -> CertificateIndex[str]:
    """Return an index; a text is the names of an entry that holds from 100 to 200, which are its value, too."""
    return CertificateIndex(
        [each if isinstance(each, Entry) else Entry(tuple(each.split()), 100, 200, each) for each in entries]
    )


def found(entry: Entry[str] | None) -> str:
    return "" if entry is None else entry.value


class FindTests(SynchronousTestCase):
    """Exact names, wildcards, and the default."""

    def test_names(self) -> None:
        """T1: an exact name, a wildcard for one label, else the first certificate."""
        certificates = index("a.test www.a.test", "*.b.test", "c.b.test", "10.0.0.1 2001:db8::1", "xn--bcher-kva.test")
        for asked, expected, named in (
            ("a.test", "a.test www.a.test", True),
            ("www.a.test", "a.test www.a.test", True),
            ("WWW.A.Test", "a.test www.a.test", True),
            ("a.test.", "a.test www.a.test", True),
            ("x.b.test", "*.b.test", True),
            ("X.B.TEST.", "*.b.test", True),
            ("xn--bcher-kva.b.test", "*.b.test", True),
            ("c.b.test", "c.b.test", True),
            ("xn--bcher-kva.test", "xn--bcher-kva.test", True),
            ("10.0.0.1", "10.0.0.1 2001:db8::1", True),
            ("2001:db8::1", "10.0.0.1 2001:db8::1", True),
            ("[2001:DB8:0::1]", "10.0.0.1 2001:db8::1", True),
            ("x.c.b.test", "a.test www.a.test", False),
            ("b.test", "a.test www.a.test", False),
            (".b.test", "a.test www.a.test", False),
            ("*.b.test", "a.test www.a.test", False),
            ("x.a.test", "a.test www.a.test", False),
            ("a.test..", "a.test www.a.test", False),
            ("10.0.0.2", "a.test www.a.test", False),
            ("[::x]", "a.test www.a.test", False),
            ("", "a.test www.a.test", False),
            (".", "a.test www.a.test", False),
            ("b\xfccher.test", "a.test www.a.test", False),
        ):
            self.assertEqual(found(certificates.find(asked, 150)), expected, asked)
            self.assertEqual(found(certificates.find_named(asked, 150)), expected if named else "", asked)

    def test_theFirstOfSeveral(self) -> None:
        """Of two certificates for a name the first one listed is found, an exact name before a wildcard listed earlier."""
        certificates = index("*.a.test", "b.a.test x.test", "b.a.test *.a.test y.test")
        for asked, expected in (
            ("b.a.test", "b.a.test x.test"),
            ("c.a.test", "*.a.test"),
            ("y.test", "b.a.test *.a.test y.test"),
        ):
            self.assertEqual(found(certificates.find(asked, 150)), expected, asked)

    def test_whatDoesNotHoldIsNotThere(self) -> None:
        """A certificate is skipped before its time and after it: the next one of the name, the wildcard, the default."""
        certificates = index(
            Entry(("a.test",), 100, 200, "first"),
            Entry(("a.test", "z.test"), 150, 300, "second"),
            Entry(("*.test.example",), 0, 1000, "wildcard"),
            Entry(("a.test.example",), 100, 200, "exact"),
        )
        for now, a, exact, default in (
            (99, "wildcard", "wildcard", "wildcard"),
            (100, "first", "exact", "first"),
            (200, "first", "exact", "first"),
            (201, "second", "wildcard", "second"),
            (300, "second", "wildcard", "second"),
            (301, "wildcard", "wildcard", "wildcard"),
            (1001, "", "", ""),
        ):
            self.assertEqual(found(certificates.find("a.test", now)), a, now)
            self.assertEqual(found(certificates.find("a.test.example", now)), exact, now)
            self.assertEqual(found(certificates.find("", now)), default, now)
        self.assertIsNone(certificates.find_named("a.test", 301))
        self.assertIsNone(certificates.find_named("z.test", 149))

    def test_nothing(self) -> None:
        """An index without certificates finds none; one whose certificate has no names has a default."""
        self.assertIsNone(index().find("a.test", 150))
        self.assertEqual(found(index(Entry((), 100, 200, "x")).find("a.test", 150)), "x")
        self.assertIsNone(index(Entry((), 100, 200, "x")).find_named("", 150))

    def test_holds(self) -> None:
        """Both ends are part of a certificate's time (RFC 5280 section 4.1.2.5)."""
        entry = Entry((), 100, 200, "x")
        self.assertEqual([entry.holds(now) for now in (99.9, 100, 200, 200.1)], [False, True, True, False])


class PresentedNameTests(SynchronousTestCase):
    """Names of certificates, as RFC 9525 section 6.3 lets clients accept them."""

    def test_names(self) -> None:
        """A wildcard is the whole first label and has two labels behind it at least."""
        for text, expected in (
            ("a.test", "a.test"),
            ("A.Test.", "a.test"),
            ("localhost", "localhost"),
            ("_a-b.test", "_a-b.test"),
            ("xn--bcher-kva.test", "xn--bcher-kva.test"),
            ("*.a.test", "*.a.test"),
            ("*.A.B.Test", "*.a.b.test"),
            ("*.test", None),
            ("*.com", None),
            ("*", None),
            ("*.", None),
            ("w*.a.test", None),
            ("*w.a.test", None),
            ("*.*.test", None),
            ("a.*.test", None),
            ("xn--*.a.test", None),
            ("", None),
            (".", None),
            ("a..test", None),
            (".a.test", None),
            ("a b.test", None),
            ("a server", None),
            ("b\xfccher.test", None),
            ("10.0.0.1", None),
            ("*.0.0.1", None),
            ("-a.test", None),
            ("x" * 64 + ".test", None),
            ("x." * 130 + "test", None),
            ("a.test\n", None),
        ):
            self.assertEqual(presented_name(text), expected, text)


LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,6}[a-z0-9])?", fullmatch=True)
NAMES = st.lists(LABELS, min_size=1, max_size=4).map(".".join).filter(lambda name: not name[-1].isdigit())
WILDCARDS = st.lists(LABELS, min_size=2, max_size=3).map(lambda labels: "*." + ".".join(labels))
PRESENTED = (NAMES | WILDCARDS).filter(lambda name: presented_name(name) is not None)
ENTRIES = st.lists(
    st.tuples(st.lists(PRESENTED, max_size=3), st.integers(0, 10), st.integers(0, 10)).map(
        lambda parts: (tuple(parts[0]), min(parts[1:]), max(parts[1:]))
    ),
    max_size=5,
)


def slow_find(entries: list[tuple[tuple[str, ...], int, int]], asked: str, now: int) -> int | None:
    """Return the position of a certificate, by looking at every one of them label by label."""
    holding = [position for position, (_, begins, ends) in enumerate(entries) if begins <= now <= ends]
    labels = asked.split(".")
    for is_wildcard in (False, True):
        for position in holding:
            for name in entries[position][0]:
                own = name.split(".")
                same = own[1:] == labels[1:] and len(own) == len(labels) and bool(labels[0])
                if same and own[0] == ("*" if is_wildcard else labels[0]):
                    return position
    return None


class LawTests(SynchronousTestCase):
    """What holds for any certificates and names."""

    @given(ENTRIES, NAMES, st.integers(0, 10), st.integers(0, 99))
    def test_sameAsLookingAtEachOne(
        self, entries: list[tuple[tuple[str, ...], int, int]], asked: str, now: int, choice: int
    ) -> None:
        """The tables find what a search through all certificates finds, and never one that does not hold."""
        known = [name.replace("*", "x") for names, _, _ in entries for name in names]
        asked = known[choice % len(known)] if known and choice < 80 else asked
        certificates = CertificateIndex([Entry(*entry, position) for position, entry in enumerate(entries)])
        entry = certificates.find_named(asked, now)
        self.assertEqual(None if entry is None else entry.value, slow_find(entries, asked, now))
        default = certificates.find(asked, now)
        if entry is not None:
            self.assertIs(default, entry)
        elif default is not None:
            holding = [position for position, (_, begins, ends) in enumerate(entries) if begins <= now <= ends]
            self.assertEqual(default.value, holding[0])
        for each in (entry, default):
            self.assertTrue(each is None or each.holds(now))

    @given(NAMES)
    def test_caseAndDotDoNotMatter(self, name: str) -> None:
        """A name is the same in any case of letters, with and without the dot of the root."""
        self.assertEqual({asked_name(each) for each in (name, name.upper(), name + ".", name.title() + ".")}, {name})
        self.assertEqual(presented_name(name.upper() + "."), presented_name(name))

    @given(st.text(max_size=30), st.text(max_size=30))
    def test_anyTextPasses(self, presented: str, asked: str) -> None:
        """Whatever a client sends or a certificate holds is no error, and what is presented is found as it is."""
        name = presented_name(presented)
        certificates = index(Entry((name,) if name else (), 0, 1, "x"))
        certificates.find(asked, 0)
        if name is not None:
            self.assertEqual(found(certificates.find_named(name.replace("*", "y"), 0)), "x")
