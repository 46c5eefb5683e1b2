"""Backends that come, go and change while the proxy serves: by the operator's calls, and by the DNS."""

from __future__ import annotations

from collections import Counter

from txproxy.test.talk import GET, OK, POST_5, TalkCase
from txproxy.test.upstream.observing import logged
from txproxy.testing import CLOSE, SILENT, Dialogue, site
from txproxy.testing.names import FakeResolver

A, B, C = "10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"


class RunTimeCase(TalkCase):
    """Requests one after the other, and which backend had how many of them."""

    def served(self, dialogue: Dialogue, count: int) -> Counter[str]:
        """Send requests; return how many each backend answered."""
        client = dialogue.client()
        before = len(dialogue.lines)
        for _ in range(count):
            client.says(GET)
            self.assertStatus(client, 200)
        client.finishes()
        return Counter(line["backend"] for line in dialogue.lines[before:])

    def scripted(self, dialogue: Dialogue, *addresses: str) -> Dialogue:
        for address in addresses or (A, B, C):
            dialogue.script(address, OK)
        return dialogue

    def states(self, dialogue: Dialogue) -> dict[str, str]:
        return {each.name: each.state for each in dialogue.roster.status()}


class OrderTests(RunTimeCase):
    """The operator's calls."""

    def test_drain(self) -> None:
        """No new requests, its idle connections closed, what is in flight completed; then back in service."""
        dialogue = self.scripted(self.proxy(backends=(A, B)))
        slow = dialogue.script(A, SILENT)
        client = dialogue.client()
        client.says(POST_5)
        with logged() as lines:
            dialogue.roster.drain(A)
        self.assertEqual(lines, [f"backend app {A}: up -> draining: drained by order"])
        self.assertEqual(self.served(dialogue, 10), {B: 10})
        slow.peers[0].says(OK)
        self.assertStatus(client, 200)
        self.assertFalse(slow.peers[0].is_open)
        dialogue.script(A, OK)
        dialogue.roster.serve(A)
        self.assertEqual(self.served(dialogue, 10), {A: 5, B: 5})

    def test_maintenanceStopsChecks(self) -> None:
        """Maintenance: not even checks; afterwards it is looked at anew."""
        dialogue = self.proxy(backends=(A, B), cluster="health = { interval_s = 1.0, timeout_s = 0.5 }")
        self.scripted(dialogue)
        dialogue.advance(1)
        dialogue.roster.maintain(A)
        backend = dialogue.script(A, OK)
        dialogue.advance(10)
        self.assertEqual(backend.requests, [])
        self.assertEqual(self.states(dialogue), {A: "maintenance", B: "up"})
        dialogue.roster.serve(A)
        self.assertEqual(self.states(dialogue)[A], "checking")
        dialogue.advance(1.3)
        self.assertEqual(self.states(dialogue)[A], "up")

    def test_checkFromBeforeAMaintenance(self) -> None:
        """The result of a check that was begun before a maintenance says nothing of what comes after it."""
        dialogue = self.proxy(backends=(A,), cluster="health = { interval_s = 1.0, timeout_s = 0.9 }")
        check = dialogue.backend(A)
        dialogue.roster.maintain(A)
        dialogue.settle()
        self.assertFalse(check.is_open)
        dialogue.roster.serve(A)
        self.assertEqual(self.states(dialogue), {A: "checking"})

    def test_allDrained(self) -> None:
        """All drained: 503 with Retry-After, panic or not: the operator has spoken."""
        dialogue = self.proxy(backends=(A,))
        dialogue.roster.drain(A)
        client = dialogue.client()
        client.says(GET)
        self.assertStatus(client, 503)
        self.assertEnd(dialogue, "no-backend", 503)

    def test_weight(self) -> None:
        """A new weight holds from the next request on."""
        dialogue = self.scripted(self.proxy(backends=(A, B)))
        self.served(dialogue, 2)
        dialogue.roster.set_weight(A, 3)
        self.assertEqual(self.served(dialogue, 40), {A: 30, B: 10})
        self.assertEqual(dialogue.roster.status()[0].weight, 3)

    def test_add(self) -> None:
        """A backend that is added gets its share."""
        dialogue = self.scripted(self.proxy(backends=(A, B)))
        self.served(dialogue, 2)
        dialogue.roster.add(C, weight=2)
        self.assertEqual(self.served(dialogue, 40), {A: 10, B: 10, C: 20})

    def test_addWarmsUp(self) -> None:
        """With slow_start_s its share grows."""
        dialogue = self.scripted(self.proxy(backends=(A, B), cluster="slow_start_s = 10.0"))
        self.served(dialogue, 2)
        dialogue.roster.add(C)
        self.assertLess(self.served(dialogue, 40)[C], 8)
        dialogue.advance(11)
        self.assertEqual(self.served(dialogue, 30)[C], 10)

    def test_addIsChecked(self) -> None:
        """With checks it is asked nothing before it has passed one."""
        dialogue = self.proxy(backends=(A,), cluster="health = { interval_s = 1.0, timeout_s = 0.5 }")
        self.scripted(dialogue, A)
        dialogue.settle()
        dialogue.roster.add(B)
        self.assertEqual(self.served(dialogue, 4), {A: 4})
        backend = dialogue.script(B, OK)
        dialogue.advance(1.2)
        self.assertGreater(len(backend.requests), 0)
        self.assertEqual(self.served(dialogue, 4), {A: 2, B: 2})

    def test_remove(self) -> None:
        """One that is removed: what it does is completed, what waits for it goes elsewhere, and it is gone."""
        dialogue = self.proxy(backends=(A, B), cluster="pool.max_connections = 1")
        clients = [dialogue.client() for _ in range(4)]
        for client in clients:
            client.says(POST_5)
        first, second = dialogue.backend(A), dialogue.backend(B)
        dialogue.roster.remove(A)
        self.assertEqual(list(self.states(dialogue)), [B])
        first.says(OK)
        for _ in range(3):
            second.says(OK)
        for client in clients:
            self.assertStatus(client, 200)
        self.assertFalse(first.is_open)

    def test_whatWaitsIsMovedWhateverItsTries(self) -> None:
        """A request that only waits for a drained backend was never sent: it moves, with tries = 1 too."""
        for order in ("drain", "remove"):
            dialogue = self.proxy(backends=(A, B), cluster="retry.tries = 1\npool.max_connections = 1")
            clients = [dialogue.client() for _ in range(4)]
            for client in clients:
                client.says(POST_5)
            first, second = dialogue.backend(A), dialogue.backend(B)
            getattr(dialogue.roster, order)(A)
            first.says(OK)
            for _ in range(3):
                second.says(OK)
            for client in clients:
                self.assertStatus(client, 200)
            self.assertEqual({line["tries"] for line in dialogue.lines}, {1})
            self.assertEqual({each.last_error for each in dialogue.roster.status()}, {""})

    def test_whatWaitsKeepsItsPlace(self) -> None:
        """The other backend has no place for it, or there is none: it is served by the one that it waits for."""
        for queue in ('pool.when_full = "refuse"', "pool.queue = 0"):
            dialogue = self.proxy(backends=(A, B), cluster=f"pool.max_connections = 1\n{queue}")
            clients = [dialogue.client() for _ in range(2)]
            for client in clients:
                client.says(POST_5)
            other = dialogue.backend(B)
            dialogue.roster.drain(A)
            dialogue.backend(A).says(OK)
            other.says(OK)
            for client in clients:
                self.assertStatus(client, 200)
            dialogue = self.proxy(backends=(A, B), cluster=f"pool.max_connections = 1\n{queue}")
            client = dialogue.client()
            client.says(POST_5)
            dialogue.refuse(A)
            dialogue.roster.drain(B)
            dialogue.backend(B).says(OK)
            self.assertStatus(client, 200)

    def test_patienceIsOne(self) -> None:
        """However often a request moves from queue to queue, it waits queue_timeout_s and no longer."""
        settings = "pool.max_connections = 1\npool.queue_timeout_s = 2.0"
        dialogue = self.proxy(backends=(A, B), cluster=settings)
        for address in (A, B):
            dialogue.script(address, SILENT)
        clients = [dialogue.client() for _ in range(3)]
        for client in clients:
            client.says(POST_5)
        for _ in range(2):
            (waited_for,) = (each.name for each in dialogue.roster.status() if each.queued)
            dialogue.roster.drain(waited_for)
            dialogue.advance(0.9)
            dialogue.roster.serve(waited_for)
        dialogue.advance(0.5)
        self.assertStatus(clients[2], 503)
        for client in clients[:2]:
            client.resets()

    def test_whatWasSentBeforeIsATry(self) -> None:
        """A request that was sent on a connection that was dead, and moves while it waits for a new one: the log has both."""
        dialogue = self.proxy(backends=(A, B))
        client, other = dialogue.client(), dialogue.client()
        client.says(GET)
        first = dialogue.backend(A)
        first.says(OK)
        client.gets()
        other.says(GET)
        second = dialogue.backend(B)
        second.says(OK)
        client.says(GET)
        first.finishes()
        dialogue.roster.drain(A)
        second.says(OK)
        self.assertStatus(client, 200)
        self.assertEqual((dialogue.lines[-1]["backend"], dialogue.lines[-1]["tries"]), (f"{A},{B}", 2))

    def test_whatWaitsForTheOnlyOne(self) -> None:
        """There is no other: what waits for a drained backend is served by it."""
        dialogue = self.proxy(backends=(A,), cluster="pool.max_connections = 1")
        clients = [dialogue.client() for _ in range(3)]
        for client in clients:
            client.says(POST_5)
        first = dialogue.backend(A)
        dialogue.roster.drain(A)
        first.says(OK)
        for _ in range(2):
            dialogue.backend(A).says(OK)
        for client in clients:
            self.assertStatus(client, 200)

    def test_noRetryAgainstTheOperatorsWill(self) -> None:
        """A retry goes to no backend that was taken out meanwhile, panic or not."""
        for order in ("maintain", "drain", "remove"):
            dialogue = self.proxy(backends=(A, B))
            client = dialogue.client()
            client.says(GET)
            for address in (B, A):
                getattr(dialogue.roster, order)(address)
            dialogue.refuse(A)
            self.assertEqual(dialogue.attempts, [])
            self.assertStatus(client, 502)
            self.assertEqual(dialogue.lines[-1]["retry"], "no-backend-left")

    def test_noSecondSendAgainstTheOperatorsWill(self) -> None:
        """The same of one that is to be sent again after a while."""
        dialogue = self.proxy(backends=(A,))
        backend = dialogue.script(A, CLOSE, OK)
        client = dialogue.client()
        client.says(GET)
        dialogue.roster.maintain(A)
        dialogue.advance(0.5)
        self.assertStatus(client, 502)
        self.assertEqual(len(backend.requests), 1)

    def test_backupsServeWhileTheFirstTierComesBack(self) -> None:
        """The only primary is taken back from maintenance: the backup serves until its check has passed."""
        backup = f"{{ address = '{B}', backup = true }}"
        dialogue = self.proxy(backends=(A, backup), cluster="health = { interval_s = 1000, timeout_s = 30.0 }")
        self.scripted(dialogue)
        dialogue.advance(0.2)
        self.assertEqual(self.served(dialogue, 2), {A: 2})
        dialogue.roster.maintain(A)
        self.assertEqual(self.served(dialogue, 2), {B: 2})
        dialogue.script(A, SILENT)
        dialogue.roster.serve(A)
        self.assertEqual(self.states(dialogue)[A], "checking")
        self.assertEqual(self.served(dialogue, 2), {B: 2})

    def test_removedOnesAreForgotten(self) -> None:
        """What becomes of the last request of a removed backend is no news of any backend."""
        dialogue = self.proxy(backends=(A, B), cluster="passive.failures = 1")
        backend = dialogue.script(A, SILENT)
        client = dialogue.client()
        client.says(POST_5)
        dialogue.roster.remove(A)
        with logged() as lines:
            backend.peers[0].resets()
        self.assertStatus(client, 502)
        self.assertEqual((lines, dict(dialogue.assembled.clusters["app"].transitions)), ([], {}))

    def test_mistakes(self) -> None:
        """Names that are not there, addresses that are there already, weights that are none."""
        dialogue = self.proxy(backends=(A, B))
        roster = dialogue.roster
        for call in (roster.drain, roster.maintain, roster.serve, roster.remove):
            self.assertRaises(KeyError, call, C)
        self.assertRaises(KeyError, roster.set_weight, C, 1)
        for weight in (0, -1, 65536, 1.5, True):
            self.assertRaises(ValueError, roster.set_weight, A, weight)
        for address in (A, "nonsense", "10.0.0.9:0", ""):
            self.assertRaises(ValueError, roster.add, address)
        self.assertRaises(ValueError, roster.add, C, weight=0)
        self.assertEqual(self.states(dialogue), {A: "up", B: "up"})


class IdleTests(RunTimeCase):
    """pool.min_idle: connections that are there before they are needed."""

    def test_madeInAdvance(self) -> None:
        """As many as asked for are made within a second or so, and used by requests."""
        dialogue = self.proxy(cluster="pool.min_idle = 2")
        backend = dialogue.script(A, OK)
        dialogue.advance(1.3)
        self.assertEqual((len(backend.peers), repr(dialogue.pool)[:13]), (2, "<Pool 2 idle,"))
        self.served(dialogue, 3)
        self.assertEqual(len(backend.peers), 2)

    def test_deadBackend(self) -> None:
        """A backend that refuses is tried once a second, no more."""
        dialogue = self.proxy(cluster="pool.min_idle = 1")
        refused = 0
        for _ in range(100):
            dialogue.advance(0.1)
            while dialogue.attempts:
                refused += 1
                dialogue.refuse(A)
        self.assertTrue(8 <= refused <= 11, refused)


class NameTests(RunTimeCase):
    """SD1: backends by name."""

    def named(self, cluster: str = "") -> tuple[Dialogue, FakeResolver]:
        names = FakeResolver()
        names.hold("app.test")
        dialogue = Dialogue.of(self, site(backends=("app.test:80",), cluster=cluster), resolver=names)
        return self.scripted(dialogue), names

    def test_allAddresses(self) -> None:
        """All addresses of a name get requests; those that come before the answer wait for it."""
        dialogue, names = self.named()
        names.set("app.test", "10.0.0.1", "10.0.0.2", "10.0.0.3", ttl_s=5)
        client = dialogue.client()
        client.says(GET)
        self.assertEqual(client.gets(), b"")
        names.release("app.test")
        dialogue.settle()
        self.assertStatus(client, 200)
        served = self.served(dialogue, 30)
        self.assertEqual(served, {f"app.test:80@10.0.0.{number}": 10 for number in (1, 2, 3)})

    def test_change(self) -> None:
        """SD1: the set changes: the new one is used once the old answer's time is over, and nothing is dropped."""
        dialogue, names = self.named()
        names.set("app.test", "10.0.0.1", "10.0.0.2", ttl_s=5)
        names.release("app.test")
        dialogue.settle()
        self.served(dialogue, 2)
        slow = dialogue.script(A, SILENT)
        dialogue.pool.idle[0].retire()
        dialogue.pool.idle.clear()
        dialogue.roster.set_weight("app.test:80@10.0.0.1", 65535)
        client = dialogue.client()
        client.says(GET)
        names.set("app.test", "10.0.0.2", "10.0.0.3", ttl_s=5)
        dialogue.advance(5.2)
        self.assertEqual(self.served(dialogue, 10), {"app.test:80@10.0.0.2": 5, "app.test:80@10.0.0.3": 5})
        slow.peers[-1].says(OK)
        self.assertStatus(client, 200)

    def test_failureKeepsTheLastSet(self) -> None:
        """SD1: the DNS is gone: the last good set is kept, with one warning."""
        dialogue, names = self.named()
        names.set("app.test", "10.0.0.1", ttl_s=1)
        names.release("app.test")
        dialogue.settle()
        names.fail("app.test", "no answer")
        with logged() as lines:
            dialogue.advance(60)
        self.assertEqual(self.served(dialogue, 3), {"app.test:80@10.0.0.1": 3})
        self.assertEqual(len(lines), 1, lines)

    def test_neverKnown(self) -> None:
        """SD1: the DNS is down at the start: 503 until it is back."""
        dialogue, names = self.named()
        names.fail("app.test")
        client = dialogue.client()
        client.says(GET)
        names.release("app.test")
        dialogue.settle()
        self.assertStatus(client, 503)
        names.set("app.test", "10.0.0.1")
        dialogue.advance(2)
        self.assertEqual(self.served(dialogue, 3), {"app.test:80@10.0.0.1": 3})

    def test_ordersHoldForAllServers(self) -> None:
        """An order to a name holds for all its servers, those included that are found later."""
        dialogue, names = self.named()
        names.set("app.test", "10.0.0.1", ttl_s=1)
        names.release("app.test")
        dialogue.settle()
        dialogue.roster.drain("app.test:80")
        names.set("app.test", "10.0.0.1", "10.0.0.2", ttl_s=1)
        dialogue.advance(2)
        self.assertEqual(set(self.states(dialogue).values()), {"draining"})
        dialogue.roster.serve("app.test:80@10.0.0.2")
        self.assertEqual(self.served(dialogue, 3), {"app.test:80@10.0.0.2": 3})

    def test_removedBeforeItIsKnown(self) -> None:
        """A name that is removed while it is asked for: nobody waits for it any more."""
        dialogue, names = self.named()
        client = dialogue.client()
        client.says(GET)
        dialogue.roster.remove("app.test:80")
        self.assertStatus(client, 503)

    def test_oneAddressOfAPairChanges(self) -> None:
        """The server of a pair of addresses is still checked after one of the two has changed."""
        dialogue, names = self.named("health = { interval_s = 1.0, timeout_s = 0.5 }")
        names.set("app.test", "10.0.0.1", "fd00::1", ttl_s=1)
        names.release("app.test")
        backend = dialogue.script("fd00::1:80", OK)
        dialogue.settle()
        names.set("app.test", "10.0.0.2", "fd00::1", ttl_s=1)
        dialogue.advance(2)
        seen = len(backend.requests)
        dialogue.advance(3)
        self.assertGreater(len(backend.requests), seen)
        self.assertEqual(len(self.states(dialogue)), 1)

    def test_oneAddressOfAPairChangesUnseen(self) -> None:
        """It is the same server: it stays up, and the log has nothing to say."""
        dialogue, names = self.named()
        names.set("app.test", "10.0.0.1", "fd00::1", ttl_s=1)
        names.release("app.test")
        dialogue.settle()
        names.set("app.test", "10.0.0.2", "fd00::1", ttl_s=1)
        with logged() as lines:
            dialogue.advance(2)
        self.assertEqual((lines, self.states(dialogue)), ([], {"app.test:80@fd00::1": "up"}))
        client = dialogue.client()
        client.says(GET)
        dialogue.refuse("fd00::1:80")
        self.assertStatus(client, 200)
        client.finishes()

    def test_oldServersServeUntilNewOnesAreChecked(self) -> None:
        """All addresses change: the old servers are kept until a new one has passed its check, or all have failed."""
        dialogue, names = self.named("health = { interval_s = 1000, timeout_s = 30.0 }\npanic = false")
        names.set("app.test", "10.0.0.1", ttl_s=1)
        names.release("app.test")
        dialogue.advance(0.2)
        dialogue.script(B, SILENT)
        names.set("app.test", "10.0.0.2", ttl_s=1)
        dialogue.advance(2)
        self.assertEqual(self.states(dialogue), {"app.test:80@10.0.0.2": "checking", "app.test:80@10.0.0.1": "up"})
        self.assertEqual(self.served(dialogue, 2), {"app.test:80@10.0.0.1": 2})
        names.set("app.test", "10.0.0.3", ttl_s=1)
        dialogue.advance(2)
        self.assertEqual(self.states(dialogue), {"app.test:80@10.0.0.3": "up"})
        self.assertEqual(self.served(dialogue, 2), {"app.test:80@10.0.0.3": 2})

    def test_oldServersComeBackChanged(self) -> None:
        """An old server that has not left is named again, with another second address: it is the same, and is checked."""
        dialogue, names = self.named("health = { type = 'tcp', interval_s = 1.0, timeout_s = 0.5, fall = 1, rise = 1 }")
        dialogue.script("fd00::1:80", OK)
        names.set("app.test", "10.0.0.8", "fd00::1", ttl_s=1)
        names.release("app.test")
        dialogue.advance(0.3)
        names.set("app.test", "10.0.0.7", "fd00::5", ttl_s=1)
        dialogue.advance(0.9)
        names.set("app.test", "10.0.0.9", "fd00::1", ttl_s=1)
        backend = dialogue.script("fd00::1:80", OK)
        dialogue.advance(5)
        self.assertEqual(self.states(dialogue), {"app.test:80@fd00::1": "up"})
        self.assertGreaterEqual(len(backend.peers), 3)

    def test_oldServersComeBack(self) -> None:
        """The DNS names an old server again before it has left: it is as it was."""
        dialogue, names = self.named("health = { interval_s = 1000, timeout_s = 30.0 }")
        names.set("app.test", "10.0.0.1", ttl_s=1)
        names.release("app.test")
        dialogue.advance(0.2)
        dialogue.script(B, SILENT)
        names.set("app.test", "10.0.0.2", ttl_s=1)
        dialogue.advance(2)
        names.set("app.test", "10.0.0.1", ttl_s=1)
        with logged() as lines:
            dialogue.advance(2)
        self.assertEqual((self.states(dialogue), lines), ({"app.test:80@10.0.0.1": "up"}, []))
