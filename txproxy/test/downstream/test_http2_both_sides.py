"""HTTP/2 on both sides: one stream here is one stream there, with everything that it carries (gRPC needs all of it)."""

from __future__ import annotations

from typing import Any

from h2.errors import ErrorCodes

from txproxy.test.http2_talk import Http2Case
from txproxy.test.upstream.http2_backend import PROTOCOL, Http2Backend
from txproxy.testing import ClientStream, Dialogue, Http2Client


class BothSidesTests(Http2Case):
    """Clients and backends that speak HTTP/2."""

    def talk(self, count: int = 1, **settings: Any) -> tuple[Dialogue, Http2Client, list[ClientStream], Http2Backend]:
        """Return a client whose streams have begun, and their backend, which has read so far."""
        dialogue = self.proxy(cluster=PROTOCOL)
        client = self.h2(dialogue, **settings)
        te = (b"te", b"trailers")
        streams = [client.asks(b"POST", b"/%d" % number, te, ended=False) for number in range(count)]
        backend = Http2Backend(dialogue.backend())
        backend.reads()
        self.assertEqual(len(backend.streams), count)
        return dialogue, client, streams, backend

    def test_bothWaysAtOnce(self) -> None:
        """Content goes both ways as it comes, then trailers both ways."""
        dialogue, _, (stream,), backend = self.talk()
        got = backend.stream(1)
        self.assertEqual((got.get(b":path"), got.get(b"te"), got.get(b"via")), (b"/0", b"trailers", b"2.0 txproxy"))
        for number in range(3):
            stream.says(b"ping %d" % number)
            self.assertTrue(backend.stream(1).content.endswith(b"ping %d" % number))
            if not number:
                backend.head(1, (b"content-type", b"application/grpc"))
            backend.data(1, b"pong %d" % number)
            self.assertEqual(stream.gets(), b"pong %d" % number)
        self.assertEqual(stream.gets_head().get(b"via"), b"2.0 txproxy")
        stream.finishes((b"x-sum", b"1"))
        self.assertEqual(backend.stream(1).trailers, [(b"x-sum", b"1")])
        self.assertFalse(stream.has_ended)
        backend.h2.send_headers(1, [(b"grpc-status", b"0")], end_stream=True)
        backend.says()
        self.assertEqual((stream.trailers, stream.has_ended), ([(b"grpc-status", b"0")], True))
        line = self.assertEnd(dialogue, "ok", 200)
        self.assertEqual((line["bytes_in"], line["bytes_out"]), (18, 18))

    def test_trailersOnly(self) -> None:
        """A reply that is nothing but a head ends the stream with it."""
        _, _, (stream,), backend = self.talk()
        stream.finishes()
        backend.head(1, (b"grpc-status", b"12"), ended=True)
        self.assertEqual(stream.gets_head().get(b"grpc-status"), b"12")
        self.assertEqual((stream.has_ended, self.kinds(stream.frames)), (True, ["Headers"]))

    def test_manyFramesAtOnce(self) -> None:
        """Frames that come in one packet wait together for a small window, and keep their order."""
        dialogue, _, streams, backend = self.talk(2, window_bytes=10)
        backend.reads()
        for stream_id in (1, 3):
            backend.h2.send_headers(stream_id, [(b":status", b"200")])
        for number in range(20):
            backend.h2.send_data(1, b"%03d," % number, end_stream=number == 19)
            backend.h2.send_data(3, b"%03d;" % number)
        backend.says()
        self.assertEqual([stream.gets() for stream in streams], [b"000,001,00", b"000;001;00"])
        got = b""
        for _ in range(10):
            streams[0].opens(7)
            got += streams[0].gets()
        self.assertEqual(b"000,001,00" + got, b"".join(b"%03d," % number for number in range(20)))
        self.assertTrue(streams[0].has_ended)
        self.assertEqual(streams[1].gets(), b"")
        backend.data(3, b"end", ended=True)
        streams[1].opens(1000)
        self.assertTrue(streams[1].gets().endswith(b"019;end"))
        dialogue.advance_past(1)
        self.assertEqual(self.ends(dialogue), [(200, "ok")] * 2)

    def test_clientResets(self) -> None:
        """A client that resets one stream resets that of the backend, and no other."""
        dialogue, _, streams, backend = self.talk(2)
        streams[0].resets()
        self.assertEqual((backend.stream(1).reset, backend.stream(3).reset), (ErrorCodes.CANCEL, None))
        streams[1].finishes()
        backend.reply(3)
        self.assertReply(streams[1], 200, b"ok")
        self.assertEqual(self.ends(dialogue), [(499, "client-left"), (200, "ok")])

    def test_clientResetsAtEachMoment(self) -> None:
        """Whatever has come of the reply, it is CANCEL, at once, and the connection carries on (HF20)."""
        for moment in ("waiting", "interim", "head", "content", "window", "request open"):
            dialogue, client, (stream,), backend = self.talk(window_bytes=5)
            if moment != "request open":
                stream.finishes()
            if moment == "interim":
                backend.head(1, status=b"103")
            elif moment != "waiting":
                backend.head(1)
            if moment == "content":
                backend.data(1, b"abc")
            elif moment == "window":
                backend.data(1, bytes(60_000))
            elif moment == "request open":
                backend.data(1, b"abc", ended=True)
                self.assertEqual(self.assertEnd(dialogue, "ok")["bytes_out"], 3)
            stream.resets()
            backend.reads()
            if moment != "request open":
                self.assertEqual(backend.stream(1).reset, ErrorCodes.CANCEL, moment)
                self.assertEnd(dialogue, "client-left", 499)
            self.assertEqual((len(dialogue.lines), backend.goaway, backend.peer.is_open), (1, None, True))
            other = client.asks()
            backend.reply(3)
            self.assertReply(other, 200, b"ok")
            dialogue.advance_past(2)

    def test_resetBeforeThereIsAConnection(self) -> None:
        """A stream that is reset while the connection is being made: the backend hears nothing of it."""
        dialogue = self.proxy(cluster=PROTOCOL)
        client = self.h2(dialogue)
        first, second = client.asks(b"GET", b"/1"), client.asks(b"GET", b"/2")
        first.resets()
        backend = Http2Backend(dialogue.backend())
        backend.reads()
        self.assertEqual([each.get(b":path") for each in backend.streams.values()], [b"/2"])
        backend.reply(1)
        self.assertReply(second, 200, b"ok")
        self.assertEqual(self.ends(dialogue), [(499, "client-left"), (200, "ok")])

    def test_clientIsLost(self) -> None:
        """A client whose connection ends resets all of its streams, not the connection of the backend."""
        dialogue, client, _, backend = self.talk(3)
        client.peer.resets()
        self.assertEqual([backend.stream(id).reset for id in (1, 3, 5)], [ErrorCodes.CANCEL] * 3)
        self.assertTrue(backend.peer.is_open)
        self.assertEqual(self.ends(dialogue), [(499, "client-left")] * 3)
        self.assertNothingLeft(dialogue)

    def test_backendResets(self) -> None:
        """A backend that resets in mid-body: the client's stream has no clean end."""
        dialogue, _, streams, backend = self.talk(2)
        backend.head(1)
        backend.data(1, b"abc")
        backend.resets(1, ErrorCodes.INTERNAL_ERROR)
        self.assertReset(streams[0], ErrorCodes.INTERNAL_ERROR)
        self.assertEqual(streams[0].gets(), b"abc")
        self.assertEnd(dialogue, "reply-cut", 200)
        streams[1].finishes()
        backend.reply(3)
        self.assertReply(streams[1], 200, b"ok")

    def test_slowClient(self) -> None:
        """What a client does not take stops the backend's stream, not its other streams."""
        _, client, streams, backend = self.talk(2, window_bytes=1000)
        for stream in streams:
            stream.finishes()
        backend.reads()
        backend.head(1)
        sent = 0
        while (room := backend.h2.local_flow_control_window(1)) > 0:
            backend.data(1, bytes(min(room, 16_384)))
            sent += min(room, 16_384)
            self.assertLess(sent, 400_000)
        backend.reply(3)
        self.assertReply(streams[1], 200, b"ok")
        self.assertEqual(len(streams[0].gets()), 1000)
        streams[0].opens(1_000_000)
        self.assertEqual(len(streams[0].gets()), sent - 1000)
        backend.data(1, b"", ended=True)
        self.assertTrue(streams[0].has_ended)
        self.assertTrue(client.peer.is_open)
