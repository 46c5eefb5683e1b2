"""The proxy as a service: it listens, announces itself, and stops without losing what is under way."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from txproxy import build
from txproxy.config.load import load_text
from txproxy.config.problems import ConfigError
from txproxy.options import Options, configure
from txproxy.service import ProxyService
from txproxy.test.running import NO_LOG, Reactor, Running
from txproxy.test.talk import GET, OK, head, post
from txproxy.testing import site, tcp_site


class StartTests(SynchronousTestCase):
    """What a start does and says."""

    def test_announces(self) -> None:
        """It says where it listens, its routes and clusters, and that it is ready, in this order."""
        running = Running(self)
        lines = [line for line in running.events if not line.startswith("only")]
        self.assertEqual(lines[0], "listening on http://0.0.0.0:8080 (web)")
        self.assertIn("route all", lines[1])
        self.assertEqual(lines[2], "cluster app: 1 backends")
        self.assertIn(" ready", lines[3])
        running.stop()

    def test_listens(self) -> None:
        """With the address and the backlog of the configuration."""
        running = Running(self, site(rest=NO_LOG + "[proxy]\nbacklog = 77"))
        port, _, backlog, interface = running.reactor.tcpServers[0]
        self.assertEqual((port, backlog, interface), (8080, 77, "127.0.0.1"))
        running.stop()

    def test_unixSocket(self) -> None:
        """Or on a unix socket."""
        reactor = Reactor()
        text = site(rest=NO_LOG).replace("127.0.0.1:8080", "unix:/run/x.sock")
        service = ProxyService(load_text(text).config, reactor)
        service.startService()
        self.assertEqual(reactor.unixServers[0][0], "/run/x.sock")
        service.stopService()

    def test_twice(self) -> None:
        """Binding before and starting after, or starting twice, opens each port once."""
        running = Running(self)
        running.service.privilegedStartService()
        running.service.startService()
        self.assertEqual(len(running.reactor.opened), 1)
        running.stop()

    def test_portIsTaken(self) -> None:
        """If one address cannot be bound, the error is raised and no other stays bound."""
        second = '[[listener]]\nname = "b"\naddress = "127.0.0.1:9"\n'
        reactor = Reactor(taken=9)
        service = ProxyService(load_text(site(rest=NO_LOG) + second).config, reactor)
        self.assertRaises(CannotListenError, service.startService)
        self.assertEqual([port.is_listening for port in reactor.opened], [False])
        self.assertEqual([call for call in reactor.getDelayedCalls()], [])

    def test_accessLogCannotBeOpened(self) -> None:
        """A log that cannot be opened is an error before any port is."""
        reactor = Reactor()
        service = ProxyService(load_text(site(rest='[log]\naccess = "/no/such/dir/x"')).config, reactor)
        self.assertRaises(OSError, service.startService)
        self.assertEqual(reactor.opened, [])

    def test_serves(self) -> None:
        """A request goes through."""
        running = Running(self)
        client = running.client(GET)
        running.says(running.backend(), OK)
        self.assertTrue(client.sent.startswith(b"HTTP/1.1 200 OK"))
        running.stop()

    def test_deadlines(self) -> None:
        """Deadlines are looked at while it runs."""
        running = Running(self)
        client = running.client(GET[:5])
        running.advance(9.8)
        self.assertEqual(client.sent, b"")
        running.advance(0.5)
        self.assertTrue(client.sent.startswith(b"HTTP/1.1 408"))
        running.stop()
        running.advance(3)

    def test_embedded(self) -> None:
        """Another application builds it from a configuration."""
        service = build(load_text(site(rest=NO_LOG)), Reactor())
        self.assertIsInstance(service, ProxyService)


class StopTests(SynchronousTestCase):
    """A graceful stop (G5)."""

    def test_nothingUnderWay(self) -> None:
        """It is over at once; ports are closed, no call is left; a summary is logged."""
        running = Running(self)
        running.stop()
        self.assertEqual(len(running.stopped), 1)
        self.assertEqual([port.is_listening for port in running.reactor.opened], [False])
        self.assertEqual(running.reactor.getDelayedCalls(), [])
        self.assertIn("0 exchanges", running.events[-1])

    def test_idleOnesAreClosed(self) -> None:
        """Connections that have carried nothing for a second are closed at once, of clients and of backends."""
        running = Running(self)
        idle = running.client()
        used = running.client(GET)
        backend = running.backend()
        running.says(backend, OK)
        running.advance(1)
        running.stop()
        self.assertEqual([each.disconnected for each in (idle, used, backend)], [True] * 3)
        self.assertEqual(len(running.stopped), 1)
        self.assertEqual(running.reactor.getDelayedCalls(), [])

    def test_onTheirWay(self) -> None:
        """What was sent before the client could know of the stop is served; who sends nothing is not waited for."""
        running = Running(self)
        silent, new, used = running.client(), running.client(), running.client(GET)
        first = running.backend()
        running.says(first, OK)
        running.advance(0.5)
        running.stop()
        running.advance(0.3)
        running.says(new, GET)
        running.says(used, GET)
        second = running.backend()
        running.advance(0.4)
        self.assertEqual([each.disconnected for each in (silent, new, used)], [True, False, False])
        running.says(first, OK)
        running.says(second, OK)
        for client in (new, used):
            last = client.sent.rpartition(b"HTTP/1.1 ")[2]
            self.assertTrue(last.startswith(b"200") and last.endswith(b"ok"), last)
            self.assertIn(b"\r\nConnection: close\r\n", last)
            self.assertTrue(client.disconnected)
        self.assertEqual((len(running.stopped), running.reactor.getDelayedCalls()), (1, []))

    def test_promised(self) -> None:
        """Who was told before the stop that the connection stays may send one more request when the reply is over."""
        running = Running(self)
        client = running.client(GET)
        backend = running.backend()
        running.says(backend, head(b"Content-Length: 4") + b"ab")
        running.stop()
        running.says(backend, b"cd")
        self.assertFalse(client.disconnected)
        running.says(client, GET)
        running.says(backend, OK)
        self.assertTrue(client.sent.endswith(b"ok"))
        self.assertTrue(client.disconnected)
        self.assertEqual(len(running.stopped), 1)

    def test_inFlightFinish(self) -> None:
        """What is under way is finished, with Connection: close; only then the stop is over."""
        running = Running(self)
        client = running.client(GET)
        backend = running.backend()
        running.stop()
        running.advance(20)
        self.assertEqual(running.stopped, [])
        running.says(backend, head(b"Content-Length: 4") + b"ab")
        self.assertIn(b"\r\nConnection: close\r\n", client.sent)
        running.says(backend, b"cd")
        self.assertTrue(client.sent.endswith(b"abcd"))
        self.assertTrue(client.disconnected)
        self.assertEqual((len(running.stopped), running.reactor.getDelayedCalls()), (1, []))
        self.assertIn("1 exchanges (ok 1)", running.events[-1])

    def test_halfAHead(self) -> None:
        """A request whose head has begun may still come, and is served."""
        running = Running(self)
        client = running.client(GET[:8])
        running.stop()
        self.assertEqual(running.stopped, [])
        running.says(client, GET[8:])
        running.says(running.backend(), OK)
        self.assertTrue(client.sent.endswith(b"ok"))
        self.assertEqual(len(running.stopped), 1)

    def test_uploadsFinish(self) -> None:
        """The same for a body that is still coming."""
        running = Running(self)
        client = running.client(post(4) + b"ab")
        backend = running.backend()
        running.stop()
        running.says(client, b"cd")
        running.says(backend, OK)
        self.assertTrue(client.sent.endswith(b"ok"))
        self.assertEqual(len(running.stopped), 1)

    def test_slowReaderFinishes(self) -> None:
        """A client that has not read all of its reply gets the rest."""
        running = Running(self)
        client = running.client(GET)
        backend = running.backend()
        client.room = 0
        running.says(backend, head(b"Content-Length: 50000") + bytes(50_000))
        running.stop()
        self.assertEqual(running.stopped, [])
        client.room = None
        running.settle()
        self.assertGreater(len(client.sent), 50_000)
        running.advance(1.2)
        self.assertEqual(len(running.stopped), 1)

    def test_pipelinedOnesFinish(self) -> None:
        """Requests that were read before the stop: the one under way is answered, then the connection ends."""
        running = Running(self)
        client = running.client(GET + GET)
        backend = running.backend()
        running.stop()
        running.says(backend, OK)
        running.advance(3)
        self.assertTrue(client.disconnected)
        self.assertEqual(len(running.stopped), 1)

    def test_deadline(self) -> None:
        """At the end of shutdown_timeout_s the rest are cut and counted."""
        running = Running(self, site(rest=NO_LOG + "[proxy]\nshutdown_timeout_s = 7"))
        waiting, streaming = running.client(GET), running.client(GET)
        first, second = running.backend(), running.backend()
        running.says(second, head(b"Content-Length: 9") + b"ab")
        running.stop()
        running.advance(6.8)
        self.assertEqual(running.stopped, [])
        running.advance(0.4)
        self.assertTrue(waiting.sent.startswith(b"HTTP/1.1 503"))
        self.assertTrue(streaming.sent.endswith(b"ab"))
        self.assertEqual([each.was_aborted for each in (first, second, streaming)], [True] * 3)
        self.assertEqual(len(running.stopped), 1)
        self.assertIn("2 exchanges were cut", "\n".join(running.events))
        self.assertIn("shutdown 2", running.events[-1])
        self.assertEqual(running.reactor.getDelayedCalls(), [])

    def test_secondSignal(self) -> None:
        """cut_short ends all at once; it may be called again, and when nothing stops."""
        running = Running(self)
        running.service.cut_short()
        client = running.client(GET)
        running.backend()
        running.stop()
        running.service.cut_short()
        running.settle()
        self.assertTrue(client.disconnected)
        self.assertEqual((len(running.stopped), running.reactor.getDelayedCalls()), (1, []))
        running.service.cut_short()

    def test_tunnels(self) -> None:
        """Requests and tunnels have each a time of their own to come to an end, whichever is longer."""
        for shutdown_s, tunnel_s in ((5, 20), (20, 5)):
            proxy = f"[proxy]\nshutdown_timeout_s = {shutdown_s}\ntunnel_shutdown_timeout_s = {tunnel_s}\n"
            http = site(rest=NO_LOG + proxy)
            raw = tcp_site().replace('"web"', '"raw"').replace('"app"', '"db"').replace(".app]", ".db]")
            running = Running(self, http + raw.replace(":8080", ":8082"))
            waiting = running.client(GET)
            running.backend()
            tunnel = running.client(listener=1)
            far = running.backend()
            running.stop()
            running.says(tunnel, b"still here")
            self.assertEqual(bytes(far.sent), b"still here")
            first, second = (waiting, tunnel) if shutdown_s < tunnel_s else (tunnel, waiting)
            running.advance(5.2)
            self.assertTrue(first.disconnected)
            self.assertFalse(second.disconnected)
            self.assertEqual(running.stopped, [])
            running.advance(15.2)
            self.assertTrue(second.disconnected and tunnel.was_aborted and far.was_aborted)
            self.assertEqual(len(running.stopped), 1)
            self.assertEqual([call for call in running.reactor.getDelayedCalls() if call.active()], [])

    def test_tunnelsHaveTheirOwnLine(self) -> None:
        """The start says which listeners pass bytes through."""
        running = Running(self, tcp_site(rest=NO_LOG))
        self.assertIn("listening on tcp://0.0.0.0:8080 (web)", running.events)
        running.stop()

    def test_manyExchanges(self) -> None:
        """No call is left if many exchanges ended just before."""
        running = Running(self, site(rest=NO_LOG, route='hosts = ["b.example"]'))
        client = running.client(GET * 70)
        self.assertEqual(client.sent.count(b" 404 "), 70)
        running.stop()
        running.advance(1.2)
        self.assertEqual(running.reactor.getDelayedCalls(), [])
        self.assertIn("70 exchanges", running.events[-1])

    def test_notStarted(self) -> None:
        """A service that was not started stops at once."""
        service = ProxyService(load_text(site(rest=NO_LOG)).config, Reactor())
        fired: list[Any] = []
        service.stopService().addCallback(fired.append)
        self.assertEqual(len(fired), 1)


class LogTests(SynchronousTestCase):
    """The access log's file."""

    def test_reopen(self) -> None:
        """After it was moved away and reopened, lines go to a new file; none is lost (logrotate)."""
        path = os.path.abspath(self.mktemp())
        running = Running(self, site(route='hosts = ["b.example"]', rest=f'[log]\naccess = "{path}"'))
        running.client(GET)
        os.rename(path, path + ".1")
        running.service.reopen_logs()
        running.client(GET)
        running.stop()
        running.advance(1.2)
        for name in (path + ".1", path):
            with open(name) as file:
                self.assertEqual(file.read().count(" 404 "), 1)
        running.service.reopen_logs()


class OptionsTests(SynchronousTestCase):
    """The command line of twistd."""

    def options(self, *arguments: str) -> Options:
        options = Options()
        options.parseOptions(list(arguments))
        return options

    def written(self, text: str) -> str:
        path = self.mktemp() + ".toml"
        with open(path, "w") as file:
            file.write(text)
        return path

    def test_quickMode(self) -> None:
        """Flags alone make a forwarder."""
        options = self.options("-l", "127.0.0.1", "-p", "9000", "-b", "a.example", "-b", "b:9001", "-P", "9002")
        config, functions = configure(options)
        self.assertEqual(config.listeners[0].address, "127.0.0.1:9000")
        (cluster,) = config.clusters.values()
        self.assertEqual([each.address for each in cluster.backends], ["a.example:9002", "b:9001"])
        self.assertEqual(functions, {})

    def test_defaults(self) -> None:
        """No flag at all: 0.0.0.0:8080 to 127.0.0.1:8081."""
        config, _ = configure(self.options())
        self.assertEqual(config.listeners[0].address, "0.0.0.0:8080")
        (cluster,) = config.clusters.values()
        self.assertEqual([each.address for each in cluster.backends], ["127.0.0.1:8081"])

    def test_wrongFlags(self) -> None:
        """Values that are not allowed are named by their flags; a word for a number is a usage error."""
        error = self.assertRaises(ConfigError, configure, self.options("-p", "99999", "--mode", "udp"))
        self.assertIn("--port", str(error))
        self.assertIn("--mode", str(error))
        self.assertRaises(usage.UsageError, self.options, "-p", "many")
        self.assertRaises(usage.UsageError, self.options, "--no-such-flag")

    def test_file(self) -> None:
        """A file is read; a flag beside it is an error, not ignored."""
        path = self.written(site())
        config, _ = configure(self.options("-c", path))
        self.assertEqual(config.listeners[0].name, "web")
        self.assertRaises(ConfigError, configure, self.options("-c", path, "-p", "80"))

    def test_check(self) -> None:
        """--check leaves with 0 or 1 and opens nothing (G2); without a file it is a usage error."""
        good, bad = self.written(site()), self.written(site(listener="bcklog = 3", route="nme = 1"))
        for path, code in ((good, 0), (bad, 1)):
            error = self.assertRaises(SystemExit, self.options, "-c", path, "--check")
            self.assertEqual(error.code, code)
        self.assertRaises(usage.UsageError, self.options, "--check")
