"""What can be asked of the admin interface."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed

from txproxy.admin.resources import Api
from txproxy.test.admin.asking import AskingCase, Conflict, Reloaded

BACKEND = "/clusters/api/backends/10.0.0.1%3A80"


class TellingTests(AskingCase):
    """What only tells."""

    def test_alive(self) -> None:
        """200 until the process ends, also while it stops."""
        self.operator.is_ready, self.operator.is_stopping = False, True
        self.assertEqual(self.ask("GET /healthz").json, {"state": "alive"})

    def test_ready(self) -> None:
        """200, and 503 as soon as the proxy stops (O10), and before it serves."""
        self.assertEqual(self.ask("GET /readyz").json, {"state": "ready"})
        self.operator.is_ready, self.operator.is_stopping = False, True
        told = self.ask("GET /readyz")
        self.assertEqual((told.status, told.json), (503, {"state": "stopping"}))
        self.operator.is_stopping = False
        self.assertEqual(self.ask("GET /readyz").json, {"state": "starting"})

    def test_status(self) -> None:
        """The report, as JSON that nobody keeps."""
        told = self.ask("GET /status?x=y")
        self.assertEqual((told.status, told.json["version"]), (200, "1"))
        self.assertEqual(told.fields["content-type"], "application/json")
        self.assertEqual(told.fields["cache-control"], "no-store")
        self.assertEqual(told.fields["x-content-type-options"], "nosniff")
        self.assertEqual(told.fields["x-frame-options"], "DENY")

    def test_metrics(self) -> None:
        """What the exposition makes of the report, in the form that is accepted."""
        told = self.ask("GET /metrics", "Accept: text/plain\r\n")
        self.assertEqual((told.body, told.fields["content-type"]), (b"1 for text/plain", "text/plain; version=0.0.4"))

    def test_metricsInPieces(self) -> None:
        """Each piece is made in a turn of its own; one that cannot be made is a 500."""
        made: list[int] = []

        def slow(report: Any, accept: str) -> tuple[Iterator[bytes], str]:
            return (b"%d" % (made.append(number) or number) for number in range(3)), "text/plain"  # type: ignore[func-returns-value]

        self.site.api = Api(self.operator, slow, self.reactor.callLater)
        transport = self.connected()
        transport.arriving += b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
        transport.turn()
        self.assertEqual((made, bytes(transport.sent)), ([0], b""))
        self.settle(transport)
        self.assertEqual([each.body for each in self.replies(transport)], [b"012"])
        transport.lose()
        self.settle(transport)

        def broken(report: Any, accept: str) -> tuple[Iterator[bytes], str]:
            return (str(1 // 0).encode() for _ in "x"), "text/plain"

        self.site.api = Api(self.operator, broken, self.reactor.callLater)
        self.assertEqual(self.ask("GET /metrics").status, 500)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_cache(self) -> None:
        """The cache's part of the report; 404 if no route has one."""
        self.assertEqual(self.ask("GET /cache").status, 404)
        self.operator.result = {"hits": 3}
        self.assertEqual(self.ask("GET /cache").json, {"hits": 3})

    def test_page(self) -> None:
        """HTML with a policy for what it may do."""
        told = self.ask("GET /")
        self.assertEqual(told.fields["content-type"], "text/html; charset=utf-8")
        self.assertIn("default-src 'none'", told.fields["content-security-policy"])

    def test_head(self) -> None:
        """HEAD asks for what GET does, without the content."""
        transport = self.connected()
        self.sends(transport, b"HEAD /status HTTP/1.1\r\nHost: localhost\r\n\r\n")
        (told,) = self.replies(transport, is_head=True)
        self.assertEqual((told.status, told.body), (200, b""))

    def test_nothingElse(self) -> None:
        """404 for other paths, however they are written; 405 for other methods."""
        for path in (
            "/x",
            "/status/",
            "//status",
            "/STATUS",
            "/clusters",
            "/%ff",
            "/..",
            "/clusters/a/backends/b/c/d",
            "*",
        ):
            self.assertEqual(self.ask(f"GET {path}").status, 404, path)
        told = self.ask("POST /status")
        self.assertEqual((told.status, told.fields["allow"]), (405, "GET, HEAD"))


class ChangingTests(AskingCase):
    """What changes something."""

    def test_orders(self) -> None:
        """Drain, maintain and serve; names are percent-encoded in paths."""
        for order in ("drain", "maintain", "serve"):
            told = self.change(f"{BACKEND}/{order}")
            self.assertEqual((told.status, told.json), (200, {"ok": True}))
        self.change("/clusters/a%2Fb/backends/unix%3A%2Frun%2Fx/drain", b"")
        self.assertEqual(
            self.operator.told,
            [(order, "api", "10.0.0.1:80") for order in ("drain", "maintain", "serve")]
            + [("drain", "a/b", "unix:/run/x")],
        )

    def test_weight(self) -> None:
        """A whole number."""
        self.assertEqual(self.change(f"{BACKEND}/weight", {"weight": 3}).status, 200)
        self.assertEqual(self.operator.told, [("weight", "api", "10.0.0.1:80", 3)])
        for body in ({}, {"weight": "3"}, {"weight": 1.5}, {"weight": True}, {"weight": 3, "x": 1}):
            self.assertEqual(self.change(f"{BACKEND}/weight", body).status, 400, body)

    def test_addAndRemove(self) -> None:
        """What is left out has its default."""
        self.change("/clusters/api/backends", {"address": "a:1"})
        self.change("/clusters/api/backends", {"address": "a:2", "weight": 2, "max_connections": 9, "backup": True})
        self.assertEqual(self.change(BACKEND, method="DELETE").status, 200)
        self.assertEqual(
            self.operator.told,
            [
                ("add", "api", "a:1", 1, None, False),
                ("add", "api", "a:2", 2, 9, True),
                ("remove", "api", "10.0.0.1:80"),
            ],
        )
        for body in (
            {},
            {"address": ""},
            {"address": 3},
            {"address": "a:1", "backup": 1},
            {"address": "a:1", "weight": "2"},
        ):
            self.assertEqual(self.change("/clusters/api/backends", body).status, 400, body)

    def test_halvesOfCharacters(self) -> None:
        """What JSON can write and Unicode does not have is refused by name, and goes no further."""
        for path, body in (
            ("/cache/purge", b'{"tag": "\\ud800"}'),
            ("/log-level", b'{"level": "\\udfff"}'),
            ("/clusters/api/backends", b'{"address": "\\ud800:80"}'),
        ):
            told = self.change(path, body)
            self.assertEqual(told.status, 400)
            self.assertIn("is not Unicode", told.json["error"])
        self.assertEqual(self.operator.told, [])

    def test_purge(self) -> None:
        """One of four kinds; the number of replies that are gone is told."""
        self.operator.result = succeed(7)
        self.assertEqual(self.change("/cache/purge", {"url": "http://a/"}).json, {"ok": True, "purged": 7})
        for body in ({"prefix": "http://a/"}, {"tag": "t"}, {"all": True}):
            self.operator.result = succeed(0)
            self.assertEqual(self.change("/cache/purge", body).status, 200)
        self.assertEqual(
            self.operator.told,
            [
                ("purge", "url", "http://a/"),
                ("purge", "prefix", "http://a/"),
                ("purge", "tag", "t"),
                ("purge", "all", ""),
            ],
        )
        for bad in ({}, {"all": False}, {"url": "x", "tag": "y"}, {"url": 3}, {"what": "x"}):
            self.assertEqual(self.change("/cache/purge", bad).status, 400, bad)

    def test_reload(self) -> None:
        """409 with every error if the configuration before it stays."""
        self.operator.result = Reloaded(True, (), "routes added: a")
        told = self.change("/reload")
        self.assertEqual((told.status, told.json), (200, {"ok": True, "errors": [], "summary": "routes added: a"}))
        self.operator.result = succeed(Reloaded(False, ("f:1: x: y",)))
        told = self.change("/reload")
        self.assertEqual((told.status, told.json["errors"], told.json["ok"]), (409, ["f:1: x: y"], False))
        self.assertIn("error", told.json)

    def test_logLevel(self) -> None:
        """A word."""
        self.assertEqual(self.change("/log-level", {"level": "debug"}).status, 200)
        self.assertEqual(self.change("/log-level", {"level": 1}).status, 400)
        self.assertEqual(self.operator.told, [("level", "debug")])

    def test_refusals(self) -> None:
        """Each kind of failure has its status and one sentence, whether it comes at once or later."""
        for error, status in ((KeyError("none"), 404), (ValueError("none"), 400), (Conflict("none"), 409)):
            for result in (error, fail(error)):
                self.operator.result = result
                told = self.change(f"{BACKEND}/drain")
                self.assertEqual((told.status, told.json), (status, {"error": "none"}))

    def test_ourOwnMistakes(self) -> None:
        """500 and a line in the log."""
        self.operator.result = ZeroDivisionError("secret")
        told = self.change(f"{BACKEND}/drain")
        self.assertEqual((told.status, "secret" in str(told.json)), (500, False))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_itTakesTooLong(self) -> None:
        """504 after a minute."""
        never: Deferred[None] = Deferred()
        self.operator.result = never
        transport = self.connected()
        self.sends(
            transport,
            f"POST {BACKEND}/drain HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\r\n".encode(),
        )
        self.reactor.advance(59)
        self.assertEqual(self.replies(transport), [])
        self.reactor.advance(2)
        self.settle(transport)
        self.assertEqual([each.status for each in self.replies(transport)], [504])

    def test_bodies(self) -> None:
        """JSON objects, or nothing where nothing is expected."""
        self.assertEqual(self.change(f"{BACKEND}/drain", b"").status, 200)
        self.assertEqual(self.change(f"{BACKEND}/drain", b" \n").status, 200)
        for body in (b"{", b"[]", b"null", b'"x"', b"\xff", b"[" * 60000, b"{}{}", b'{"x": 1}'):
            told = self.change(f"{BACKEND}/drain", body)
            self.assertEqual((told.status, list(told.json)), (400, ["error"]), body[:20])
        self.assertEqual(len(self.operator.told), 2)
