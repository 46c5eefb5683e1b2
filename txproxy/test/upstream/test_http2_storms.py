"""Many requests to backends that speak HTTP/2, at random: every byte is right, and nothing is left."""

from __future__ import annotations

from random import Random

from txproxy.test.talk import post
from txproxy.test.upstream.http2_backend import Http2Backend, Http2Case
from txproxy.testing import Dialogue


class StormTests(Http2Case):
    """Many of everything at random: every byte is right, and nothing is left."""

    def test_all(self) -> None:
        """Uploads and downloads of random sizes in random pieces, with peers that pause and clients that leave."""
        for seed in range(8):
            self.storm(Random(seed))

    def storm(self, random: Random) -> None:
        dialogue = self.h2_proxy("pool.max_connections = 3\nretry.idempotent_tries = 1")
        backends: list[Http2Backend] = []
        clients: list[_Client] = []
        for number in range(30):
            clients.append(_Client(dialogue, random, number))
        for _ in range(3000):
            while dialogue.attempts:
                backends.append(self.answer(dialogue, most=random.choice((3, 10, 100))))
            for backend in backends:
                backend.reads()
                for stream in list(backend.streams.values()):
                    self.answer_some(random, backend, stream.id)
            client = random.choice(clients)
            client.acts()
            if all(client.is_done for client in clients):
                break
        for client in clients:
            client.check(self)
        self.assertTrue(all(client.is_done for client in clients))
        self.assertEqual(dialogue.pool.leased, 0)

    def answer_some(self, random: Random, backend: Http2Backend, id: int) -> None:
        stream = backend.streams[id]
        if stream.reset is not None or not stream.has_ended or not backend.h2.streams.get(id):
            return
        h2 = backend.h2
        state = vars(stream)
        if "left" not in state:
            state["left"] = bytes(stream.content[::-1])
            backend.head(id)
        left = state["left"]
        size = min(random.randint(1, 20_000), 16384, h2.local_flow_control_window(id), len(left))
        if left and size <= 0:
            return
        state["left"] = left[size:]
        backend.data(id, left[:size], ended=size == len(left))
        if size == len(left):
            h2.streams.pop(id, None)
            stream.reset = 0


class _Client:
    """Uploads a body, and expects it back from its end to its beginning."""

    def __init__(self, dialogue: Dialogue, random: Random, number: int) -> None:
        self._random = random
        self._size = random.randint(1, 200_000)
        self._body = random.randbytes(self._size)
        self._sent = 0
        self._got = b""
        self.peer = dialogue.client()
        self.has_left = False
        self._leaves = random.random() < 0.2
        self.peer.says(post(self._size))

    def acts(self) -> None:
        random = self._random
        if self.is_done:
            return
        if self._leaves and random.random() < 0.1:
            self.has_left = True
            self.peer.resets()
        elif self._sent < self._size and random.random() < 0.7:
            piece = self._body[self._sent : self._sent + random.randint(1, 50_000)]
            self._sent += len(piece)
            self.peer.says(piece)
        elif random.random() < 0.3:
            self.peer.stops_reading(random.randint(0, 1000))
        else:
            self.peer.reads()
            self._got += self.peer.gets()

    @property
    def is_done(self) -> bool:
        return self.has_left or self._got.endswith(b"0\r\n\r\n") and self._sent == self._size

    def check(self, case: Http2Case) -> None:
        if self.has_left:
            return
        head, _, body = self._got.partition(b"\r\n\r\n")
        case.assertTrue(head.startswith(b"HTTP/1.1 200"), head[:100])
        content = b""
        while body:
            size, _, body = body.partition(b"\r\n")
            content += body[: int(size, 16)]
            body = body[int(size, 16) + 2 :]
        case.assertEqual(content, self._body[::-1])
