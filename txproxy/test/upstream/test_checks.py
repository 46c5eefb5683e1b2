"""Checks of backends and what they lead to, with fakes for the sockets."""

from __future__ import annotations

from txproxy.test.talk import GET, OK, TalkCase, reply
from txproxy.test.upstream.observing import logged
from txproxy.testing import REFUSE, SILENT, Dialogue

A, B = "10.0.0.1:80", "10.0.0.2:80"
BAD = reply(b"", status=b"500 Internal Server Error")
EVERY_SECOND = "interval_s = 1.0, jitter = 0.0, timeout_s = 0.5"


class CheckCase(TalkCase):
    """Backends that answer checks and requests alike as each test says."""

    def states(self, dialogue: Dialogue) -> dict[str, str]:
        return {each.name: each.state for each in dialogue.roster.status()}

    def checked(self, health: str = EVERY_SECOND, backends: tuple[str, ...] = (A, B), cluster: str = "") -> Dialogue:
        return self.proxy(backends=backends, cluster=f"health = {{ {health} }}\n{cluster}")


class CheckTests(CheckCase):
    """C1, C7: checks take backends down and bring them back."""

    def test_downAndUp(self) -> None:
        """C1: three bad replies in a row take it down, two good ones bring it up; each is one line of the log (C7)."""
        dialogue = self.checked()
        backend = dialogue.script(A, OK)
        other = dialogue.script(B, OK)
        dialogue.settle()
        self.assertEqual(self.states(dialogue), {A: "up", B: "up"})
        with logged() as lines:
            backend.answers[:] = [BAD]
            dialogue.advance(4.2)
            self.assertEqual(self.states(dialogue), {A: "down", B: "up"})
            seen = len(other.requests)
            client = dialogue.client()
            for _ in range(4):
                client.says(GET)
                self.assertStatus(client, 200)
            self.assertEqual(len(other.requests) - seen, 4)
            backend.answers[:] = [OK]
            dialogue.advance(2.3)
        self.assertEqual(self.states(dialogue), {A: "up", B: "up"})
        lines = [line for line in lines if line.startswith("backend ")]
        self.assertEqual(
            lines,
            [
                f"backend app {A}: up -> down: 3 checks failed, the last: status 500",
                f"backend app {A}: down -> up: 2 checks passed",
            ],
        )

    def test_whatACheckSays(self) -> None:
        """C1: path, Host and headers as set, and a connection of its own that is closed after it."""
        health = EVERY_SECOND + ', path = "/h?deep=1", host = "health.example", headers = { X-Check = "1" }'
        dialogue = self.checked(health, (A,))
        backend = dialogue.script(A, OK)
        dialogue.settle()
        head = backend.requests[0].head
        self.assertEqual(head.line, b"GET /h?deep=1 HTTP/1.1")
        self.assertEqual((head.get(b"Host"), head.get(b"X-Check")), (b"health.example", b"1"))
        self.assertFalse(backend.peers[0].is_open)
        self.assertEqual(repr(dialogue.pool), "<Pool 0 idle, 0 leased, 0 connecting, 0 waiting>")

    def test_status(self) -> None:
        """C7: the state of each backend, since when, why, and the last check."""
        dialogue = self.checked(backends=(A,))
        backend = dialogue.script(A, OK)
        dialogue.settle()
        (status,) = dialogue.roster.status()
        self.assertEqual((status.state, status.last_error, status.last_check.passed), ("up", "", True))
        up_since = status.since_s
        backend.answers[:] = [BAD]
        dialogue.advance(5)
        (status,) = dialogue.roster.status()
        self.assertEqual((status.state, status.last_error), ("down", "status 500"))
        self.assertTrue(up_since + 2 < status.since_s <= up_since + 5)
        self.assertEqual(status.last_check[1:3], (False, "status 500"))
        self.assertEqual(dict(dialogue.assembled.clusters["app"].transitions), {(A, "up"): 1, (A, "down"): 1})

    def test_initialDown(self) -> None:
        """initial = "down": nothing goes to it before it has passed."""
        dialogue = self.checked(EVERY_SECOND + ', initial = "down"')
        self.assertEqual(set(self.states(dialogue).values()), {"down"})
        dialogue.script(A, OK)
        dialogue.script(B, REFUSE)
        dialogue.advance(2.2)
        self.assertEqual(self.states(dialogue), {A: "up", B: "down"})

    def test_idleConnectionsAreClosed(self) -> None:
        """D14: those to a backend that went down are closed at once; what is in flight completes."""
        dialogue = self.checked(EVERY_SECOND + ', path = "/up"', (A, B))
        backend = dialogue.script(A, OK)
        dialogue.script(B, OK)
        dialogue.settle()
        client, slow = dialogue.client(), dialogue.client()
        for _ in range(4):
            client.says(GET)
            self.assertStatus(client, 200)
        (kept,) = [peer for peer in backend.peers if peer.is_open]
        backend.answers[:] = [SILENT]
        slow.says(GET)
        self.assertEqual(dialogue.roster.status()[0].active, 1)
        dialogue.advance(5)
        self.assertEqual(self.states(dialogue)[A], "down")
        self.assertEqual(dialogue.pool.idle, [])
        kept.says(OK)
        self.assertStatus(slow, 200)
        self.assertFalse(kept.is_open)

    def test_riseEndsAnEjection(self) -> None:
        """Two passed checks bring an ejected backend back, long before its time."""
        dialogue = self.checked(EVERY_SECOND + ', path = "/up"', (A, B), "passive.failures = 1")
        dialogue.script(B, OK)
        unavailable = reply(b"", status=b"503 Service Unavailable")
        dialogue.script(A, lambda request: OK if b"/up" in request.head.line else unavailable)
        dialogue.settle()
        client = dialogue.client()
        for _ in range(2):
            client.says(GET)
        self.assertEqual(self.states(dialogue)[A], "ejected")
        dialogue.advance(2.2)
        self.assertEqual(self.states(dialogue)[A], "up")


class NeedTests(CheckCase):
    """All are down, and requests wait for one that will not answer."""

    def test_movedWhenOneIsUp(self) -> None:
        """A backend comes up: what waits at others that are down goes there."""
        dialogue = self.checked(EVERY_SECOND + ", fall = 1, rise = 1", cluster="pool.connect_timeout_s = 30.0")
        dialogue.advance(2)
        self.assertEqual(self.states(dialogue), {A: "down", B: "down"})
        clients = [dialogue.client() for _ in range(3)]
        for client in clients:
            client.says(GET)
        dialogue.script(B, OK)
        dialogue.advance(2)
        for client in clients:
            self.assertStatus(client, 200)


class WaitingTests(CheckCase):
    """Nothing is known of any backend yet: requests wait."""

    def test_untilOneIsUp(self) -> None:
        """A request that comes before the first check has ended is served when it has."""
        dialogue = self.checked("timeout_s = 2.0", (A,))
        client = dialogue.client()
        client.says(GET)
        self.assertEqual(client.gets(), b"")
        dialogue.backend(A).says(OK)
        dialogue.backend(A).says(OK)
        self.assertStatus(client, 200)

    def test_untilAllAreDown(self) -> None:
        """The first check fails: panic tries it all the same; without panic it is 503 at once."""
        for panic, status in (("true", 502), ("false", 503)):
            dialogue = self.checked("timeout_s = 2.0", (A,), f"panic = {panic}")
            client = dialogue.client()
            client.says(GET)
            dialogue.refuse(A)
            dialogue.script(A, REFUSE)
            self.assertStatus(client, status)

    def test_queueTimeout(self) -> None:
        """A check that does not end: after queue_timeout_s it is tried all the same, or 503."""
        for panic, status in (("true", 200), ("false", 503)):
            dialogue = self.checked("timeout_s = 30.0", (A,), f"panic = {panic}\npool.queue_timeout_s = 3.0")
            client = dialogue.client()
            client.says(GET)
            check = dialogue.backend(A)
            dialogue.advance(2.8)
            self.assertEqual(client.gets(), b"")
            dialogue.script(A, OK)
            dialogue.advance(0.4)
            self.assertStatus(client, status)
            check.says(OK)

    def test_backupsAreNotInNeedYet(self) -> None:
        """A backup whose check ends first gets nothing: the first tier may be up as well. If that takes long, it does."""
        backup = f"{{ address = '{B}', backup = true }}"
        for waits_s, address in ((1, A), (3.2, B)):
            dialogue = self.checked("timeout_s = 30.0", (A, backup), "pool.queue_timeout_s = 3.0")
            dialogue.backend(B).says(OK)
            client = dialogue.client()
            client.says(GET)
            check = dialogue.backend(A)
            dialogue.script(B, OK)
            dialogue.advance(waits_s)
            dialogue.script(A, OK)
            check.says(OK)
            self.assertStatus(client, 200)
            self.assertEqual(dialogue.lines[-1]["backend"], address)

    def test_clientLeaves(self) -> None:
        """A client that leaves meanwhile is forgotten."""
        dialogue = self.checked("timeout_s = 2.0", (A,))
        client = dialogue.client()
        client.says(GET)
        client.resets()
        dialogue.backend(A).says(OK)
        self.assertEqual(dialogue.attempts, [])
        self.assertEnd(dialogue, "client-left", 499)

    def test_tooManyWait(self) -> None:
        """As many wait as the pool's queue takes; one more gets 503."""
        dialogue = self.checked("timeout_s = 2.0", (A,), "pool.queue = 2")
        clients = [dialogue.client() for _ in range(3)]
        for client in clients:
            client.says(GET)
        self.assertStatus(clients[2], 503)
        self.assertEnd(dialogue, "queue-full")
        dialogue.backend(A).says(OK)
        dialogue.script(A, OK)
        for _ in range(2):
            if dialogue.attempts:
                dialogue.backend(A).says(OK)
        for client in clients[:2]:
            self.assertStatus(client, 200)

    def test_oneIsKnown(self) -> None:
        """One backend that is up is enough: nobody waits for the other's check."""
        dialogue = self.checked("timeout_s = 2.0", (A, B))
        dialogue.backend(A).says(OK)
        client = dialogue.client()
        client.says(GET)
        dialogue.backend(A).says(OK)
        self.assertStatus(client, 200)
