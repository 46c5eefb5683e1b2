"""Who asks: peers that are trusted, clients with certificates, and what is chosen for a request."""

from __future__ import annotations

import sys
from types import ModuleType

from txproxy.policy.caching.claims import PLACE_NAMES
from txproxy.policy.facts import TlsFacts
from txproxy.test.pipeline.cache_case import FRESH, STORABLE, CacheCase, get
from txproxy.test.talk import reply, request
from txproxy.testing import Dialogue, Peer, site

_TRUSTED = '[proxy]\ntrusted_proxies = ["192.0.2.0/24"]'
_OVERRIDES = [
    *((name, b"method-override") for name in (b"X-HTTP-Method-Override", b"X-HTTP-Method", b"x-method-override")),
    *((name, b"url-override") for name in (b"X-Original-URL", b"X-Rewrite-URL", b"X-Original-Host", b"x-host")),
    *((name, b"url-override") for name in (b"X-HTTP-Host-Override", b"X-Forwarded-Server", b"X-Forwarded-Prefix")),
    *((name, b"url-override") for name in (b"X-Script-Name", b"X-Forwarded-URI", b"X-Original-URI", b"X-Url-Scheme")),
    *((name, b"url-override") for name in (b"X-Forwarded-Scheme", b"X-Forwarded-Protocol", b"X-Forwarded-Ssl")),
    (b"Front-End-Https", b"url-override"),
]
"""Names, and what is said of them."""
_STRANGER = "198.51.100.1"
_CERTIFICATE = TlsFacts("TLSv1.3", "x", client_subject=b"CN=x", client_fingerprint=b"ab", client_verify=b"SUCCESS")
_NO_CERTIFICATE = TlsFacts("TLSv1.3", "x", client_verify=b"NONE")
_PUBLIC = reply(b"public", b"Cache-Control: public, max-age=60")


class TrustedTests(CacheCase):
    """What a trusted peer says of its client."""

    def assertMiss(self, dialogue: Dialogue, body: bytes, *fields: bytes, address: str = "192.0.2.1") -> None:
        """Check that something is not stored, and have it stored."""
        client = self.asks(dialogue, b"/", *fields, address=address)
        self.asked(dialogue).says(reply(body, FRESH))
        self.assertGets(client, b"MISS", body)
        client.finishes()

    def test_claims(self) -> None:
        """Scheme, host, port and certificate of which the backend is told tell replies apart; addresses do not."""
        dialogue = self.cached(rest=_TRUSTED)
        rows = (
            (),
            (b"X-Forwarded-Proto: https",),
            (b"X-Forwarded-Host: evil.example",),
            (b"X-Forwarded-Port: 443",),
            (b"Forwarded: proto=https",),
            (b"X-Client-Cert-Verify: NONE",),
        )
        for count, fields in enumerate(rows):
            self.assertMiss(dialogue, b"%d" % count, *fields)
        for count, fields in enumerate(rows):
            # Twice: heads that come again are known to the parser.
            self.assertStill(dialogue, b"HIT", b"%d" % count, b"/", *fields)
            self.assertStill(dialogue, b"HIT", b"%d" % count, b"/", *fields)
            self.assertStill(dialogue, b"HIT", b"%d" % count, b"/", b"X-Forwarded-For: 203.0.113.1", *fields)

    def test_strangers(self) -> None:
        """What a client says that is not trusted fills nothing for those that are, nor matters to others like it."""
        field = b"X-Forwarded-Host: evil.example"
        for first, second in ((_STRANGER, "192.0.2.1"), ("192.0.2.1", _STRANGER)):
            dialogue = self.cached(rest=_TRUSTED)
            self.assertMiss(dialogue, b"first", field, address=first)
            self.assertMiss(dialogue, b"second", field, address=second)
            for address, body in ((first, b"first"), (second, b"second")):
                client = self.asks(dialogue, b"/", field, address=address)
                self.assertGets(client, b"HIT", body)
            self.assertGets(
                self.asks(dialogue, address=_STRANGER), b"HIT", b"first" if first == _STRANGER else b"second"
            )
            self.backends.clear()

    def test_purge(self) -> None:
        """PURGE, and what changes something, find all that is stored of a URL, whatever a trusted peer said of it."""
        dialogue = self.cached('{ purge_from = ["192.0.2.0/24"] }', rest=_TRUSTED)
        fields = b"X-Forwarded-Proto: https", b"X-Forwarded-Host: www.example"
        for line in (b"PURGE", b"DELETE"):
            self.assertMiss(dialogue, b"told", *fields)
            self.assertMiss(dialogue, b"plain")
            self.assertMiss(dialogue, b"stranger", address=_STRANGER)
            client = dialogue.client()
            client.says(request(line + b" / HTTP/1.1"))
            if line == b"PURGE":
                self.assertIn(b"3 purged", client.gets())
            else:
                self.asked(dialogue).says(reply(b""))
            client.resets()
            self.assertEqual(self.cache_of(dialogue).statistics().store.objects, 0, line)


class CertificateTests(CacheCase):
    """Certificates of clients are credentials, as Authorization is (RFC 9111 section 3.5)."""

    def test_storing(self) -> None:
        """A reply to somebody with a certificate is stored only if it says that it may be; what is stored serves all."""
        for says, body, is_stored in ((STORABLE, b"stored", False), (_PUBLIC, b"public", True)):
            dialogue = self.cached()
            client = dialogue.client(tls=_CERTIFICATE)
            client.says(get())
            self.asked(dialogue).says(says)
            head = self.assertGets(client, b"MISS", body)
            self.assertIn(b"stored" if is_stored else b"detail=authorization", head.get(b"Cache-Status") or b"")
            for tls in (_CERTIFICATE, _NO_CERTIFICATE):
                client = dialogue.client(tls=tls)
                client.says(get())
                if not is_stored:
                    self.asked(dialogue).says(says)
                self.assertGets(client, b"HIT" if is_stored else b"MISS", body)
                is_stored = is_stored or tls is _NO_CERTIFICATE
            self.backends.clear()

    def test_equalHeads(self) -> None:
        """That the same head has come without a certificate says nothing of one that comes with it."""
        dialogue = self.cached()
        for tls, path in ((_NO_CERTIFICATE, b"/1"), (_NO_CERTIFICATE, b"/1"), (_CERTIFICATE, b"/1")):
            client = dialogue.client(tls=tls)
            client.says(get(path))
            self.asked(dialogue).says(reply(b"private", b"Cache-Control: private"))
            self.assertGets(client, b"MISS")
        client = dialogue.client(tls=_CERTIFICATE)
        client.says(get(b"/1"))
        self.asked(dialogue).says(STORABLE)
        self.assertIn(b"detail=authorization", self.assertGets(client, b"MISS").get(b"Cache-Status") or b"")

    def test_alone(self) -> None:
        """Nobody waits for what comes for somebody with a certificate, nor the other way round."""
        dialogue = self.cached()
        clients: list[Peer] = []
        for _ in range(2):
            clients.append(dialogue.client(tls=_CERTIFICATE))
            clients[-1].says(get())
        first, second = dialogue.backend(), dialogue.backend()
        second.says(reply(b"second", b"Cache-Control: private"))
        first.says(reply(b"first", b"Cache-Control: private"))
        self.assertGets(clients[0], b"MISS", b"first")
        self.assertGets(clients[1], b"MISS", b"second")

    def test_saidByTrustedPeers(self) -> None:
        """A proxy in front has asked for the certificate."""
        dialogue = self.cached(rest=_TRUSTED)
        fields = b"X-Client-Cert-Fingerprint: ab", b"X-Client-Cert-Verify: SUCCESS"
        for _ in range(2):
            client = self.asks(dialogue, b"/", *fields)
            self.asked(dialogue).says(STORABLE)
            self.assertIn(b"detail=authorization", self.assertGets(client, b"MISS").get(b"Cache-Status") or b"")
        client = self.asks(dialogue, b"/", *fields, address=_STRANGER)
        self.asked(dialogue).says(STORABLE)
        self.assertIn(b"stored", self.assertGets(client, b"MISS").get(b"Cache-Status") or b"")


class ChoiceTests(CacheCase):
    """Routes that choose a cluster for each request."""

    def setUp(self) -> None:
        super().setUp()
        module = ModuleType("cache_choice")
        self.chosen = "app"
        module.choose = lambda facts: facts.headers.get("x-tenant") or self.chosen  # type: ignore[attr-defined]
        sys.modules["cache_choice"] = module
        self.addCleanup(sys.modules.pop, "cache_choice")

    def test_clusters(self) -> None:
        """What one cluster has sent is not what another would."""
        dialogue = self.choosing()
        self.store(dialogue)
        self.backends.clear()
        self.store(dialogue, b"/", reply(b"two", FRESH), b"X-Tenant: two")
        self.assertStill(dialogue, b"HIT", b"stored")
        self.assertStill(dialogue, b"HIT", b"two", b"/", b"X-Tenant: two")

    def test_equalHeads(self) -> None:
        """The same head may be sent to another cluster the next time."""
        dialogue = self.choosing()
        self.store(dialogue)
        self.assertStill(dialogue, b"HIT", b"stored")
        self.assertStill(dialogue, b"HIT", b"stored")
        self.chosen = "two"
        self.backends.clear()
        self.store(dialogue, b"/", reply(b"two", FRESH))
        self.assertStill(dialogue, b"HIT", b"two")
        self.chosen = "app"
        self.assertStill(dialogue, b"HIT", b"stored")

    def choosing(self) -> Dialogue:
        """Return a proxy with two clusters; requests of a tenant go to the one of its name."""
        rest = '[cluster.two]\nbackends = [{ address = "10.0.0.2:80" }]\npool.idle_timeout_s = 86400\n'
        text = site(route="cache = true", rest=rest, cluster="pool.idle_timeout_s = 86400")
        return Dialogue.of(self, text.replace('cluster = "app"', 'choose = "cache_choice:choose"'))


class OverrideTests(CacheCase):
    """Fields by which a GET asks some backends for something else."""

    def passes(self, dialogue: Dialogue, field: bytes, address: str = "192.0.2.1") -> bytes:
        """Check that a request with a field is not answered with what is stored; return why."""
        client = self.asks(dialogue, b"/", field, address=address)
        self.asked(dialogue).says(reply(b"another", FRESH))
        head = self.assertGets(client, b"BYPASS", b"another")
        client.finishes()
        return (head.get(b"Cache-Status") or b"").removeprefix(b"txproxy; fwd=bypass; detail=")

    def test_passesBy(self) -> None:
        """It is neither answered from the cache nor its reply stored."""
        dialogue = self.cached()
        for name, detail in _OVERRIDES:
            field = name + b": HEAD"
            self.assertEqual(self.passes(dialogue, field), detail, name)
            self.store(dialogue)
            self.assertEqual(self.passes(dialogue, field), detail, name)
            self.assertStill(dialogue, b"HIT", b"stored")
            self.cache_of(dialogue).clear()

    def test_underscores(self) -> None:
        """Names with underscores do the same where they go to backends."""
        plain, dialogue = self.cached(), self.cached(route="allow_underscores = true")
        for name, detail in _OVERRIDES:
            field = name.replace(b"-", b"_") + b": HEAD"
            self.assertEqual(self.passes(dialogue, field), detail, name)
            self.assertEqual(self.passes(dialogue, field.replace(b"_", b"-", 1)), detail, name)
        self.backends.clear()
        self.store(plain)
        for name, _ in _OVERRIDES:
            self.assertStill(plain, b"HIT", b"stored", b"/", name.replace(b"-", b"_") + b": HEAD")

    def test_trustedPeers(self) -> None:
        """They do the same, but for where the backend stands in their site, which is in the key."""
        peer = "10.9.0.1"
        dialogue = self.cached(route="allow_underscores = true", rest=_TRUSTED.replace("192.0.2.0/24", peer))
        self.store(dialogue)
        for name, detail in _OVERRIDES:
            if name.lower() not in PLACE_NAMES:
                self.assertEqual(self.passes(dialogue, name + b": HEAD", peer), detail, name)
                continue
            for field in (name + b": /a", name + b": /b", name.replace(b"-", b"_") + b": /a"):
                for word in (b"MISS", b"HIT"):
                    client = self.asks(dialogue, b"/", field, address=peer)
                    if word == b"MISS":
                        self.asked(dialogue).says(reply(field, FRESH))
                    self.assertGets(client, word, field)
                    client.finishes()
            self.assertEqual(self.passes(dialogue, name + b": /a"), detail)
        self.assertStill(dialogue, b"HIT", b"stored")
