"""A cluster of one process and what it shares with those of others."""

from __future__ import annotations

from txproxy.observe.log import set_level, set_prefix
from txproxy.test.talk import GET, OK
from txproxy.test.upstream.observing import logged
from txproxy.test.upstream.test_run_time import A, B, C, RunTimeCase
from txproxy.testing import Dialogue

CHECKS = "health = { interval_s = 1.0, timeout_s = 0.5 }"


class ToldTests(RunTimeCase):
    """Verdicts in both directions."""

    def hearing(self, dialogue: Dialogue) -> list[tuple[str, str, str]]:
        """Return what is told to others, from here on."""
        told: list[tuple[str, str, str]] = []
        dialogue.roster.cluster.on_transition = lambda backend, transition: told.append(
            (backend.name, transition.before, transition.after)
        )
        return told

    def unknown(self, dialogue: Dialogue, *names: str) -> None:
        """Have backends looked at anew, as at the start."""
        for name in names:
            dialogue.roster.maintain(name)
            dialogue.roster.serve(name)
            self.assertEqual(self.states(dialogue)[name], "checking")

    def test_tells(self) -> None:
        """What is found out here is told, once each."""
        dialogue = self.scripted(self.proxy(backends=(A, B), cluster=CHECKS))
        dialogue.advance(1)
        self.unknown(dialogue, A, B)
        told = self.hearing(dialogue)
        dialogue.advance(2)
        self.assertEqual(sorted(told), [(A, "checking", "up"), (B, "checking", "up")])

    def test_doesAsItIsTold(self) -> None:
        """One that is down elsewhere gets no requests here; that is not told again, nor counted or said aloud."""
        dialogue = self.scripted(self.proxy(backends=(A, B), cluster=CHECKS))
        dialogue.advance(1)
        told = self.hearing(dialogue)
        before = dict(dialogue.roster.cluster.transitions)
        with logged() as lines:
            dialogue.roster.told(A, "down", "refused", 1)
        self.assertEqual((told, lines), ([], []))
        self.assertEqual(dialogue.roster.cluster.transitions, before)
        self.assertEqual(self.served(dialogue, 4), {B: 4})
        dialogue.roster.told(A, "up", "2 checks passed", 1)
        self.assertEqual(self.served(dialogue, 4), {A: 2, B: 2})
        dialogue.roster.told("10.9.9.9:80", "down", "who?", 1)

    def test_whoWaitsIsServed(self) -> None:
        """A request that waits for the first check goes on when another process has made it."""
        dialogue = self.proxy(backends=(A,), cluster=CHECKS)
        dialogue.script(A, OK)
        dialogue.roster.set_checking(False)
        dialogue.advance(1)
        self.unknown(dialogue, A)
        client = dialogue.client()
        client.says(GET)
        dialogue.advance(1)
        self.assertEqual(client.gets(), b"")
        dialogue.roster.told(A, "up", "the first check passed", 1)
        dialogue.settle()
        self.assertStatus(client, 200)

    def test_neverTheLast(self) -> None:
        """Two processes may have ejected a backend each: the last one that serves here stays."""
        dialogue = self.scripted(self.proxy(backends=(A, B)))
        dialogue.roster.told(A, "ejected", "5 requests failed", 1)
        dialogue.roster.told(B, "ejected", "5 requests failed", 1)
        self.assertEqual(self.states(dialogue), {A: "ejected", B: "up"})

    def test_checksElsewhere(self) -> None:
        """Who leaves checking to others asks nobody; from its order on it does, all at once."""
        dialogue = self.proxy(backends=(A, B, C), cluster=CHECKS)
        self.scripted(dialogue)
        dialogue.roster.set_checking(False)
        self.unknown(dialogue, A, B, C)
        dialogue.advance(5)
        self.assertEqual(set(self.states(dialogue).values()), {"checking"})
        dialogue.roster.set_checking(True)
        dialogue.advance(0.5)
        self.assertEqual(set(self.states(dialogue).values()), {"up"})

    def test_ordersAreSaidOnce(self) -> None:
        """An order, and the end of an ejection, come to all processes: the one that checks logs and counts them."""
        for checks, expected in ((True, {(A, "draining"): 1, (A, "up"): 1, (A, "trial"): 1}), (False, {})):
            dialogue = self.scripted(self.proxy(backends=(A, B)))
            dialogue.roster.set_checking(checks)
            with logged() as lines:
                dialogue.roster.drain(A)
                self.assertEqual(self.states(dialogue)[A], "draining")
                dialogue.roster.serve(A)
                dialogue.roster.told(A, "ejected", "5 requests failed", 1)
                dialogue.advance(60)
            self.assertEqual(self.states(dialogue)[A], "trial")
            self.assertEqual((dict(dialogue.roster.cluster.transitions), len(lines)), (expected, len(expected)))


class PrefixTests(RunTimeCase):
    """One log of several processes."""

    def test_prefix(self) -> None:
        """Each line begins with who says it, whatever characters that has, and levels are as before."""
        dialogue = self.scripted(self.proxy(backends=(A,)))
        set_prefix("worker {1}: ")
        self.addCleanup(set_prefix, "")
        self.addCleanup(set_level, "info")
        set_level("info")
        with logged() as lines:
            dialogue.roster.drain(A)
        self.assertTrue(all(line.startswith("worker {1}: ") for line in lines), lines)
        self.assertIn(f"worker {{1}}: backend app {A}: up -> draining: drained by order", lines)
