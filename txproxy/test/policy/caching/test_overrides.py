"""Fields by which some backends take something else for what is asked."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txproxy.policy.caching.overrides import disguised_overrides, methods_named, overridden
from txproxy.test.policy.caching.heads import request_of
from txproxy.wire.fields import Field

_WORDS: list[tuple[tuple[bytes, ...], bytes, bytes]] = [
    # Names, and what is said of them if they come from anybody, and from a trusted peer.
    ((), b"", b""),
    ((b"authorization", b"x-forwarded-host"), b"", b""),
    ((b"x-http-method",), b"method-override", b"method-override"),
    ((b"x-http-method", b"x-original-url"), b"method-override", b"method-override"),
    ((b"x-original-url", b"range"), b"url-override", b"url-override"),
    ((b"x-forwarded-prefix",), b"url-override", b""),
    ((b"x-forwarded-server", b"x-forwarded-prefix"), b"url-override", b""),
    ((b"x-forwarded-server", b"x-host"), b"url-override", b"url-override"),
]

_FIELDS: list[tuple[tuple[Field, ...], set[bytes], list[bytes]]] = [
    # What a request has, which overrides that is in disguise, and which methods it names.
    ((), set(), []),
    (((b"X_Other", b"PUT"),), set(), []),
    (((b"X-HTTP-Method", b"PUT"),), set(), [b"PUT"]),
    (((b"X_HTTP_Method", b"PUT"), (b"x-http-method", b"get")), {b"x-http-method"}, [b"PUT", b"get"]),
    (((b"X_Original-URL", b"/"), (b"X_HOST", b"a")), {b"x-original-url", b"x-host"}, []),
]


class OverrideTests(SynchronousTestCase):
    """What names of fields mean."""

    def test_overridden(self) -> None:
        """A word for what a backend may take for another request."""
        for names, word, trusted in _WORDS:
            self.assertEqual(overridden(frozenset(names), False), word, names)
            self.assertEqual(overridden(frozenset(names), True), trusted, names)

    def test_fields(self) -> None:
        """What stands in a request, as it is spelled and in disguise."""
        for fields, disguised, methods in _FIELDS:
            request = request_of(*fields)
            self.assertEqual(disguised_overrides(request), disguised, fields)
            self.assertEqual(methods_named(request), methods, fields)
