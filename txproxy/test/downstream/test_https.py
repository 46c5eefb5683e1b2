"""Clients that came by TLS: how a connection begins, and what it tells backends, functions, logs and clients."""

from __future__ import annotations

from typing import Any

from txproxy.exchange import Exchange, Reply
from txproxy.pipeline import catalogue
from txproxy.policy.facts import RequestFacts, TlsFacts
from txproxy.test.talk import GET, NO_ROOM, OK, POST_5, TalkCase, head, reply, request
from txproxy.testing import Dialogue, Peer, site

TLS = TlsFacts("TLSv1.3", "TLS_AES_256_GCM_SHA384", server_name="a.example", alpn="http/1.1")
VERIFIED = TLS._replace(client_subject=b"CN=alice", client_fingerprint=b"0f" * 32, client_verify=b"SUCCESS")
ANONYMOUS = TLS._replace(client_verify=b"NONE")
TRUSTED = '[proxy]\ntrusted_proxies = ["10.0.0.0/8"]'
HSTS = 'hsts = "max-age=60; includeSubDomains"\n'
FORGED = (
    b"X-Client-Cert-Subject: CN=root",
    b"x-client-cert-fingerprint: 00",
    b"X-CLIENT-CERT-VERIFY: SUCCESS",
    b"X_Client_Cert_Verify: SUCCESS",
)
SECURITY = b"Strict-Transport-Security"


class TakeOverTests(TalkCase):
    """A connection that another protocol began."""

    def test_requests(self) -> None:
        """It serves one request after the other, and is counted until it ends."""
        dialogue = self.proxy()
        dialogue.script("10.0.0.1:80", OK)
        client = dialogue.client(tls=TLS)
        for says in (GET, POST_5, GET + GET):
            client.says(says)
            self.assertStatus(client, 200)
        self.assertEqual(len(dialogue.assembled.sites["web"].connections), 1)
        client.finishes()
        self.assertEqual(len(dialogue.assembled.sites["web"].connections), 0)
        self.assertEqual([line["end"] for line in dialogue.lines], ["ok"] * 4)

    def test_idle(self) -> None:
        """It has the time for its first request that a new connection has."""
        dialogue = self.proxy(listener="keepalive_timeout_s = 5")
        client = dialogue.client(tls=TLS)
        dialogue.advance(4)
        self.assertTrue(client.is_open)
        dialogue.advance_past(1)
        self.assertTrue(client.sees_end)

    def test_flowControl(self) -> None:
        """A client that reads too slowly stops its backend."""
        dialogue = self.proxy()
        client = dialogue.client(tls=TLS)
        client.stops_reading()
        client.says(GET)
        backend = dialogue.backend()
        backend.says(head(b"Content-Length: 1000000") + bytes(NO_ROOM // 2))
        self.assertFalse(backend.transport.is_reading)
        client.reads()
        self.assertTrue(backend.transport.is_reading)
        backend.says(bytes(1000000 - NO_ROOM // 2))
        self.assertEqual(dialogue.lines[0]["end"], "ok")

    def test_drain(self) -> None:
        """An idle one is closed when the proxy stops."""
        dialogue = self.proxy()
        client = dialogue.client(tls=TLS)
        dialogue.advance(1)
        dialogue.assembled.sites["web"].drain()
        dialogue.settle()
        self.assertTrue(client.sees_end)


class ToldTests(TalkCase):
    """Who is told of it."""

    def upstream(
        self, tls: TlsFacts | None, *fields: bytes, peer: str = "192.0.2.1", **parts: Any
    ) -> list[list[bytes]]:
        """Return the values of the fields of a client's certificate that a backend gets."""
        dialogue = self.proxy(**parts)
        backend = dialogue.script("10.0.0.1:80", OK)
        client = dialogue.client(peer, tls=tls)
        for _ in range(3):  # What is written once may be written again from memory.
            client.says(request(b"GET / HTTP/1.1", *fields))
            self.assertStatus(client, 200)
        heads = [each.head for each in backend.requests]
        for got in heads:
            self.assertEqual(got.all(b"X_Client_Cert_Verify"), [])
        names = (b"X-Client-Cert-Subject", b"X-Client-Cert-Fingerprint", b"X-Client-Cert-Verify")
        seen = [[got.all(name) for name in names] for got in heads]
        self.assertEqual(seen[0], seen[1])
        self.assertEqual(seen[0], seen[2])
        return seen[0]

    def test_scheme(self) -> None:
        """A backend learns that the client came by https; so does one that asks for the fields of RFC 7239."""
        for route in ("", "forwarded = true", 'host = "backend"'):
            dialogue = self.proxy(route=route)
            backend = dialogue.script("10.0.0.1:80", OK)
            for tls, scheme in ((TLS, b"https"), (None, b"http"), (TLS, b"https")):
                dialogue.client(tls=tls).says(GET)
                got = backend.requests[-1].head
                self.assertEqual(got.get(b"X-Forwarded-Proto"), scheme)
                if "forwarded" in route:
                    self.assertIn(b"proto=" + scheme, got.get(b"Forwarded") or b"")

    def test_certificate(self) -> None:
        """A backend learns whose certificate the client has shown, on every way that a head is written (T4)."""
        for route in (
            "",
            'host = "backend"',
            'request_headers = { set = { "X-A" = "1" } }',
            "allow_underscores = true",
        ):
            for fields in ((), FORGED):
                found = self.upstream(VERIFIED, *fields, route=route)
                self.assertEqual(found, [[b"CN=alice"], [b"0f" * 32], [b"SUCCESS"]])
                self.assertEqual(self.upstream(ANONYMOUS, *fields, route=route), [[], [], [b"NONE"]])

    def test_forged(self) -> None:
        """What a client says of its certificate is removed where none is asked for, and on plain connections (T4)."""
        for route in ("", 'host = "backend"', "allow_underscores = true"):
            for tls in (None, TLS):
                self.assertEqual(self.upstream(tls, *FORGED, route=route), [[], [], []])

    def test_trustedPeer(self) -> None:
        """A proxy of ours in front may say it, unless we ask that proxy itself for a certificate."""
        said = [[b"CN=root"], [b"00"], [b"SUCCESS"]]
        for tls, expected in (
            (None, said),
            (TLS, said),
            (VERIFIED, [[b"CN=alice"], [b"0f" * 32], [b"SUCCESS"]]),
            (ANONYMOUS, [[], [], [b"NONE"]]),
        ):
            self.assertEqual(self.upstream(tls, *FORGED, peer="10.1.1.1", rest=TRUSTED), expected)
            self.assertEqual(self.upstream(None, *FORGED, rest=TRUSTED), [[], [], []])

    def test_trailers(self) -> None:
        """Not in a trailer either."""
        dialogue = self.proxy()
        client = dialogue.client(tls=VERIFIED)
        says = request(b"POST / HTTP/1.1", b"Transfer-Encoding: chunked", b"Trailer: X-Client-Cert-Verify, X-Sum")
        client.says(says + b"1\r\na\r\n0\r\nX-Client-Cert-Verify: x\r\nX_Client_Cert_Verify: x\r\nX-Sum: 1\r\n\r\n")
        backend = dialogue.backend()
        backend.gets_head()
        self.assertEqual(backend.gets(), b"1\r\na\r\n0\r\nX-Sum: 1\r\n\r\n")
        backend.says(OK)

    def test_functions(self) -> None:
        """A function that chooses sees what the handshake has settled."""
        seen: list[TlsFacts | None] = []

        def choose(facts: RequestFacts) -> str:
            seen.append(facts.tls)
            return "app"

        text = site().replace('name = "all"\ncluster = "app"', 'name = "all"\nchoose = "json:loads"')
        dialogue = Dialogue.of(self, text, {"json:loads": choose})
        dialogue.script("10.0.0.1:80", OK)
        for tls in (VERIFIED, None):
            dialogue.client(tls=tls).says(GET)
        self.assertEqual(seen, [VERIFIED, None])

    def test_accessLog(self) -> None:
        """The version of TLS stands in every line of json, also of what was refused; combined says nothing of it."""
        dialogue = self.proxy()
        dialogue.script("10.0.0.1:80", OK)
        for says in (GET, b"BAD\r\n\r\n"):
            for tls in (TLS, None, TLS._replace(version="TLSv1.2")):
                dialogue.client(tls=tls).says(says)
                dialogue.advance_past(2)
        self.assertEqual([line["tls"] for line in dialogue.lines], ["TLSv1.3", None, "TLSv1.2"] * 2)
        dialogue = self.proxy(rest='[log]\nformat = "combined"')
        dialogue.script("10.0.0.1:80", OK)
        dialogue.client(tls=TLS).says(GET)
        self.assertNotIn("TLS", dialogue.lines[0])

    def test_stickyCookie(self) -> None:
        """A cookie that was set over https stays there."""
        dialogue = self.proxy(cluster='sticky = "at"')
        dialogue.script("10.0.0.1:80", OK)
        for tls, secure in ((TLS, True), (None, False)):
            client = dialogue.client(tls=tls)
            client.says(GET)
            self.assertEqual(b"; Secure" in (client.gets_head().get(b"Set-Cookie") or b""), secure)


class HstsTests(TalkCase):
    """Strict-Transport-Security (RFC 6797): on https only, and once."""

    def said(self, dialogue: Dialogue, says: bytes = GET, tls: TlsFacts | None = TLS) -> list[bytes]:
        """Return the values that a client gets."""
        client: Peer = dialogue.client(tls=tls)
        client.says(says)
        found = client.gets_head().all(SECURITY)
        if client.is_open:
            client.finishes()
        return found

    def test_httpsOnly(self) -> None:
        """Replies of the route have it over https and never over http (T9, RFC 6797 section 7.2)."""
        dialogue = self.proxy(route=HSTS)
        dialogue.script("10.0.0.1:80", OK)
        for _ in range(3):
            self.assertEqual(self.said(dialogue), [b"max-age=60; includeSubDomains"])
            self.assertEqual(self.said(dialogue, tls=None), [])

    def test_off(self) -> None:
        """A route that asks for none passes on what the backend says."""
        dialogue = self.proxy()
        dialogue.script("10.0.0.1:80", reply(b"ok", SECURITY + b": max-age=1"))
        for tls in (TLS, None):
            self.assertEqual(self.said(dialogue, tls=tls), [b"max-age=1"])

    def test_theBackendsIsReplaced(self) -> None:
        """In any case and however often it stands there; over http the backend's own goes on as it is."""
        for fields in ((b"strict-TRANSPORT-security: max-age=1",), (SECURITY + b": a", b"X: y", SECURITY + b": b")):
            dialogue = self.proxy(route=HSTS)
            dialogue.script("10.0.0.1:80", reply(b"ok", *fields))
            for _ in range(3):
                self.assertEqual(self.said(dialogue), [b"max-age=60; includeSubDomains"])
                self.assertEqual(len(self.said(dialogue, tls=None)), len(fields) // 2 + 1)

    def test_rulesComeAfter(self) -> None:
        """A route's own rules remove it, or say something else."""
        for rules, expected in (
            ("remove = ['Strict-Transport-Security']", []),
            ("set = { 'strict-transport-security' = 'max-age=9' }", [b"max-age=9"]),
            ("set = { 'X-A' = 'b' }", [b"max-age=60; includeSubDomains"]),
        ):
            for fields in ((), (SECURITY + b": max-age=1",)):
                dialogue = self.proxy(route=HSTS + "reply_headers = { " + rules + " }")
                dialogue.script("10.0.0.1:80", reply(b"ok", *fields))
                self.assertEqual(self.said(dialogue), expected)

    def test_stagesChangeTheReply(self) -> None:
        """A reply that a stage has copied says it once too."""
        for fields in ((), (SECURITY + b": max-age=1",)):
            dialogue = self.proxy(route=HSTS, cluster='sticky = "at"')
            dialogue.script("10.0.0.1:80", reply(b"ok", *fields))
            self.assertEqual(self.said(dialogue), [b"max-age=60; includeSubDomains"])

    def test_stagesSayIt(self) -> None:
        """What a stage says in its own reply, or adds to a backend's, is replaced like a backend's own."""

        class Stage:
            def on_request(self, exchange: Exchange) -> Reply | None:
                assert exchange.request is not None
                return Reply(200, b"", ((SECURITY, b"a"), (b"X-A", b"b"))) if exchange.request.path == b"/a" else None

            def on_reply(self, exchange: Exchange) -> None:
                assert exchange.reply is not None
                exchange.reply.fields.append((SECURITY.lower(), b"c"))

        self.patch(catalogue, "STAGES", (*catalogue.STAGES, lambda settings, config: Stage()))
        dialogue = self.proxy(route=HSTS)
        dialogue.script("10.0.0.1:80", OK)
        for path, plain in ((b"/a", b"a"), (b"/b", b"c")):
            says = request(b"GET %b HTTP/1.1" % path)
            self.assertEqual(self.said(dialogue, says), [b"max-age=60; includeSubDomains"])
            self.assertEqual(self.said(dialogue, says, None), [plain])

    def test_repliesOfOurOwn(self) -> None:
        """What we answer for the route has it; where no route was found none is known."""
        dialogue = self.proxy(route=HSTS + 'path = "/a"\nmax_body_bytes = 3')
        for tls, expected in ((TLS, [b"max-age=60; includeSubDomains"]), (None, [])):
            client = dialogue.client(tls=tls)
            client.says(request(b"GET /a HTTP/1.1"))
            dialogue.refuse()
            got = client.gets_head()
            self.assertEqual((got.line[9:12], got.all(SECURITY)), (b"502", expected))
            client.gets()
            self.assertEqual(self.said(dialogue, request(b"POST /a HTTP/1.1", body=b"hello"), tls), expected)
            self.assertEqual(self.said(dialogue, request(b"OPTIONS /a HTTP/1.1", b"Max-Forwards: 0"), tls), expected)
            self.assertEqual(self.said(dialogue, request(b"GET /b HTTP/1.1"), tls), [])
            self.assertEqual(self.said(dialogue, b"BAD\r\n\r\n", tls), [])
            dialogue.advance_past(2)

    def test_interimReplies(self) -> None:
        """It belongs to the final reply."""
        dialogue = self.proxy(route=HSTS)
        client = dialogue.client(tls=TLS)
        client.says(GET)
        dialogue.backend().says(head(status=b"HTTP/1.1 103 Early Hints") + OK)
        self.assertEqual(client.gets_head().all(SECURITY), [])
        self.assertEqual(client.gets_head().all(SECURITY), [b"max-age=60; includeSubDomains"])
