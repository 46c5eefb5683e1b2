"""Flow control towards backends that speak HTTP/2: nobody's memory grows, and no stream holds up another."""

from __future__ import annotations

from collections.abc import Callable

from h2.settings import SettingCodes
from hyperframe.frame import RstStreamFrame
from twisted.internet.defer import Deferred

from txproxy.net.stream import READ_BYTES
from txproxy.pipeline import catalogue
from txproxy.test.talk import GET, post
from txproxy.test.upstream.http2_backend import Http2Backend, Http2Case
from txproxy.testing import Dialogue, Peer

WINDOW = 65535
HIGH = 65536
"""The high watermark."""
READ = READ_BYTES
"""What is read at a time, and may come on top of it."""


class UploadTests(Http2Case):
    """Content of requests."""

    def upload(self, dialogue: Dialogue, client: Peer, size: int) -> None:
        """Let a client send so much of a body as the proxy reads."""
        client.says(b"x" * size)

    def unread(self, client: Peer) -> int:
        return len(client.transport.arriving)

    def test_window(self) -> None:
        """What the window does not allow waits: at most the high watermark and one read; the client waits, too."""
        dialogue = self.h2_proxy()
        (client,), backend = self.asked(dialogue, post(1_000_000))
        backend.consumes = False
        self.upload(dialogue, client, 1_000_000)
        self.assertEqual(len(backend.stream().content), WINDOW)
        self.assertFalse(client.transport.is_reading)
        held = 1_000_000 - WINDOW - self.unread(client)
        self.assertTrue(HIGH <= held <= HIGH + READ, held)
        # A little more of the window is no reason to read on, a lot is.
        self.open(backend, 1000)
        self.assertFalse(client.transport.is_reading)
        self.open(backend, 1_000_000)
        self.assertEqual((len(backend.stream().content), backend.stream().has_ended), (1_000_000, True))
        backend.reply(1)
        self.assertStatus(client, 200)

    def open(self, backend: Http2Backend, count: int, stream_id: int = 1) -> None:
        backend.h2.increment_flow_control_window(count)
        backend.h2.increment_flow_control_window(count, stream_id)
        backend.says()
        backend.reads()

    def test_settings(self) -> None:
        """SETTINGS_INITIAL_WINDOW_SIZE counts from the first, and opens or shuts windows that are there."""
        dialogue = self.h2_proxy()
        (client,), backend = self.asked(dialogue, post(1000), settings={SettingCodes.INITIAL_WINDOW_SIZE: 10})
        client.says(b"x" * 1000)
        backend.consumes = False
        self.assertEqual(len(backend.stream().content), 10)
        backend.settles({SettingCodes.INITIAL_WINDOW_SIZE: 5})
        backend.settles({SettingCodes.INITIAL_WINDOW_SIZE: 600})
        self.assertEqual(len(backend.stream().content), 600)
        backend.settles({SettingCodes.INITIAL_WINDOW_SIZE: 2000})
        self.assertTrue(backend.stream().has_ended)
        backend.reply(1)
        self.assertStatus(client, 200)

    def test_transport(self) -> None:
        """A backend that reads nothing: the same, and everything goes on when it reads."""
        dialogue = self.h2_proxy()
        windows = {SettingCodes.INITIAL_WINDOW_SIZE: 10_000_000}
        (client,), backend = self.asked(dialogue, post(1_000_000), settings=windows)
        backend.h2.increment_flow_control_window(10_000_000)
        backend.says()
        backend.peer.stops_reading()
        client.says(b"x" * 1_000_000)
        self.assertFalse(client.transport.is_reading)
        taken = 1_000_000 - self.unread(client)
        self.assertLessEqual(taken, 2 * HIGH + 2 * READ)
        backend.peer.reads()
        self.assertEqual((len(backend.stream().content), backend.stream().has_ended), (1_000_000, True))
        backend.reply(1)
        self.assertStatus(client, 200)

    def test_nobodyElseWaits(self) -> None:
        """A stream whose window is shut holds up no other, neither what it sends nor what comes for it."""
        dialogue = self.h2_proxy()
        clients, backend = self.asked(dialogue, post(1_000_000), post(50_000), GET)
        backend.consumes = False
        clients[0].says(b"x" * 1_000_000)
        backend.reads()
        backend.h2.increment_flow_control_window(10_000_000)  # Of the connection alone.
        backend.says()
        clients[1].says(b"y" * 50_000)
        self.assertTrue(backend.stream(3).has_ended)
        for id, client in ((3, clients[1]), (5, clients[2])):
            backend.reply(id)
            self.assertStatus(client, 200)
        self.assertFalse(backend.stream(1).has_ended)
        self.open(backend, 10_000_000)
        backend.reply(1)
        self.assertStatus(clients[0], 200)

    def test_fair(self) -> None:
        """What the connection's window allows is shared: a frame each, in turn."""
        dialogue = self.h2_proxy()
        windows = {SettingCodes.INITIAL_WINDOW_SIZE: 10_000_000}
        clients, backend = self.asked(dialogue, *[post(500_000)] * 4, settings=windows)
        backend.consumes = False
        for client in clients:
            client.says(b"x" * 500_000)
        backend.reads()
        before = {id: len(stream.content) for id, stream in backend.streams.items()}
        backend.h2.increment_flow_control_window(4 * 3 * 16384)
        backend.says()
        backend.reads()
        gained = [len(backend.streams[id].content) - before[id] for id in (1, 3, 5, 7)]
        self.assertEqual(gained, [3 * 16384] * 4)
        backend.h2.increment_flow_control_window(10_000_000)
        backend.says()
        for id, client in zip((1, 3, 5, 7), clients, strict=True):
            backend.reply(id)
            self.assertStatus(client, 200)

    def test_deadline(self) -> None:
        """A backend that gives no window has first_byte_s for that, too; one that gives some has it again."""
        dialogue = self.h2_proxy("timeouts.first_byte_s = 10\nretry.idempotent_tries = 1")
        (client,), backend = self.asked(dialogue, post(1_000_000))
        backend.consumes = False
        client.says(b"x" * 1_000_000)
        for _ in range(3):
            dialogue.advance(9)
            self.open(backend, 1000)
        dialogue.advance_past(10)
        self.assertStatus(client, 504)
        self.assertIsNotNone(backend.stream().reset)
        self.assertPool(dialogue, 1, 0, 0)

    def test_slowReader(self) -> None:
        """One that reads slowly, but reads, is not given up."""
        dialogue = self.h2_proxy("timeouts.first_byte_s = 10")
        windows = {SettingCodes.INITIAL_WINDOW_SIZE: 10_000_000}
        (client,), backend = self.asked(dialogue, post(1_000_000), settings=windows)
        backend.h2.increment_flow_control_window(10_000_000)
        backend.says()
        backend.peer.stops_reading()
        client.says(b"x" * 1_000_000)
        for _ in range(5):
            dialogue.advance(9)
            backend.peer.reads(100)
        self.assertIsNone(backend.streams[1].reset)
        dialogue.advance_past(20)
        self.assertStatus(client, 504)
        backend.peer.reads()
        self.assertIsNotNone(backend.stream().reset)

    def uploads(self, count: int) -> tuple[Dialogue, list[Peer], Http2Backend]:
        """Return uploads of 60,000 bytes, of which the connection's first window is used up, and nothing given back."""
        dialogue = self.h2_proxy("timeouts.first_byte_s = 10\nretry.idempotent_tries = 1\npool.max_connections = 1")
        clients, backend = self.asked(dialogue, *[post(60_000)] * count)
        backend.consumes = False
        for client in clients:
            client.says(b"x" * 60_000)
        backend.reads()
        return dialogue, clients, backend

    def test_turns(self) -> None:
        """A backend that reads on, though slowly, is not blamed by those whose turn comes late."""
        dialogue, clients, backend = self.uploads(20)
        for _ in range(80):
            dialogue.advance(1)
            backend.h2.increment_flow_control_window(16384)  # Of the connection: those of the streams are open.
            backend.says()
            backend.reads()
            for id in [stream.id for stream in backend.under_way if stream.has_ended]:
                backend.reply(id)
                del backend.streams[id]
        for client in clients:
            self.assertStatus(client, 200)

    def test_noTurns(self) -> None:
        """If it reads nothing more, all have waited for too long."""
        dialogue, clients, backend = self.uploads(20)
        dialogue.advance(1)
        backend.h2.increment_flow_control_window(16384)
        backend.says()
        dialogue.advance_past(20)
        self.assertEqual([line["end"] for line in dialogue.lines], ["reply-timeout"] * 20)

    def test_ownWindow(self) -> None:
        """A stream whose own window is shut gets nowhere by what others send."""
        dialogue = self.h2_proxy("timeouts.first_byte_s = 10\nretry.idempotent_tries = 1")
        (stuck, other), backend = self.asked(dialogue, post(100_000), post(1_000_000))
        backend.consumes = False
        backend.h2.increment_flow_control_window(10_000_000, 3)
        backend.says()
        stuck.says(b"x" * 100_000)
        other.says(b"y" * 1_000_000)
        backend.reads()
        self.assertEqual(len(backend.stream(1).content), WINDOW)
        for _ in range(15):
            dialogue.advance(1)
            backend.h2.increment_flow_control_window(16384)
            backend.says()
            backend.reads()
        self.assertStatus(stuck, 504)
        self.assertIsNone(backend.stream(3).reset)
        other.resets()

    def test_earlyReply(self) -> None:
        """A reply while content still waits: what waits is dropped, and the client's valve opens."""
        dialogue = self.h2_proxy()
        (client,), backend = self.asked(dialogue, post(1_000_000))
        backend.consumes = False
        client.says(b"x" * 300_000)
        self.assertFalse(client.transport.is_reading)
        backend.head(1, status=b"413", ended=True)
        self.assertStatus(client, 413)
        self.assertTrue(client.transport.is_reading or not client.is_open)
        dialogue.advance_past(10)


class DownloadTests(Http2Case):
    """Content of replies."""

    def send(self, backend: Http2Backend, id: int, size: int) -> int:
        """Send as much of so many bytes as the windows allow; return how much that was."""
        sent = 0
        while sent < size:
            backend.reads()
            piece = min(size - sent, 16384, backend.h2.local_flow_control_window(id))
            if not piece:
                break
            backend.data(id, b"z" * piece)
            sent += piece
        return sent

    def test_slowClient(self) -> None:
        """A client that does not read: one stream window comes, and no more; then everything, when it reads."""
        dialogue = self.h2_proxy()
        (client,), backend = self.asked(dialogue, GET)
        backend.head(1)
        client.stops_reading()
        sent = self.send(backend, 1, 10_000_000)
        self.assertLessEqual(sent, HIGH + 65536 + READ)
        self.assertLessEqual(client.transport.queued_bytes, HIGH + 65536 + 2 * READ)
        self.assertEqual(self.send(backend, 1, 10_000), 0)
        client.reads()
        self.assertEqual(self.send(backend, 1, 500_000), 500_000)
        backend.data(1, b"", ended=True)
        self.assertEqual(client.gets().count(b"z"), sent + 500_000)
        self.assertEnd(dialogue, "ok", 200)

    def test_nobodyElseWaits(self) -> None:
        """Many clients that read nothing take nothing of the connection's window from those that do."""
        dialogue = self.h2_proxy()
        clients, backend = self.asked(dialogue, *[GET] * 40)
        for id in range(1, 81, 2):
            backend.head(id)
        for number, client in enumerate(clients[:-1]):
            client.stops_reading()
            self.send(backend, 2 * number + 1, 10_000_000)
        self.assertEqual(self.send(backend, 79, 3_000_000), 3_000_000)
        backend.data(79, b"", ended=True)
        self.assertEqual(clients[-1].gets().count(b"z"), 3_000_000)
        for client in clients[:-1]:
            client.resets()
        self.assertPool(dialogue, 1, 0, 0)

    def test_padding(self) -> None:
        """Padding counts, and is given back as well."""
        dialogue = self.h2_proxy()
        (client,), backend = self.asked(dialogue, GET)
        backend.head(1)
        for _ in range(2000):
            backend.reads()
            backend.h2.send_data(1, b"z", pad_length=255)
            backend.says()
        backend.data(1, b"", ended=True)
        self.assertEqual(client.gets().count(b"z"), 2000)

    def test_deciding(self) -> None:
        """While a stage decides on the head, one window of content is held, and then passed on."""
        gate: Deferred[None] = Deferred()
        self.patch(catalogue, "STAGES", (*catalogue.STAGES, lambda settings, config: _Stage(gate)))
        dialogue = self.h2_proxy()
        (client, other), backend = self.asked(dialogue, GET, GET)
        backend.head(1)
        sent = self.send(backend, 1, 10_000_000)
        self.assertLessEqual(sent, 65536)
        self.assertEqual(client.gets(), b"")
        gate.callback(None)
        dialogue.settle()
        self.assertEqual(client.gets().count(b"z"), sent)
        self.assertEqual(self.send(backend, 1, 100_000), 100_000)
        backend.data(1, b"", ended=True)
        self.assertEqual(client.gets().count(b"z"), 100_000)
        backend.reply(3)
        self.assertStatus(other, 200)

    def test_decidingToTheEnd(self) -> None:
        """The same if everything has come meanwhile; and if the backend has gone meanwhile."""
        for end in ("whole", "empty", "cut"):
            gate: Deferred[None] = Deferred()
            self.patch(catalogue, "STAGES", (*catalogue.STAGES[:1], lambda settings, config, gate=gate: _Stage(gate)))
            dialogue = self.h2_proxy()
            (client,), backend = self.asked(dialogue, GET)
            if end == "whole":
                backend.reply(1, b"zz", trailers=[(b"x-sum", b"7")])
            elif end == "empty":
                backend.head(1, ended=True)
            else:
                backend.head(1)
                backend.peer.resets()
                self.assertStatus(client, 502)
            gate.callback(None)
            dialogue.settle()
            if end != "cut":
                self.assertStatus(client, 200)
                self.assertEnd(dialogue, "ok", 200)

    def test_decidedTooLate(self) -> None:
        """What has come whole while a stage decides is good, whatever the backend does with the stream then."""

        def goes(backend: Http2Backend) -> None:
            backend.goes_away(0)
            backend.peer.finishes()

        ends: dict[str, Callable[[Http2Backend], None]] = {
            "closes": lambda backend: backend.peer.finishes(),
            "is reset": lambda backend: backend.peer.resets(),
            "goes away": goes,
            # RFC 9113 section 8.1: a reply that needs no more of its request.
            "wants no more": lambda backend: backend.peer.says(RstStreamFrame(1, error_code=0).serialize()),
            "breaks a rule": lambda backend: backend.peer.says(b"\x00\x00\x01\x00\x00\x00\x00\x00\x00x"),
        }
        for name, end in ends.items():
            gate: Deferred[None] = Deferred()
            self.patch(catalogue, "STAGES", (*catalogue.STAGES[:1], lambda settings, config, gate=gate: _Stage(gate)))
            dialogue = self.h2_proxy("passive.failures = 1")
            (client,), backend = self.asked(dialogue, post(100) + b"x")
            backend.reply(1, b"whole")
            end(backend)
            self.assertEqual(client.gets(), b"", name)
            gate.callback(None)
            dialogue.settle()
            self.assertTrue(b"whole" in self.assertStatus(client, 200), name)
            self.assertEnd(dialogue, "ok", 200)
            self.assertEqual(dialogue.roster.status()[0].failures, 0)
            self.assertEqual((dialogue.pool.leased, dialogue.roster.status()[0].active), (0, 0))


class _Stage:
    """Takes its time with the first reply."""

    def __init__(self, gate: Deferred[None]) -> None:
        self._gate = gate

    def on_reply(self, exchange: object) -> Deferred[None]:
        gate, self._gate = self._gate, _fired()
        return gate


def _fired() -> Deferred[None]:
    fired: Deferred[None] = Deferred()
    fired.callback(None)
    return fired
