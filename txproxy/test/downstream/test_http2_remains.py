"""What is left of connections and streams of HTTP/2 that have ended: nothing, at once, and no deadline."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable

from txproxy.downstream.http2 import Http2Connection
from txproxy.downstream.http2_stream import Http2Stream
from txproxy.errors import InternalError
from txproxy.exchange import Exchange, Reply
from txproxy.policy.deadlines import NEVER
from txproxy.test.http2_talk import Http2Case, frame, head_of, length
from txproxy.test.talk import OK, head, reply
from txproxy.testing import Dialogue, Http2Client
from txproxy.wire.http2.codecs import StateKeeper
from txproxy.wire.http2.engine import Engine
from txproxy.wire.messages import RequestHead

KINDS = (Http2Connection, Http2Stream, Exchange, Engine, StateKeeper, RequestHead)
COUNT = 10


def served(dialogue: Dialogue, client: Http2Client) -> None:
    """Have a stream served."""
    client.asks()
    dialogue.backend().says(reply(b"ok", b"Connection: close"))


def refused(_dialogue: Dialogue, client: Http2Client) -> None:
    """Have streams refused, by the parser and by the router."""
    client.asks(b"GET", b"/" + b"x" * 9_000)
    client.asks(b"GET", b"/b", authority=b"b.example")


def malformed(_dialogue: Dialogue, client: Http2Client) -> None:
    """Send no request."""
    client.sends_head(head_of()[1:])


def lying(dialogue: Dialogue, client: Http2Client) -> None:
    """Send more than was declared."""
    client.asks(b"POST", b"/", length(1), ended=False).says(b"hello")
    if dialogue.attempts:
        dialogue.backend()


def reset(dialogue: Dialogue, client: Http2Client) -> None:
    """Reset a stream in mid-reply."""
    stream = client.asks()
    dialogue.backend().says(head(b"Content-Length: 10") + b"abc")
    stream.resets()


def unsent(dialogue: Dialogue, client: Http2Client) -> None:
    """Reset a stream whose reply waits for its window."""
    stream = client.asks()
    dialogue.backend().says(reply(bytes(5_000), b"Connection: close"))
    stream.resets()


def unreachable(dialogue: Dialogue, client: Http2Client) -> None:
    """Ask for what fails at the backend."""
    client.asks()
    dialogue.refuse()


def early(dialogue: Dialogue, client: Http2Client) -> None:
    """Be answered before the request is complete; the rest is thrown away until a second has passed."""
    client.asks(b"POST", ended=False)
    dialogue.backend().says(OK)
    dialogue.advance_past(1)


def say_too_late(stream: Http2Stream, exchange: Exchange) -> None:
    """Call all that backends and stages call."""
    stream.write_reply(b"late")
    stream.flush_reply()
    stream.end_reply(b"late", [(b"x", b"y")], 0.0)
    stream.respond(exchange, Reply(200, b"late"))
    stream.fail(exchange, InternalError("late"))
    stream.cut(InternalError("late"))
    stream.client_left()
    stream.pause()
    stream.resume()
    if exchange.reply is not None:
        stream.send_interim(exchange, exchange.reply)


class RemainsTests(Http2Case):
    """Memory and deadlines."""

    def count(self) -> Counter[str]:
        """Return how many objects there are of what a connection is made of."""
        return Counter(type(each).__name__ for each in gc.get_objects() if isinstance(each, KINDS))

    def without_collector(self, act: Callable[[], None]) -> Counter[str]:
        """Return what there is more of after something was done again, while nobody collects garbage."""
        act()
        gc.collect()
        self.addCleanup(gc.enable)
        gc.disable()
        before = self.count()
        act()
        after = self.count()
        gc.enable()
        return after - before

    def test_streams(self) -> None:
        """Streams of a connection that stays leave no cycles behind, however they end."""
        for way in (served, refused, malformed, lying, reset, unsent, unreachable, early):
            dialogue = self.proxy(route='hosts = ["a.example"]', listener="h2_reset_budget = 1000")
            client = self.h2(dialogue, window_bytes=1_000)

            def act(
                way: Callable[[Dialogue, Http2Client], None] = way, to: Dialogue = dialogue, by: Http2Client = client
            ) -> None:
                for _ in range(COUNT):
                    way(to, by)
                to.assembled.ending.flush()

            left = self.without_collector(act)
            # What is remembered of heads is bounded.
            del left["RequestHead"]
            self.assertEqual(client.goaways, [])
            for kind, number in left.items():
                self.assertLess(number, COUNT // 2, (way.__name__, kind))

    def test_connections(self) -> None:
        """A connection that is lost is freed at once, with all of its states, whatever was under way."""
        dialogue = self.proxy()

        def act() -> None:
            for way in ("resets", "finishes"):
                for _ in range(5):
                    client = self.h2(dialogue)
                    client.asks(b"POST", ended=False)
                    client.asks()
                    for backend in (dialogue.backend(), dialogue.backend()):
                        backend.says(head(b"Content-Length: 10") + b"abc")
                    getattr(client.peer, way)()
                    # What the test holds is no part of the proxy.
                    client.peer.transport.protocol = None
            dialogue.assembled.ending.flush()

        self.assertEqual(self.without_collector(act), Counter())
        self.assertEqual(len(dialogue.lines), 40)

    def test_deadlines(self) -> None:
        """Whoever has ended is not looked at again: neither the connection nor the streams that linger."""
        dialogue = self.proxy()
        client = self.h2(dialogue)
        client.asks(b"POST", ended=False)
        (connection,) = dialogue.assembled.sites["web"].connections
        assert isinstance(connection, Http2Connection)
        stream = connection.streams[1]
        dialogue.backend().says(OK)
        self.assertLess(stream.deadline, NEVER)
        waits = client.asks(b"POST", ended=False)
        other = connection.streams[waits.id]
        self.assertLess(other.deadline, NEVER)
        client.peer.resets()
        self.assertEqual([each.deadline for each in (connection, stream, other)], [NEVER] * 3)
        self.assertEqual([each.look_at for each in (connection, stream, other)], [NEVER] * 3)

    def test_lateCalls(self) -> None:
        """Whoever still calls a stream that has ended changes nothing: neither what the client gets, nor the line."""
        for ending in ("served", "reset", "lost"):
            dialogue = self.proxy()
            client, stream, backend = self.asked(dialogue)
            (connection,) = dialogue.assembled.sites["web"].connections
            assert isinstance(connection, Http2Connection)
            ours = connection.streams[1]
            exchange = ours.exchange
            if ending == "served":
                backend.says(OK)
            elif ending == "reset":
                stream.resets()
            else:
                client.peer.resets()
            frames, lines = len(client.frames), dialogue.lines
            say_too_late(ours, exchange)
            dialogue.settle()
            self.assertEqual((len(client.frames), dialogue.lines), (frames, lines), ending)
            self.assertEqual(len(lines), 1)
            self.assertEqual((ours.exchange.bytes_out, ours.exchange.status), (0, 0))

    def test_lingeringStreams(self) -> None:
        """A stream that lingers is let go when its end comes, by whichever frame."""
        dialogue = self.proxy()
        for way in ("content", "trailers", "reset", "time", "mistake"):
            client = self.h2(dialogue)
            stream = client.asks(b"POST", ended=False)
            (connection,) = [each for each in dialogue.assembled.sites["web"].connections if each.under_way]
            lingering = connection.streams[1]
            dialogue.backend().says(reply(b"ok", b"Connection: close"))
            self.assertReply(stream, 200)
            self.assertLess(lingering.deadline, NEVER)
            if way == "content":
                stream.says(b"rest", ended=True)
            elif way == "trailers":
                stream.finishes((b"x-sum", b"1"))
            elif way == "reset":
                stream.resets()
            elif way == "time":
                dialogue.advance_past(1)
            else:
                client.says(frame(8, 0, 1, b"\x7f\xff\xff\xff") * 2)
            self.assertEqual(lingering.deadline, NEVER, way)
            client.peer.finishes()
            self.assertNothingLeft(dialogue)
