"""Backends that speak HTTP/2 and do anything at any time: no client is given what is not its own, or waits for ever."""

from __future__ import annotations

from random import Random

from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hyperframe.frame import GoAwayFrame, HeadersFrame, PingFrame, RstStreamFrame, SettingsFrame, WindowUpdateFrame

from txproxy.test.talk import request
from txproxy.test.upstream.http2_backend import Http2Backend, Http2Case
from txproxy.testing import Dialogue, Peer

CLUSTER = "pool = { max_connections = 3, max_requests = 9 }\npassive.failures = 1000\nretry = { budget = 1.0 }"


class ChaosTests(Http2Case):
    """Everything at random, many times over."""

    def test_resetsAndEnds(self) -> None:
        """Resets, refusals, GOAWAY, ends, other settings: a reply that looks complete is complete, and the client's."""
        whole = sum(self.run_once(Random(seed)) for seed in range(60))
        self.assertGreater(whole, 200)

    def run_once(self, random: Random) -> int:
        """Return how many replies were complete."""
        dialogue = self.h2_proxy(CLUSTER)
        clients = [_Client(dialogue, random, number) for number in range(12)]
        backends: list[Http2Backend] = []
        for _ in range(300):
            if dialogue.attempts:
                if random.random() < 0.1:
                    dialogue.refuse()
                else:
                    backends.append(self.answer(dialogue, most=random.choice((1, 3, 100))))
            for backend in [each for each in backends if each.peer.is_open]:
                self.act(random, backend)
            if random.random() < 0.1:
                dialogue.advance(0.3)
            if random.random() < 0.005:
                random.choice(clients).leaves()
        for backend in backends:
            backend.peer.resets()
        for _ in range(20):
            while dialogue.attempts:
                dialogue.refuse()
            dialogue.advance(10)
        for client in clients:
            client.check(self)
        pool = dialogue.pool
        self.assertEqual((pool.leased, pool.total, len(pool.waiting), pool.candidate.active), (0, 0, 0, 0))
        return sum(client.is_whole for client in clients)

    def act(self, random: Random, backend: Http2Backend) -> None:
        """Let a backend do something."""
        backend.reads()
        if backend.goaway is not None:
            return
        h2, peer = backend.h2, backend.peer
        open_streams = [stream for stream in backend.under_way if stream.id in h2.streams]
        what = random.random()
        if what < 0.01:
            backend.goes_away(random.choice((0, 1, 5, 2**31 - 1)))
        elif what < 0.014:
            peer.finishes() if random.random() < 0.5 else peer.resets()
        elif what < 0.03:
            backend.settles({SettingCodes.MAX_CONCURRENT_STREAMS: random.randint(0, 5)})
        elif what < 0.045:
            backend.settles({SettingCodes.INITIAL_WINDOW_SIZE: random.choice((0, 10, 100_000))})
        elif open_streams:
            stream = random.choice(open_streams)
            name = stream.get(b"x-name") or b""
            if what < 0.065:
                stream.reset = -1
                backend.resets(stream.id, random.choice((ErrorCodes.REFUSED_STREAM, ErrorCodes.CANCEL)))
            elif what < 0.1:
                backend.head(stream.id, status=b"103") if not vars(stream).get("begun") else None
            elif not vars(stream).get("begun"):
                vars(stream)["begun"] = True
                backend.head(stream.id, (b"x-name", name), (b"content-length", b"40") if what < 0.5 else (b"x-b", b"1"))
            elif what < 0.6:
                vars(stream).setdefault("left", 40)
                size = min(vars(stream)["left"], random.randint(1, 20))
                vars(stream)["left"] -= size
                if size:
                    backend.data(stream.id, name[:1] * size)
            elif vars(stream).get("left", 40) == 0:
                stream.reset = -1
                backend.data(stream.id, b"", ended=True)

    def test_bytes(self) -> None:
        """Frames of all kinds with anything in them, whole and in pieces: at worst the connection ends, by our word."""
        for seed in range(300):
            random = Random(seed)
            dialogue = self.h2_proxy("retry.idempotent_tries = 1\npassive.failures = 1000")
            clients, backend = self.asked(dialogue, *[request(b"GET / HTTP/1.1")] * 3)
            for _ in range(40):
                if not backend.peer.is_open:
                    break
                data = _any_frame(random)
                if random.random() < 0.2:
                    place = random.randrange(len(data))
                    data = data[:place] + random.randbytes(random.randint(0, 3)) + data[place + 1 :]
                backend.peer.says(data)
            backend.peer.resets()
            while dialogue.attempts:
                dialogue.refuse()
            for client in clients:
                got = client.gets()
                self.assertTrue(got.startswith(b"HTTP/1.1 ") or not client.is_open, got[:100])
                client.resets()
            self.assertEqual(dialogue.pool.leased, 0)
            self.assertEqual(len(dialogue.lines), 3)


def _any_frame(random: Random) -> bytes:
    id = random.choice((0, 1, 1, 3, 3, 5, 2, 7))
    kind = random.randrange(10)
    flags = random.choice(([], ["END_STREAM"], ["END_HEADERS"], ["END_STREAM", "END_HEADERS"]))
    if kind < 3:
        block = random.choice((b"\x88", b"\x89", b"\x08\x03103", b"\x88\x40\x01a\x01b", b"\x8d", b"\x88\x0f\x0d\x011"))
        return bytes(HeadersFrame(id or 1, block, flags=flags).serialize())
    if kind < 6:
        size = random.choice((0, 1, 10, 16384))
        return size.to_bytes(3, "big") + bytes((0, random.choice((0, 1, 8)))) + id.to_bytes(4, "big") + b"\x02" * size
    if kind == 6:
        return bytes(RstStreamFrame(id or 1, error_code=random.randrange(16)).serialize())
    if kind == 7:
        settings = {random.choice((1, 3, 4, 5, 6, 99)): random.choice((0, 1, 16384, 100_000, 2**31 - 1))}
        return bytes(SettingsFrame(0, settings=settings).serialize())
    if kind == 8:
        return bytes(WindowUpdateFrame(id, window_increment=random.choice((1, 1000, 2**31 - 1))).serialize())
    return random.choice(
        (
            bytes(PingFrame(0, b"x" * 8).serialize()),
            bytes(GoAwayFrame(0, last_stream_id=random.choice((0, 1, 3, 99))).serialize()),
            random.randbytes(random.randint(1, 30)),
        )
    )


class _Client:
    """Asks for a reply that is made of its own letter."""

    def __init__(self, dialogue: Dialogue, random: Random, number: int) -> None:
        self._letter = b"%c" % (97 + number)
        self.peer: Peer = dialogue.client()
        self.has_left = self.is_whole = False
        method = random.choice((b"GET", b"POST", b"PUT"))
        body = b"" if method == b"GET" else b"b" * random.choice((1, 500, 70_000))
        self.peer.says(request(method + b" / HTTP/1.1", b"X-Name: " + self._letter, body=body))

    def leaves(self) -> None:
        """Close the connection, in the middle of whatever there is."""
        if not self.has_left:
            self.has_left = True
            self.peer.resets()

    def check(self, case: Http2Case) -> None:
        """Check that what came is this client's, and complete if it looks so."""
        got = self.peer.gets()
        while got.startswith(b"HTTP/1.1 103"):
            got = got.partition(b"\r\n\r\n")[2]
        if self.has_left:
            return
        head, _, body = got.partition(b"\r\n\r\n")
        case.assertTrue(head, "no reply, and no end")
        if not head.startswith(b"HTTP/1.1 200"):
            case.assertIn(head[9:12], (b"502", b"503", b"504"))
            return
        case.assertIn(b"x-name: " + self._letter, head)
        content = body
        is_chunked = b"chunked" in head
        if is_chunked:
            content, rest = b"", body
            while rest and not rest.startswith(b"0\r\n"):
                size, _, rest = rest.partition(b"\r\n")
                content, rest = content + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
        looks_whole = body.endswith(b"0\r\n\r\n") if is_chunked else len(content) == 40
        case.assertEqual(content, self._letter * len(content))
        if looks_whole:
            case.assertEqual(len(content), 40)
        else:
            case.assertFalse(self.peer.is_open, "cut, and not closed")
        self.is_whole = looks_whole
