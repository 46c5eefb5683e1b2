"""Many clients and backends that do whatever comes to mind: nobody gets anything that is not right, and nothing is left."""

from __future__ import annotations

import gc
import os
import re
from collections import Counter
from random import Random
from typing import Any

from twisted.internet.defer import Deferred

from txproxy.cache.store import Purge
from txproxy.exchange import Exchange
from txproxy.pipeline import catalogue
from txproxy.test.pipeline.cache_case import CacheCase, chunks, get
from txproxy.test.talk import head, reply, request
from txproxy.testing import Dialogue, Peer

URL = b"http://a.example/"
PATHS = (b"/a", b"/b")
LANGUAGES = (b"en", b"fr")
SIZES = (0, 10, 3000, 70_000, 300_000)
SEEDS = int(os.environ.get("STORMS", "4"))
"""More of them find more."""


class _Backend:
    """Answers a request in pieces, one at a time; what it sends says what was asked for, and when."""

    def __init__(self, peer: Peer, random: Random, moment: int) -> None:
        self.peer = peer
        sent = peer.gets()
        line, *lines = sent.partition(b"\r\n\r\n")[0].split(b"\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (each.partition(b":") for each in lines)}
        self.path = line.split(b" ")[1]
        self.asked_by = fields[b"x-request-id"]
        language = fields.get(b"accept-language", b"-")
        self.pieces = self._script(random, line.split(b" ")[0], language, moment, b"if-none-match" in fields)

    def _script(self, random: Random, method: bytes, language: bytes, moment: int, may_be_same: bool) -> list[bytes]:
        kind = random.choice(("stored", "stored", "stored", "varied", "private", "busy", "cut", "bad"))
        if method == b"POST":
            return [reply(b"done", status=random.choice((b"200 OK", b"500 No")))]
        if kind == "busy":
            return [reply(b"busy", status=b"503 Busy")]
        if kind == "bad":
            return [b"What?\r\n\r\n"]
        if may_be_same and random.random() < 0.6:
            about = random.choice(((), (), (b'ETag: "another"',)))
            return [head(b"Cache-Control: max-age=5", *about, status=b"HTTP/1.1 304 Not Modified")]
        mark = b"<%b %b %d>" % (self.path, language, moment)
        body = (mark * (random.choice(SIZES) // len(mark) + 1)) if method != b"HEAD" else b""
        control = (
            b"private"
            if kind == "private"
            else random.choice((b"max-age=5", b"max-age=2, stale-while-revalidate=5", b"max-age=2, stale-if-error=9"))
        )
        fields = [b"Cache-Control: " + control, b'ETag: "%d"' % moment, b"X-For: " + self.asked_by]
        if kind == "varied" or language != b"-":
            fields.append(b"Vary: Accept-Language")
        cut = [body[start : start + 20_000] for start in range(0, len(body), 20_000)]
        if kind == "cut":
            return [head(*fields, b"Content-Length: %d" % (len(body) + 1)), *cut, b""]
        if random.random() < 0.5:
            return [head(*fields, b"Content-Length: %d" % len(body)), *cut]
        if method == b"HEAD":
            return [head(*fields, b"Transfer-Encoding: chunked")]
        return [
            head(*fields, b"Transfer-Encoding: chunked"),
            *[chunks(each) for each in cut if each],
            chunks(last=True),
        ]

    def goes_on(self) -> bool:
        """Send the next piece; return whether there are more."""
        if self.peer.is_open and self.peer.transport.is_reading:
            piece = self.pieces.pop(0)
            if piece:
                self.peer.says(piece)
            else:
                self.peer.finishes()
        return bool(self.pieces) and self.peer.is_open


class StormTests(CacheCase):
    """Random moves, the same each time."""

    def setUp(self) -> None:
        super().setUp()
        self.seen: Counter[str] = Counter()

    def storm(self, seed: int, moves: int, **parts: Any) -> None:
        random = Random(seed)
        dialogue = self.cached(
            '{ purge_from = ["10.0.0.0/8"] }', shared="max_object_bytes = 200000\nmax_bytes = 1000000", **parts
        )
        clients: list[tuple[Peer, bytes, bytes, int]] = []
        """With what they want, and when that was last purged."""
        working: list[_Backend] = []
        idle: list[Peer] = []
        changed = dict.fromkeys(PATHS, 0)
        for moment in range(1, moves):
            move = random.random()
            path, language = random.choice(PATHS), random.choice(LANGUAGES)
            if move < 0.3:
                more = random.choice(
                    (
                        [],
                        [],
                        [b"Cache-Control: no-cache"],
                        [b"Authorization: x"],
                        [b"Cache-Control: no-store"],
                        [b"Range: bytes=0-3"],
                    )
                )
                spoken = [b"Accept-Language: " + language] if path == b"/a" else []
                client = dialogue.client()
                if random.random() < 0.2:
                    client.stops_reading(random.choice((0, 1000, 50_000)))
                client.says(get(path, *spoken, *more))
                clients.append((client, path, language, changed[path]))
            elif move < 0.35:
                client = dialogue.client("10.0.0.9")
                method = random.choice((b"POST", b"PURGE", b"HEAD"))
                client.says(request(method + b" %b HTTP/1.1" % path))
                clients.append((client, path, b"", changed[path]))
                if method == b"PURGE":
                    changed[path] = moment
            elif move < 0.4 and clients:
                clients.pop(random.randrange(len(clients)))[0].resets()
            elif move < 0.5 and clients:
                random.choice(clients)[0].reads()
            elif move < 0.55:
                dialogue.advance(random.choice((0.1, 1.0, 3.0)))
            elif move < 0.58:
                what = random.choice((Purge("url", URL + path[1:]), Purge("all"), Purge("prefix", URL)))
                self.cache_of(dialogue).purge(what)
                changed.update({each: moment for each in PATHS if what.kind != "url" or each == path})
            elif working:
                backend = random.choice(working)
                if not backend.goes_on():
                    working.remove(backend)
                    idle.append(backend.peer)
            while dialogue.attempts:
                idle.append(dialogue.backend())
            for peer in tuple(idle):
                if not peer.is_open:
                    idle.remove(peer)
                elif peer.transport.sent:
                    idle.remove(peer)
                    working.append(_Backend(peer, random, moment))
        self.settle(dialogue, clients, working, idle, random, moves)
        self.check(clients)
        numbers = self.cache_of(dialogue)
        self.assertEqual(numbers.fetches, [])
        self.assertEqual((numbers.budget.left_bytes, numbers.budget.left_read_bytes), (250_000, 1_000_000))
        self.seen += Counter({name: getattr(numbers.counters, name) for name in numbers.counters.__slots__})

    def settle(self, dialogue: Dialogue, clients: Any, working: Any, idle: Any, random: Random, moment: int) -> None:
        """Let all come to an end."""
        for client, *_ in clients:
            client.reads()
        for _ in range(10_000):
            while dialogue.attempts:
                idle.append(dialogue.backend())
            for peer in tuple(idle):
                if peer.is_open and peer.transport.sent:
                    idle.remove(peer)
                    working.append(_Backend(peer, random, moment))
            if not working:
                break
            backend = working[0]
            if not backend.goes_on():
                working.remove(backend)
                idle.append(backend.peer)
        dialogue.settle()

    def value(self, lines: bytes, name: bytes) -> bytes:
        return lines.partition(b"\r\n%b: " % name)[2].partition(b"\r\n")[0]

    def check(self, clients: list[tuple[Peer, bytes, bytes, int]]) -> None:
        """Check that each client has what it has asked for: of its path and language, of one moment, and complete."""
        for client, path, language, purged_at in clients:
            data = client.gets()
            self.assertTrue(data or not client.is_open, (path, language))
            line, _, content = data.partition(b"\r\n\r\n")
            if b"Cache-Control: private" in line:
                self.assertEqual(self.value(line, b"X-For"), self.value(line, b"X-Request-Id"))
            marks = set(re.findall(rb"<(/\w) (\S+) (\d+)>", content))
            self.assertLessEqual(len(marks), 1, (marks, line))
            for found_path, found_language, asked_at in marks:
                self.assertEqual(found_path, path)
                self.assertGreaterEqual(int(asked_at), purged_at)
                if path == b"/a":
                    self.assertEqual(found_language, language)
            if b" 200 " in line[:20] and client.is_open and b"Content-Length: " in line and marks:
                length = int(line.partition(b"Content-Length: ")[2].split(b"\r\n")[0])
                self.assertEqual(len(content), length)
            elif b"chunked" in line and client.is_open and b"GET" not in line:
                self.assertTrue(content.endswith(b"0\r\n\r\n") or not content, content[-20:])

    def test_storms(self) -> None:
        """Hundreds of moves from several seeds."""
        for seed in range(SEEDS):
            self.storm(seed, 400)
        self.assertEqual([name for name, count in self.seen.items() if not count], [])

    def test_withStages(self) -> None:
        """The same with a stage that decides at once, later, or never."""

        class Stage:
            def __init__(self) -> None:
                self.random = Random(5)
                self.waits: list[Deferred[Any]] = []

            def on_reply(self, exchange: Exchange) -> Any:
                if self.waits and self.random.random() < 0.7:
                    self.waits.pop().callback(None)
                if self.random.random() < 0.5:
                    return None
                self.waits.append(Deferred())
                return self.waits[-1]

        stage = Stage()
        self.patch(catalogue, "STAGES", (*catalogue.STAGES, lambda settings, config: stage))
        original = self.settle

        def settle(dialogue: Dialogue, *rest: Any) -> None:
            for _ in range(50):
                while stage.waits:
                    stage.waits.pop().callback(None)
                original(dialogue, *rest)
                if not stage.waits:
                    break

        self.settle = settle  # type: ignore[assignment]
        for seed in range(SEEDS):
            self.storm(seed, 300)

    def test_nothingIsLeft(self) -> None:
        """No garbage, whatever happened."""
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        self.storm(99, 400)
        self.backends.clear()
        self.assertNoneLeft()
