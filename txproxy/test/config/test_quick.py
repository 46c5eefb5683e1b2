"""Tests for :mod:`txproxy.config.quick`."""

from __future__ import annotations

from heapq import nsmallest
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txproxy.config.model import Config
from txproxy.config.problems import ConfigError
from txproxy.config.quick import load_quick
from txproxy.config.values import BALANCERS


class QuickConfigTests(SynchronousTestCase):
    """Flags to a configuration."""

    def errors_of(self, **flags: Any) -> list[str]:
        """Return what is wrong with some flags."""
        return str(self.assertRaises(ConfigError, load_quick, **flags)).split("\n")

    def test_noFlagsMakeAForwarder(self) -> None:
        """Without flags it listens on port 8080 and forwards to 8081 of this machine."""
        config = load_quick().config
        self.assertIsInstance(config, Config)
        self.assertEqual([listener.address for listener in config.listeners], ["0.0.0.0:8080"])
        self.assertEqual([route.cluster for route in config.routes], list(config.clusters))
        (cluster,) = config.clusters.values()
        self.assertEqual([backend.address for backend in cluster.backends], ["127.0.0.1:8081"])
        self.assertEqual((cluster.balance, config.log.level, config.log.path), ("round_robin", "info", "-"))

    def test_flagsAreUsed(self) -> None:
        """Every flag has its key; ports and brackets are added where they are missing."""
        config = load_quick(
            "::1",
            0,
            ["::1", "[::2]", "[::3]:3", "a", "b:4", "unix:/x"],
            9,
            balance="p2c",
            log_level="debug",
            log_file="/tmp/${x}",
        ).config
        self.assertEqual(config.listeners[0].address, "[::1]:0")
        (cluster,) = config.clusters.values()
        addresses = [backend.address for backend in cluster.backends]
        self.assertEqual(addresses, ["[::1]:9", "[::2]:9", "[::3]:3", "a:9", "b:4", "unix:/x"])
        self.assertEqual((cluster.balance, config.log.level, config.log.path), ("p2c", "debug", "/tmp/${x}"))
        self.assertEqual(load_quick("[::]").config.listeners[0].address, "[::]:8080")
        self.assertEqual(load_quick("unix:/x").config.listeners[0].address, "unix:/x")

    def test_everyPolicyCanBeAskedFor(self) -> None:
        """``--balance`` takes each name that a file may have, and a Python function, which is found."""
        for name in BALANCERS:
            self.assertEqual(load_quick(balance=name).config.clusters["quick"].balance, name)
        loaded = load_quick(balance="heapq:nsmallest")
        self.assertEqual(loaded.config.clusters["quick"].balance, "heapq:nsmallest")
        self.assertEqual(loaded.functions, {"heapq:nsmallest": nsmallest})
        self.assertEqual(
            self.errors_of(balance="heapq:cheapest"),
            ["command line: --balance: the module 'heapq' has no 'cheapest'"],
        )

    def test_wrongFlagsAreNamedAllAtOnce(self) -> None:
        """The problem's path is the flag that the user wrote."""
        self.assertEqual(
            self.errors_of(port=70000, backend_port=0, mode="htp", balance="x", log_level="inf", backends=["a b"]),
            [
                "command line: --port: 70000 is not a port (allowed: 0 to 65535)",
                "command line: --backend-port: 0 is not a port (allowed: 1 to 65535)",
                "command line: --mode: \"htp\" is not a mode (allowed: http, tcp; did you mean 'http'?)",
                'command line: --log-level: "inf" is none of the words (allowed: debug, info, warn, error; '
                "did you mean 'info'?)",
                'command line: --balance: "x" is not a balancing policy (allowed: round_robin, weighted_round_robin, '
                "least_connections, ip_hash, random, p2c, ewma, ring_hash, MODULE:FUNCTION)",
                'command line: --backend: "a b" is not a host name or IP address',
            ],
        )
        self.assertEqual(self.errors_of(backends=[]), ["command line: --backend: must not be empty"])
        self.assertEqual(
            self.errors_of(backends=["a", "b", "A:8081"]),
            [
                'command line: --backend: "a:8081" is the address of cluster.quick.backends[0] already '
                "(give it a weight for a larger share)"
            ],
        )
        self.assertEqual(
            self.errors_of(listen="1.2.3.4:80", backends=["a:b", "c:0"]),
            [
                'command line: --listen: "1.2.3.4:80" is not an address without port '
                "(allowed: HOST, IPV6, unix:/PATH; --port is the port)",
                'command line: --backend: "b" is not a port (allowed: 0 to 65535)',
                "command line: --backend: 0 is not a port to connect to (allowed: 1 to 65535)",
            ],
        )
        self.assertEqual(
            self.errors_of(listen="h b"), ['command line: --listen: "h b" is not a host name or IP address']
        )

    def test_tcpMode(self) -> None:
        """A forwarder of bytes has a listener that leads to its cluster, and no route (D11)."""
        config = load_quick("::1", 0, ["::1", "unix:/run/db"], 5432, mode="tcp", balance="least_connections").config
        (listener,) = config.listeners
        self.assertEqual((listener.protocol, listener.address, listener.cluster), ("tcp", "[::1]:0", "quick"))
        self.assertEqual(config.routes, ())
        cluster = config.clusters["quick"]
        self.assertEqual([each.address for each in cluster.backends], ["[::1]:5432", "unix:/run/db"])
        self.assertEqual(cluster.balance, "least_connections")
