"""Servers behind a name: pairs of addresses, and the times between questions."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txproxy.policy.dns_members import (
    MOST_ADDRESSES,
    Member,
    pair_addresses,
    retry_delay_s,
    sorted_addresses,
    ttl_clamped,
)

_V4 = st.lists(st.integers(1, 6).map("10.0.0.{}".format), unique=True).map(tuple)
_V6 = st.lists(st.integers(1, 6).map("fd00::{}".format), unique=True).map(tuple)
_SETS = st.lists(st.tuples(_V4, _V6), min_size=1, max_size=6)


class PairingTests(SynchronousTestCase):
    """One IPv6 and one IPv4 address are one server, as far as both exist."""

    def test_table(self) -> None:
        """What there was, what the answer is, and what servers that makes."""
        for previous, v4, v6, expected in (
            ((), "", "", ()),
            ((), "a b", "", ("a", "b")),
            ((), "", "A B", ("A", "B")),
            ((), "a b", "A B", ("A a", "B b")),
            ((), "a b c", "A", ("A a", "b", "c")),
            ((), "a", "A B C", ("A a", "B", "C")),
            # Another order is no change.
            (("A a", "B b"), "b a", "B A", ("A a", "B b")),
            (("b", "a"), "a b", "", ("b", "a")),
            # What is gone is gone; what is new comes last.
            (("A a", "B b"), "b", "B", ("B b",)),
            (("A a", "B b"), "b c", "B C", ("B b", "C c")),
            (("a", "b"), "a b c", "", ("a", "b", "c")),
            # A pair that lost one of its addresses gets another, if there is one, and keeps its place.
            (("A a", "B b"), "b c", "A B", ("A c", "B b")),
            (("A a", "B b"), "a b", "B", ("a", "B b")),
            (("A a", "B b"), "", "A B", ("A", "B")),
            # One that stood alone is paired as soon as it can be: there are no more servers than before.
            (("a", "b"), "a b", "A", ("A a", "b")),
            (("a", "b"), "a b", "A B", ("A a", "B b")),
        ):
            members = tuple(tuple(member.split()) for member in previous)
            got = pair_addresses(members, tuple(v4.split()), tuple(v6.split()))
            self.assertEqual(got, tuple(tuple(member.split()) for member in expected), (previous, v4, v6))

    @given(_SETS)
    def test_laws(self, sets: list[tuple[tuple[str, ...], tuple[str, ...]]]) -> None:
        """Whatever the answers: each address once, no more servers than the larger family has, IPv6 first."""
        members: tuple[Member, ...] = ()
        for v4, v6 in sets:
            before, members = members, pair_addresses(members, v4, v6)
            self.assertEqual(sorted(address for member in members for address in member), sorted((*v4, *v6)))
            self.assertEqual(len(members), max(len(v4), len(v6)))
            for member in members:
                self.assertEqual(
                    [":" in address for address in member], sorted((":" in a for a in member), reverse=True)
                )
            kept = [member for member in before if len(member) == 2 and set(member) <= {*v4, *v6}]
            self.assertEqual([member for member in members if member in kept], kept)
            self.assertEqual(pair_addresses(members, v4[::-1], v6[::-1]), members)


class SortedAddressesTests(SynchronousTestCase):
    """Addresses are data of strangers."""

    def test_canonical(self) -> None:
        """Each once, in numerical order, whatever the order and the spelling."""
        self.assertEqual(
            sorted_addresses(["10.0.0.10", "10.0.0.9", "fd00:0::2", "FD00::1", "10.0.0.9", "fd00::2"]),
            (("10.0.0.9", "10.0.0.10"), ("fd00::1", "fd00::2")),
        )

    def test_whatNoServerHas(self) -> None:
        """What blocks a name, groups, and what is no address."""
        self.assertEqual(
            sorted_addresses(["0.0.0.0", "::", "224.0.0.1", "ff02::1", "app.test", "", "10.0.0.256"]), ((), ())
        )

    def test_thousands(self) -> None:
        """Of too many the same ones each time."""
        many = [f"10.{high}.0.{low}" for high in range(20) for low in range(1, 101)]
        v4, _ = sorted_addresses(many)
        self.assertEqual((len(v4), v4[0]), (MOST_ADDRESSES, "10.0.0.1"))
        self.assertEqual(sorted_addresses(reversed(many)), (v4, ()))


class TimesTests(SynchronousTestCase):
    """When to ask again."""

    def test_ttl(self) -> None:
        """0, a usual one, and one without end, within the bounds; the lower bound wins."""
        for ttl_s, expected in (
            (0, 1),
            (0.5, 1),
            (1, 1),
            (30, 30),
            (300, 300),
            (301, 300),
            (2.0**31, 300),
            (float("inf"), 300),
        ):
            self.assertEqual(ttl_clamped(ttl_s, 1, 300), expected)
        self.assertEqual(ttl_clamped(5, 10, 2), 10)
        self.assertEqual(ttl_clamped(0, 1e-9, 1e-9), 0.1)

    def test_backOff(self) -> None:
        """1 s, doubled each time, never more than 30 s, after any number of failures."""
        self.assertEqual([retry_delay_s(number) for number in range(1, 8)], [1, 2, 4, 8, 16, 30, 30])
        self.assertEqual(retry_delay_s(10**6), 30)
