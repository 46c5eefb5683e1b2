"""What becomes of each request when a connection to a backend ends, or the backend says which it has not seen."""

from __future__ import annotations

import gc
import re
from typing import Any

from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from h2.stream import H2Stream
from hyperframe.frame import GoAwayFrame
from twisted.internet.error import ConnectError

from txproxy.net.tls_failure import TlsFailure, TlsFault
from txproxy.test.talk import GET, POST_5, chunked, post, request
from txproxy.test.upstream.http2_backend import Http2Backend, Http2Case
from txproxy.test.upstream.observing import logged
from txproxy.tls.client import NO_HTTP2
from txproxy.upstream.http2 import Http2Connection
from txproxy.upstream.http2_stream import Http2Stream

A, B = "10.0.0.1:80", "10.0.0.2:80"
HEAD = request(b"HEAD / HTTP/1.1")
NO_BUDGET = "retry = { budget = 0.0, min_per_s = 0 }"


class EveryOutcomeTests(Http2Case):
    """One connection, requests in every state: each gets what the rules of retries have for it."""

    def outcomes(self, end: Any) -> None:
        """Let a connection end under requests of all kinds.

        :param end: given its backend, ends it.
        """
        dialogue = self.h2_proxy("pool.max_connections = 1\npassive.failures = 1000")
        kinds = {
            "idempotent": GET,
            "idempotent, with a body": request(b"PUT / HTTP/1.1", body=b"hello"),
            "unsafe": POST_5,
            "interim": GET,
            "begun": GET,
            "begun, with a length": GET,
            "complete but for its end": GET,
            "unsafe, half sent": post(10) + b"hello",
            "complete": GET,
            "in its place": POST_5,
            "waits": POST_5,
        }
        clients, backend = self.asked(dialogue, *kinds.values(), most=len(kinds) - 2)
        by_kind = dict(zip(kinds, clients, strict=True))
        ids = {kind: 2 * number + 1 for number, kind in enumerate(kinds)}
        backend.head(ids["interim"], status=b"103")
        for kind in ("begun", "begun, with a length"):
            fields = [(b"content-length", b"9")] if kind != "begun" else []
            backend.head(ids[kind], *fields)
            backend.data(ids[kind], b"abc")
        backend.head(ids["complete but for its end"], (b"content-length", b"3"))
        backend.data(ids["complete but for its end"], b"abc")
        backend.reply(ids["complete"])
        end(backend)
        ends = dict.fromkeys(kinds, "")
        for kind, client in by_kind.items():
            got = client.gets()
            statuses = re.findall(rb"HTTP/1.1 (\d+) ", got)
            ends[kind] = b" ".join(statuses).decode() + ("" if client.is_open else " cut")
        self.assertEqual(
            ends,
            {
                "idempotent": "",
                "idempotent, with a body": "",
                "unsafe": "502",
                "interim": "103 502",
                "begun": "200 cut",
                "begun, with a length": "200 cut",
                "complete but for its end": "200 cut",
                "unsafe, half sent": "502 cut",
                "complete": "200",
                "in its place": "502",
                "waits": "",
            },
        )
        second = self.answer(dialogue)
        second.reads()
        self.assertEqual([stream.get(b":method") for stream in second.streams.values()], [b"POST"])
        dialogue.advance(0.3)
        second.reads()
        self.assertEqual({stream.get(b":method") for stream in second.streams.values()}, {b"POST", b"GET", b"PUT"})
        for id in (1, 3, 5):
            second.reply(id)
        for kind in ("idempotent", "idempotent, with a body", "waits"):
            self.assertStatus(by_kind[kind], 200)
        self.assertPool(dialogue, 1, 0, 0)
        self.assertEqual(dialogue.roster.status()[0].active, 0)
        counted = sorted(line["end"] for line in dialogue.lines)
        self.assertEqual(counted, ["bad-reply"] * 4 + ["ok"] * 4 + ["reply-cut"] * 3)

    def test_reset(self) -> None:
        """By a reset."""
        self.outcomes(lambda backend: backend.peer.resets())

    def test_closed(self) -> None:
        """By an end without a word."""
        self.outcomes(lambda backend: backend.peer.finishes())

    def test_mistake(self) -> None:
        """By a mistake of the backend's."""
        self.outcomes(lambda backend: backend.peer.says(b"\x00\x00\x01\x00\x00\x00\x00\x00\x00x"))

    def test_goaway(self) -> None:
        """By GOAWAY and an end, if it says that it has begun with all of them."""

        def end(backend: Http2Backend) -> None:
            backend.goes_away(2**31 - 1, ErrorCodes.INTERNAL_ERROR, noticed=False)
            backend.peer.finishes()

        self.outcomes(end)


class LeftOutTests(Http2Case):
    """GOAWAY: what stands above its last stream was not processed."""

    def test_begunNevertheless(self) -> None:
        """A backend that has begun with a reply has processed the request, whatever its GOAWAY says."""
        dialogue = self.h2_proxy(NO_BUDGET)
        (begun, interim, other), backend = self.asked(dialogue, POST_5, POST_5, POST_5)
        backend.head(1)
        backend.data(1, b"abc")
        backend.head(3, status=b"103")
        backend.goes_away(0)
        self.assertFalse(begun.is_open)
        self.assertIn(b"HTTP/1.1 502 ", interim.gets())
        self.assertEqual([line["end"] for line in dialogue.lines], ["reply-cut", "bad-reply"])
        second = self.answer(dialogue)
        second.reads()
        self.assertEqual(len(second.streams), 1)
        second.reply(1)
        self.assertStatus(other, 200)

    def test_interimThatWasNotPassedOn(self) -> None:
        """Nor is one whose interim reply its client could not be told, for it speaks HTTP/1.0."""
        dialogue = self.h2_proxy(NO_BUDGET)
        (client,), backend = self.asked(dialogue, request(b"POST / HTTP/1.0", body=b"hello"))
        backend.head(1, status=b"103")
        backend.goes_away(0)
        self.assertStatus(client, 502)
        self.assertEqual(dialogue.attempts, [])

    def test_heldReply(self) -> None:
        """Nor is one sent again whose reply came in the same moment."""
        dialogue = self.h2_proxy(NO_BUDGET)
        (client,), backend = self.asked(dialogue, POST_5)
        backend.h2.send_headers(1, [(b":status", b"200")])
        backend.peer.says(backend.h2.data_to_send() + GoAwayFrame(0, last_stream_id=0).serialize())
        self.assertStatus(client, 502)
        self.assertEqual(dialogue.attempts, [])

    def test_twoSteps(self) -> None:
        """Two GOAWAYs: the first takes all, the second is exact."""
        dialogue = self.h2_proxy(NO_BUDGET)
        clients, backend = self.asked(dialogue, POST_5, POST_5, POST_5)
        backend.goes_away(2**31 - 1)
        backend.goes_away(3)
        second = self.answer(dialogue)
        second.reply(1)
        self.assertStatus(clients[2], 200)
        for id, client in ((1, clients[0]), (3, clients[1])):
            backend.reply(id)
            self.assertStatus(client, 200)
        self.assertFalse(backend.peer.is_open)

    def test_halfSentBodies(self) -> None:
        """A body that was on its way goes out again from its start, and the rest of it after that."""
        dialogue = self.h2_proxy(NO_BUDGET)
        (client,), backend = self.asked(dialogue, chunked() + b"3\r\nabc\r\n")
        backend.goes_away(0)
        second = self.answer(dialogue)
        self.assertEqual(second.stream().content, b"abc")
        client.says(b"3\r\ndef\r\n0\r\n\r\n")
        self.assertEqual((second.stream().content, second.stream().has_ended), (b"abcdef", True))
        second.reply(1)
        self.assertStatus(client, 200)

    def test_largeBody(self) -> None:
        """The same for one that waits for windows, so that its client was paused: it is read on."""
        dialogue = self.h2_proxy(f"{NO_BUDGET[:-2]}, body_bytes = 1000000 }}")
        (client,), backend = self.asked(dialogue, post(500_000))
        backend.consumes = False
        client.says(b"x" * 300_000)
        self.assertFalse(client.transport.is_reading)
        backend.resets(1, ErrorCodes.REFUSED_STREAM)
        second = self.answer(dialogue, settings={SettingCodes.INITIAL_WINDOW_SIZE: 2**31 - 1})
        second.h2.increment_flow_control_window(2**31 - 65536)
        second.says()
        second.reads()
        client.says(b"x" * 200_000)
        self.assertEqual((len(second.stream().content), second.stream().has_ended), (500_000, True))
        second.reply(1)
        self.assertStatus(client, 200)

    def test_manyRefused(self) -> None:
        """All streams of a connection refused at once: one further connection takes them, in order."""
        dialogue = self.h2_proxy(NO_BUDGET)
        clients, backend = self.asked(dialogue, *[POST_5] * 50)
        for id in range(1, 101, 2):
            backend.h2.reset_stream(id, ErrorCodes.REFUSED_STREAM)
        backend.says()
        self.assertEqual(len(dialogue.attempts), 1)
        second = self.answer(dialogue)
        for id in range(1, 101, 2):
            second.reply(id)
        for client in clients:
            self.assertStatus(client, 200)


class NoHttp2Tests(Http2Case):
    """A backend with TLS and without HTTP/2."""

    def test_notAgreed(self) -> None:
        """502 connect-failed, and one line that says what is wrong, once a minute."""
        dialogue = self.h2_proxy(
            "tls = { enabled = true, verify = false }\npassive.failures = 1000", backends=("10.0.0.1:443",)
        )
        with logged() as lines:
            for _ in range(3):
                client = dialogue.client()
                client.says(POST_5)
                dialogue.refuse(None, TlsFailure(TlsFault.PEER, NO_HTTP2))
                self.assertStatus(client, 502)
                self.assertEnd(dialogue, "connect-failed", 502)
        said = [line for line in lines if "HTTP/2" in line]
        self.assertEqual(said, [f"backend 10.0.0.1:443 does not speak HTTP/2: {NO_HTTP2}"])

    def test_elsewhere(self) -> None:
        """Any method goes to another backend."""
        dialogue = self.h2_proxy(
            f"tls = {{ enabled = true, verify = false }}\n{NO_BUDGET}", backends=("10.0.0.1:443", "10.0.0.2:443")
        )
        client = dialogue.client()
        client.says(POST_5)
        dialogue.refuse("10.0.0.1:443", TlsFailure(TlsFault.PEER, NO_HTTP2))
        self.answer(dialogue).reply(1)
        self.assertStatus(client, 200)

    def test_again(self) -> None:
        """When it has learned it, and forgets it again, that is news."""
        dialogue = self.h2_proxy("pool.max_idle = 0\npassive.failures = 1000")
        with logged() as lines:
            for speaks in (False, True, False):
                client = dialogue.client()
                client.says(GET)
                if speaks:
                    self.answer(dialogue).reply(1)
                else:
                    dialogue.backend().says(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                self.assertStatus(client, 200 if speaks else 502)
        self.assertEqual(len([line for line in lines if "does not speak HTTP/2" in line]), 2, lines)


class MemoryTests(Http2Case):
    """What has ended leaves nothing for the garbage collector to find, but what the transports of tests keep."""

    def left(self, use: Any) -> list[str]:
        """Return what is left of connections and streams once they have been used, without a collection."""
        dialogue = self.h2_proxy("pool.max_requests = 3\nretry.idempotent_tries = 1")
        use(dialogue)  # What is made once, for good.
        gc.collect()
        gc.disable()
        try:
            for _ in range(5):
                use(dialogue)
            objects = gc.get_objects()
            kept = [each for each in objects if isinstance(each, Http2Connection)]
            self.assertTrue(all(each.engine.has_failed and not each.engine.room(1) for each in kept), kept)
            streams = [each for each in objects if isinstance(each, Http2Stream | H2Stream)]
            return [repr(each) for each in streams if isinstance(each, Http2Stream) or each.config.client_side]
        finally:
            gc.enable()

    def test_connections(self) -> None:
        """Connections that are used up, lost, or end by a mistake, with their streams."""

        def used_up(dialogue: Any) -> None:
            clients, backend = self.asked(dialogue, GET, GET, GET)
            for id, client in zip((1, 3, 5), clients, strict=True):
                backend.reply(id)
                self.assertStatus(client, 200)
                client.finishes()
            backend.reads()
            backend.peer.finishes()

        def lost(dialogue: Any) -> None:
            clients, backend = self.asked(dialogue, GET, GET)
            backend.head(1)
            backend.peer.resets()
            for client in clients:
                client.gets()
                client.finishes()

        def mistaken(dialogue: Any) -> None:
            (client,), backend = self.asked(dialogue, GET)
            backend.peer.says(b"\x00\x00\x01\x00\x00\x00\x00\x00\x00x")
            client.gets()
            client.finishes()
            backend.peer.finishes()

        def refused(dialogue: Any) -> None:
            client = dialogue.client()
            client.says(GET)
            dialogue.refuse(None, ConnectError())
            client.gets()
            client.finishes()

        for use in (used_up, lost, mistaken, refused):
            self.assertEqual(self.left(use), [], use.__name__)
