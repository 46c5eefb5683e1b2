"""Policies that users write."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txproxy.errors import InternalError
from txproxy.policy.balancing.users import UsersPolicy
from txproxy.policy.candidate import Candidate
from txproxy.test.policy.picking import FACTS, Asker, candidates_of


class UsersPolicyTests(SynchronousTestCase):
    """A function of Python decides."""

    def setUp(self) -> None:
        self.candidates = candidates_of(1, 1, 1)

    def names(self, policy: Any, most: int | None = None) -> str:
        asker = Asker(UsersPolicy("mysite:policy", policy))
        return "".join(each.name for each in asker.order(self.candidates, most=most))

    def assertFails(self, policy: Any, *parts: str) -> None:
        error = self.assertRaises(InternalError, self.names, policy)
        for part in ("mysite:policy", *parts):
            self.assertIn(part, str(error))

    def test_itIsToldEverything(self) -> None:
        """The candidates, the request, the moment, and where chance comes from."""
        seen: list[tuple[Any, ...]] = []

        def policy(*arguments: Any) -> list[Candidate]:
            seen.append(arguments)
            return []

        asker = Asker(UsersPolicy("mysite:policy", policy))
        self.assertEqual(asker.order(self.candidates), [])
        self.assertEqual(seen, [(self.candidates, FACTS, asker.now, asker.random)])

    def test_whatItMayReturn(self) -> None:
        """A list, a generator, one candidate, or nothing; not all need to be named."""

        def generator(candidates: Any, *_: Any) -> Iterator[Candidate]:
            yield candidates[2]
            yield candidates[0]

        self.assertEqual(self.names(generator), "ca")
        self.assertEqual(self.names(lambda candidates, *_: list(candidates[::-1])), "cba")
        self.assertEqual(self.names(lambda candidates, *_: candidates[1]), "b")
        self.assertEqual(self.names(lambda candidates, *_: ()), "")

    def test_repetitionsAreLeftOut(self) -> None:
        """A policy that draws for ever, or names one for ever, ends."""

        def draws(candidates: Any, request: Any, now: float, random: Any) -> Iterator[Candidate]:
            while True:
                yield candidates[int(random() * 3)]

        def insists(candidates: Any, *_: Any) -> Iterator[Candidate]:
            while True:
                yield candidates[1]

        self.assertEqual(sorted(self.names(draws)), ["a", "b", "c"])
        self.assertEqual(self.names(insists), "b")

    def test_itRaises(self) -> None:
        """The error says what and where; also when the first choice is over, and if it is what sys.exit raises."""

        def raises(candidates: Any, *_: Any) -> Iterator[Candidate]:
            raise KeyError("x-tenant")

        def raises_later(candidates: Any, *_: Any) -> Iterator[Candidate]:
            yield candidates[0]
            raise ValueError("no more")

        def leaves(*_: Any) -> None:
            raise SystemExit(3)

        self.assertFails(raises, "KeyError: 'x-tenant'", "test_users.py")
        self.assertEqual(self.names(raises_later, 1), "a")
        self.assertFails(raises_later, "ValueError: no more", "test_users.py")
        self.assertFails(leaves, "SystemExit: 3")

    def test_errorsThatCannotBeShown(self) -> None:
        """An exception whose text raises is told by its class."""

        class Odd(Exception):
            def __str__(self) -> str:
                raise RuntimeError

        def raises(*_: Any) -> None:
            raise Odd

        self.assertFails(raises, "Odd")

    def test_whatIsNoCandidate(self) -> None:
        """A name, another cluster's candidate, what cannot be hashed, nothing that can be iterated: an error of its own."""
        cases: tuple[tuple[Any, str], ...] = (
            (["a"], "not one of the candidates"),
            ([Candidate("a")], "not one of the candidates"),
            (Candidate("a"), "not one of the candidates"),
            ([[]], "not one of the candidates"),
            (3, "TypeError"),
            (None, "TypeError"),
        )
        for wrong, expected in cases:
            self.assertFails(lambda *_, wrong=wrong: wrong, expected)

    def test_leftAfterTheFirst(self) -> None:
        """A generator that is left is closed; what it does then is its own matter."""
        closed = []

        def policy(candidates: Any, *_: Any) -> Iterator[Candidate]:
            try:
                yield from candidates
            finally:
                closed.append(True)

        self.assertEqual(self.names(policy, 1), "a")
        self.assertEqual(closed, [True])

    def test_latency(self) -> None:
        """A policy that wants to know latencies is told."""

        class Policy:
            def __call__(self, candidates: Any, *_: Any) -> Any:
                return candidates

            def observe_latency(self, candidate: Candidate, seconds: float, now: float) -> None:
                candidate.latency_s = seconds

        self.assertIsNotNone(UsersPolicy("mysite:Policy", Policy()).observe_latency)
        self.assertIsNone(UsersPolicy("mysite:policy", lambda *_: ()).observe_latency)
