"""The target that goes upstream from a route that strips a prefix."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txproxy.config.route_model import Route as Settings
from txproxy.exchange import Exchange
from txproxy.pipeline.chain import Chain
from txproxy.pipeline.forward import Forward
from txproxy.pipeline.route import Route, RouteRules
from txproxy.test.wire.reading import request_with

SETTINGS = Settings(name="r", cluster="c")

# Prefix, target of the client, target upstream.
_CASES = (
    (b"", b"/api/v1/x?q=1", b"/api/v1/x?q=1"),
    (b"/api", b"/api/v1/x?q=1", b"/v1/x?q=1"),
    (b"/api", b"/api", b"/"),
    (b"/api", b"/api?q=/api", b"/?q=/api"),
    (b"/api", b"/api/", b"/"),
    (b"/api", b"/api//x", b"//x"),
    (b"/api", b"/api/%7Ea%2fb?%7e", b"/%7Ea%2fb?%7e"),
    (b"/api", b"/api/api/x", b"/api/x"),
    (b"/api", b"/apix", b"/apix"),
    (b"/api", b"/other/api", b"/other/api"),
    (b"/api", b"/API/x", b"/API/x"),
    (b"/api/", b"/api/x", b"/x"),
    (b"/api/", b"/api/", b"/"),
    (b"/api/", b"/api", b"/api"),
    (b"/api", b"//api/x", b"/x"),
    (b"/api", b"/%61pi/x?%61", b"/x?%61"),
    (b"/api/v1", b"/api/%76%31", b"/"),
    (b"/api", b"http://a/api/x?y", b"/x?y"),
)


class StripPrefixTests(SynchronousTestCase):
    """A prefix is taken away once; all else goes on byte for byte (HF10)."""

    def target(self, prefix: bytes, line: bytes) -> bytes:
        route = Route(SETTINGS, RouteRules(strip_prefix=prefix), {}, None, lambda route: Chain((), Forward))
        return route.target_for(Exchange(b"id", request_with(line=line), None, 0.0))

    def test_everythingAfterThePrefixIsKept(self) -> None:
        """Escapes and the query are untouched; a prefix ends where a segment ends, however it is spelled."""
        for prefix, target, expected in _CASES:
            self.assertEqual(self.target(prefix, b"GET " + target + b" HTTP/1.1"), expected, (prefix, target))

    def test_targetsWithoutAPathAreLeftAlone(self) -> None:
        """There is nothing to take away from `*` or an authority."""
        self.assertEqual(self.target(b"/api", b"OPTIONS * HTTP/1.1"), b"*")
        self.assertEqual(self.target(b"/api", b"CONNECT a:443 HTTP/1.1"), b"a:443")

    def test_aTargetUpstreamAlwaysBeginsWithASlash(self) -> None:
        """Whatever is taken away, what is left is a target."""
        for prefix in (b"/a", b"/a/", b"/a/b", b"/"):
            for target in (b"/a", b"/a/", b"/a/b", b"/a/b?c", b"/a?b", b"/", b"/ab", b"//a", b"/a%2Fb"):
                self.assertTrue(self.target(prefix, b"GET " + target + b" HTTP/1.1").startswith(b"/"), (prefix, target))
