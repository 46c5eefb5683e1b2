"""C1: checks by a request in HTTP/2."""

from __future__ import annotations

from typing import Any

from h2.errors import ErrorCodes
from hyperframe.frame import PingFrame, SettingsFrame

from txproxy.test.upstream.checks.probe_case import PASSED, ProbeCase
from txproxy.test.upstream.http2_backend import Http2Backend

OK = (b":status", b"200")


class Http2CheckTests(ProbeCase):
    """One check, one backend."""

    def check(self, greets: bool = True, **settings: Any) -> Http2Backend:
        self.verdicts.clear()
        self.begin(http2=True, **settings)
        backend = Http2Backend(self.accept(), greets=greets)
        backend.reads()
        return backend

    def test_request(self) -> None:
        """Path, the backend's own name, and what is configured; a status that will do is enough."""
        backend = self.check(path="/h?x=1", headers={"X-Token": "s3cret"})
        self.assertEqual(
            backend.stream().fields,
            [
                (b":method", b"GET"),
                (b":scheme", b"http"),
                (b":authority", b"app.example:8080"),
                (b":path", b"/h?x=1"),
                (b"user-agent", b"txproxy-health"),
                (b"accept", b"*/*"),
                (b"x-token", b"s3cret"),
            ],
        )
        self.assertTrue(backend.stream().has_ended)
        backend.head(1, ended=True)
        self.assert_verdict(PASSED)
        backend.reads()
        self.assertEqual((backend.goaway, backend.peer.sees_end), (ErrorCodes.NO_ERROR, True))

    def test_host(self) -> None:
        """The host that is configured."""
        backend = self.check(host="health.example")
        self.assertEqual(backend.stream().get(b":authority"), b"health.example")
        backend.head(1, ended=True)

    def test_fieldsThatCannotBeSent(self) -> None:
        """As by HTTP/1.1."""
        for headers in ({"Host": "x"}, {"connection": "close"}, {"X": "a\r\nY: b"}):
            self.assertRaises(ValueError, self.begin, http2=True, headers=headers)

    def test_memory(self) -> None:
        """When the connection has gone, h2, which refers to itself in many ways, is let go of."""
        for act in ("replies", "closes"):
            backend = self.check()
            conversation = self.transports[-1].protocol
            if act == "replies":
                backend.head(1, ended=True)
            backend.peer.finishes()
            self.assert_verdict(PASSED if act == "replies" else "closed before its reply")
            self.assertTrue(conversation._engine.has_failed, act)

    def test_statuses(self) -> None:
        """By default 200 to 399; interim replies are none."""
        for status, verdict in ((b"200", PASSED), (b"399", PASSED), (b"404", "status 404"), (b"503", "status 503")):
            for ended in (True, False):
                backend = self.check()
                backend.head(1, status=b"103")
                self.assert_verdict()
                backend.head(1, status=status, ended=ended)
                if not ended and not verdict:
                    backend.data(1, b"x", ended=True)
                self.assert_verdict(verdict)

    def test_text(self) -> None:
        """A text in the body, however it is cut into pieces; with trailers too."""
        backend = self.check(body="all is well")
        backend.head(1)
        for piece in (b"I say: all", b" is ", b"well, indeed"):
            self.assert_verdict()
            backend.data(1, piece)
        self.assert_verdict(PASSED)
        for trailers in (None, [(b"x-a", b"1")]):
            backend = self.check(body="all is well")
            backend.reply(1, b"nothing is", trailers=trailers)
            self.assert_verdict("the body does not contain 'all is well'")
        backend = self.check(body="all is well")
        backend.head(1, ended=True)
        self.assert_verdict("the body does not contain 'all is well'")

    def test_longBody(self) -> None:
        """Of a body the first 64 KiB are read, and no more."""
        for text, verdict in (("", PASSED), ("y", "the first 64 KiB of the body do not contain 'y'")):
            backend = self.check(body=text)
            backend.head(1)
            backend.data(1, b"x" * 65535)
            backend.data(1, b"x" + b"y")
            self.assert_verdict(verdict)

    def test_early(self) -> None:
        """A backend may say its SETTINGS before it was asked."""
        self.begin(http2=True)
        peer = self.accept(says=SettingsFrame(0).serialize())
        backend = Http2Backend(peer, greets=False)
        backend.head(1, ended=True)
        self.assert_verdict(PASSED)

    def test_wrong(self) -> None:
        """What is no HTTP/2, and what is wrong HTTP/2."""
        self.begin(http2=True)
        self.accept().says(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        self.assertEqual(len(self.verdicts), 1)
        self.assertIn("it speaks no HTTP/2", self.verdicts[0])
        backend = self.check()
        backend.h2.config.validate_outbound_headers = backend.h2.config.normalize_outbound_headers = False
        backend.head(1, (b"connection", b"close"))
        self.assertIn("malformed reply", self.verdicts[0])

    def test_endlessInterimReplies(self) -> None:
        """After a hundred of them no answer is expected any more."""
        backend = self.check()
        for _ in range(101):
            backend.head(1, status=b"100")
        self.assert_verdict("malformed reply: interim replies without end")

    def test_ends(self) -> None:
        """A stream that is reset, a GOAWAY, a connection that closes."""
        self.check().resets(1, ErrorCodes.REFUSED_STREAM)
        self.assert_verdict("the stream was reset (REFUSED_STREAM)")
        self.check().goes_away(0)
        self.assert_verdict("it goes away")
        self.check().peer.finishes()
        self.assert_verdict("closed before its reply")
        self.check().peer.resets()
        self.assert_verdict("connection lost before its reply")
        backend = self.check()
        backend.head(1)
        backend.peer.finishes()
        self.assert_verdict("the reply was cut")

    def test_goesLater(self) -> None:
        """A GOAWAY that still allows this request."""
        backend = self.check()
        backend.goes_away(1)
        self.assert_verdict()
        backend.head(1, ended=True)
        self.assert_verdict(PASSED)

    def test_lengths(self) -> None:
        """Content that is not as long as Content-Length says, and trailers that are malformed."""
        for length, content, words in ((b"3", b"ab", "less"), (b"1", b"ab", "more")):
            backend = self.check()
            backend.h2.send_headers(1, [OK, (b"content-length", length)])
            backend.data(1, content, ended=True)
            self.assert_verdict(f"malformed reply: {words} content than Content-Length says")
        backend = self.check()
        backend.h2.config.validate_outbound_headers = backend.h2.config.normalize_outbound_headers = False
        backend.head(1)
        backend.h2.send_headers(1, [(b"connection", b"x")], end_stream=True)
        backend.says()
        self.assertIn("malformed reply", self.verdicts[0])

    def test_flood(self) -> None:
        """Questions without end instead of an answer."""
        backend = self.check()
        for _ in range(40):
            if backend.peer.is_open:
                backend.peer.says(PingFrame(0, b"x" * 8).serialize() * 500)
        self.assertIn("too many frames that carry nothing", self.verdicts[0])
        self.assertFalse(backend.peer.is_open)

    def test_largeHead(self) -> None:
        """What requests may be answered with, checks may be, too."""
        backend = self.check()
        backend.head(1, *[(b"x-%d" % number, b"v" * 20_000) for number in range(3)], ended=True)
        self.assert_verdict(PASSED)

    def test_timeout(self) -> None:
        """Silence."""
        self.check(timeout_s=2)
        self.advance(2.1)
        self.assert_verdict("no reply in 2 s")
        backend = self.check(timeout_s=2)
        backend.head(1)
        self.advance(2.1)
        self.assert_verdict("no complete reply in 2 s")
