"""Client connections that were not read any more, long after the reason for it was gone."""

from __future__ import annotations

from txproxy.test.talk import GET, OK, TalkCase, post, request


class ValveTests(TalkCase):
    """A client's valve after an exchange, and after its upload."""

    def test_bodyThatNoBackendGot(self) -> None:
        """A whole request that is refused at once leaves the connection readable for the next."""
        dialogue = self.proxy(route='path = "/a"')
        client, backend = self.busy(dialogue, request(b"GET /a HTTP/1.1"))
        client.says(request(b"POST /none HTTP/1.1", body=bytes(60_000))[:40_000])
        client.says(request(b"POST /none HTTP/1.1", body=bytes(60_000))[40_000:] + b"")
        backend.says(OK)
        self.assertStatus(client, 200)
        client.says(request(b"GET /a HTTP/1.1"))
        self.assertEqual(len(client.transport.arriving), 0)
        client.finishes()

    def test_clientThatLeavesAfterItsUpload(self) -> None:
        """Once the backend has read all of an upload, the client's leaving is seen at once (HF20)."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue, post(70_000))
        backend.stops_reading()
        client.says(bytes(70_000))
        backend.reads()
        client.finishes()
        self.assertFalse(backend.is_open)
        self.assertEnd(dialogue, "client-left", 499)


class HostlessTests(TalkCase):
    """HTTP/1.0 needs no Host, and has the same rules."""

    def test_limitOfTheBody(self) -> None:
        """A body that is declared too large is refused before any backend is asked (Q5)."""
        dialogue = self.proxy(route="max_body_bytes = 10")
        client = dialogue.client()
        client.says(b"POST / HTTP/1.0\r\nContent-Length: 1000\r\n\r\n" + bytes(1000))
        self.assertStatus(client, 413)
        self.assertEqual(dialogue.attempts, [])


class DeadConnectionTests(TalkCase):
    """Connections that turn out to be dead, or not to be."""

    def test_malformedReplyOnAReusedConnection(self) -> None:
        """A reply has begun with its first byte: the request is not sent again (R13)."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue)
        backend.says(OK)
        client.gets()
        client.says(request(b"DELETE /x HTTP/1.1"))
        backend.says(b"HTTP/1.1 200 OK\r\nBad Header\r\n\r\n")
        self.assertStatus(client, 502)
        self.assertEqual(dialogue.attempts, [])

    def test_idleConnectionThatWasNeverUsed(self) -> None:
        """A connection may be closed while it is idle also before its first request: one safe retry (P2)."""
        dialogue = self.proxy()
        first = dialogue.client()
        first.says(GET)
        first.finishes()
        idle = dialogue.backend()
        second = dialogue.client()
        second.says(GET)
        idle.gets()
        idle.resets()
        backend = dialogue.backend()
        backend.gets()
        backend.says(OK)
        self.assertStatus(second, 200)

    def test_retiredWithBytesInItsQueue(self) -> None:
        """A connection that is given up while the backend reads no more is closed all the same."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue, post(50_000))
        backend.stops_reading()
        client.says(bytes(50_000))
        backend.says(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        self.assertStatus(client, 413)
        dialogue.advance_past(3)
        self.assertFalse(backend.is_open)
