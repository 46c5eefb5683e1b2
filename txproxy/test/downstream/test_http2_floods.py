"""Floods of frames on a connection that carries streams: it ends, each stream with its line, and no other suffers (H5)."""

from __future__ import annotations

from collections.abc import Callable

from h2.errors import ErrorCodes

from txproxy.test.http2_talk import CLEAN_POOL, Http2Case, frame, head_of
from txproxy.test.talk import OK
from txproxy.testing import Http2Client

SETTING = frame(4, 0, 0, b"\0\3\0\0\0\1")
PING = frame(6, 0, 0, bytes(8))
PRIORITY = frame(2, 0, 9, b"\0\0\0\0\x10")
UNKNOWN = frame(0xAB, 0, 0, b"x")


class FloodTests(Http2Case):
    """Frames that cost their sender next to nothing."""

    def check(self, flood: Callable[[Http2Client], None], code: ErrorCodes = ErrorCodes.ENHANCE_YOUR_CALM) -> None:
        """Check that a flood ends its own connection, and nothing else."""
        dialogue = self.proxy(listener="h2_reset_budget = 10")
        other = self.h2(dialogue)
        client = self.h2(dialogue)
        waits, quiet = client.asks(b"GET", b"/waits"), other.asks(b"GET", b"/quiet")
        backends = [dialogue.backend(), dialogue.backend()]
        flood(client)
        self.assertFailed(client, code)
        self.assertLess(client.peer.transport.queued_bytes, 3 * 65_536)
        self.assertTrue(backends[0].sees_reset)
        (line,) = [line for line in dialogue.lines if line["target"] == "/waits"]
        self.assertEqual((line["status"], line["end"]), (400, "bad-request"))
        self.assertEqual(waits.heads, [])
        self.assertEqual(dialogue.assembled.counters.http2_failures, {code.name.lower(): 1})
        backends[1].says(OK)
        self.assertReply(quiet, 200, b"ok")
        dialogue.advance_past(5)
        self.assertTrue(client.peer.transport.disconnected)
        self.assertEqual(dialogue.pool.leased, 0)
        self.assertIn("0 waiting", repr(dialogue.pool))
        self.assertEqual(dialogue.assembled.gate.connections, 1)

    def test_frames(self) -> None:
        """PING, SETTINGS, PRIORITY, unknown frames without end."""
        for each in (PING, SETTING, PRIORITY, UNKNOWN):

            def flood(client: Http2Client, each: bytes = each) -> None:
                for _ in range(12):
                    client.says(each * 100)

            self.check(flood)

    def test_windowUpdates(self) -> None:
        """WINDOW_UPDATE by WINDOW_UPDATE, a byte each."""
        dialogue = self.proxy()
        client = self.h2(dialogue, connection_window_bytes=65_535)
        client.says(frame(8, 0, 0, b"\0\0\0\1") * 1_100)
        self.assertFailed(client, ErrorCodes.ENHANCE_YOUR_CALM, 0)
        dialogue.advance_past(2)

    def test_emptyContent(self) -> None:
        """Frames of content without content (CVE-2019-9518)."""

        def flood(client: Http2Client) -> None:
            stream = client.asks(b"POST", ended=False)
            for _ in range(12):
                client.says(frame(0, 0, stream.id) * 100)

        self.check(flood)

    def test_madeYouReset(self) -> None:
        """Mistakes for which we have to reset streams, one each (CVE-2025-8671)."""
        for mistake in (b"\0\0\0\0", b"\x7f\xff\xff\xff"):

            def flood(client: Http2Client, mistake: bytes = mistake) -> None:
                for _ in range(11):
                    stream, head = self.unsaid(client)
                    client.says(head + frame(8, 0, stream.id, mistake))

            self.check(flood)

    def test_malformedHeads(self) -> None:
        """Requests that are malformed, each of which is reset."""

        def flood(client: Http2Client) -> None:
            for _ in range(11):
                with client.in_one_packet():
                    client.sends_head(head_of()[1:])

        self.check(flood)

    def test_resetsInOnePacket(self) -> None:
        """HEADERS and RST_STREAM by the hundred in one packet: no backend is asked for more than the budget."""
        dialogue = self.proxy(listener="h2_reset_budget = 10")
        client = self.h2(dialogue)
        with client.in_one_packet():
            for _ in range(90):
                client.asks().resets()
        self.assertFailed(client, ErrorCodes.ENHANCE_YOUR_CALM, 21)
        self.assertEqual(self.ends(dialogue), [(499, "client-left")] * 11 + [(400, "bad-request")])
        dialogue.advance_past(5)
        self.assertEqual(repr(dialogue.pool), CLEAN_POOL)

    def test_endlessBlock(self) -> None:
        """A header block without end (CVE-2024-24549 and its kin): the connection ends long before memory does."""

        def flood(client: Http2Client) -> None:
            client.says(frame(1, 1, 3, bytes(16_000)))
            for _ in range(20):
                client.says(frame(9, 0, 3, b"\x40\x01a\x01b" * 3_000))

        self.check(flood)

    def test_manyEmptyFragments(self) -> None:
        """The same with fragments that are empty."""

        def flood(client: Http2Client) -> None:
            client.says(frame(1, 1, 3, b"\x82"))
            for _ in range(12):
                client.says(frame(9, 0, 3) * 100)

        self.check(flood)

    def test_bomb(self) -> None:
        """A block that unfolds: one long field, again and again out of the table of compression."""

        def flood(client: Http2Client) -> None:
            client.encodes(head_of())
            client.says(frame(1, 5, 3, b"\x40\x01a\x7f\xa1\x1e" + b"x" * 4_000 + b"\xbe" * 12_000))

        self.check(flood)
