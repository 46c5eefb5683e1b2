"""A signed cookie keeps a client at its backend."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txproxy.policy.balancing.catalogue import make_policy
from txproxy.policy.facts import RequestFacts
from txproxy.policy.sticky import StickyPolicy
from txproxy.test.policy.picking import Asker, candidates_of, facts_of


def _sticky(balance: str = "round_robin", key: bytes = b"secret", cluster: str = "app") -> StickyPolicy:
    return StickyPolicy(make_policy(balance), "at", key, cluster)


def _with_cookie(value: bytes) -> RequestFacts:
    return facts_of(fields=[(b"Cookie", b"a=b; at=" + value)])


class StickyPolicyTests(SynchronousTestCase):
    """Who is first."""

    def setUp(self) -> None:
        self.sticky = _sticky()
        self.asker = Asker(self.sticky)
        self.candidates = candidates_of(1, 1, 1)

    def test_withoutACookie(self) -> None:
        """The wrapped policy decides."""
        self.assertEqual(self.asker.names(self.candidates, 6), "abcabc")

    def test_theCookiesBackendIsFirst(self) -> None:
        """Again and again (B6); the others come after it, each once, and those who stay take no one's turn."""
        facts = _with_cookie(self.sticky.value_for("b"))
        for _ in range(5):
            order = self.asker.order(self.candidates, facts)
            self.assertEqual(order[0].name, "b")
            self.assertEqual(sorted(each.name for each in order), ["a", "b", "c"])
        for _ in range(5):
            self.asker.first(self.candidates, facts)
        self.assertIs(self.sticky.kept(self.candidates, facts), self.candidates[1])

    def test_itsBackendIsGone(self) -> None:
        """The request is balanced as any other; when the backend is back, so is who still has its cookie."""
        facts = _with_cookie(self.sticky.value_for("b"))
        without = (self.candidates[0], self.candidates[2])
        self.assertEqual("".join(self.asker.first(without, facts).name for _ in range(4)), "acac")
        self.assertIsNone(self.sticky.kept(without, facts))
        self.assertEqual(self.asker.first(self.candidates, facts).name, "b")

    def test_forged(self) -> None:
        """A name, a value cut short or changed, another key's or another cluster's: as if there were no cookie."""
        good = self.sticky.value_for("b")
        others = (_sticky(key=b"other").value_for("b"), _sticky(cluster="api").value_for("b"))
        for value in (b"b", b"", good[:-1], good + b"0", good.upper(), b'"%b"' % good, *others):
            if value != good:
                self.assertIsNone(self.sticky.kept(self.candidates, _with_cookie(value)), value)

    def test_theNamesAreNotRunTogether(self) -> None:
        """Cluster "a" with backend "bc" is not cluster "ab" with backend "c"."""
        self.assertNotEqual(_sticky(cluster="a").value_for("bc"), _sticky(cluster="ab").value_for("c"))

    def test_theValueTellsNothing(self) -> None:
        """32 hex digits, the same in every worker that has the key, and after a restart; a cookie can hold them."""
        value = self.sticky.value_for("10.0.0.1:80")
        self.assertRegex(value, rb"\A[0-9a-f]{32}\Z")
        self.assertEqual(_sticky().value_for("10.0.0.1:80"), value)
        self.assertEqual(len({self.sticky.value_for(f"10.0.0.{number}:80") for number in range(100)}), 100)

    def test_valuesOfThoseWhoAreNotPresent(self) -> None:
        """A backend that was chosen although it is not among the candidates has its value, too."""
        before = self.sticky.value_for("c")
        self.asker.first(self.candidates[:2], _with_cookie(b"x"))
        self.assertEqual(self.sticky.value_for("c"), before)

    def test_whatIsWrapped(self) -> None:
        """Latencies and faults are the wrapped policy's matter."""
        self.assertIsNotNone(_sticky("ewma").observe_latency)
        self.assertIsNone(self.sticky.observe_latency)

    def test_forgedOneBeforeOurs(self) -> None:
        """A cookie of the same name that is not ours does not hide ours."""
        head = _with_cookie(b"forged; at=%b" % self.sticky.value_for("b"))
        self.assertEqual(self.asker.first(self.candidates, head).name, "b")

    @settings(max_examples=100, deadline=None)
    @given(st.binary(max_size=40))
    def test_anyValue(self, value: bytes) -> None:
        """Whatever stands in the cookie, the request is served."""
        found = Counter(each.name for each in self.asker.order(self.candidates, _with_cookie(value)))
        self.assertEqual(found, {"a": 1, "b": 1, "c": 1})
