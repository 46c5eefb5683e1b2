"""Who may ask the admin interface what."""

from __future__ import annotations

from twisted.internet.address import IPv4Address, IPv6Address

from txproxy.test.admin.asking import FAR, NEAR, UNIX, AskingCase

WIDE = {"listen": "0.0.0.0:9901", "token": "s3cret"}
AUTH = "Authorization: Bearer s3cret\r\n"


class HostTests(AskingCase):
    """A page of elsewhere whose name leads here (DNS rebinding) is told by the Host that it sends."""

    def test_ownNames(self) -> None:
        """Localhost, loopback addresses, the address that the connection came to, and what is listed."""
        self.make(hosts=("admin.example", "*.ops.example"))
        for host in (
            "localhost", "LOCALHOST:9901", "localhost.", "127.0.0.1", "127.0.0.1:19901", "127.8.8.8", "[::1]:9901",
            "admin.example", "Admin.Example:80", "a.ops.example", "a.b.ops.example", "[::ffff:127.0.0.1]",
        ):  # fmt: skip
            self.assertEqual(self.ask("GET /healthz", f"Host: {host}\r\n").status, 200, host)

    def test_otherNames(self) -> None:
        """All others are refused, before anything else is looked at."""
        self.make(hosts=("admin.example", "*.ops.example"))
        for host in (
            "evil.example", "ops.example", "xops.example", "localhost.evil.example", "127.0.0.1.nip.io", "192.0.2.1",
            "admin.example.evil", "localhost@evil.example", "evil.example:9901", "", "localhost:x", "[::2]", "0",
        ):  # fmt: skip
            told = self.ask("GET /healthz", f"Host: {host}\r\n")
            self.assertEqual((told.status, list(told.json)), (403, ["error"]), host)

    def test_theAddressOfTheConnection(self) -> None:
        """Who listens on all addresses is asked by any of them; by no other."""
        self.make(**WIDE)
        own = IPv4Address("TCP", "10.1.2.3", 9901)
        self.assertEqual(self.ask("GET /healthz", "Host: 10.1.2.3:9901\r\n", peer=FAR, host=own).status, 200)
        self.assertEqual(self.ask("GET /healthz", "Host: 10.1.2.4:9901\r\n", peer=FAR, host=own).status, 403)

    def test_onlyOneHost(self) -> None:
        """None, or two of them, is an error."""
        for fields in (b"", b"Host: localhost\r\nHost: localhost\r\n"):
            transport = self.connected()
            self.sends(transport, b"GET /healthz HTTP/1.1\r\n" + fields + b"\r\n")
            self.assertEqual([each.status for each in self.replies(transport)], [400], fields)

    def test_theConfiguredName(self) -> None:
        """An address that is configured by name is asked for by it."""
        self.make(listen="proxy.internal:9901", token="s3cret")
        self.assertEqual(self.ask("GET /healthz", "Host: proxy.internal:9901\r\n").status, 200)


class PeerTests(AskingCase):
    """Without a token only this machine may ask."""

    def test_fromElsewhere(self) -> None:
        """Everything is refused, also what needs no token."""
        for peer in (FAR, IPv6Address("TCP", "2001:db8::1", 1), IPv6Address("TCP", "::ffff:192.0.2.1", 1)):
            for path in ("/healthz", "/status", "/", "/nothing"):
                self.assertEqual(self.ask(f"GET {path}", peer=peer).status, 403)

    def test_fromHere(self) -> None:
        """Loopback addresses of both versions, and unix sockets."""
        for peer in (NEAR, IPv6Address("TCP", "::1", 1), IPv6Address("TCP", "::ffff:127.0.0.1", 1), UNIX):
            self.assertEqual(self.ask("GET /status", peer=peer).status, 200)


class TokenTests(AskingCase):
    """With a token everybody needs it, who comes from this machine too."""

    def setUp(self) -> None:
        super().setUp()
        self.make(**WIDE)

    def test_isNeeded(self) -> None:
        """For all that tells or changes anything; what is not there is not told either."""
        for line in ("GET /status", "GET /metrics", "GET /cache", "POST /reload", "GET /nothing", "DELETE /status"):
            for peer in (NEAR, FAR, UNIX):
                told = self.ask(line, peer=peer)
                self.assertEqual((told.status, told.fields["www-authenticate"]), (401, 'Bearer realm="txproxy"'), line)
        self.assertEqual(self.operator.told, [])

    def test_isTaken(self) -> None:
        """As a bearer token, the scheme in any case."""
        for word in ("Bearer", "bearer", "BEARER"):
            self.assertEqual(self.ask("GET /status", f"Authorization: {word} s3cret\r\n", peer=FAR).status, 200)

    def test_wrongOnes(self) -> None:
        """Nothing but the token itself is the token."""
        for value in (
            "Bearer s3cre",
            "Bearer s3crett",
            "Bearer S3cret",
            "Bearer",
            "Basic s3cret",
            "s3cret",
            "Bearer \xe9",
        ):
            told = self.ask("GET /status", f"Authorization: {value}\r\n")
            self.assertEqual(told.status, 401, value)
        self.assertEqual(self.ask("GET /status", AUTH + AUTH).status, 401)
        self.assertEqual(self.ask("GET /status?token=s3cret").status, 401)

    def test_whatNeedsNone(self) -> None:
        """Whether the proxy lives and is ready, and the page that asks for the token."""
        for path in ("/healthz", "/readyz", "/"):
            self.assertEqual(self.ask(f"GET {path}", peer=FAR).status, 200)

    def test_anotherToken(self) -> None:
        """A changed token counts from the next request on, also on connections that there are."""
        from txproxy.config.model import AdminSettings

        transport = self.connected()
        request = f"GET /status HTTP/1.1\r\nHost: localhost\r\n{AUTH}\r\n".encode()
        self.sends(transport, request)
        self.site.change(AdminSettings(token="another"))
        self.sends(transport, request)
        self.assertEqual([each.status for each in self.replies(transport)], [200, 401])


class ChangeTests(AskingCase):
    """No page of elsewhere changes anything."""

    def test_neverByGet(self) -> None:
        """What changes anything says so in its method."""
        for path in ("/reload", "/cache/purge", "/log-level", "/clusters/a/backends/b/drain", "/clusters/a/backends"):
            for method in ("GET", "HEAD", "PUT", "OPTIONS", "PURGE"):
                transport = self.connected()
                self.sends(
                    transport,
                    f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{'Content-Type: application/json'}\r\n\r\n".encode(),
                )
                told = self.replies(transport, method == "HEAD")[0]
                self.assertEqual((told.status, told.fields["allow"]), (405, "POST"), (method, path))
        self.assertEqual(self.operator.told, [])

    def test_forms(self) -> None:
        """A form of HTML can have three types, none of them ours."""
        for kind in ("application/x-www-form-urlencoded", "multipart/form-data; boundary=b", "text/plain", ""):
            fields = f"Content-Type: {kind}\r\n" if kind else ""
            self.assertEqual(self.ask("POST /reload", fields, b"{}").status, 415, kind)
        both = "Content-Type: text/plain\r\nContent-Type: application/json\r\n"
        self.assertEqual(self.ask("POST /reload", both, b"{}").status, 415)
        self.assertEqual(self.operator.told, [])

    def test_origins(self) -> None:
        """A page may be ours, or of a listed host; browsers say which one asks."""
        self.make(hosts=("admin.example",))
        self.operator.result = None
        path = "/clusters/a/backends/b/drain"
        for origin, status in (
            ("http://localhost:9901", 200), ("https://localhost:9901", 200), ("https://admin.example", 200),
            ("http://localhost:3000", 403), ("http://evil.example", 403), ("null", 403), ("file://", 403), ("", 403),
        ):  # fmt: skip
            self.assertEqual(self.change(path, fields=f"Origin: {origin}\r\n").status, status, origin)
        for site, status in (("same-origin", 200), ("none", 200), ("cross-site", 403), ("same-site", 403)):
            self.assertEqual(self.change(path, fields=f"Sec-Fetch-Site: {site}\r\n").status, status, site)

    def test_noPreflightIsAnswered(self) -> None:
        """No reply allows pages of elsewhere anything."""
        told = self.ask("OPTIONS /reload", "Origin: http://evil.example\r\nAccess-Control-Request-Method: POST\r\n")
        self.assertEqual(told.status, 405)
        self.assertFalse([name for name in told.fields if name.startswith("access-control")])
