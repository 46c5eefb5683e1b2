"""What goes wrong with backends that speak HTTP/2: with one stream, or with the whole connection."""

from __future__ import annotations

from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hyperframe.frame import PushPromiseFrame, RstStreamFrame

from txproxy.test.talk import GET, POST_5, post, request
from txproxy.test.upstream.http2_backend import Http2Backend, Http2Case
from txproxy.testing import Dialogue, Peer

A, B = "10.0.0.1:80", "10.0.0.2:80"


class ResetTests(Http2Case):
    """RST_STREAM by the backend."""

    def test_refused(self) -> None:
        """REFUSED_STREAM: nothing was done, so that any method goes to the same backend on another connection, once."""
        for says in (GET, POST_5):
            dialogue = self.h2_proxy(backends=(A, B))
            (client,), backend = self.asked(dialogue, says)
            backend.resets(1, ErrorCodes.REFUSED_STREAM)
            again = self.answer(dialogue, A)
            self.assertEqual(again.stream().get(b":method"), says.split(b" ")[0])
            again.reply(1)
            self.assertStatus(client, 200)
            self.assertEqual(dialogue.lines[-1]["tries"], 1)
            self.assertEqual(dialogue.roster.status()[0].failures, 0)

    def test_refusedTwice(self) -> None:
        """The second time it goes to another backend, after a pause."""
        dialogue = self.h2_proxy(backends=(A, B))
        (client,), backend = self.asked(dialogue, POST_5)
        backend.resets(1, ErrorCodes.REFUSED_STREAM)
        self.answer(dialogue, A).resets(1, ErrorCodes.REFUSED_STREAM)
        self.assertEqual(dialogue.attempts, [])
        dialogue.advance(0.3)
        other = self.answer(dialogue, B)
        self.assertEqual(other.stream().content, b"hello")
        other.reply(1)
        self.assertStatus(client, 200)
        self.assertEqual(dialogue.lines[-1]["tries"], 2)

    def test_refusedByTheOnlyOne(self) -> None:
        """A backend without another beside it is asked again, after a pause, as long as there are tries."""
        dialogue = self.h2_proxy()
        (client,), backend = self.asked(dialogue, POST_5)
        backend.resets(1, ErrorCodes.REFUSED_STREAM)
        backend = self.answer(dialogue)
        for id in (1, 3, 5):
            backend.resets(id, ErrorCodes.REFUSED_STREAM)
            self.assertNotIn(id + 2, backend.streams)
            dialogue.advance(0.3)
            backend.reads()
        self.assertNotIn(7, backend.streams)
        self.assertStatus(client, 502)
        self.assertEqual(self.assertEnd(dialogue, "bad-reply", 502)["tries"], 3)

    def test_refusedWithoutBudget(self) -> None:
        """Backends that have too much to do get no more than twice the load from that, if the budget allows none."""
        dialogue = self.h2_proxy("retry = { budget = 0.0, min_per_s = 0 }", backends=(A, B))
        (client,), backend = self.asked(dialogue, POST_5)
        backend.resets(1, ErrorCodes.REFUSED_STREAM)
        self.answer(dialogue, A).resets(1, ErrorCodes.REFUSED_STREAM)
        self.assertStatus(client, 502)
        self.assertEqual(self.assertEnd(dialogue, "bad-reply", 502)["retry"], "budget")
        self.assertEqual(dialogue.attempts, [])

    def three(self) -> tuple[Dialogue, list[Peer], list[Http2Backend]]:
        """Return a proxy with a POST under way on one connection, one stream is free there; and two that are idle."""
        dialogue = self.h2_proxy("retry = { budget = 0.0, min_per_s = 0 }")
        clients, backend = self.asked(dialogue, POST_5, GET, GET, most=1)
        backends = [backend, *[self.answer(dialogue, most=1) for _ in range(2)]]
        for idle, client in zip(backends[1:], clients[1:], strict=True):
            idle.reply(1)
            self.assertStatus(client, 200)
        self.assertPool(dialogue, 2, 1, 1)
        return dialogue, clients, backends

    def test_refusedOthersAreWell(self) -> None:
        """A refusal says nothing against other connections of the backend: those that are idle stay."""
        dialogue, clients, backends = self.three()
        backends[0].resets(1, ErrorCodes.REFUSED_STREAM)
        self.assertEqual([backend.peer.is_open for backend in backends], [True] * 3)
        self.assertPool(dialogue, 3, 0, 0, 1, 1)
        self.answer(dialogue).reply(1)
        self.assertStatus(clients[0], 200)

    def test_refusedAndUnreachable(self) -> None:
        """If no new connection can be made for what was refused, one that is there takes it."""
        dialogue, clients, backends = self.three()
        backends[0].resets(1, ErrorCodes.REFUSED_STREAM)
        dialogue.refuse()
        for backend in backends:
            backend.reads()
        (taken,) = [backend for backend in backends if 3 in backend.streams]
        taken.reply(3)
        self.assertStatus(clients[0], 200)
        self.assertEnd(dialogue, "ok", 200)

    def test_refusedBodyIsGone(self) -> None:
        """What was not kept of a body cannot be sent again."""
        dialogue = self.h2_proxy("retry.body_bytes = 4", backends=(A, B))
        (client,), backend = self.asked(dialogue, post(10) + b"hello")
        backend.resets(1, ErrorCodes.REFUSED_STREAM)
        self.assertStatus(client, 502)

    def test_beforeTheReply(self) -> None:
        """Any other reset is as if the connection had been closed: it is sent again if it is idempotent."""
        dialogue = self.h2_proxy(backends=(A, B))
        (client, poster), backend = self.asked(dialogue, GET, POST_5)
        if not backend.streams:
            self.fail("the first request is expected at the first backend")
        other = self.answer(dialogue, B)
        backend.resets(1, ErrorCodes.INTERNAL_ERROR)
        other.resets(1, ErrorCodes.INTERNAL_ERROR)
        self.assertStatus(poster, 502)
        self.assertEnd(dialogue, "bad-reply", 502)
        dialogue.advance(0.3)
        other.reply(3)
        self.assertStatus(client, 200)
        self.assertTrue(backend.peer.is_open and other.peer.is_open)

    def test_withinTheReply(self) -> None:
        """After the reply has begun: the client's connection is cut, the backend's stays."""
        dialogue = self.h2_proxy()
        (client, other), backend = self.asked(dialogue, GET, GET)
        backend.head(1, (b"content-length", b"9"))
        backend.data(1, b"abc")
        backend.resets(1, ErrorCodes.NO_ERROR)
        self.assertTrue(client.gets().endswith(b"abc"))
        self.assertFalse(client.is_open)
        self.assertEnd(dialogue, "reply-cut", 200)
        backend.reply(3)
        self.assertStatus(other, 200)

    def test_atOnce(self) -> None:
        """A reply that is cut before anything of it went to the client is an error of ours."""
        dialogue = self.h2_proxy()
        (client,), backend = self.asked(dialogue, GET)
        backend.h2.send_headers(1, [(b":status", b"200")])
        backend.h2.send_data(1, b"abc")
        backend.h2.reset_stream(1, ErrorCodes.INTERNAL_ERROR)
        backend.says()
        self.assertStatus(client, 502)
        self.assertEnd(dialogue, "reply-cut", 502)

    def test_wantsHttp1(self) -> None:
        """HTTP_1_1_REQUIRED: asking again would be in vain."""
        dialogue = self.h2_proxy(backends=(A, B))
        (client,), backend = self.asked(dialogue, GET)
        backend.resets(1, ErrorCodes.HTTP_1_1_REQUIRED)
        self.assertStatus(client, 502)

    def test_withoutAName(self) -> None:
        """A code that no RFC names is one like any other."""
        dialogue = self.h2_proxy()
        (client,), backend = self.asked(dialogue, POST_5)
        backend.peer.says(RstStreamFrame(1, error_code=0xBAD).serialize())
        self.assertStatus(client, 502)
        self.assertPool(dialogue, 1, 0, 0)


class MalformedTests(Http2Case):
    """Replies that are malformed cost the exchange, not the connection."""

    def refused(self, *frames: str, **head: object) -> None:
        dialogue = self.h2_proxy()
        (client, other), backend = self.asked(dialogue, GET, GET)
        h2 = backend.h2
        h2.config.validate_outbound_headers = h2.config.normalize_outbound_headers = False
        h2.send_headers(1, head["fields"], end_stream=False)  # type: ignore[arg-type]
        backend.says()
        self.assertStatus(client, 502)
        self.assertEnd(dialogue, "bad-reply", 502)
        self.assertEqual(backend.stream().reset, ErrorCodes.PROTOCOL_ERROR)
        backend.reply(3)
        self.assertStatus(other, 200)

    def test_heads(self) -> None:
        """RFC 9113 section 8: no status, connection fields, capitals, controls; and 101."""
        ok = (b":status", b"200")
        for fields in (
            [(b"x-a", b"1")],
            [ok, (b"connection", b"close")],
            [ok, (b"X-A", b"1")],
            [ok, (b"x-a", b"1\n2")],
            [ok, (b"x-a", b"1"), (b":status", b"200")],
            [(b":status", b"101")],
            [ok, (b"content-length", b"1"), (b"content-length", b"1")],
        ):
            self.refused(fields=fields)

    def test_interimWithoutEnd(self) -> None:
        """A hundred interim replies and more: a final one is not going to come."""
        dialogue = self.h2_proxy()
        (client,), backend = self.asked(dialogue, GET)
        for _ in range(100):
            backend.head(1, status=b"103")
        self.assertIsNone(backend.stream().reset)
        backend.head(1, status=b"103")
        self.assertEqual(backend.stream().reset, ErrorCodes.PROTOCOL_ERROR)
        self.assertIn(b"\r\n\r\nHTTP/1.1 502 Bad Gateway\r\n", client.gets())
        self.assertEnd(dialogue, "bad-reply", 502)

    def test_lengths(self) -> None:
        """Content that is longer or shorter than Content-Length says never ends cleanly at the client."""
        for length, pieces in ((4, (b"abc", b"de")), (9, (b"abc", b"de")), (0, (b"a", b""))):
            dialogue = self.h2_proxy()
            (client, other), backend = self.asked(dialogue, GET, GET)
            backend.head(1, (b"content-length", b"%d" % length))
            backend.data(1, pieces[0])
            if backend.stream().reset is None:
                backend.data(1, pieces[1], ended=True)
            self.assertFalse(client.is_open)
            self.assertNotIn(b"abcde"[: length + 1], client.gets().partition(b"\r\n\r\n")[2])
            self.assertEnd(dialogue, "reply-cut", 200)
            backend.reply(3)
            self.assertStatus(other, 200)

    def test_trailers(self) -> None:
        """Malformed trailers break the reply off."""
        dialogue = self.h2_proxy()
        (client,), backend = self.asked(dialogue, GET)
        backend.head(1)
        backend.data(1, b"abc")
        backend.h2.config.validate_outbound_headers = backend.h2.config.normalize_outbound_headers = False
        backend.h2.send_headers(1, [(b"x-a", b"1\n2")], end_stream=True)
        backend.says()
        self.assertFalse(client.is_open)
        self.assertEnd(dialogue, "reply-cut", 200)
        self.assertPool(dialogue, 1, 0, 0)

    def test_push(self) -> None:
        """PUSH_PROMISE, which SETTINGS forbid, ends the connection."""
        dialogue = self.h2_proxy()
        (client,), backend = self.asked(dialogue, POST_5)
        self.assertEqual(backend.h2.remote_settings[SettingCodes.ENABLE_PUSH], 0)
        backend.peer.says(PushPromiseFrame(1, promised_stream_id=2, data=b"\x82", flags=["END_HEADERS"]).serialize())
        self.assertStatus(client, 502)
        backend.reads()
        self.assertEqual(backend.goaway, ErrorCodes.PROTOCOL_ERROR)
        self.assertFalse(backend.peer.is_open)
        self.assertPool(dialogue, 0, 0, 0)

    def test_connection(self) -> None:
        """A frame that breaks the connection cuts all its requests; those that are idempotent are sent again."""
        dialogue = self.h2_proxy()
        (client, poster, begun), backend = self.asked(dialogue, GET, POST_5, GET)
        backend.head(5)
        backend.peer.says(b"\x00\x00\x01\x00\x00\x00\x00\x00\x00x")  # DATA on stream 0.
        self.assertStatus(poster, 502)
        self.assertFalse(begun.is_open)
        backend.reads()
        self.assertEqual(backend.goaway, ErrorCodes.PROTOCOL_ERROR)
        dialogue.advance(0.3)
        self.answer(dialogue).reply(1)
        self.assertStatus(client, 200)


class LostTests(Http2Case):
    """Connections that end under their requests."""

    def test_many(self) -> None:
        """All requests fail, each in its own way, and the pool is clean; those that wait get another connection."""
        dialogue = self.h2_proxy("pool.max_connections = 1")
        clients, backend = self.asked(dialogue, *[POST_5] * 20, most=10)
        for id in range(1, 11, 2):
            backend.head(id)
        backend.peer.resets()
        for client in clients[:5]:
            self.assertTrue(client.gets_head().line.endswith(b"200 OK"))
            self.assertFalse(client.is_open)
        for client in clients[5:10]:
            self.assertStatus(client, 502)
        self.assertPool(dialogue, 0, 0, 0, 1, 10)
        second = self.answer(dialogue, most=10)
        for id in range(1, 21, 2):
            second.reply(id)
        for client in clients[10:]:
            self.assertStatus(client, 200)
        self.assertPool(dialogue, 1, 0, 0)

    def test_deadIdle(self) -> None:
        """An idle connection that was closed as the request went out is replaced at once (P2)."""
        dialogue = self.h2_proxy("retry = { budget = 0.0, min_per_s = 0 }")
        (client,), backend = self.asked(dialogue, GET)
        backend.reply(1)
        self.assertStatus(client, 200)
        client.says(GET)
        backend.peer.resets()
        self.answer(dialogue).reply(1)
        self.assertStatus(client, 200)
        self.assertEqual(dialogue.lines[-1]["tries"], 1)
        self.assertEqual(dialogue.roster.status()[0].failures, 0)

    def test_othersMayBeDead(self) -> None:
        """Its like are closed: the backend may have closed them all, and a second failure would be one."""
        dialogue = self.h2_proxy("retry = { budget = 0.0, min_per_s = 0 }")
        clients, backend = self.asked(dialogue, GET, GET, most=1)
        other = self.answer(dialogue, most=1)
        for each, client in zip((backend, other), clients, strict=True):
            each.reply(1)
            self.assertStatus(client, 200)
        self.assertPool(dialogue, 2, 0, 0)
        clients[0].says(GET)
        other.peer.resets()
        self.assertFalse(backend.peer.is_open)
        self.answer(dialogue).reply(1)
        self.assertStatus(clients[0], 200)

    def test_notDead(self) -> None:
        """If the backend has said anything since, it was alive: that is a failure, and goes by the budget."""
        dialogue = self.h2_proxy("retry = { budget = 0.0, min_per_s = 0 }")
        (client,), backend = self.asked(dialogue, GET)
        backend.reply(1)
        self.assertStatus(client, 200)
        client.says(GET)
        backend.settles({SettingCodes.MAX_CONCURRENT_STREAMS: 50})
        backend.peer.resets()
        self.assertStatus(client, 502)
        self.assertEqual(dialogue.roster.status()[0].failures, 1)

    def test_unsafe(self) -> None:
        """Before a POST goes out on an idle connection, the kernel is asked whether the backend has closed it."""
        dialogue = self.h2_proxy()
        (client,), backend = self.asked(dialogue, GET)
        backend.reply(1)
        self.assertStatus(client, 200)
        backend.peer.finishes(noticed=False)
        client.transport.arriving += POST_5
        client.transport.turn()
        dialogue.settle()
        other = self.answer(dialogue)
        self.assertEqual(other.stream().content, b"hello")
        other.reply(1)
        self.assertStatus(client, 200)

    def test_idle(self) -> None:
        """An idle connection that ends is forgotten."""
        dialogue = self.h2_proxy()
        (client,), backend = self.asked(dialogue, GET)
        backend.reply(1)
        self.assertStatus(client, 200)
        backend.peer.finishes()
        self.assertPool(dialogue, 0, 0, 0)

    def test_stale(self) -> None:
        """A POST is no reason to ask the kernel of a connection on which replies are under way."""
        dialogue = self.h2_proxy()
        (client,), backend = self.asked(dialogue, GET)
        poster = dialogue.client()
        backend.h2.send_headers(1, [(b":status", b"200")], end_stream=True)
        backend.says(noticed=False)
        poster.transport.arriving += POST_5
        poster.transport.turn()
        dialogue.settle()
        self.assertStatus(client, 200)
        backend.reply(3)
        self.assertStatus(poster, 200)


class BugTests(Http2Case):
    """What raises in one exchange hurts no other."""

    def test_oneStream(self) -> None:
        """A bug in what is called for one reply."""
        dialogue = self.h2_proxy()
        clients, backend = self.asked(dialogue, request(b"GET /bug HTTP/1.1"), GET)
        connection = clients[0].transport.protocol

        def broken(*arguments: object) -> None:
            raise ZeroDivisionError

        connection.start_reply = broken
        backend.reply(1)
        self.flushLoggedErrors(ZeroDivisionError)
        self.assertStatus(clients[0], 500)
        backend.reply(3)
        self.assertStatus(clients[1], 200)
        self.assertPool(dialogue, 1, 0, 0)
