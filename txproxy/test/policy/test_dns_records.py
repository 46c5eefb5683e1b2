"""Names are followed through the records of an answer."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txproxy.policy.dns_records import Found, Record, follow, ttl_of

FOREVER = float("inf")


def records(*lines: str) -> list[Record]:
    """Return records from lines such as ``a.test A 5 10.0.0.1``."""
    found = []
    for line in lines:
        name, kind, ttl_s, value = line.split()
        found.append(Record(name, kind, int(ttl_s), value))
    return found


class FollowTests(SynchronousTestCase):
    """Addresses, aliases, and what is neither."""

    def test_addresses(self) -> None:
        """All of the name and the kind, each once; the shortest time counts."""
        answer = records(
            "a.test A 60 10.0.0.1",
            "a.test A 5 10.0.0.2",
            "a.test A 60 10.0.0.1",
            "a.test AAAA 1 ::1",
            "b.test A 1 10.0.0.3",
        )
        self.assertEqual(follow(answer, "a.test", "A"), Found(("10.0.0.1", "10.0.0.2"), 5))
        self.assertEqual(follow(answer, "a.test", "AAAA"), Found(("::1",), 1))

    def test_aliases(self) -> None:
        """In any order of the records; an alias that changes soon makes the answer short-lived."""
        answer = records("c.test A 60 10.0.0.1", "b.test CNAME 7 c.test", "a.test CNAME 30 b.test")
        self.assertEqual(follow(answer, "a.test", "A"), Found(("10.0.0.1",), 7))
        self.assertEqual(follow(answer[::-1], "a.test", "A"), Found(("10.0.0.1",), 7))

    def test_nothing(self) -> None:
        """No record of the name, and an alias of something that the answer does not hold."""
        self.assertEqual(follow([], "a.test", "A"), Found())
        self.assertEqual(follow(records("b.test A 1 10.0.0.1"), "a.test", "A"), Found())
        answer = records("a.test CNAME 9 b.test", "b.test AAAA 1 ::1")
        self.assertEqual(follow(answer, "a.test", "A"), Found((), 9, "b.test"))

    def test_loops(self) -> None:
        """Aliases that lead in a circle have an end all the same."""
        self.assertTrue(follow(records("a.test CNAME 1 a.test"), "a.test", "A").is_loop)
        answer = records("a.test CNAME 1 b.test", "b.test CNAME 1 c.test", "c.test CNAME 1 b.test")
        self.assertTrue(follow(answer, "a.test", "A").is_loop)

    def test_addressAndAlias(self) -> None:
        """What must not be, an alias beside an address: the address is taken."""
        answer = records("a.test CNAME 1 b.test", "a.test A 5 10.0.0.1", "b.test A 1 10.0.0.2")
        self.assertEqual(follow(answer, "a.test", "A"), Found(("10.0.0.1",), 5))

    @given(
        st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(("A", "CNAME")), st.just(1), st.sampled_from("abc")))
    )
    def test_anyRecords(self, answer: list[tuple[str, str, int, str]]) -> None:
        """It always ends, with an address, an alias, a loop or nothing."""
        found = follow([Record(*each) for each in answer], "a", "A")
        self.assertTrue(sum((bool(found.addresses), bool(found.alias), found.is_loop)) <= 1)

    def test_ttl(self) -> None:
        """A time of 2^31 or more is none (RFC 2181 section 8)."""
        for number, expected in ((0, 0), (1, 1), (2**31 - 1, 2**31 - 1), (2**31, 0), (2**32 - 1, 0)):
            self.assertEqual(ttl_of(number), expected)
        self.assertEqual(Found().ttl_s, FOREVER)
