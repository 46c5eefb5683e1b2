"""Clients that speak HTTP/2 by TLS: what it tells backends, functions, logs and clients."""

from __future__ import annotations

from typing import Any

from txproxy.exchange import Exchange, Reply
from txproxy.pipeline import catalogue
from txproxy.policy.facts import RequestFacts
from txproxy.test.http2_talk import TLS, Http2Case, length
from txproxy.test.talk import OK, reply
from txproxy.testing import Dialogue, site

HSTS = 'hsts = "max-age=60"\n'
SECURITY = b"strict-transport-security"


class TlsTests(Http2Case):
    """Clients that came by TLS."""

    def test_identity(self) -> None:
        """Backends learn the scheme and whose certificate was shown; what the client says of that is removed (T4)."""
        dialogue = self.proxy()
        backend = dialogue.script("10.0.0.1:80", OK)
        tls = TLS._replace(client_subject=b"CN=alice", client_fingerprint=b"0f" * 32, client_verify=b"SUCCESS")
        forged = (b"x-client-cert-subject", b"CN=root"), (b"x-client-cert-verify", b"SUCCESS")
        for facts, expected in ((tls, ([b"CN=alice"], [b"SUCCESS"])), (TLS, ([], []))):
            self.assertReply(self.secure(dialogue, facts).asks(b"GET", b"/", *forged), 200)
            got = backend.requests[-1].head
            self.assertEqual((got.all(b"X-Client-Cert-Subject"), got.all(b"X-Client-Cert-Verify")), expected)
            self.assertEqual(got.get(b"X-Forwarded-Proto"), b"https")
            self.assertEqual(dialogue.lines[-1]["tls"], "TLSv1.3")

    def test_speaksFirst(self) -> None:
        """What the proxy has to say of itself is said at once, before the client has said anything."""
        dialogue = self.proxy()
        client = self.secure(dialogue, begins=False)
        self.assertEqual(self.kinds(client.frames), ["Settings", "WindowUpdate"])

    def test_choose(self) -> None:
        """A function that chooses the cluster sees the request and what the handshake has settled."""
        seen: list[tuple[Any, ...]] = []

        def choose(facts: RequestFacts) -> str:
            seen.append((facts.method, facts.path, facts.host, facts.scheme, facts.tls, facts.headers["X-A"]))
            return "app"

        text = site().replace('name = "all"\ncluster = "app"', 'name = "all"\nchoose = "json:loads"')
        dialogue = Dialogue.of(self, text, {"json:loads": choose})
        dialogue.script("10.0.0.1:80", OK)
        self.assertReply(self.secure(dialogue).asks(b"GET", b"/p", (b"x-a", b"b")), 200)
        self.assertEqual(seen, [("GET", "/p", "a.example", "https", TLS, "b")])

    def test_misdirected(self) -> None:
        """A host with another certificate gets 421; the connection and its other streams go on."""
        dialogue = self.proxy()
        client = self.h2(dialogue, dialogue.client(tls=TLS, names=[b"a.example"]), scheme=b"https")
        waits, other = client.asks(), client.asks(authority=b"b.example")
        self.assertReply(other, 421)
        self.assertIsNone(self.assertEnd(dialogue, "misdirected", 421)["route"])
        dialogue.backend().says(OK)
        self.assertReply(waits, 200, b"ok")

    def test_noPriorKnowledge(self) -> None:
        """A TLS client that has not agreed on HTTP/2 cannot begin with it (RFC 9113 section 3.2)."""
        dialogue = self.proxy()
        peer = dialogue.client(tls=TLS._replace(alpn=""))
        self.h2(dialogue, peer, begins=False)
        peer.says(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        self.assertStatus(peer, 505)
        self.assertEnd(dialogue, "bad-version", 505)
        dialogue.advance_past(2)


class HstsTests(Http2Case):
    """Strict-Transport-Security (RFC 6797): on https only, and once."""

    def test_once(self) -> None:
        """A backend's own is replaced; over http it goes on as it is."""
        dialogue = self.proxy(route=HSTS)
        dialogue.script("10.0.0.1:80", OK, reply(b"ok", b"Strict-Transport-Security: max-age=1"))
        for client, expected in (
            (self.secure(dialogue), ([b"max-age=60"], [b"max-age=60"])),
            (self.h2(dialogue), ([b"max-age=1"], [b"max-age=1"])),
        ):
            self.assertEqual(tuple(client.asks().gets_head().all(SECURITY) for _ in range(2)), expected)

    def test_repliesOfOurOwn(self) -> None:
        """What we answer for the route has it; where no route was found none is known."""
        dialogue = self.proxy(route=HSTS + 'path = "/a"\nmax_body_bytes = 3')
        client = self.secure(dialogue)
        for path, expected in ((b"/a", [b"max-age=60"]), (b"/b", [])):
            stream = client.asks(b"POST", path, length(4), ended=False)
            self.assertEqual(stream.gets_head().all(SECURITY), expected)
            stream.resets()

    def test_stages(self) -> None:
        """What a stage says of it is replaced, in its own reply and in a backend's."""
        self.patch(catalogue, "STAGES", (*catalogue.STAGES, lambda settings, config: Securing()))
        dialogue = self.proxy(route=HSTS)
        dialogue.script("10.0.0.1:80", OK)
        for path, plain in ((b"/own", b"a"), (b"/", b"c")):
            self.assertEqual(self.secure(dialogue).asks(b"GET", path).gets_head().all(SECURITY), [b"max-age=60"])
            self.assertEqual(self.h2(dialogue).asks(b"GET", path).gets_head().all(SECURITY), [plain])


class Securing:
    """A stage that says the same by itself."""

    def on_request(self, exchange: Exchange) -> Reply | None:
        """Answer some."""
        assert exchange.request is not None
        return Reply(200, b"", ((b"Strict-Transport-Security", b"a"),)) if exchange.request.path == b"/own" else None

    def on_reply(self, exchange: Exchange) -> None:
        """Add to the others."""
        assert exchange.reply is not None
        exchange.reply.fields.append((SECURITY, b"c"))
