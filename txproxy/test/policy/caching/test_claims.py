"""What backends are told of clients."""

from __future__ import annotations

from itertools import combinations

from twisted.trial.unittest import SynchronousTestCase

from txproxy.policy.caching.claims import PLACE_NAMES, claims_of, shows_certificate
from txproxy.policy.caching.key import primary_key, url_in
from txproxy.test.policy.caching.heads import request_of
from txproxy.wire.fields import CLAIM_NAMES, Field
from txproxy.wire.forwarding import Hop, RequestRules, make_hop, request_fields

_NONE = ((b"X-Client-Cert-Verify", b"NONE"),)
_SHOWN = (
    (b"X-Client-Cert-Subject", b"CN=x"),
    (b"X-Client-Cert-Fingerprint", b"ab"),
    (b"X-Client-Cert-Verify", b"SUCCESS"),
)
_OF_NO_MATTER = {b"x-forwarded-for", b"x-request-id"}
"""Claims that are as many as clients or requests."""

_FIELDS: list[tuple[Field, ...]] = [
    (),
    ((b"X-Forwarded-Proto", b"http"),),
    ((b"X-Forwarded-Proto", b"https"),),
    ((b"x-forwarded-proto", b"http"), (b"X-Forwarded-Proto", b"https")),
    ((b"X-Forwarded-Host", b"example.com"),),
    ((b"X-Forwarded-Host", b"evil.example"),),
    ((b"X-Forwarded-Host", b""),),
    ((b"X-Forwarded-Port", b"443"),),
    ((b"X-Forwarded-Port", b"443"), (b"Connection", b"x-forwarded-port")),
    ((b"Forwarded", b"host=a;proto=https"),),
    ((b"Forwarded", b"host=a, proto=https"),),
    ((b"Forwarded", b"host=b"),),
    ((b"X-Forwarded-For", b"192.0.2.9"),),
    ((b"X-Client-Cert-Subject", b"CN=y"),),
    ((b"X-Client-Cert-Fingerprint", b"CN=y"),),
    ((b"X-Client-Cert-Verify", b"SUCCESS"),),
    _NONE,
    ((b"X-Forwarded-Host", b"4:http"), (b"X-Forwarded-Proto", b"")),
    ((b"X-Forwarded-Prefix", b"/a"),),
    ((b"x-forwarded-prefix", b"/b"),),
    ((b"X-Forwarded-Server", b"/a"),),
    ((b"X-Forwarded-Prefix", b"/a"), (b"X-Forwarded-Prefix", b"/b")),
    ((b"X-Forwarded-Prefix", b"/b"), (b"X-Forwarded-Prefix", b"/a")),
    ((b"X-Forwarded-Prefix", b"/a, /b"),),
    ((b"X_Forwarded_Prefix", b"/a"),),
    ((b"X-Forwarded-Prefix", b"/a"), (b"Connection", b"x-forwarded-prefix")),
]

_FORWARDED = [
    # Of one, another, and whether they mean the same.
    (b"for=192.0.2.1;host=a", b'for="[2001:db8::1]:80";host=a', True),
    (b"For=192.0.2.1; Host=a; by=_x", b"for=_y;Host=a", True),
    (b"for=192.0.2.1, for=192.0.2.2", b"for=_a,for=_b", True),
    (b"for=192.0.2.1;host=a", b"for=192.0.2.1;host=b", False),
    (b"for=192.0.2.1;proto=http", b"for=192.0.2.1;proto=https", False),
    (b"for=192.0.2.1, host=a", b"for=192.0.2.1;host=a", False),
    (b"host=a, for=192.0.2.1", b"for=192.0.2.1, host=a", False),
    (b'for="x;host=a"', b'for="x;host=b"', False),
    (b'for="x\\"";host=a', b'for="y\\"";host=a', False),
    (b"for=192.0.2.1 host=a", b"for=192.0.2.1 host=b", False),
    (b"for=192.0.2.1;host=a;", b"for=192.0.2.2;host=a;", False),
]


def _hop(trusted: bool = True, scheme: bytes = b"http", port: bytes = b"80", identity: tuple[Field, ...] = ()) -> Hop:
    return make_hop(b"192.0.2.1", trusted, scheme, port, b"x", identity)


def _sent(fields: tuple[Field, ...], hop: Hop) -> list[Field]:
    """Return the claims that a backend is sent."""
    sent = request_fields(request_of(*fields), None, hop, b"id", RequestRules(allow_underscores=True))
    names = CLAIM_NAMES - _OF_NO_MATTER
    claims = sorted((name.lower(), value) for name, value in sent if name.lower() in names)
    # Of what is passed on as it is, the order may matter.
    return claims + [(name.lower(), value) for name, value in sent if name.lower().replace(b"_", b"-") in PLACE_NAMES]


class ClaimTests(SynchronousTestCase):
    """``claims_of``"""

    def test_asSent(self) -> None:
        """Of a trusted peer, requests have the same claims just where a backend is sent the same."""
        hops = [_hop(), _hop(scheme=b"https"), _hop(port=b"8080"), _hop(identity=_NONE), _hop(identity=_SHOWN)]
        each = [(fields, hop) for fields in _FIELDS for hop in hops]
        for one, other in combinations(each, 2):
            (fields, hop), (other_fields, other_hop) = one, other
            same = claims_of(request_of(*fields), hop) == claims_of(request_of(*other_fields), other_hop)
            self.assertIs(same, _sent(*one) == _sent(*other), (one, other))

    def test_notTrusted(self) -> None:
        """What others claim does not matter, and is never that of a trusted peer, which always has claims."""
        for fields in _FIELDS:
            for identity in ((), _NONE, _SHOWN):
                self.assertEqual(claims_of(request_of(*fields), _hop(trusted=False, identity=identity)), b"")
                self.assertNotEqual(claims_of(request_of(*fields), _hop(identity=identity)), b"")

    def test_forwarded(self) -> None:
        """Addresses in Forwarded do not count, unless it could be read in two ways."""
        for one, other, same in _FORWARDED:
            one_claims, other_claims = (claims_of(request_of((b"Forwarded", value)), _hop()) for value in (one, other))
            self.assertIs(one_claims == other_claims, same, (one, other))

    def test_keys(self) -> None:
        """Keys with claims begin with the URL, too."""
        for fields in _FIELDS:
            request = request_of(*fields)
            key = primary_key(request, b"http", space=b"a", claims=claims_of(request, _hop()))
            self.assertEqual(url_in(key), b"http://example.com/a")
            self.assertNotEqual(key, primary_key(request, b"http", space=b"a"))


class CertificateTests(SynchronousTestCase):
    """``shows_certificate``"""

    def test_cases(self) -> None:
        shown: tuple[Field, ...] = ((b"x-client-cert-fingerprint", b"ab"),)
        empty: tuple[Field, ...] = ((b"X-Client-Cert-Subject", b""), *_NONE)
        failed: tuple[Field, ...] = ((b"X-Client-Cert-Verify", b"FAILED"),)
        for fields, hop, expected in (
            ((), _hop(), False),
            ((), _hop(identity=_NONE), False),
            ((), _hop(identity=_SHOWN), True),
            ((), _hop(trusted=False, identity=_NONE), False),
            ((), _hop(trusted=False, identity=_SHOWN), True),
            (shown, _hop(), True),
            (_NONE, _hop(), False),
            (empty, _hop(), False),
            (failed, _hop(), True),
            ((*_NONE, *_SHOWN), _hop(), True),
            # Who asks for certificates itself, or trusts nobody, believes nothing of it.
            (shown, _hop(identity=_NONE), False),
            (shown, _hop(trusted=False), False),
        ):
            self.assertIs(shows_certificate(request_of(*fields), hop), expected, (fields, hop))
