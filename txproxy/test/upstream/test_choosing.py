"""Which backend a request goes to: policies, tiers and cookies, as a cluster applies them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from txproxy.policy.candidate import Candidate
from txproxy.test.talk import GET, OK, POST_5, TalkCase, request
from txproxy.test.upstream.observing import logged
from txproxy.testing import REFUSE, SILENT, Dialogue, Peer, site

A, B, C = "10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"


class ChoiceCase(TalkCase):
    """Requests one after the other, and which backend had how many of them."""

    def served(self, dialogue: Dialogue, count: int, says: bytes = GET, client: Peer | None = None) -> Counter[str]:
        """Send requests; return how many each backend answered."""
        client = client or dialogue.client()
        before = len(dialogue.lines)
        for _ in range(count):
            client.says(says)
            self.assertStatus(client, 200)
        return Counter(line["backend"].split(",")[-1] for line in dialogue.lines[before:])

    def three(self, cluster: str = "", backends: Sequence[str] = (A, B, C), **more: Any) -> Dialogue:
        """Return a proxy whose backends all answer."""
        dialogue = Dialogue.of(self, site(cluster=cluster, backends=backends), **more)
        for address in (A, B, C):
            dialogue.script(address, OK)
        return dialogue


class PolicyTests(ChoiceCase):
    """The words of ``balance`` reach the policies."""

    def test_weights(self) -> None:
        """D7: weights 1:2:3 and sixty requests: 10, 20, 30."""
        tables = [f"{{ address = '{address}', weight = {weight} }}" for weight, address in enumerate((A, B, C), 1)]
        for word in ("round_robin", "weighted_round_robin"):
            dialogue = self.three(f"balance = '{word}'", tables)
            self.assertEqual(self.served(dialogue, 60), {A: 10, B: 20, C: 30})

    def test_leastConnections(self) -> None:
        """B2: one backend holds ten slow requests: the next ten go to the other."""
        dialogue = self.three('balance = "least_connections"', (A, B))
        dialogue.script(A, SILENT)
        dialogue.roster.drain(B)
        busy = [dialogue.client() for _ in range(10)]
        for client in busy:
            client.says(GET)
        dialogue.roster.serve(B)
        self.assertEqual(self.served(dialogue, 10), {B: 10})
        for client in busy:
            client.resets()

    def test_oneClientOneBackend(self) -> None:
        """D7: ip_hash and ring_hash keep a client at one backend, and not all at the same."""
        for cluster in ('balance = "ip_hash"', 'balance = "ring_hash"'):
            dialogue = self.three(cluster)
            seen = [self.served(dialogue, 5, client=dialogue.client(f"192.0.2.{number}")) for number in range(20)]
            self.assertEqual({len(each) for each in seen}, {1})
            self.assertEqual({next(iter(each)) for each in seen}, {A, B, C})

    def test_hashKeys(self) -> None:
        """B4: what is hashed decides: URI, a header, a cookie."""
        for key, field in (("uri", b""), ("header:X-User", b"X-User: %b"), ("cookie:user", b"Cookie: a=b; user=%b")):
            dialogue = self.three(f'balance = "ring_hash"\nhash_key = "{key}"')
            seen = []
            for number in range(20):
                line = b"GET /%d HTTP/1.1" % (number if key == "uri" else 0)
                says = request(line, *([field % b"u%d" % number] if field else ()))
                seen.append(self.served(dialogue, 3, says))
            self.assertEqual({len(each) for each in seen}, {1}, key)
            self.assertEqual({next(iter(each)) for each in seen}, {A, B, C}, key)

    def test_others(self) -> None:
        """random, p2c and ewma use all backends."""
        for word in ("random", "p2c", "ewma"):
            dialogue = self.three(f'balance = "{word}"')
            self.assertEqual(set(self.served(dialogue, 60)), {A, B, C}, word)

    def test_ewmaAvoidsTheSlow(self) -> None:
        """A backend that takes a second gets few requests while others take none."""
        dialogue = self.three('balance = "ewma"', (A, B))
        slow = dialogue.script(A, SILENT)
        client = dialogue.client()
        for _ in range(20):
            client.says(GET)
            if slow.peers and not client.gets():
                dialogue.advance(1)
                slow.peers[-1].says(OK)
                client.gets()
        self.assertLess(len(slow.requests), 5)


class UsersPolicyTests(ChoiceCase):
    """A policy of the user's own: a Python function."""

    def with_policy(self, policy: Callable[..., Any], backends: Sequence[str] = (A, B, C)) -> Dialogue:
        # The name leads to any function; the test's own takes its place.
        name = "txproxy.policy.balancing.catalogue:make_policy"
        dialogue = Dialogue.of(self, site(cluster=f'balance = "{name}"', backends=backends), {name: policy})
        for address in (A, B, C):
            dialogue.script(address, OK)
        return dialogue

    def test_chooses(self) -> None:
        """It is told of candidates and request, and its order is followed."""

        def by_header(candidates: Sequence[Candidate], request: Any, now: float, random: Any) -> Any:
            return sorted(candidates, key=lambda each: each.name != request.headers.get("x-to"))

        dialogue = self.with_policy(by_header)
        self.assertEqual(self.served(dialogue, 5, request(b"GET / HTTP/1.1", b"X-To: " + B.encode())), {B: 5})
        dialogue.script(B, REFUSE)
        dialogue.assembled.clusters["app"].backends[1].close_idle()
        self.assertEqual(self.served(dialogue, 1, request(b"GET / HTTP/1.1", b"X-To: " + B.encode())), {A: 1})

    def test_raises(self) -> None:
        """An exception in it is a 500 for that request, with one line in the log."""

        def broken(candidates: Any, request: Any, now: float, random: Any) -> Any:
            raise LookupError("no such thing")

        dialogue = self.with_policy(broken)
        client = dialogue.client()
        with logged() as lines:
            client.says(GET)
        self.assertStatus(client, 500)
        self.assertEqual(sum("LookupError" in line for line in lines), 1, lines)

    def test_namesNobody(self) -> None:
        """One that yields nothing: 503."""
        dialogue = self.with_policy(lambda candidates, request, now, random: ())
        client = dialogue.client()
        client.says(GET)
        self.assertStatus(client, 503)
        self.assertEnd(dialogue, "no-backend")

    def test_isAskedWithOneBackendToo(self) -> None:
        """It may refuse the only one."""
        dialogue = self.with_policy(lambda candidates, request, now, random: (), (A,))
        client = dialogue.client()
        client.says(GET)
        self.assertStatus(client, 503)

    def test_raisesWhenItIsToldOfAReply(self) -> None:
        """The request is served all the same; the log has it once, and it is told no more."""

        class Broken:
            def __call__(self, candidates: Any, request: Any, now: float, random: Any) -> Any:
                return candidates

            def observe_latency(self, candidate: Any, seconds: float, now: float) -> None:
                raise LookupError("no such thing")

        dialogue = self.with_policy(Broken())
        with logged() as lines:
            self.assertEqual(self.served(dialogue, 5), {A: 5})
        self.assertEqual(len(lines), 1)
        self.flushLoggedErrors(LookupError)


class RoomTests(ChoiceCase):
    """A backend whose connections are all in use is passed over while there is another."""

    def test_queueWithRoom(self) -> None:
        """A retry finds all others full: it waits where there is room to wait, not where there is none."""
        dialogue = Dialogue.of(self, site(cluster="pool.max_connections = 1\npool.queue = 1", backends=(A, B, C)))
        clients = [dialogue.client() for _ in range(5)]
        for client in clients[:3]:
            client.says(POST_5)
        second, third = dialogue.backend(B), dialogue.backend(C)
        for client in clients[3:]:
            client.says(POST_5)
        self.assertEqual([each.queued for each in dialogue.roster.status()], [1, 1, 1])
        third.says(OK)
        # C carries what has waited for it; B is full, and so is its queue.
        dialogue.refuse(A)
        self.assertEqual([each.queued for each in dialogue.roster.status()], [0, 1, 1])
        for peer in (second, third, second, third):
            peer.says(OK)
        for client in clients:
            self.assertStatus(client, 200)


class TierTests(ChoiceCase):
    """B7: backups serve only while no other can."""

    BACKENDS = (A, B, f"{{ address = '{C}', backup = true }}")

    def test_backups(self) -> None:
        """Primaries drained: the backup serves; one is back: no request goes to the backup any more."""
        dialogue = self.three(backends=self.BACKENDS)
        self.assertEqual(self.served(dialogue, 10), {A: 5, B: 5})
        dialogue.roster.drain(A)
        self.assertEqual(self.served(dialogue, 10), {B: 10})
        dialogue.roster.drain(B)
        self.assertEqual(self.served(dialogue, 10), {C: 10})
        dialogue.roster.serve(B)
        self.assertEqual(self.served(dialogue, 10), {B: 10})

    def test_lastResort(self) -> None:
        """Primaries that refuse, before anybody has noticed: the request itself goes on to the backup."""
        dialogue = self.three(backends=self.BACKENDS)
        dialogue.script(A, REFUSE)
        dialogue.script(B, REFUSE)
        self.assertEqual(self.served(dialogue, 1), {C: 1})


class StickyTests(ChoiceCase):
    """B6: a signed cookie keeps a client at its backend."""

    CLUSTER = 'sticky = "srv"'

    def cookie(self, dialogue: Dialogue, *fields: bytes) -> tuple[str, bytes]:
        """Send one request; return the backend, and the cookie that is set."""
        client = dialogue.client()
        client.says(request(b"GET / HTTP/1.1", *fields))
        value = client.gets_head().get(b"Set-Cookie") or b""
        client.finishes()
        return dialogue.lines[-1]["backend"].split(",")[-1], value

    def test_stays(self) -> None:
        """The first reply sets it; whoever brings it stays, and is set no other."""
        dialogue = self.three(self.CLUSTER)
        backend, value = self.cookie(dialogue)
        self.assertTrue(value.startswith(b"srv="))
        self.assertIn(b"; HttpOnly", value)
        self.assertNotIn(backend.split(":")[0].encode(), value)
        kept = b"Cookie: a=b; " + value.split(b";")[0]
        for _ in range(10):
            self.assertEqual(self.cookie(dialogue, kept), (backend, b""))

    def test_moves(self) -> None:
        """Its backend is gone: it is moved, and the cookie rewritten; with that it stays where it is now."""
        dialogue = self.three(self.CLUSTER)
        first, value = self.cookie(dialogue)
        dialogue.roster.drain(first)
        second, moved = self.cookie(dialogue, b"Cookie: " + value.split(b";")[0])
        self.assertNotEqual(second, first)
        self.assertTrue(moved)
        dialogue.roster.serve(first)
        for _ in range(5):
            self.assertEqual(self.cookie(dialogue, b"Cookie: " + moved.split(b";")[0]), (second, b""))

    def test_failsOver(self) -> None:
        """Its backend refuses: the same request goes to another, whose cookie is set."""
        dialogue = self.three(self.CLUSTER)
        first, value = self.cookie(dialogue)
        dialogue.script(first, REFUSE)
        for backend in dialogue.assembled.clusters["app"].backends:
            backend.close_idle()
        second, moved = self.cookie(dialogue, b"Cookie: " + value.split(b";")[0])
        self.assertNotEqual(second, first)
        self.assertTrue(moved)

    def test_forged(self) -> None:
        """A cookie that we have not made is ignored and replaced."""
        dialogue = self.three(self.CLUSTER)
        for forged in (b"srv=10.0.0.1:80", b"srv=", b"srv=" + b"0" * 32, b"srv=\xff"):
            self.assertTrue(self.cookie(dialogue, b"Cookie: " + forged)[1].startswith(b"srv="), forged)

    def test_ofAnotherCluster(self) -> None:
        """The cookie of one cluster is none of another's, though the backends are the same."""
        _, value = self.cookie(self.three(self.CLUSTER))
        text = site(cluster=self.CLUSTER, backends=(A, B, C)).replace("app", "other")
        dialogue = Dialogue.of(self, text)
        for address in (A, B, C):
            dialogue.script(address, OK)
        self.assertTrue(self.cookie(dialogue, b"Cookie: " + value.split(b";")[0])[1])
