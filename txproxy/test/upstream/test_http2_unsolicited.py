"""What a backend that speaks HTTP/2 says without having been asked."""

from __future__ import annotations

from h2.errors import ErrorCodes
from hyperframe.frame import DataFrame, GoAwayFrame, HeadersFrame, SettingsFrame

from txproxy.test.talk import GET, POST_5, request
from txproxy.test.upstream.http2_backend import Http2Backend, Http2Case


class UnsolicitedTests(Http2Case):
    """A reply to a request that had not been sent when the backend said it: it is no reply (D3)."""

    def whole(self, id: int, content: bytes) -> bytes:
        head = HeadersFrame(id, b"\x88", flags=["END_HEADERS"]).serialize()
        return head + DataFrame(id, content, flags=["END_STREAM"]).serialize()

    def ends(self, backend: Http2Backend) -> None:
        """The connection has ended, by an error of the backend's; its library does not know what was said past it."""
        words = b"a reply to a request that had not been sent"
        goaway = GoAwayFrame(0, error_code=ErrorCodes.PROTOCOL_ERROR, additional_data=words)
        self.assertTrue(backend.peer.gets().endswith(goaway.serialize()))
        self.assertFalse(backend.peer.is_open)

    def test_whoWaits(self) -> None:
        """Said behind the reply that made room for another client's request, which is sent again."""
        dialogue = self.h2_proxy("pool.max_connections = 1")
        (first, second), backend = self.asked(dialogue, GET, request(b"GET /secret HTTP/1.1"), most=1)
        backend.peer.says(self.whole(1, b"one") + self.whole(3, b"evil"))
        self.assertStatus(first, 200)
        self.assertEqual(second.gets(), b"")
        self.ends(backend)
        again = self.answer(dialogue)
        self.assertEqual(again.stream().get(b":path"), b"/secret")
        again.reply(1)
        self.assertStatus(second, 200)

    def test_pipelined(self) -> None:
        """The same for the next request of the same client."""
        dialogue = self.h2_proxy("pool.max_connections = 1")
        (client,), backend = self.asked(dialogue, GET + POST_5)
        backend.peer.says(self.whole(1, b"one") + self.whole(3, b"evil"))
        got = client.gets()
        self.assertTrue(got.startswith(b"HTTP/1.1 200 ") and b"HTTP/1.1 502 " in got and b"evil" not in got, got)
        self.ends(backend)

    def test_first(self) -> None:
        """Said together with the SETTINGS that let the first request go out."""
        dialogue = self.h2_proxy()
        client = dialogue.client()
        client.says(POST_5)
        peer = dialogue.backend(says=SettingsFrame(0).serialize() + self.whole(1, b"evil"))
        self.assertStatus(client, 502)
        self.assertFalse(peer.is_open)
