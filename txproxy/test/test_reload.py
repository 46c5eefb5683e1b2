"""From one configuration to the next: what is the same goes on, what is gone is drained, what is wrong changes nothing."""

from __future__ import annotations

import gc
import os
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.trial.unittest import SynchronousTestCase

from txproxy.application_log import LogFile
from txproxy.config.load import load_file, load_text
from txproxy.config.problems import ConfigError
from txproxy.notify import Notifier
from txproxy.pipeline.route import Route
from txproxy.reload import Source
from txproxy.service import ProxyService
from txproxy.test.authority import Authority
from txproxy.test.pipeline.test_upgrades import ASK, KEY, SWITCH
from txproxy.test.running import NO_LOG, Reactor, Running
from txproxy.test.talk import GET, OK, head, request
from txproxy.testing import FakeTransport, site, tcp_site
from txproxy.upstream.cluster import Cluster

TUNNEL = request(b"GET /x HTTP/1.1", *ASK, KEY)
GOODBYE = b"\x88\x02\x03\xe9"
"""A close frame with 1001 (RFC 6455 section 7.4.1)."""
HEALTH = "[cluster.app.health]\ninterval_s = 1"
OTHER = '[[listener]]\nname = "other"\naddress = "127.0.0.1:8081"\n'


def chosen(candidates: Any, _request: Any, _now: float, _random: Any) -> Any:
    """A policy of the user's."""
    return candidates


class Raising:
    """A policy that cannot be made."""

    def __init__(self) -> None:
        raise ValueError("not today")


class Case(SynchronousTestCase):
    """Helpers."""

    def running(self, text: str = "", **more: Any) -> Running:
        running = Running(self, text or site(rest=NO_LOG), **more)
        self.addCleanup(running.service.stopService)
        return running

    def cluster(self, running: Running, name: str = "app") -> Cluster:
        return running.service.clusters[name].cluster

    def exchanged(self, running: Running, client: FakeTransport) -> bytes:
        """Let a client ask, and whichever connection of a backend has got that answer; return what the client gets."""
        before, asked = len(client.sent), [len(each.sent) for each in running.transports]
        running.says(client, GET)
        if running.reactor.tcpClients:
            running.says(running.backend(), OK)
        else:
            for transport, count in zip(running.transports, asked, strict=True):
                if transport is not client and len(transport.sent) > count:
                    running.says(transport, OK)
        return bytes(client.sent[before:])


class ListenerTests(Case):
    """Ports and the connections of clients."""

    def test_nothingChanges(self) -> None:
        """The same file again: connections of clients and of backends stay, and are used."""
        running = self.running()
        client = running.client(GET)
        backend = running.backend()
        running.says(backend, OK)
        self.assertEqual(running.change(site(rest=NO_LOG)), [])
        running.says(client, GET)
        running.says(backend, OK)
        self.assertEqual(client.sent.count(b" 200 OK"), 2)
        self.assertEqual((len(running.reactor.opened), running.reactor.tcpClients), (1, []))

    def test_openConnectionsFollow(self) -> None:
        """What a client asks next on its connection goes by the new routes, limits, names and trust."""
        running = self.running()
        client = running.client(GET)
        backend = running.backend()
        running.says(backend, OK)
        more = '[proxy]\nvia_name = "other"\ntrusted_proxies = ["192.0.2.0/24"]\n'
        route = 'reply_headers.set = { "X-New" = "1" }'
        running.change(site("max_fields = 3", route, rest=NO_LOG + more))
        before = len(backend.sent)
        running.says(client, request(b"GET / HTTP/1.1", b"X-Forwarded-For: 198.51.100.7"))
        running.says(backend, OK)
        self.assertIn(b"X-Forwarded-For: 198.51.100.7, 192.0.2.1\r\n", backend.sent[before:])
        self.assertIn(b"Via: 1.1 other\r\n", backend.sent[before:])
        self.assertIn(b"X-New: 1\r\n", client.sent)
        running.says(client, request(b"GET / HTTP/1.1", b"A: 1", b"B: 1", b"C: 1"))
        self.assertIn(b"HTTP/1.1 431 ", client.sent)

    def test_underWay(self) -> None:
        """What is under way is completed as it was begun, also if its route and its cluster are gone."""
        running = self.running()
        client = running.client(GET)
        backend = running.backend()
        text = site(rest=NO_LOG).replace('"all"', '"new"').replace('"app"', '"b"').replace(".app]", ".b]")
        said = running.change(text.replace("10.0.0.1", "10.0.0.2"))
        self.assertEqual(said[:2], ["routes added: new", "routes removed: all"])
        running.says(backend, OK)
        self.assertTrue(client.sent.endswith(b"ok"))
        self.assertTrue(backend.disconnected)
        running.says(client, GET)
        self.assertEqual(running.reactor.tcpClients[0][0], "10.0.0.2")
        running.says(running.backend(), OK)
        self.assertEqual(client.sent.count(b" 200 OK"), 2)

    def test_listenersComeAndGo(self) -> None:
        """A new one is announced and accepts; one that goes is drained: idle ones closed, others when they are done."""
        running = self.running(site(rest=NO_LOG + OTHER))
        idle, busy, stays = running.client(listener=1), running.client(GET, 1), running.client()
        backend = running.backend()
        running.advance(1.2)
        running.change(site(rest=NO_LOG + OTHER.replace("other", "third").replace("8081", "8082")))
        self.assertEqual([port.is_listening for port in running.reactor.opened], [True, False, True])
        self.assertEqual(list(running.service.ports), ["web", "third"])
        self.assertTrue(any("8082 (third)" in line or "(third)" in line for line in running.events))
        self.assertTrue(idle.disconnected)
        self.assertFalse(busy.disconnected or stays.disconnected)
        running.says(backend, OK)
        self.assertIn(b"Connection: close\r\n", busy.sent)
        self.assertTrue(busy.disconnected)
        self.assertIn(b" 200 OK", self.exchanged(running, running.client(listener=1)))

    def test_drainedInTime(self) -> None:
        """Who is not done in time is cut; a stop meanwhile waits for it, and a second signal does not."""
        proxy = "[proxy]\nshutdown_timeout_s = 5\n"
        running = self.running(site(rest=NO_LOG + OTHER + proxy))
        first = running.client(GET, 1)
        running.backend()
        running.change(site(rest=NO_LOG + proxy))
        running.advance(4)
        self.assertFalse(first.disconnected)
        running.advance(1.5)
        self.assertTrue(first.disconnected)
        running.change(site(rest=NO_LOG + OTHER + proxy))
        second = running.client(GET, 1)
        running.backend()
        running.change(site(rest=NO_LOG + proxy))
        running.stop()
        self.assertEqual(running.stopped, [])
        running.service.cut_short()
        running.settle()
        self.assertTrue(second.disconnected)
        self.assertEqual((len(running.stopped), running.reactor.getDelayedCalls()), (1, []))

    def test_anotherName(self) -> None:
        """A listener is its address: with another name, and other settings, it keeps port and connections."""
        running = self.running()
        client = running.client()
        running.change(site(rest=NO_LOG).replace('"web"', '"front"'))
        self.assertEqual((len(running.reactor.opened), list(running.service.ports)), (1, ["front"]))
        self.assertIn(b" 200 OK", self.exchanged(running, client))
        self.assertEqual(list(running.service.assembled.sites), ["front"])  # type: ignore[union-attr]

    def test_anotherProtocol(self) -> None:
        """One that speaks something else from now on keeps its port alone: those who spoke as before are drained."""
        running = self.running()
        client = running.client()
        running.advance(1.2)
        running.change(tcp_site(rest=NO_LOG))
        self.assertTrue(client.disconnected)
        self.assertEqual(len(running.reactor.opened), 1)
        raw = running.client(b"question")
        self.assertEqual(bytes(running.backend().sent), b"question")
        self.assertFalse(raw.disconnected)

    def test_proxyProtocol(self) -> None:
        """A header before everything else is another protocol; who may send it changes while it is served."""
        proxied, trusting = "proxy_protocol = true", '[proxy]\ntrusted_proxies = ["192.0.2.1"]\n'
        running = self.running()
        client = running.client()
        running.advance(1.2)
        running.change(site(proxied, rest=NO_LOG + trusting))
        self.assertTrue(client.disconnected)
        good = running.client(b"PROXY TCP4 198.51.100.7 127.0.0.1 5 80\r\n" + GET)
        running.says(running.backend(), OK)
        self.assertIn(b" 200 OK", good.sent)
        waiting = running.client()
        running.change(site(proxied, rest=NO_LOG + trusting.replace(".1", ".9")))
        self.assertFalse(good.disconnected or waiting.disconnected)
        factory = running.service.ports["web"].factory
        self.assertIsNone(factory.buildProtocol(good.getPeer()))

    def test_connectionsPerAddress(self) -> None:
        """A limit counts the connections from before it, and forgets none that ends."""
        running = self.running()
        first, _ = running.client(), running.client()
        factory = running.service.ports["web"].factory
        running.change(site("max_connections_per_ip = 2", rest=NO_LOG))
        self.assertIsNone(factory.buildProtocol(first.getPeer()))
        running.says(first, b"GARBAGE\r\n\r\n")
        running.advance(3)
        self.assertIsNotNone(factory.buildProtocol(first.getPeer()))
        running.change(site(rest=NO_LOG))
        self.assertIsNotNone(factory.buildProtocol(first.getPeer()))

    def test_idleTime(self) -> None:
        """A connection that is idle already has the new time to be so, counted from when it became idle."""
        running = self.running()
        client, other = running.client(), running.client(GET)
        running.backend()
        running.advance(5)
        running.change(site("keepalive_timeout_s = 8", rest=NO_LOG))
        running.advance(2.8)
        self.assertFalse(client.disconnected)
        running.advance(0.5)
        self.assertEqual((client.disconnected, other.disconnected), (True, False))

    def test_allConnections(self) -> None:
        """max_connections may fall below what there is: then none is accepted until enough have closed."""
        running = self.running()
        clients = [running.client() for _ in range(3)]
        (port,) = running.reactor.opened
        running.change(site(rest=NO_LOG + "[proxy]\nmax_connections = 2\n" + OTHER))
        other = running.reactor.opened[1]
        self.assertEqual((port.is_accepting, other.is_accepting), (False, False))
        running.change(site(rest=NO_LOG + "[proxy]\nmax_connections = 9\n"))
        self.assertTrue(port.is_accepting)
        self.assertEqual([each.disconnected for each in clients], [False] * 3)

    def test_leftForARestart(self) -> None:
        """Nothing that only a start can do is passed over in silence."""
        running = self.running()
        before = len(running.events)
        changed = running.service.config.model_copy(
            update={"proxy": running.service.config.proxy.model_copy(update={"workers": 2, "user": "x"})}
        )
        self.assertEqual(running.service.change(changed), ["proxy changed: user, workers"])
        lines = "\n".join(running.events[before:])
        self.assertIn("proxy.workers has changed, which takes effect at the next start", lines)
        self.assertIn("proxy.user", lines)


class ClusterTests(Case):
    """Backends, what is known of them, and their connections."""

    def test_backendsComeAndGo(self) -> None:
        """The cluster, and the backends that stay, are the same; one that goes completes what it has."""
        running = self.running(site(rest=NO_LOG, backends=["10.0.0.1:80", "10.0.0.2:80"]))
        cluster = self.cluster(running)
        first, second = cluster.backends
        busy, other = running.client(GET), running.client(GET)
        leaving, staying = running.backend(), running.backend()
        said = running.change(site(rest=NO_LOG, backends=["10.0.0.2:80", "10.0.0.3:80"]))
        self.assertEqual(said, ["backends added: app 10.0.0.3:80", "backends removed: app 10.0.0.1:80"])
        self.assertIs(self.cluster(running), cluster)
        self.assertIs(cluster.backends[0], second)
        self.assertEqual([backend.name for backend in cluster.backends], ["10.0.0.2:80", "10.0.0.3:80"])
        self.assertFalse(first.is_member)
        running.says(leaving, OK)
        running.says(staying, OK)
        self.assertIn(b" 200 OK", busy.sent)
        self.assertIn(b" 200 OK", other.sent)
        self.assertEqual((leaving.disconnected, staying.disconnected), (True, False))

    def test_entriesChange(self) -> None:
        """Weight, limit and tier of a backend change in place, and so do the limits of its pool."""
        running = self.running(site(rest=NO_LOG, backends=["10.0.0.1:80", "10.0.0.2:80"]))
        cluster = self.cluster(running)
        first, second = cluster.backends
        tables = [
            '{ address = "10.0.0.1:80", weight = 3, max_connections = 7 }',
            '{ address = "10.0.0.2:80", backup = true }',
        ]
        running.change(site(rest=NO_LOG, backends=tables, cluster="pool.queue = 5\nretry.tries = 1\npanic = false"))
        self.assertEqual(self.cluster(running).backends, (first, second))
        self.assertEqual((first.weight, first.candidate.weight), (3, 3))
        self.assertEqual((first.pool.limits.max_connections, second.pool.limits.max_connections), (7, 256))
        self.assertEqual((first.pool.limits.queue, cluster.settings.queue), (5, 5))
        self.assertEqual((cluster.settings.retry.tries, cluster.settings.panic), (1, False))
        self.assertEqual([each.owner for each in cluster.members.eligible], [first])
        self.assertEqual([each.owner for each in cluster.members.reserve], [second])

    def test_whoWaitsIsServed(self) -> None:
        """A request that waits for a place gets one when there are more."""
        running = self.running(site(rest=NO_LOG, cluster="pool.max_connections = 1"))
        running.client(GET)
        running.backend()
        waiting = running.client(GET)
        self.assertEqual(running.reactor.tcpClients, [])
        running.change(site(rest=NO_LOG))
        running.says(running.backend(), OK)
        self.assertIn(b" 200 OK", waiting.sent)

    def test_anotherCluster(self) -> None:
        """With settings that cannot change in place it is another one, which knows of states and orders."""
        backends = ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"]
        running = self.running(site(rest=NO_LOG, backends=backends, cluster=HEALTH))
        roster = running.service.clusters["app"]
        up, down, drained = roster.cluster.backends
        roster.cluster.checked(up, True, "")
        roster.cluster.checked(down, False, "refused")
        roster.cluster.checked(drained, True, "")
        roster.drain(drained.name)
        running.reactor.tcpClients.clear()
        running.change(site(rest=NO_LOG, backends=backends, cluster=HEALTH + "\nfall = 9"))
        self.assertIsNot(self.cluster(running), roster.cluster)
        states = [backend.health.state for backend in self.cluster(running).backends]
        self.assertEqual(states, ["up", "down", "draining"])
        self.assertEqual(self.cluster(running).backends[1].health.last_error, "refused")
        self.assertTrue(up.pool.keeps_idle is False and roster.cluster.makes_idle is False)

    def test_whoWaitsForACheck(self) -> None:
        """Requests that wait until something is known of a cluster's backends are not left alone with it."""
        running = self.running(site(rest=NO_LOG, cluster=HEALTH))
        client = running.client(GET)
        check = running.backend()
        self.assertEqual(client.sent, b"")
        running.change(site(rest=NO_LOG, cluster=HEALTH + "\nfall = 9"))
        self.assertFalse(check.disconnected)
        running.says(check, OK)
        while running.reactor.tcpClients and not client.sent:
            running.says(running.backend(), OK)
        self.assertIn(b" 200 OK", client.sent)
        running.advance(2.5)
        running.reactor.tcpClients.clear()
        running.stop()
        self.assertEqual(running.reactor.getDelayedCalls(), [])

    def test_policies(self) -> None:
        """A policy stays with all that it knows unless another one is named, or its function is another object."""
        balance = 'balance = "txproxy.test.test_reload:chosen"'
        running = self.running(site(rest=NO_LOG, cluster=balance))
        cluster = self.cluster(running)
        policy = cluster._policy
        running.change(site(rest=NO_LOG, cluster=balance, backends=["10.0.0.1:80", "10.0.0.2:80"]))
        self.assertIs(cluster._policy, policy)
        config = running.service.config
        told: list[str] = []

        def other(candidates: Any, *_: Any) -> Any:
            told.append("asked")
            return candidates

        running.service.change(config, {"txproxy.test.test_reload:chosen": other})
        self.assertIs(self.cluster(running), cluster)
        running.client(GET)
        self.assertEqual(told, ["asked"])

    def test_checksOfUsers(self) -> None:
        """A user's check that is another function now is the one that is asked from then on."""
        first: list[Any] = []
        second: list[Any] = []

        def noting(seen: list[Any]) -> Any:
            def check(target: Any) -> bool:
                seen.append(target)
                return True

            return check

        health = '[cluster.app.health]\ntype = "txproxy.test.test_reload:chosen"\ninterval_s = 1\njitter = 0'
        running = self.running(site(rest=NO_LOG, cluster=health))
        config = running.service.config
        reference = "txproxy.test.test_reload:chosen"
        running.service.change(config, {reference: noting(first)})
        running.advance(1.5)
        self.assertTrue(first)
        running.service.change(config, {reference: noting(second)})
        count = len(first)
        running.advance(3)
        self.assertEqual((len(first), bool(second)), (count, True))

    def test_filesOfAuthorities(self) -> None:
        """A file that a cluster was made of is read again: with other content it is another cluster."""
        path = os.path.abspath(self.mktemp())
        with open(path, "wb") as file:
            file.write(Authority().certificate)
        text = site(rest=NO_LOG, cluster=f'tls = {{ enabled = true, ca = "{path}" }}')
        running = self.running(text)
        cluster = self.cluster(running)
        running.change(text)
        self.assertIs(self.cluster(running), cluster)
        with open(path, "wb") as file:
            file.write(Authority().certificate)
        running.change(text)
        self.assertIsNot(self.cluster(running), cluster)
        with open(path, "wb") as file:
            file.write(b"no certificate")
        kept = self.cluster(running)
        self.assertRaises(ConfigError, running.change, text)
        self.assertIs(self.cluster(running), kept)

    def test_operatorsBackends(self) -> None:
        """What the operator has added, drained and weighed stays, unless the file says otherwise since."""
        running = self.running(site(rest=NO_LOG, backends=["10.0.0.1:80"]))
        roster = running.service.clusters["app"]
        roster.add("10.0.0.9:80")
        roster.drain("10.0.0.1:80")
        roster.set_weight("10.0.0.1:80", 5)
        running.change(site(rest=NO_LOG, backends=["10.0.0.1:80", "10.0.0.2:80"]))
        state = {each.name: (each.state, each.weight) for each in roster.status()}
        self.assertEqual(state, {"10.0.0.1:80": ("draining", 5), "10.0.0.9:80": ("up", 1), "10.0.0.2:80": ("up", 1)})
        running.change(site(rest=NO_LOG, backends=['{ address = "10.0.0.1:80", weight = 2 }', "10.0.0.9:80"]))
        state = {each.name: (each.state, each.weight) for each in roster.status()}
        self.assertEqual(state, {"10.0.0.1:80": ("draining", 2), "10.0.0.9:80": ("up", 1)})

    def test_anotherSpelling(self) -> None:
        """The same server in other words takes the place of the one before."""
        running = self.running(site(rest=NO_LOG, backends=["[::1]:80"]))
        running.change(site(rest=NO_LOG, backends=["[0:0::1]:80"]))
        self.assertEqual([each.name for each in self.cluster(running).backends], ["[0:0::1]:80"])


class CacheTests(Case):
    """What is stored."""

    STORABLE = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=900\r\nContent-Length: 6\r\n\r\nstored"

    def stored(self, text: str) -> Running:
        running = self.running(text)
        running.client(GET)
        running.says(running.backend(), self.STORABLE)
        return running

    def is_hit(self, running: Running) -> bool:
        client = running.client(GET)
        running.reactor.tcpClients.clear()
        return b"X-Cache-Status: HIT\r\n" in client.sent

    def test_itIsKept(self) -> None:
        """Over other routes, lifetimes, sizes and names; with its numbers."""
        cached = site(rest=NO_LOG, route="cache = true")
        running = self.stored(cached)
        engine = running.service.assembled.cache  # type: ignore[union-attr]
        assert engine is not None
        for number, rest in enumerate(
            ("[proxy]\nvia_name = 'x'", "[cache]\nmax_bytes = 999999\nmax_object_bytes = 77777")
        ):
            running.change(cached + rest)
            self.assertTrue(self.is_hit(running), rest)
            self.assertEqual(engine.statistics().hits, number + 1)
        self.assertEqual(engine.budget.left_read_bytes, 999_999)
        running.change(cached + "[cache]\nmax_bytes = 20\nmax_object_bytes = 10")
        running.advance(2)
        self.assertFalse(self.is_hit(running))

    def test_itIsDropped(self) -> None:
        """If no route has a cache any more; a later one begins with nothing."""
        cached = site(rest=NO_LOG, route="cache = true")
        running = self.stored(cached)
        running.advance(2)
        calls = len(running.reactor.getDelayedCalls())
        running.change(site(rest=NO_LOG))
        self.assertIsNone(running.service.assembled.cache)  # type: ignore[union-attr]
        self.assertEqual(len(running.reactor.getDelayedCalls()), calls - 1)  # Nobody looks after it any more.
        running.change(cached)
        self.assertEqual(len(running.reactor.getDelayedCalls()), calls)
        self.assertFalse(self.is_hit(running))


class TunnelTests(Case):
    """Tunnels, and connections of tcp listeners (W4)."""

    def opened(self, text: str) -> tuple[Running, FakeTransport, FakeTransport]:
        running = self.running(text)
        client = running.client(TUNNEL)
        backend = running.backend()
        running.says(backend, SWITCH)
        self.assertIn(b" 101 ", client.sent)
        return running, client, backend

    def test_unchangedRoute(self) -> None:
        """It lives on while other things change, and when its backend is removed."""
        running, client, backend = self.opened(site(rest=NO_LOG))
        more = '[[route]]\nname = "more"\npath = "/more"\ncluster = "app"\n'
        running.change(site(rest=NO_LOG + more))
        running.change(site(rest=NO_LOG, backends=["10.0.0.2:80"]))
        running.advance(400)
        running.says(client, b"hello")
        self.assertTrue(backend.sent.endswith(b"hello"))

    def test_changedRoute(self) -> None:
        """Without its route it has its time, and is closed by 1001; two reloads give it no more of that."""
        running, client, backend = self.opened(site(rest=NO_LOG))
        short = NO_LOG + "[proxy]\ntunnel_shutdown_timeout_s = 9\n"
        changed = site(rest=short).replace('"all"', '"new"')
        running.change(changed)
        running.advance(6)
        running.change(changed + OTHER)
        running.says(client, b"hello")
        self.assertTrue(backend.sent.endswith(b"hello"))
        self.assertFalse(client.disconnected)
        self.assertFalse(client.sent.endswith(GOODBYE))
        running.advance(3.2)
        self.assertTrue(client.sent.endswith(GOODBYE))
        running.advance(3)
        self.assertTrue(client.disconnected)

    def test_comesBack(self) -> None:
        """Whoever takes the change back in time keeps it."""
        running, client, _ = self.opened(site(rest=NO_LOG))
        running.change(site(rest=NO_LOG).replace('"all"', '"new"'))
        running.advance(200)
        running.change(site(rest=NO_LOG))
        running.advance(400)
        self.assertFalse(client.disconnected)

    def test_changedCluster(self) -> None:
        """Its cluster is a part of its route; a cluster that changes in place is the same one."""
        running, client, _ = self.opened(site(rest=NO_LOG))
        running.change(site(rest=NO_LOG, cluster="retry.tries = 1\npool.max_idle = 3"))
        running.advance(301)
        self.assertFalse(client.disconnected)
        running.change(site(rest=NO_LOG, cluster="timeouts.tunnel_idle_s = 1800"))
        running.advance(299)
        self.assertFalse(client.sent.endswith(GOODBYE))
        running.advance(2)
        self.assertTrue(client.sent.endswith(GOODBYE))

    def test_onItsWay(self) -> None:
        """One that becomes a tunnel only after the change is none that lasts; an ordinary exchange is completed."""
        running = self.running(site(rest=NO_LOG))
        client = running.client(TUNNEL)
        backend = running.backend()
        streaming = running.client(GET)
        slow = running.backend()
        running.says(slow, head(b"Content-Length: 9999"))
        running.change(site(rest=NO_LOG).replace('"all"', '"new"'))
        running.says(backend, SWITCH)
        for _ in range(7):
            running.advance(50)
            running.says(slow, b"x")
        self.assertEqual((client.disconnected, streaming.disconnected), (True, False))

    def test_passages(self) -> None:
        """A tcp listener that leads elsewhere gives its connections their time; else they live on."""
        text = tcp_site(rest=NO_LOG + "[proxy]\ntunnel_shutdown_timeout_s = 9\n")
        running = self.running(text)
        client = running.client(b"question")
        running.backend()
        running.change(text.replace("10.0.0.1", "10.0.0.2").replace("[proxy]", "[proxy]\nmax_connections = 7"))
        running.advance(10)
        self.assertFalse(client.disconnected)
        running.change(text.replace('"app"', '"b"').replace(".app]", ".b]"))
        running.advance(8.5)
        self.assertFalse(client.disconnected)
        running.advance(1)
        self.assertTrue(client.disconnected)


class RestTests(Case):
    """Logs, counters, and what goes wrong."""

    def test_countersGoOn(self) -> None:
        """What was counted is counted on."""
        running = self.running()
        self.exchanged(running, running.client())
        running.change(site(rest=NO_LOG + OTHER))
        self.exchanged(running, running.client())
        running.advance(1.2)
        running.stop()
        self.assertTrue(any("2 exchanges" in line for line in running.events[-1:]), running.events[-1:])

    def test_accessLogs(self) -> None:
        """Each exchange is in the log that was configured when it ended; the file before is closed."""
        one, two = (os.path.abspath(self.mktemp()) for _ in range(2))
        running = self.running(site(route='hosts = ["b.example"]', rest=f'[log]\naccess = "{one}"'))
        running.client(GET)
        running.change(site(route='hosts = ["b.example"]', rest=f'[log]\naccess = "{two}"\nformat = "json"'))
        running.client(GET)
        running.change(site(rest=NO_LOG))
        running.client(GET)
        running.stop()
        contents = []
        for path in (one, two):
            with open(path) as file:
                contents.append(file.read())
        self.assertEqual((contents[0].count(" 404 "), contents[1].count('"status":404')), (1, 1), contents)

    def test_applicationLog(self) -> None:
        """It moves if it is ours to move; if not, or if the new file cannot be opened, that is said."""
        one, two = (os.path.abspath(self.mktemp()) for _ in range(2))
        running = self.running(site(rest=f'[log]\naccess = ""\npath = "{one}"'))
        moved = site(rest=f'[log]\naccess = ""\npath = "{two}"')
        running.change(moved)
        self.assertTrue(any("log.path has changed" in line for line in running.events))
        running.service.log_file = LogFile(one)
        self.addCleanup(running.service.log_file.close)
        running.change(site(rest=f'[log]\naccess = ""\npath = "{one}"'))
        running.change(moved)
        running.service.log_file.write("here\n")
        running.service.log_file.flush()
        with open(two) as file:
            self.assertEqual(file.read(), "here\n")
        running.change(site(rest='[log]\naccess = ""\npath = "/no/such/dir/x"'))
        self.assertTrue(any("stays where it is" in line for line in running.events))

    def test_whatIsWrongChangesNothing(self) -> None:
        """A port that is taken, a log that cannot be opened, a policy that raises: all goes on as before."""
        running = self.running()
        client = running.client()
        assembled, cluster, config = running.service.assembled, self.cluster(running), running.service.config
        running.reactor.taken = 8081
        log = os.path.abspath(self.mktemp())
        cases: list[tuple[str, type[BaseException]]] = [
            (site(rest=f'[log]\naccess = "{log}"\n' + OTHER, backends=["10.0.0.7:80"]), CannotListenError),
            (site(rest='[log]\naccess = "/no/such/dir/x"', backends=["10.0.0.7:80"]), OSError),
            (site(rest=NO_LOG, cluster=f'balance = "{__name__}:Raising"', backends=["10.0.0.7:80"]), ConfigError),
        ]
        for text, error in cases:
            self.assertRaises(error, running.change, text)
            self.assertIs(running.service.assembled, assembled)
            self.assertIs(running.service.config, config)
            self.assertEqual([backend.name for backend in cluster.backends], ["10.0.0.1:80"])
            self.assertEqual(list(running.service.ports), ["web"])
        self.assertIn(b" 200 OK", self.exchanged(running, client))
        gc.collect()  # A file that was left open would be a warning, and an error here.

    def test_fromAFile(self) -> None:
        """The file is read again; the result is kept, and logged with every error; a broken file serves the old."""
        path = os.path.abspath(self.mktemp()) + ".toml"

        def write(text: str) -> None:
            with open(path, "w") as file:
                file.write(text)

        write(site(rest=NO_LOG))
        running = self.running(source=Source(path, lambda: load_file(path)))
        service = running.service
        self.assertIsNone(service.last_reload)
        self.assertTrue(service.reload())
        self.assertIn(f"reloaded {path} in 0 ms: nothing has changed", running.events)
        self.assertEqual(service.last_reload[1:], (True, (), "nothing has changed"))  # type: ignore[index]
        write(site("bcklog = 1", "nme = 2", rest=NO_LOG))
        self.assertFalse(service.reload())
        _, is_served, errors, _ = service.last_reload
        self.assertEqual((is_served, len(errors)), (False, 2))
        self.assertIn(f"{path}:5: listener[0].bcklog", errors[0])
        for error in errors:
            self.assertIn(error, running.events)
        self.assertIn("the configuration before it stays", running.events[-1])
        write(site("keepalive_requests = 1", rest=NO_LOG))
        self.assertTrue(service.reload())
        self.assertIn(b"Connection: close\r\n", self.exchanged(running, running.client()))

    def test_withoutAFile(self) -> None:
        """There is nothing to be read but certificates, which is said; before the start and after the stop, nothing."""
        running = self.running()
        self.assertTrue(running.service.reload())
        self.assertIn("there is no file", running.events[-1])
        running.stop()
        self.assertFalse(running.service.reload())
        self.assertRaises(ValueError, running.service.change, running.service.config)
        self.assertFalse(ProxyService(running.service.config, Reactor()).reload())

    def test_whileItStops(self) -> None:
        """A reload that comes when the proxy is stopping is none, whatever the last one has come to."""
        running = self.running(source=Source("proxy.toml", lambda: load_text(site(rest=NO_LOG))))
        told: list[bytes] = []
        running.service.notifier = Notifier({"NOTIFY_SOCKET": "@systemd"}, lambda _address, data: told.append(data))
        self.assertTrue(running.service.reload())
        running.client(GET)
        running.stop()
        told.clear()
        self.assertFalse(running.service.reload())
        self.assertEqual((running.stopped, told), ([], []))
        running.service.cut_short()

    def test_nothingIsLeftBehind(self) -> None:
        """After many reloads there are as many clusters, routes and calls as before, and no more objects."""

        def several(number: int) -> str:
            cluster = f"timeouts.first_byte_s = {number % 3 + 1}\n{HEALTH}"
            backends = ["10.0.0.1:80", f"10.0.0.{number % 2 + 2}:80"]
            return site(
                f"max_fields = {number % 5 + 20}",
                rest=NO_LOG + OTHER * (number % 2),
                cluster=cluster,
                backends=backends,
            )

        running = self.running(several(0))
        client = running.client()

        def left() -> tuple[int, int, int]:
            running.reactor.tcpClients.clear()
            running.reactor.connectors.clear()
            running.events.clear()
            running.transports[1:] = []
            running.reactor.opened.clear()
            running.reactor.tcpServers.clear()
            gc.collect()
            kinds = [type(each) for each in gc.get_objects()]
            return kinds.count(Cluster), kinds.count(Route), len(running.reactor.getDelayedCalls())

        for number in range(1, 7):
            running.change(several(number))
        before = left()
        for number in range(7, 57):
            running.change(several(number))
        self.assertEqual(left(), before)
        self.assertFalse(client.disconnected)
        self.assertEqual(len(running.service.ports), 1)
