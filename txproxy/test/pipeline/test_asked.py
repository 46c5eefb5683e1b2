"""When what a request means to the cache is worked out anew, although an equal one has come before."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txproxy.pipeline.asked import CachedRoute, asked_of
from txproxy.policy.caching.freshness import CacheRules
from txproxy.policy.caching.key import additions_of
from txproxy.test.policy.caching.heads import request_of
from txproxy.wire.fields import Field
from txproxy.wire.forwarding import make_hop

_ROUTE = CachedRoute(b"a", CacheRules(), 1000, 5.0)
_CHOOSING = _ROUTE._replace(chooses=True)
_NONE = ((b"X-Client-Cert-Verify", b"NONE"),)


class AskedTests(SynchronousTestCase):
    """``asked_of``"""

    def setUp(self) -> None:
        self.request = request_of()
        """Equal heads are one object."""

    def came(
        self,
        trusted: bool = False,
        scheme: bytes = b"http",
        port: bytes = b"80",
        identity: tuple[Field, ...] = (),
        cluster: str = "app",
    ) -> Any:
        """Return an exchange, as far as it matters here."""
        hop = make_hop(b"192.0.2.1", trusted, scheme, port, b"x", identity)
        return SimpleNamespace(
            request=self.request,
            client=SimpleNamespace(hop=hop),
            cluster=SimpleNamespace(name=cluster),
            client_address="192.0.2.1",
        )

    def test_reused(self) -> None:
        """It is not, for what came by the same connection, or one like it."""
        exchange = self.came()
        asked = asked_of(exchange, _ROUTE)
        self.assertIs(asked_of(exchange, _ROUTE), asked)
        self.assertIs(asked_of(self.came(cluster="two"), _ROUTE), asked)
        exchange = self.came(True, cluster="two")
        asked = asked_of(exchange, _CHOOSING)
        self.assertIs(asked_of(self.came(True, cluster="two"), _CHOOSING), asked)

    def test_workedOut(self) -> None:
        """It is, whatever is another: the route, its cluster, what the backend is told of the connection."""
        ways: list[dict[str, Any]] = [
            {"cluster": "two"},
            {"scheme": b"https"},
            {"port": b"81"},
            {"identity": _NONE},
        ]
        for way in ways:
            asked = asked_of(self.came(True), _CHOOSING)
            self.assertNotEqual(asked_of(self.came(True, **way), _CHOOSING).key, asked.key, way)
            self.assertEqual(asked_of(self.came(True), _CHOOSING), asked, way)
        self.assertNotEqual(asked_of(self.came(False), _CHOOSING).key, asked.key)
        self.assertNotEqual(asked_of(self.came(), _CHOOSING._replace(name=b"b")).key, asked_of(self.came(), _ROUTE).key)

    def test_additions(self) -> None:
        """It is always, where a key holds the client's address."""
        route = _ROUTE._replace(additions=additions_of(["client"]))
        exchange = self.came()
        key = asked_of(exchange, route).key
        exchange.client_address = "192.0.2.2"
        self.assertNotEqual(asked_of(exchange, route).key, key)
