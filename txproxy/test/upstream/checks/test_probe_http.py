"""C1: checks by a request."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from txproxy.test.upstream.checks.probe_case import PASSED, TARGET, ProbeCase
from txproxy.testing import Peer
from txproxy.upstream.checks.probe_http import Expectation, status_range, write_check_request

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
MISSING = "the body does not contain 'ok'"


class HttpCase(ProbeCase):
    """One check, one backend."""

    def check(self, *pieces: bytes, **settings: Any) -> Peer:
        """Make a check whose reply comes in so many pieces."""
        self.begin(**settings)
        backend = self.accept()
        for piece in pieces:
            backend.says(piece)
        return backend

    def verdict(self, *pieces: bytes, end: str = "", **settings: Any) -> str:
        """Return what such a check finds; empty if it passes.

        :param end: what the backend does then: ``finishes`` or ``resets``.
        """
        self.verdicts.clear()
        backend = self.check(*pieces, **settings)
        if end:
            getattr(backend, end)()
        self.assertEqual(len(self.verdicts), 1, pieces)
        return self.verdicts[0]


class RequestTests(HttpCase):
    """What the backend is asked."""

    def test_request(self) -> None:
        """Path, the backend's own name as Host, and a connection for this request alone."""
        backend = self.check(path="/h?x=1")
        self.assertEqual(
            backend.gets(),
            b"GET /h?x=1 HTTP/1.1\r\nHost: app.example:8080\r\nUser-Agent: txproxy-health\r\nAccept: */*\r\n"
            b"Connection: close\r\n\r\n",
        )
        backend.says(OK)
        self.assert_verdict(PASSED)

    def test_hostAndHeaders(self) -> None:
        """C1: Host and headers as set; they replace our own User-Agent and Accept."""
        backend = self.check(OK, host="health.example", headers={"user-agent": "probe/1", "X-Token": "s3cret"})
        self.assertEqual(
            backend.gets(),
            b"GET /health HTTP/1.1\r\nHost: health.example\r\nuser-agent: probe/1\r\nAccept: */*\r\nX-Token: s3cret\r\n"
            b"Connection: close\r\n\r\n",
        )

    def test_fieldsThatCannotBeSent(self) -> None:
        """What says where a message ends or for whom it is, and what would break the request, is refused beforehand."""
        for headers in (
            {"Host": "x"},
            {"connection": "keep-alive"},
            {"Content-Length": "5"},
            {"Transfer-Encoding": "chunked"},
            {"Upgrade": "h2c"},
            {"X Y": "z"},
            {"X": "a\r\nY: b"},
        ):
            self.assertRaises(ValueError, write_check_request, "/", b"a", headers)
            self.assertRaises(ValueError, self.begin, headers=headers)

    def test_backendSpeaksFirst(self) -> None:
        """D3: what was said before the question is no answer to it."""
        self.begin()
        backend = self.accept(says=OK)
        self.assert_verdict("it spoke before it was asked")
        self.assertTrue(backend.sees_reset)
        self.assertEqual(backend.gets(), b"")


class StatusTests(HttpCase):
    """Which replies are healthy."""

    def test_statuses(self) -> None:
        """By default 200 to 399; else as set, ends included."""
        for status, statuses, passes in (
            (200, ("200-399",), True),
            (302, ("200-399",), True),
            (399, ("200-399",), True),
            (400, ("200-399",), False),
            (500, ("200-399",), False),
            (204, ("200-299",), True),
            (301, ("200-299",), False),
            (401, ("200", "401"), True),
            (404, ("200", "401"), False),
            (200, ("500-599", "200"), True),
        ):
            verdict = self.verdict(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status, statuses=statuses)
            self.assertEqual(verdict, PASSED if passes else f"status {status}", (status, statuses))

    def test_aRedirectIsNotFollowed(self) -> None:
        """C1: where redirects are no healthy status, one is a failure, and nobody goes where it leads."""
        moved = b"HTTP/1.1 302 Found\r\nLocation: http://app.example:8080/ok\r\nContent-Length: 0\r\n\r\n"
        self.assertEqual(self.verdict(moved, statuses=("200-299",)), "status 302")
        self.assertEqual(self.reactor.tcpClients, [])

    def test_interimReplies(self) -> None:
        """103 and 100 are not the answer; it may follow in the same packet."""
        self.assertEqual(
            self.verdict(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 C\r\n\r\n" + OK), PASSED
        )
        self.assertEqual(self.verdict(b"HTTP/1.1 100 C\r\n\r\n", b"HTTP/1.1 503 X\r\n\r\n"), "status 503")

    def test_endlessInterimReplies(self) -> None:
        """After a hundred of them no answer is expected any more."""
        verdict = self.verdict(b"HTTP/1.1 100 Continue\r\n\r\n" * 101)
        self.assertEqual(verdict, "malformed reply: interim replies without end")

    def test_switchingProtocols(self) -> None:
        """101 was not asked for."""
        verdict = self.verdict(b"HTTP/1.1 101 X\r\nUpgrade: x\r\n\r\n", statuses=("100-599",))
        self.assertEqual(verdict, "malformed reply: 101 that nobody asked for")

    def test_ranges(self) -> None:
        """The configuration's texts as numbers."""
        self.assertEqual((status_range("204"), status_range("200-399")), ((204, 204), (200, 399)))
        self.assertFalse(Expectation(()).accepts(200))


class BodyTests(HttpCase):
    """What a body must hold."""

    def test_text(self) -> None:
        """C1: with a text that is asked for, it decides; in every framing, whole and byte by byte."""
        head = b"HTTP/1.1 200 OK\r\n"
        for reply, end in (
            (head + b"Content-Length: 14\r\n\r\n%b", ""),
            (head + b"Transfer-Encoding: chunked\r\n\r\n7\r\n%b\r\n7\r\n%b\r\n0\r\n\r\n", ""),
            (head + b"\r\n%b", "finishes"),
            (b"HTTP/1.0 200 OK\r\n\r\n%b", "finishes"),
        ):
            for content, verdict in ((b"all is ok here", PASSED), (b"all is o k now", MISSING)):
                parts = (content[:7], content[7:]) if b"chunked" in reply else (content,)
                whole = reply % parts
                with self.subTest(whole):
                    self.assertEqual(self.verdict(whole, end=end, body="ok"), verdict)
                    pieces = [whole[i : i + 1] for i in range(len(whole))]
                    self.assertEqual(self.verdict(*pieces, end=end, body="ok"), verdict)

    def test_textAcrossChunks(self) -> None:
        """Where the text is cut, by chunks or packets, does not matter."""
        reply = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n..o\r\n1\r\nk\r\n0\r\n\r\n"
        self.assertEqual(self.verdict(reply, body="ok"), PASSED)
        self.assertEqual(self.verdict(reply, body="."), PASSED)

    def test_stopsReadingWhereItIsFound(self) -> None:
        """The rest of a long body is not waited for."""
        backend = self.check(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n{status: ok", body="ok")
        self.assert_verdict(PASSED)
        self.assertTrue(backend.sees_reset)

    def test_otherThanAscii(self) -> None:
        """The text is looked for in UTF-8."""
        body = "läuft".encode()
        reply = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        self.assertEqual(self.verdict(reply, body="läuft"), PASSED)
        self.assertEqual(self.verdict(reply, body="lauft"), "the body does not contain 'lauft'")

    def test_bodyOfMoreThanIsRead(self) -> None:
        """64 KiB are looked at, not a byte more."""
        for before, verdict in ((65534, PASSED), (65535, "the first 64 KiB of the body do not contain 'ok'")):
            reply = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + bytes(before) + b"ok"
            self.assertEqual(self.verdict(reply, body="ok"), verdict)

    def test_endlessBody(self) -> None:
        """Where no text is asked for, 64 KiB are proof enough."""
        reply = b"HTTP/1.1 200 OK\r\n\r\n" + bytes(65536)
        self.assertEqual(self.verdict(reply[:-1], b"\0"), PASSED)
        self.assertEqual(
            self.verdict(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n", bytes(65536)), PASSED
        )

    def test_orderlyEnd(self) -> None:
        """A backend that has said all sees an ordinary end of its connection; one that is refused sees a reset."""
        self.assertTrue(self.check(OK).sees_end)
        self.assertTrue(self.check(b"HTTP/1.1 500 X\r\nContent-Length: 9\r\n\r\n").sees_reset)

    def test_noBody(self) -> None:
        """204 has no body, whatever it declares, and so no text."""
        self.assertEqual(self.verdict(b"HTTP/1.1 204 No Content\r\n\r\n"), PASSED)
        self.assertEqual(self.verdict(b"HTTP/1.1 204 No Content\r\n\r\n", body="ok"), MISSING)


class FailureTests(HttpCase):
    """Backends that answer badly, slowly, or not at all."""

    def test_closes(self) -> None:
        """Before a reply, and in the middle of it."""
        for pieces, end, verdict in (
            ((), "finishes", "closed before its reply"),
            ((), "resets", "connection lost before its reply"),
            ((b"HTTP/1.1 200",), "finishes", "closed before its reply"),
            ((b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok",), "finishes", "the reply was cut"),
            ((b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",), "finishes", "the reply was cut"),
            ((b"HTTP/1.1 200 OK\r\n\r\nok",), "resets", "the reply was cut"),
        ):
            self.assertEqual(self.verdict(*pieces, end=end), verdict, pieces)

    def test_malformed(self) -> None:
        """Whatever is no reply of HTTP/1 is a failure at once."""
        for data in (
            b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
            b"garbage\r\n\r\n",
            b"HTTP/2 200\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nBad Name: x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
            b"\x16\x03\x01\x00\x05\n",
            bytes(1 << 20),
            b"HTTP/1.1 200 OK\r\nX: " + b"y" * (1 << 20),
            b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
        ):
            verdict = self.verdict(data)
            self.assertTrue(verdict.startswith("malformed reply: "), (data[:50], verdict))

    def test_silent(self) -> None:
        """No reply within the timeout."""
        self.check(timeout_s=2.0)
        self.advance(1.9)
        self.assert_verdict()
        self.advance(0.2)
        self.assert_verdict("no reply in 2 s")

    def test_drips(self) -> None:
        """The time is that of the whole check, however busy the backend is."""
        for reply, verdict in (
            (OK, "no reply in 2 s"),
            (b"HTTP/1.1 100 Continue\r\n\r\n", "no reply in 2 s"),
        ):
            self.verdicts.clear()
            backend = self.check()
            for index in range(4):
                self.advance(0.5)
                backend.says(reply[index : index + 1])
            self.assert_verdict(verdict)
            self.assertTrue(backend.sees_reset or not backend.is_open)
        self.verdicts.clear()
        backend = self.check(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(4):
            self.advance(0.5)
            backend.says(b".")
        self.assert_verdict("no complete reply in 2 s")

    def test_timeIncludesConnecting(self) -> None:
        """A slow connection leaves less time for the reply."""
        self.begin()
        self.advance(1.5)
        self.accept()
        self.advance(0.5)
        self.assert_verdict("no reply in 2 s")

    def test_backendThatDoesNotRead(self) -> None:
        """A reply to a request that is still waiting to be sent counts; nothing is left to wait."""
        self.begin(headers={"X": "y" * 5000})
        transport = self.connect(self.take_attempt())
        transport.room = 100
        self.settle()
        transport.arriving += OK
        self.settle()
        self.assert_verdict(PASSED)
        self.assertTrue(transport.was_aborted)

    @given(st.lists(st.binary(max_size=40) | st.sampled_from(OK.split(b" ")), max_size=6), st.booleans())
    def test_whateverItSays(self, pieces: list[bytes], cleanly: bool) -> None:
        """Every check ends, once, and leaves nothing behind."""
        self.verdicts.clear()
        backend = self.check(*pieces, body="k")
        (backend.finishes if cleanly else backend.resets)()
        self.assertEqual(len(self.verdicts), 1)
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class TargetTests(HttpCase):
    """Whom Host names."""

    def test_unixSocket(self) -> None:
        """A backend without a name is asked as localhost."""
        self.begin(TARGET._replace(path="/run/app", host_field=b"localhost"))
        backend = self.accept()
        self.assertIn(b"\r\nHost: localhost\r\n", backend.gets())
        backend.says(OK)
        self.assert_verdict(PASSED)
