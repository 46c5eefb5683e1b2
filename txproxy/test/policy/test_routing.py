"""Which route serves a request."""

from __future__ import annotations

from itertools import permutations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txproxy.policy.routing import Match, RouteTable
from txproxy.wire.fields import Field
from txproxy.wire.messages import RequestHead


def _request(host: bytes, path: bytes = b"/", method: bytes = b"GET", fields: tuple[Field, ...] = ()) -> RequestHead:
    request = RequestHead(method, path, 1, list(fields), {})
    request.hostname = host
    return request


def _found(
    routes: list[tuple[Match, str]],
    host: bytes,
    path: bytes = b"/",
    method: bytes = b"GET",
    fields: tuple[Field, ...] = (),
) -> str | None:
    return RouteTable(routes).find(_request(host, path, method, fields))


class HostTests(SynchronousTestCase):
    """Exact host, wildcard host, any host."""

    _ROUTES = [
        (Match(), "any"),
        (Match(hosts=(b"*.example.com",)), "wildcard"),
        (Match(hosts=(b"*.deep.example.com",)), "deep"),
        (Match(hosts=(b"a.example.com", b"b.example.com")), "exact"),
    ]

    def test_theMostSpecificHostIsServed(self) -> None:
        """In whatever order the routes stand in the file."""
        for host, expected in (
            (b"a.example.com", "exact"),
            (b"b.example.com", "exact"),
            (b"c.example.com", "wildcard"),
            (b"c.d.example.com", "wildcard"),
            (b"x.deep.example.com", "deep"),
            (b"y.x.deep.example.com", "deep"),
            (b"deep.example.com", "wildcard"),
            (b"example.com", "any"),
            (b".example.com", "any"),
            (b"xexample.com", "any"),
            (b"a.example.com.evil", "any"),
            (b"", "any"),
            (b"[::1]", "any"),
        ):
            for routes in permutations(self._ROUTES):
                self.assertEqual(_found(list(routes), host), expected, host)

    def test_nobodyServesOtherHosts(self) -> None:
        """Without a route for any host there is none for an unknown one (HF10)."""
        self.assertIsNone(_found(self._ROUTES[1:], b"other.example"))
        self.assertIsNone(_found([], b"a"))

    def test_aHostThatDoesNotMatchOtherwiseLeavesRoomForOthers(self) -> None:
        """If path or conditions do not match, less specific hosts have their turn."""
        routes = [
            (Match(hosts=(b"a.example.com",), path=b"/x"), "exact"),
            (Match(hosts=(b"*.example.com",), methods=frozenset((b"POST",))), "wildcard"),
            (Match(), "any"),
        ]
        self.assertEqual(_found(routes, b"a.example.com", b"/x"), "exact")
        self.assertEqual(_found(routes, b"a.example.com", b"/y", b"POST"), "wildcard")
        self.assertEqual(_found(routes, b"a.example.com", b"/y"), "any")


class PathTests(SynchronousTestCase):
    """Longest prefix, byte for byte."""

    def test_theLongestPrefixWins(self) -> None:
        """An exact path before any prefix, then the longest prefix, in whatever order (HF10)."""
        routes = [
            (Match(path=b"/"), "root"),
            (Match(path=b"/v1/"), "v1"),
            (Match(path=b"/v1/users"), "users"),
            (Match(path=b"/v1/users", exact=True), "exactly"),
        ]
        for path, expected in (
            (b"/", "root"),
            (b"/v1", "root"),
            (b"/v1/", "v1"),
            (b"/v1/x", "v1"),
            (b"/v1/users", "exactly"),
            (b"/v1/users/1", "users"),
            (b"/v1/usersx", "users"),
            (b"/V1/", "root"),
        ):
            for order in permutations(routes):
                self.assertEqual(_found(list(order), b"a", path), expected, path)

    def test_noPrefixNoRoute(self) -> None:
        """A path that none of them begins with is served by none."""
        self.assertIsNone(_found([(Match(path=b"/v1/"), "v1")], b"a", b"/v2/"))
        self.assertIsNone(_found([(Match(path=b"/v1", exact=True), "v1")], b"a", b"/v1/"))

    def test_whatHasNoPathIsServedByRoutesWithoutOne(self) -> None:
        """OPTIONS * and CONNECT go to routes that ask for no path in particular."""
        for path in (b"*", b""):
            self.assertEqual(_found([(Match(), "any")], b"a", path, b"OPTIONS"), "any")
            self.assertIsNone(_found([(Match(path=b"/x"), "x")], b"a", path, b"OPTIONS"))
            self.assertIsNone(_found([(Match(exact=True), "root")], b"a", path, b"OPTIONS"))


class ConditionTests(SynchronousTestCase):
    """Methods and fields, then the order of the file."""

    def test_allConditionsMustMatch(self) -> None:
        """A method of the set, and each field with exactly its value."""
        match = Match(methods=frozenset((b"GET", b"POST")), fields=((b"x-a", b"1"), (b"x-b", b"2")))
        fields: tuple[Field, ...] = ((b"X-B", b"2"), (b"x-A", b"1"))
        for method, given_fields, expected in (
            (b"GET", fields, "here"),
            (b"POST", fields, "here"),
            (b"PUT", fields, None),
            (b"get", fields, None),
            (b"GET", fields[:1], None),
            (b"GET", (*fields, (b"X-A", b"3")), None),
            (b"GET", ((b"X-A", b"1"), (b"X-B", b"02")), None),
        ):
            self.assertEqual(_found([(match, "here")], b"a", b"/", method, given_fields), expected)

    def test_moreConditionsAreMoreSpecific(self) -> None:
        """Of routes with one path those with conditions are asked first; a longer path beats them."""
        routes = [
            (Match(path=b"/x"), "plain"),
            (Match(path=b"/x", fields=((b"x-canary", b"1"),)), "canary"),
            (Match(path=b"/x", methods=frozenset((b"POST",)), fields=((b"x-canary", b"1"),)), "both"),
            (Match(path=b"/x/y"), "longer"),
        ]
        canary = ((b"X-Canary", b"1"),)
        for order in permutations(routes):
            self.assertEqual(_found(list(order), b"a", b"/x"), "plain")
            self.assertEqual(_found(list(order), b"a", b"/x", fields=canary), "canary")
            self.assertEqual(_found(list(order), b"a", b"/x", b"POST", canary), "both")
            self.assertEqual(_found(list(order), b"a", b"/x/y", b"POST", canary), "longer")

    def test_theOrderOfTheFileDecidesLast(self) -> None:
        """Of equally specific routes the first one serves."""
        routes = [
            (Match(hosts=(b"b", b"a")), "first"),
            (Match(hosts=(b"a",)), "second"),
            (Match(hosts=(b"b",)), "third"),
        ]
        self.assertEqual(_found(routes, b"a"), "first")
        self.assertEqual(_found(routes, b"b"), "first")
        self.assertEqual(_found(routes[1:], b"a"), "second")


_hosts = st.sampled_from([b"a", b"b.a", b"c.b.a", b"x"])
_paths = st.sampled_from([b"/", b"/p", b"/p/", b"/p/q", b"/q"])
_matches = st.builds(
    Match,
    hosts=st.lists(st.sampled_from([b"a", b"b.a", b"*.a", b"*.b.a"]), max_size=2, unique=True).map(tuple),
    path=_paths,
    exact=st.booleans(),
    methods=st.sampled_from([frozenset(), frozenset((b"GET",)), frozenset((b"POST",))]),
    fields=st.just(()),
)


class AnyTableTests(SynchronousTestCase):
    """The index says what a plain search over all routes would say."""

    @settings(max_examples=150, deadline=None)
    @given(st.lists(_matches, max_size=6), _hosts, _paths, st.sampled_from([b"GET", b"POST"]))
    def test_theIndexAgreesWithASearch(self, matches: list[Match], host: bytes, path: bytes, method: bytes) -> None:
        """Rank every route that matches at all by the words of the contract; the best one is served."""
        ranked = []
        for number, match in enumerate(matches):
            ranks = [len(host) + 1 for each in match.hosts if each == host]
            ranks += [len(each) - 1 for each in match.hosts if each[:2] == b"*." and host.endswith(each[1:])]
            rank = max(ranks, default=-1) if match.hosts else 0
            path_matches = path == match.path if match.exact else path.startswith(match.path)
            if rank >= 0 and path_matches and (not match.methods or method in match.methods):
                ranked.append((-rank, not match.exact, -len(match.path), not match.methods, number))
        expected = min(ranked)[-1] if ranked else None
        table = RouteTable([(match, str(number)) for number, match in enumerate(matches)])
        found = table.find(_request(host, path, method))
        self.assertEqual(found, None if expected is None else str(expected))
