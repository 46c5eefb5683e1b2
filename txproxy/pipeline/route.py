"""A route as it is served: what it matches leads to a cluster and to a chain of stages."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from twisted.python.reflect import safe_repr

from txproxy.config.route_model import Route as RouteSettings
from txproxy.errors import BadRequest, InternalError, NoRoute
from txproxy.exchange import Exchange, facts_of
from txproxy.policy.facts import RequestFacts
from txproxy.policy.routing import RouteTable
from txproxy.wire.forwarding import NO_REPLY_RULES, PLAIN_RULES, ReplyRules, RequestRules


class RouteRules(NamedTuple):
    """What a route changes on the way, and how it picks its cluster."""

    request: RequestRules = PLAIN_RULES
    reply: ReplyRules = NO_REPLY_RULES
    host: str = "keep"
    """``keep``, ``backend`` or ``literal:NAME``."""
    strip_prefix: bytes = b""
    choose: Callable[[RequestFacts], str] | None = None
    max_body_bytes: int = 0
    hsts: bytes = b""
    """Value of Strict-Transport-Security on replies over https; empty for none."""
    upgrades: frozenset[bytes] = frozenset()
    """Protocols in lower case to which a connection may be upgraded."""


class Route:
    """One route.

    :param settings: the route's in the configuration.
    :param rules: see there.
    :param clusters: all clusters by name, for ``choose``.
    :param cluster: the one that serves it, unless ``choose`` says.
    :param make_chain: given the route, returns its chain.
    """

    def __init__(
        self,
        settings: RouteSettings,
        rules: RouteRules,
        clusters: Mapping[str, Any],
        cluster: Any,
        make_chain: Callable[[Route], Any],
    ) -> None:
        self.settings = settings
        self.name = settings.name
        self.rules = rules
        self.request_rules = rules.request
        self.reply_rules = rules.reply
        self.hsts_line = b"\r\nStrict-Transport-Security: " + rules.hsts if rules.hsts else b""
        self.keeps_host = rules.host == "keep"
        self._literal = rules.host.removeprefix("literal:").encode() if rules.host.startswith("literal:") else None
        self._clusters = clusters
        self._cluster = cluster
        self.chain = make_chain(self)
        self.goes_by_head = rules.choose is None and self.chain.goes_by_head
        """Equal heads come to the same cluster, and past the same stages."""

    def cluster_for(self, exchange: Exchange) -> Any:
        """Return the cluster that serves an exchange.

        :raises InternalError: if the user's function raises, or names no cluster.
        """
        choose = self.rules.choose
        if choose is None:
            return self._cluster
        try:
            name = choose(facts_of(exchange))
        except BaseException as error:  # Also what sys.exit raises: it is one request's function, not the program.
            place = traceback.extract_tb(error.__traceback__)[-1]
            raise InternalError(
                f"route {self.name}: choose raised {safe_repr(error)} at {place.filename}:{place.lineno}"
            ) from error
        cluster = self._clusters.get(name) if isinstance(name, str) else None
        if cluster is None:
            raise InternalError(f"route {self.name}: choose returned {safe_repr(name)}, which is no cluster")
        return cluster

    def host_for(self, backend: Any) -> bytes | None:
        """Return what Host says upstream, or None to keep the client's."""
        return self._literal if self._literal is not None else backend.host_field

    def target_for(self, exchange: Exchange) -> bytes:
        """Return the target that goes upstream: byte for byte, but for a prefix that is stripped."""
        request = exchange.request
        assert request is not None
        prefix = self.rules.strip_prefix
        if not prefix or request.path[:1] != b"/":
            return request.target
        target = request.target
        if not target.startswith(prefix):
            # The prefix is spelled in another way, with escapes or doubled slashes; the normal form means the same.
            path, question, query = target.partition(b"?")
            if not request.path.startswith(prefix):
                return target
            target = request.path + question + query
        rest = target[len(prefix) :]
        if rest[:1] in (b"/", b"?", b"") or prefix.endswith(b"/"):
            return rest if rest.startswith(b"/") else b"/" + rest
        return request.target

    def __repr__(self) -> str:
        return f"<Route {self.name}>"


class Router:
    """Sends each exchange of one listener to its route.

    :param table: of the routes that this listener serves.
    """

    def __init__(self, table: RouteTable[Route]) -> None:
        self._find = table.find

    def start(self, exchange: Exchange) -> None:
        """Find the route and start its chain.

        :raises NoRoute: if no route matches.
        """
        request = exchange.request
        assert request is not None
        way = request.way
        if way is not None and way[0] is self:
            _, exchange.route, exchange.cluster, forward = way
            forward(exchange)
            return
        route = self._find(request)
        if route is None:
            if request.suspicious:
                raise BadRequest("dot segments, a fragment, or a broken escape in the target")
            raise NoRoute(f"host {request.hostname!r} path {request.path!r}")
        exchange.route = route
        exchange.cluster = cluster = route.cluster_for(exchange)
        if route.chain.start(exchange) and route.goes_by_head:
            request.way = self, route, cluster, route.chain.forward
