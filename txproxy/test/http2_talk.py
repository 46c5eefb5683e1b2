"""Words that dialogues by HTTP/2 have in common."""

from __future__ import annotations

from typing import Any

from h2.errors import ErrorCodes
from hyperframe.frame import Frame

from txproxy.policy.facts import TlsFacts
from txproxy.test.talk import TalkCase
from txproxy.testing import ClientStream, Dialogue, Http2Client, Peer

TLS = TlsFacts("TLSv1.3", "TLS_AES_256_GCM_SHA384", server_name="a.example", alpn="h2")
"""A connection on which HTTP/2 was agreed on."""
NO_STREAM = b"\0\0\0\0"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
EMPTY_SETTINGS = b"\0\0\0\x04\0" + NO_STREAM
CLEAN_POOL = "<Pool 0 idle, 0 leased, 0 connecting, 0 waiting>"
HIGHEST_ID = 2**31 - 1

Field = tuple[bytes, bytes]


def head_of(method: bytes = b"GET", path: bytes = b"/", *fields: Field) -> list[Field]:
    """Return the fields of a request's head."""
    return [(b":method", method), (b":scheme", b"http"), (b":authority", b"a.example"), (b":path", path), *fields]


def length(size: int) -> Field:
    """Return the field that declares so many bytes."""
    return b"content-length", b"%d" % size


def frame(kind: int, flags: int, stream_id: int, body: bytes = b"") -> bytes:
    """Return a frame, whether it makes sense or not."""
    return len(body).to_bytes(3, "big") + bytes((kind, flags)) + stream_id.to_bytes(4, "big") + body


class Http2Case(TalkCase):
    """A test case whose clients speak HTTP/2."""

    def h2(self, dialogue: Dialogue, peer: Peer | None = None, **settings: Any) -> Http2Client:
        """Return a client that has begun; see ``Http2Client`` for its settings."""
        return Http2Client(peer or dialogue.client(), **settings)

    def secure(self, dialogue: Dialogue, tls: TlsFacts = TLS, **settings: Any) -> Http2Client:
        """Return a client that has come by TLS."""
        return Http2Client(dialogue.client(tls=tls), scheme=b"https", **settings)

    def unsaid(self, client: Http2Client, *asks: Any, **how: Any) -> tuple[ClientStream, bytes]:
        """Return a stream, and the frame that begins it, which is not sent."""
        with client.in_one_packet() as packet:
            stream = client.asks(*asks, **how)
            data = bytes(packet)
            packet.clear()
        return stream, data

    def fragments(self, headers: bytes, *sizes: int) -> list[bytes]:
        """Return a frame HEADERS as one without END_HEADERS and frames CONTINUATION.

        :param sizes: bytes of the header block in each frame but the last.
        """
        flags, stream_id, block = headers[4], int.from_bytes(headers[5:9], "big"), headers[9:]
        frames = []
        for number, size in enumerate(sizes):
            frames.append(frame(9 if number else 1, 0 if number else flags & ~4, stream_id, block[:size]))
            block = block[size:]
        return [*frames, frame(9, 4, stream_id, block)]

    def asked(
        self, dialogue: Dialogue, *asks: Any, ended: bool = True, **settings: Any
    ) -> tuple[Http2Client, ClientStream, Peer]:
        """Return a client that has asked for something, its stream, and the backend that has read what was asked.

        :param asks: see ``Http2Client.asks``.
        """
        client = self.h2(dialogue, **settings)
        stream = client.asks(*asks, ended=ended)
        backend = dialogue.backend()
        backend.gets()
        return client, stream, backend

    def assertReply(self, stream: ClientStream, status: int, content: bytes | None = None) -> None:
        """Check that a reply is complete, its status, and its content."""
        self.assertEqual(stream.gets_head().line, b"HTTP/2 %d" % status)
        self.assertTrue(stream.has_ended, stream)
        if content is not None:
            self.assertEqual(stream.gets(), content)

    def assertReset(self, stream: ClientStream, code: ErrorCodes) -> None:
        """Check that a stream was ended early, once, and why."""
        self.assertEqual(stream.reset_code, code, stream)
        resets = [each for each in stream.frames if type(each).__name__ == "RstStreamFrame"]
        self.assertEqual(len(resets), 1)

    def assertFailed(self, client: Http2Client, code: ErrorCodes, last_id: int | None = None) -> None:
        """Check that the connection was ended by an error, said so, and is being closed in stages."""
        self.assertEqual([each.error_code for each in client.goaways], [code])
        if last_id is not None:
            self.assertEqual(client.goaways[0].last_stream_id, last_id)
        self.assertTrue(client.peer.sees_end)
        self.assertFalse(client.peer.transport.disconnected)

    def ends(self, dialogue: Dialogue) -> list[tuple[int, str]]:
        """Return status and end reason of all lines of the access log."""
        return [(line["status"], line["end"]) for line in dialogue.lines]

    def assertNothingLeft(self, dialogue: Dialogue) -> None:
        """Check that no connection is counted any more."""
        assembled = dialogue.assembled
        self.assertEqual(assembled.gate.connections, 0)
        self.assertEqual([len(site.connections) for site in assembled.sites.values()], [0] * len(assembled.sites))

    def kinds(self, frames: list[Frame]) -> list[str]:
        """Return what kinds of frames these are."""
        return [type(each).__name__.removesuffix("Frame") for each in frames]
