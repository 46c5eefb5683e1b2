"""A client of HTTP/2 gives up at each moment of an exchange: one stream, or all of them with the connection (HF20)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from twisted.internet.defer import Deferred

from txproxy.exchange import Exchange
from txproxy.pipeline import catalogue
from txproxy.test.http2_talk import Http2Case, length
from txproxy.test.talk import OK, head, reply
from txproxy.testing import ClientStream, Dialogue, Http2Client, Peer


class Moment(NamedTuple):
    """How far an exchange has come."""

    stream: ClientStream
    backend: Peer | None
    """The one that works for it."""
    is_reused: bool = False
    """Whether the backend's connection can serve the next request."""
    status: int = 499
    bytes_in: int = 0
    bytes_out: int = 0


class Deciding:
    """A stage that waits on some paths."""

    def __init__(self) -> None:
        self.decisions: list[Deferred[None]] = []

    def _decide(self, exchange: Exchange, path: bytes) -> Deferred[None] | None:
        assert exchange.request is not None
        if exchange.request.path != path:
            return None
        decision: Deferred[None] = Deferred()
        self.decisions.append(decision)
        return decision

    def on_request(self, exchange: Exchange) -> Deferred[None] | None:
        """Wait before anything is sought."""
        return self._decide(exchange, b"/stage")

    def on_reply(self, exchange: Exchange) -> Deferred[None] | None:
        """Wait with a reply."""
        return self._decide(exchange, b"/reply-stage")


def before_routing(_dialogue: Dialogue, client: Http2Client) -> Moment:
    """A stage decides; some of the body is here."""
    stream = client.asks(b"POST", b"/stage", ended=False)
    stream.says(b"hello")
    return Moment(stream, None, bytes_in=5)


def connecting(_dialogue: Dialogue, client: Http2Client) -> Moment:
    """A connection is being made."""
    return Moment(client.asks(b"GET", b"/connecting"), None)


def head_is_being_sent(dialogue: Dialogue, client: Http2Client) -> Moment:
    """The backend has not taken all of the head."""
    stream = client.asks(b"GET", b"/head", (b"x", b"y" * 8_000))
    attempt = dialogue.attempts[0]
    assert attempt.address == "10.0.0.1:80"
    backend = dialogue.backend()
    backend.stops_reading()
    return Moment(stream, backend)


def waiting(dialogue: Dialogue, client: Http2Client) -> Moment:
    """The backend has the request, and thinks."""
    stream = client.asks(b"GET", b"/wait")
    return Moment(stream, dialogue.backend())


def uploading(dialogue: Dialogue, client: Http2Client) -> Moment:
    """Some of a body of known length is there."""
    stream = client.asks(b"POST", b"/upload", length(10), ended=False)
    backend = dialogue.backend()
    stream.says(b"hello")
    return Moment(stream, backend, bytes_in=5)


def slow_upload(dialogue: Dialogue, client: Http2Client) -> Moment:
    """The backend takes no more of a body; its window is used up."""
    stream = client.asks(b"POST", b"/slow", ended=False)
    backend = dialogue.backend()
    backend.stops_reading()
    sent = 0
    while room := stream.room:
        stream.says(bytes(room))
        sent += room
    return Moment(stream, backend, bytes_in=sent)


def expecting(dialogue: Dialogue, client: Http2Client) -> Moment:
    """The client waits to be told to send its body."""
    stream = client.asks(b"POST", b"/expect", (b"expect", b"100-continue"), length(5), ended=False)
    return Moment(stream, dialogue.backend())


def interim(dialogue: Dialogue, client: Http2Client) -> Moment:
    """An interim reply has come."""
    stream = client.asks(b"GET", b"/interim")
    backend = dialogue.backend()
    backend.says(head(status=b"HTTP/1.1 103 Early Hints"))
    return Moment(stream, backend)


def reply_stage(dialogue: Dialogue, client: Http2Client) -> Moment:
    """A stage decides on the reply."""
    stream = client.asks(b"GET", b"/reply-stage")
    backend = dialogue.backend()
    backend.says(head(b"Content-Length: 10") + b"abc")
    return Moment(stream, backend)


def reply_head(dialogue: Dialogue, client: Http2Client) -> Moment:
    """The reply's head has come, and no content."""
    stream = client.asks(b"GET", b"/reply-head")
    backend = dialogue.backend()
    backend.says(head(b"Content-Length: 10"))
    return Moment(stream, backend)


def downloading(dialogue: Dialogue, client: Http2Client) -> Moment:
    """Some of the reply has come, while the request goes on too."""
    stream = client.asks(b"POST", b"/download", ended=False)
    backend = dialogue.backend()
    backend.says(head(b"Transfer-Encoding: chunked") + b"3\r\nabc\r\n")
    return Moment(stream, backend, bytes_out=3)


def without_window(dialogue: Dialogue, client: Http2Client) -> Moment:
    """The reply waits for its window; what has not left us is not counted."""
    stream = client.asks(b"GET", b"/window")
    backend = dialogue.backend()
    backend.says(head(b"Content-Length: 200000") + bytes(100_000))
    return Moment(stream, backend, bytes_out=1_000)


def last_waits(dialogue: Dialogue, client: Http2Client) -> Moment:
    """All of the reply is here; the backend serves others by now."""
    stream = client.asks(b"GET", b"/last")
    backend = dialogue.backend()
    backend.says(reply(bytes(5_000)))
    return Moment(stream, backend, True, bytes_out=1_000)


MOMENTS: tuple[Callable[[Dialogue, Http2Client], Moment], ...] = (
    # Those that leave a connection to be made come last.
    head_is_being_sent,
    waiting,
    uploading,
    slow_upload,
    expecting,
    interim,
    reply_stage,
    reply_head,
    downloading,
    without_window,
    last_waits,
    before_routing,
    connecting,
)


class MomentTests(Http2Case):
    """Each moment."""

    def begin(self) -> tuple[Dialogue, Http2Client, Deciding]:
        """Return a client with little window, and the stage that waits."""
        stage = Deciding()
        self.patch(catalogue, "STAGES", (*catalogue.STAGES, lambda settings, config: stage))
        dialogue = self.proxy(backends=("10.0.0.1:80",))
        return dialogue, self.h2(dialogue, window_bytes=1_000), stage

    def assertGivenUp(self, dialogue: Dialogue, moment: Moment, name: str) -> None:
        """Check what has become of an exchange and its backend."""
        (line,) = [each for each in dialogue.lines if each["request_id"] not in self.seen]
        self.seen.add(line["request_id"])
        self.assertEqual((line["status"], line["end"]), (moment.status, "client-left"), name)
        self.assertEqual(line["bytes_in"], moment.bytes_in, name)
        self.assertEqual(line["bytes_out"], moment.bytes_out, name)
        if moment.backend is not None:
            self.assertEqual(moment.backend.sees_reset, not moment.is_reused, name)
        self.assertEqual(dialogue.pool.leased, 0, name)
        self.assertEqual(len(dialogue.pool.waiting), 0, name)

    def test_reset(self) -> None:
        """The stream is reset: its backend is told at once, and the connection serves the next."""
        for build in MOMENTS:
            self.seen: set[str] = set()
            dialogue, client, stage = self.begin()
            moment = build(dialogue, client)
            self.assertEqual(dialogue.lines, [], build.__name__)
            moment.stream.resets()
            self.assertGivenUp(dialogue, moment, build.__name__)
            self.assertTrue(all(decision.called for decision in stage.decisions))
            other = client.asks()
            if moment.is_reused:
                assert moment.backend is not None
                moment.backend.gets()
                moment.backend.says(OK)
            else:
                dialogue.backend().says(OK)
            self.assertReply(other, 200, b"ok")
            dialogue.advance_past(100)
            self.assertEqual(len(dialogue.lines), 2, build.__name__)
            self.assertIsNone(moment.stream.reset_code)

    def test_lost(self) -> None:
        """The connection is lost, by a reset or a FIN, while several streams are at that moment."""
        for build in MOMENTS:
            for way in ("resets", "finishes"):
                dialogue, client, stage = self.begin()
                moments = [build(dialogue, client) for _ in range(1 if build is last_waits else 3)]
                getattr(client.peer, way)()
                lines = dialogue.lines
                self.assertEqual(self.ends(dialogue), [(499, "client-left")] * len(moments), build.__name__)
                self.assertEqual([line["bytes_in"] for line in lines], [each.bytes_in for each in moments])
                for moment in moments:
                    if moment.backend is not None:
                        self.assertEqual(moment.backend.sees_reset, not moment.is_reused, build.__name__)
                self.assertTrue(all(decision.called for decision in stage.decisions))
                self.assertEqual((dialogue.pool.leased, len(dialogue.pool.waiting)), (0, 0), build.__name__)
                self.assertNothingLeft(dialogue)
                dialogue.advance_past(100)
                self.assertEqual(len(dialogue.lines), len(moments))

    def test_allAtOnce(self) -> None:
        """Streams at all of these moments, on one connection that is lost."""
        dialogue, client, _ = self.begin()
        moments = [build(dialogue, client) for build in MOMENTS if build is not last_waits]
        self.assertEqual(dialogue.lines, [])
        client.peer.resets()
        self.assertEqual(self.ends(dialogue), [(499, "client-left")] * len(moments))
        for moment in moments:
            if moment.backend is not None:
                self.assertTrue(moment.backend.sees_reset)
        self.assertEqual((dialogue.pool.leased, len(dialogue.pool.waiting)), (0, 0))
        self.assertNothingLeft(dialogue)

    def test_secondTry(self) -> None:
        """After one backend has refused, while another is tried: no third is."""
        dialogue = self.proxy(backends=("10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"))
        stream = self.h2(dialogue).asks()
        dialogue.refuse("10.0.0.1:80")
        dialogue.advance(1)
        self.assertEqual([attempt.address for attempt in dialogue.attempts], ["10.0.0.2:80"])
        stream.resets()
        self.assertEqual(self.assertEnd(dialogue, "client-left", 499)["tries"], 2)
        dialogue.refuse("10.0.0.2:80")
        dialogue.advance(10)
        self.assertEqual((dialogue.attempts, len(dialogue.lines)), ([], 1))

    def test_inThePacketOfTheRequest(self) -> None:
        """A reset right behind the request, with content or without: the backend gets nothing of it."""
        for content in (b"", b"hello"):
            dialogue, client, _ = self.begin()
            with client.in_one_packet():
                stream = client.asks(b"POST", ended=False)
                if content:
                    stream.says(content)
                stream.resets()
            self.assertEqual(self.ends(dialogue), [(499, "client-left")])
            other = client.asks(b"GET", b"/next")
            backend = dialogue.backend()
            self.assertEqual(backend.gets_head().line, b"GET /next HTTP/1.1")
            backend.says(OK)
            self.assertReply(other, 200, b"ok")

    def test_whileTheTransportIsFull(self) -> None:
        """A client that reads nothing, and resets what it does not want: the rest comes when it reads."""
        dialogue = self.proxy()
        client = self.h2(dialogue)
        streams = [client.asks() for _ in range(3)]
        backends = [dialogue.backend() for _ in streams]
        client.peer.stops_reading()
        for backend in backends:
            backend.says(head(b"Content-Length: 300000") + bytes(300_000))
        streams[0].resets()
        streams[2].resets()
        self.assertEqual([backend.sees_reset for backend in backends], [True, False, True])
        client.peer.reads()
        self.assertReply(streams[1], 200, bytes(300_000))
        self.assertEqual(self.ends(dialogue), [(499, "client-left")] * 2 + [(200, "ok")])
