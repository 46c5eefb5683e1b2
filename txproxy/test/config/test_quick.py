"""Tests for :mod:`txproxy.config.quick`."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txproxy.config.model import Config
from txproxy.config.problems import ConfigError
from txproxy.config.quick import quick_config


class QuickConfigTests(SynchronousTestCase):
    """Flags to a configuration."""

    def errors_of(self, **flags: Any) -> list[str]:
        """Return what is wrong with some flags."""
        return str(self.assertRaises(ConfigError, quick_config, **flags)).split("\n")

    def test_noFlagsMakeAForwarder(self) -> None:
        """Without flags it listens on port 8080 and forwards to 8081 of this machine."""
        config = quick_config()
        self.assertIsInstance(config, Config)
        self.assertEqual([listener.address for listener in config.listeners], ["0.0.0.0:8080"])
        self.assertEqual([route.cluster for route in config.routes], list(config.clusters))
        (cluster,) = config.clusters.values()
        self.assertEqual([backend.address for backend in cluster.backends], ["127.0.0.1:8081"])
        self.assertEqual((cluster.balance, config.log.level, config.log.path), ("round_robin", "info", "-"))

    def test_flagsAreUsed(self) -> None:
        """Every flag has its key; ports and brackets are added where they are missing."""
        config = quick_config(
            "::1",
            0,
            ["::1", "[::2]", "[::3]:3", "a", "b:4", "unix:/x"],
            9,
            balance="weighted_round_robin",
            log_level="debug",
            log_file="/tmp/${x}",
        )
        self.assertEqual(config.listeners[0].address, "[::1]:0")
        (cluster,) = config.clusters.values()
        addresses = [backend.address for backend in cluster.backends]
        self.assertEqual(addresses, ["[::1]:9", "[::2]:9", "[::3]:3", "a:9", "b:4", "unix:/x"])
        self.assertEqual((config.log.level, config.log.path), ("debug", "/tmp/${x}"))
        self.assertEqual(quick_config("[::]").listeners[0].address, "[::]:8080")
        self.assertEqual(quick_config("unix:/x").listeners[0].address, "unix:/x")

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

    def test_whatIsNotServedIsRefused(self) -> None:
        """Modes and policies that do not exist yet are refused like in a file."""
        self.assertEqual(
            self.errors_of(mode="tcp", balance="p2c"),
            [
                'command line: --mode: protocol = "tcp" is not supported yet (allowed: http)',
                'command line: --balance: balance = "p2c" is not supported yet (allowed: round_robin, '
                "weighted_round_robin)",
            ],
        )
