"""Backends that fail requests are left out for a while, tried by one request, and taken back."""

from __future__ import annotations

from typing import Any

from txproxy.test.talk import GET, OK, POST_5, TalkCase
from txproxy.test.upstream.observing import logged
from txproxy.testing import CLOSE, REFUSE, SILENT, Dialogue, ScriptedBackend

A, B, C, D = "10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80", "10.0.0.4:80"
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
FAST = "passive.ejection_s = 10.0\nretry.tries = 1\nretry.idempotent_tries = 1"


class AskCase(TalkCase):
    """Backends that answer as each test says, and requests one after the other."""

    def ask(self, dialogue: Dialogue, times: int = 1, says: bytes = GET) -> list[int]:
        """Send requests one after the other; return their statuses."""
        client = dialogue.client()
        statuses = []
        for _ in range(times):
            client.says(says)
            dialogue.settle()
            statuses.append(int(client.gets_head().line[9:12]))
            client.gets()
        client.finishes()
        return statuses

    def states(self, dialogue: Dialogue) -> dict[str, str]:
        return {each.name: each.state for each in dialogue.roster.status()}

    def two(self, answer: bytes | str, cluster: str = FAST) -> tuple[Dialogue, ScriptedBackend, ScriptedBackend]:
        """Return a proxy with a backend that answers so, and a good one."""
        dialogue = self.proxy(backends=(A, B), cluster=cluster)
        return dialogue, dialogue.script(A, answer), dialogue.script(B, OK)


class EjectionTests(AskCase):
    """C4: what real requests meet decides, without any check."""

    def test_fiveUnavailable(self) -> None:
        """C4: five 503 in a row; then all go to the other, for 10 s."""
        dialogue, bad, _ = self.two(UNAVAILABLE)
        with logged() as lines:
            self.assertEqual(self.ask(dialogue, 10).count(503), 5)
        self.assertEqual(self.ask(dialogue, 10), [200] * 10)
        self.assertEqual(len(bad.requests), 5)
        self.assertEqual(self.states(dialogue), {A: "ejected", B: "up"})
        self.assertEqual(len(lines), 1)
        self.assertIn(f"backend app {A}: up -> ejected: 5 requests failed, the last: status 503", lines[0])

    def test_fiveRefused(self) -> None:
        """C4: five refused connections; no client notices, for another backend is tried."""
        dialogue, _, _ = self.two(REFUSE, "")
        self.assertEqual(self.ask(dialogue, 20), [200] * 20)
        self.assertEqual(self.states(dialogue)[A], "ejected")

    def test_notFoundIsNoFailure(self) -> None:
        """C4: a 404 is a reply like any other, and ends a row of failures."""
        dialogue, bad, _ = self.two(NOT_FOUND)
        self.ask(dialogue, 20)
        self.assertEqual(self.states(dialogue)[A], "up")
        dialogue, bad, _ = self.two(UNAVAILABLE)
        bad.answers[:] = [UNAVAILABLE, UNAVAILABLE, UNAVAILABLE, UNAVAILABLE, NOT_FOUND] * 4 + [OK]
        self.ask(dialogue, 40)
        self.assertEqual(self.states(dialogue)[A], "up")

    def test_oneTrial(self) -> None:
        """C4: after the ejection one request tries it; while that is under way no other does; then it is back."""
        dialogue, bad, good = self.two(UNAVAILABLE)
        self.ask(dialogue, 10)
        dialogue.advance(10.2)
        self.assertEqual(self.states(dialogue)[A], "trial")
        bad.answers[:] = [SILENT]
        client = dialogue.client()
        client.says(GET)
        self.assertEqual(self.ask(dialogue, 10), [200] * 10)
        self.assertEqual(len(bad.requests), 6)
        bad.peers[-1].says(OK)
        bad.answers[:] = [OK]
        self.assertStatus(client, 200)
        self.assertEqual(self.states(dialogue)[A], "up")
        self.ask(dialogue, 10)
        self.assertEqual(len(bad.requests), 11)

    def test_trialFails(self) -> None:
        """A failed trial ejects it again, for twice as long."""
        dialogue, bad, _ = self.two(UNAVAILABLE)
        self.ask(dialogue, 10)
        dialogue.advance(10.2)
        self.assertEqual(sorted(self.ask(dialogue, 10)), [200] * 9 + [503])
        dialogue.advance(19)
        self.assertEqual(self.states(dialogue)[A], "ejected")
        dialogue.advance(1.2)
        self.assertEqual(self.states(dialogue)[A], "trial")

    def test_trialOfAPostWaits(self) -> None:
        """A request that cannot be repeated is the trial only if no other comes within a second."""
        dialogue, bad, _ = self.two(UNAVAILABLE)
        self.ask(dialogue, 10)
        bad.answers[:] = [OK]
        dialogue.advance(10.2)
        self.ask(dialogue, 3, POST_5)
        self.assertEqual(len(bad.requests), 5)
        dialogue.advance(1)
        self.ask(dialogue, 1, POST_5)
        self.assertEqual(self.states(dialogue)[A], "up")

    def test_neverTheLast(self) -> None:
        """The last backend is never ejected, however it fails."""
        dialogue = self.proxy(backends=(A,), cluster=FAST)
        dialogue.script(A, UNAVAILABLE)
        self.assertEqual(self.ask(dialogue, 20), [503] * 20)
        self.assertEqual(self.states(dialogue), {A: "up"})

    def test_halfAtMost(self) -> None:
        """Of four backends that all fail, two are ejected."""
        dialogue = self.proxy(backends=(A, B, C, D), cluster=FAST)
        for address in (A, B, C, D):
            dialogue.script(address, UNAVAILABLE)
        self.ask(dialogue, 100)
        self.assertEqual(sorted(self.states(dialogue).values()), ["ejected", "ejected", "up", "up"])

    def test_slowStart(self) -> None:
        """After its return its share grows over slow_start_s; the first request is not held up."""
        dialogue, bad, good = self.two(UNAVAILABLE, FAST + "\nslow_start_s = 20.0")
        self.ask(dialogue, 10)
        bad.answers[:] = [OK]
        dialogue.advance(10.2)
        self.ask(dialogue, 1)
        self.assertEqual(self.states(dialogue)[A], "up")
        seen = len(bad.requests)
        self.ask(dialogue, 110)
        self.assertLessEqual(len(bad.requests) - seen, 12)
        dialogue.advance(10)
        seen = len(bad.requests)
        self.ask(dialogue, 90)
        self.assertTrue(25 <= len(bad.requests) - seen <= 32, len(bad.requests) - seen)
        dialogue.advance(10.5)
        seen = len(bad.requests)
        self.ask(dialogue, 100)
        self.assertEqual(len(bad.requests) - seen, 50)

    def test_theBackendsIdleConnectionsAreClosed(self) -> None:
        """D14: connections to a backend that was ejected are closed, and those of its requests after them."""
        dialogue, bad, _ = self.two(UNAVAILABLE)
        self.ask(dialogue, 10)
        self.assertEqual([peer.is_open for peer in bad.peers], [False])

    def test_whatWaitsForItGoesElsewhere(self) -> None:
        """Requests that wait for a connection to a backend that is ejected are served by another."""
        dialogue = self.proxy(
            backends=(A, B), cluster="retry.idempotent_tries = 1\npool.max_connections = 1\npassive.failures = 1"
        )
        clients = [dialogue.client() for _ in range(4)]
        for client in clients:
            client.says(POST_5)
        first, second = dialogue.backend(A), dialogue.backend(B)
        first.says(UNAVAILABLE)
        for _ in range(3):
            second.says(OK)
        self.assertEqual(sorted(int(client.gets_head().line[9:12]) for client in clients), [200, 200, 200, 503])

    def test_trialOnAFullPool(self) -> None:
        """A trial that hangs holds its only connection: there is no other one before it is free, and nobody gets 503."""
        cluster = 'pool.max_connections = 1\npool.when_full = "refuse"\npassive.failures = 1\npassive.ejection_s = 5.0'
        dialogue, bad, _ = self.two(UNAVAILABLE, cluster)
        self.ask(dialogue, 2)
        bad.answers[:] = [SILENT]
        dialogue.advance(5.2)
        trial = dialogue.client()
        trial.says(GET)
        self.assertEqual(len(bad.requests), 2)
        dialogue.advance(5.2)
        self.assertEqual(self.ask(dialogue, 3), [200] * 3)
        trial.resets()

    def test_repliesThatAreCut(self) -> None:
        """A good head is no success of a backend that cuts the bodies: five cuts in a row eject it."""
        dialogue = self.proxy(backends=(A, B))
        dialogue.script(B, OK)
        bad = dialogue.script(A, b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
        for _ in range(10):
            client = dialogue.client()
            client.says(GET)
            for peer in bad.peers:
                if peer.is_open:
                    peer.finishes()
            client.resets()
        self.assertEqual((self.states(dialogue)[A], len(bad.requests)), ("ejected", 5))

    def test_repliesThatAreBroken(self) -> None:
        """The same of bodies that are malformed, and of bad statuses with a body that is cut: one failure each."""
        for answer in (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"HTTP/1.1 503 Service Unavailable\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        ):
            dialogue, bad, _ = self.two(answer)
            for _ in range(20):
                client = dialogue.client()
                client.says(GET)
                if client.is_open:
                    client.resets()
            self.assertEqual((self.states(dialogue)[A], len(bad.requests)), ("ejected", 5))

    def test_aWholeReplyEndsTheRowOfCuts(self) -> None:
        """A reply that came whole is a success, be it the body that was cut before."""
        dialogue = self.proxy(backends=(A, B))
        dialogue.script(B, OK)
        bad = dialogue.script(A, b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc", OK)
        client = dialogue.client()
        client.says(GET)
        bad.peers[0].finishes()
        self.assertEqual(dialogue.roster.status()[0].failures, 1)
        self.ask(dialogue, 4)
        self.assertEqual(dialogue.roster.status()[0].failures, 0)


class PanicTests(AskCase):
    """All are down: try in the order of their failures, or refuse."""

    def checked(self, extra: str) -> Dialogue:
        dialogue = self.proxy(backends=(A, B), cluster=f"health = {{ initial = 'down', interval_s = 1000 }}\n{extra}")
        dialogue.refuse(A)
        dialogue.refuse(B)
        return dialogue

    def test_panic(self) -> None:
        """R13, panic = true: the backends are tried all the same, and a good reply is passed on."""
        dialogue = self.checked("")
        dialogue.script(A, OK)
        dialogue.script(B, OK)
        self.assertEqual(self.ask(dialogue), [200])

    def test_panicFails(self) -> None:
        """D6: all refuse: 502, not 503, and both were tried."""
        dialogue = self.checked("")
        dialogue.script(A, REFUSE)
        dialogue.script(B, REFUSE)
        self.assertEqual(self.ask(dialogue), [502])
        self.assertEqual(sorted(dialogue.lines[-1]["backend"].split(",")), [A, B])

    def test_noPanic(self) -> None:
        """D6, R13: panic = false: 503 with Retry-After, and no backend is bothered."""
        dialogue = self.checked("panic = false")
        client = dialogue.client()
        client.says(GET)
        got = client.gets_head()
        self.assertEqual(got.line[9:12], b"503")
        self.assertEqual(got.get(b"Retry-After"), b"5")
        self.assertEqual(dialogue.attempts, [])
        self.assertEnd(dialogue, "no-backend", 503)

    def test_order(self) -> None:
        """The one that failed last is asked first, backups last; what an operator has taken out is not asked at all."""
        backup, gone = f"{{ address = '{C}', backup = true }}", D
        dialogue = self.proxy(
            backends=(A, B, backup, gone),
            cluster="retry.tries = 4\nhealth = { initial = 'down', interval_s = 1.0, jitter = 0.0, timeout_s = 0.5 }",
        )
        for address in (A, B, C, D):
            dialogue.script(address, REFUSE)
        dialogue.advance(3)
        dialogue.roster.maintain(D)
        failed_at = {each.name: each.health.last_failure_at for each in dialogue.assembled.clusters["app"].backends}
        self.assertEqual(self.ask(dialogue), [502])
        expected = [*sorted((A, B), key=lambda name: -failed_at[name]), C]
        self.assertEqual(dialogue.lines[-1]["backend"].split(","), expected)

    def test_fullPool(self) -> None:
        """The one that comes first has no connection to spare: the next, though all are down."""
        dialogue = self.checked('pool.max_connections = 1\npool.when_full = "refuse"')
        first, second = dialogue.script(A, SILENT), dialogue.script(B, SILENT)
        clients = [dialogue.client() for _ in range(2)]
        for client in clients:
            client.says(GET)
        self.assertEqual((len(first.requests), len(second.requests)), (1, 1))
        for client in clients:
            client.resets()

    def test_whatIsSaid(self) -> None:
        """The line says what becomes of requests: those that an operator has taken out are not tried."""
        dialogue = self.proxy(backends=(A,))
        with logged() as lines:
            dialogue.roster.drain(A)
        self.assertIn("cluster app: no backend is up; requests are refused", lines)

    def test_saidOnce(self) -> None:
        """One line says that the cluster has no backend any more."""
        with logged() as lines:
            self.checked("")
        self.assertEqual(sum("no backend is up" in line for line in lines), 1)


class BreakerTests(AskCase):
    """The circuit breaker of a cluster."""

    CLUSTER = FAST + "\npassive.failures = 1000\nbreaker.error_rate = 0.5\nbreaker.open_s = 5.0"

    def test_opens(self) -> None:
        """Half of ten requests have failed: 503 with Retry-After at once, and the backends are left alone."""
        dialogue, bad, _ = self.two(UNAVAILABLE, self.CLUSTER)
        with logged() as lines:
            self.ask(dialogue, 10)
            seen = len(bad.requests)
            self.assertEqual(self.ask(dialogue, 5), [503] * 5)
        self.assertEqual(len(bad.requests), seen)
        self.assertEnd(dialogue, "no-backend", 503)
        self.assertEqual(sum("circuit breaker of app: closed -> open" in line for line in lines), 1)

    def test_halfOpen(self) -> None:
        """After open_s one request is let through; if it is well, all are."""
        dialogue, bad, _ = self.two(UNAVAILABLE, self.CLUSTER)
        self.ask(dialogue, 10)
        bad.answers[:] = [OK]
        dialogue.advance(5.2)
        self.assertEqual(self.ask(dialogue, 5), [200] * 5)

    def test_halfOpenIsNotForATrial(self) -> None:
        """Its one request goes to a backend that is well, not to one that is on trial itself."""
        dialogue = self.proxy(backends=(A, B), cluster="breaker.error_rate = 0.5")
        dialogue.script(A, UNAVAILABLE)
        dialogue.script(B, OK)
        self.ask(dialogue, 10)
        dialogue.advance(10.3)
        self.assertEqual(self.states(dialogue)[A], "trial")
        self.assertEqual(self.ask(dialogue, 1), [200])
        self.assertEqual(repr(dialogue.assembled.clusters["app"].breaker)[:15], "<Breaker closed")

    def test_halfOpenAndOnTrial(self) -> None:
        """The only backend that may serve is on trial while the breaker is half-open: one request is both trials."""
        settings = (
            "panic = false\npassive.ejection_s = 5.0\nretry.tries = 1\nbreaker.error_rate = 0.5\nbreaker.open_s = 5.0"
        )
        dialogue = self.proxy(backends=(A, B), cluster=settings)
        answers = [dialogue.script(address, UNAVAILABLE).answers for address in (A, B)]
        self.ask(dialogue, 12)
        self.assertEqual(sorted(self.states(dialogue).values()), ["ejected", "up"])
        dialogue.roster.drain(next(name for name, state in self.states(dialogue).items() if state == "up"))
        for each in answers:
            each[:] = [OK]
        dialogue.advance(6)
        self.assertEqual(self.ask(dialogue, 3), [200] * 3)

    def test_trialThatCameToNoBackend(self) -> None:
        """A request that was let in and then refused for want of a backend is no trial: the next one may be."""
        settings = "panic = false\nretry.tries = 1\nbreaker.error_rate = 0.5\npassive.failures = 1000"
        dialogue = self.proxy(backends=(A,), cluster=settings)
        backend = dialogue.script(A, UNAVAILABLE)
        self.ask(dialogue, 10)
        dialogue.roster.drain(A)
        backend.answers[:] = [OK]
        dialogue.advance(10.3)
        self.assertEqual(self.ask(dialogue, 1), [503])
        dialogue.roster.serve(A)
        self.assertEqual(self.ask(dialogue, 1), [200])

    def test_requestsFromBefore(self) -> None:
        """A request that was let in before it opened, and is sent again while it is half-open, is not its trial."""
        settings = "breaker.error_rate = 0.5\nbreaker.open_s = 1.0\npassive.failures = 1000"
        back_off = "retry.backoff_min_ms = 1500.0\nretry.backoff_max_ms = 1500.0"
        dialogue = self.proxy(backends=(A, B), cluster=f"{settings}\n{back_off}")
        bad = dialogue.script(A, CLOSE)
        dialogue.script(B, UNAVAILABLE)
        old = dialogue.client()
        old.says(GET)
        self.assertEqual(len(bad.requests), 1)
        bad.answers[:] = [UNAVAILABLE]
        self.ask(dialogue, 10)
        breaker: Any = dialogue.assembled.clusters["app"].breaker
        self.assertEqual(breaker.state, "open")
        dialogue.advance(1.3)
        self.assertEqual(breaker.state, "half-open")
        dialogue.advance(0.4)
        self.assertStatus(old, 503)
        self.assertEqual(breaker.state, "half-open")

    def test_repliesThatAreCut(self) -> None:
        """A request whose reply is cut is one failure, not a success and a failure."""
        settings = "breaker.error_rate = 1.0\npassive.failures = 1000"
        dialogue = self.proxy(backends=(A,), cluster=settings)
        dialogue.script(A, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
        with logged() as lines:
            for _ in range(10):
                client = dialogue.client()
                client.says(GET)
        self.assertIn("circuit breaker of app: closed -> open: 10 of 10 requests failed", lines)

    def test_refusedOnesGiveNoBudget(self) -> None:
        """Requests that are refused are no requests of which a part may be sent again."""
        dialogue, _, _ = self.two(UNAVAILABLE, self.CLUSTER)
        self.ask(dialogue, 10)
        before = dialogue.assembled.clusters["app"].requests
        self.ask(dialogue, 50)
        self.assertEqual(dialogue.assembled.clusters["app"].requests, before)

    def test_tooManyPending(self) -> None:
        """breaker.max_pending: more than so many at once are refused."""
        dialogue = self.proxy(cluster="breaker.max_pending = 2")
        backend = dialogue.script("10.0.0.1:80", SILENT)
        clients = [dialogue.client() for _ in range(3)]
        for client in clients:
            client.says(GET)
        self.assertStatus(clients[2], 503)
        self.assertEqual(len(backend.requests), 2)
        for peer in backend.peers:
            peer.says(OK)
        for client in clients[:2]:
            self.assertStatus(client, 200)
