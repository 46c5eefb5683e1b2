"""What a configuration becomes, and that every error has its place."""

from __future__ import annotations

import inspect

from h2.errors import ErrorCodes
from hyperframe.frame import RstStreamFrame, SettingsFrame

from txproxy import errors
from txproxy.net.tls_failure import TlsFailure, TlsFault
from txproxy.policy.facts import TlsFacts
from txproxy.test.talk import GET, OK, TalkCase, chunked, head, post, request
from txproxy.testing import Dialogue
from txproxy.tls.verification import NotVerified

SITES = """
[[listener]]
name = "a"
address = "127.0.0.1:8080"
keepalive_requests = 1
[[listener]]
name = "b"
address = "127.0.0.1:8081"
[[route]]
name = "only-a"
listeners = ["a"]
cluster = "one"
[[route]]
name = "exact"
path = "=/x"
cluster = "two"
[cluster.one]
backends = [{ address = "10.0.0.1:80", weight = 2 }, { address = "10.0.0.2:80" }]
[cluster.two]
backends = [{ address = "10.0.0.3:80", max_connections = 1 }]
pool.queue = 0
"""


class AssembleTests(TalkCase):
    """Listeners, routes, clusters."""

    def test_listeners(self) -> None:
        """A route serves its own listeners, each with its own settings."""
        dialogue = Dialogue.of(self, SITES)
        client = dialogue.client(listener="b")
        client.says(GET)
        self.assertStatus(client, 404)
        client.finishes()
        client = dialogue.client(listener="a")
        client.says(GET)
        dialogue.backend("10.0.0.1:80").says(OK)
        self.assertEqual(client.gets_head().get(b"Connection"), b"close")

    def test_exactPath(self) -> None:
        """An exact path is no prefix."""
        dialogue = Dialogue.of(self, SITES)
        client = dialogue.client(listener="b")
        client.says(request(b"GET /x HTTP/1.1"))
        dialogue.backend("10.0.0.3:80").says(OK)
        self.assertStatus(client, 200)
        client.says(request(b"GET /xy HTTP/1.1"))
        self.assertStatus(client, 404)
        client.finishes()

    def test_weights(self) -> None:
        """Weights of backends are shares (D7)."""
        dialogue = Dialogue.of(self, SITES.replace("keepalive_requests = 1\n", ""))
        backends = [dialogue.script(address, OK) for address in ("10.0.0.1:80", "10.0.0.2:80")]
        client = dialogue.client(listener="a")
        for _ in range(30):
            client.says(GET)
        self.assertEqual([len(backend.requests) for backend in backends], [20, 10])

    def test_limitOfABackend(self) -> None:
        """A backend's own max_connections is below its pool's."""
        dialogue = Dialogue.of(self, SITES)
        first, second = dialogue.client(listener="b"), dialogue.client(listener="b")
        first.says(request(b"GET /x HTTP/1.1"))
        second.says(request(b"GET /x HTTP/1.1"))
        self.assertStatus(second, 503)
        dialogue.backend("10.0.0.3:80").says(OK)


class EveryErrorTests(TalkCase):
    """Each class of the tree of errors: the status and end reason that it says, by a way to reach it."""

    def end_of(self, says: bytes, *acts: str, **parts: str) -> tuple[int, str]:
        dialogue = self.proxy(**parts)
        client = dialogue.client()
        client.says(says)
        backend = None
        for act in acts:
            if act == "refuse":
                dialogue.refuse()
            elif act == "distrust":
                dialogue.refuse(error=NotVerified("it has expired"))
            elif act == "no terms":
                dialogue.refuse(error=TlsFailure(TlsFault.PEER, "it does not speak TLS"))
            elif act == "backend":
                backend = dialogue.backend()
            elif act.startswith("wait "):
                dialogue.advance_past(float(act[5:]))
            elif act == "leave":
                client.resets()
            elif act == "second":
                dialogue.client().says(GET)
            else:
                assert backend is not None
                backend.says(getattr(self, act)) if act != "finish" else backend.finishes()
        dialogue.advance_past(2)
        line = dialogue.lines[-1]
        if client.is_open:
            client.finishes()
        dialogue.advance_past(70)
        return line["status"], line["end"]

    GARBAGE = b"garbage\r\n\r\n"
    GREETING = SettingsFrame(0).serialize()
    REFUSAL = RstStreamFrame(1, error_code=ErrorCodes.REFUSED_STREAM).serialize()
    HALF = head(b"Content-Length: 10") + b"abc"

    def test_all(self) -> None:
        """No class is without a way to reach it, or has another status than it says."""
        full = "pool.max_connections = 1"
        ways = {
            errors.BadRequest: self.end_of(b"BAD\r\n\r\n"),
            errors.BadBody: self.end_of(chunked() + b"zz\r\n"),
            errors.UnsupportedCoding: self.end_of(request(b"POST / HTTP/1.1", b"Transfer-Encoding: gzip, chunked")),
            errors.UnsupportedVersion: self.end_of(request(b"GET / HTTP/3.0")),
            errors.UriTooLong: self.end_of(request(b"GET /%b HTTP/1.1" % (b"x" * 9000))),
            errors.HeadersTooLarge: self.end_of(request(b"GET / HTTP/1.1", *[b"A: b"] * 200)),
            errors.BodyTooLarge: self.end_of(post(9), route="max_body_bytes = 8"),
            errors.RequestTimeout: self.end_of(GET[:5], "wait 10"),
            errors.ExpectationFailed: self.end_of(post(9, b"Expect: x")),
            errors.MethodRefused: self.end_of(request(b"CONNECT a.example:1 HTTP/1.1")),
            errors.NotStored: self.end_of(
                request(b"GET / HTTP/1.1", b"Cache-Control: only-if-cached"), route="cache = true"
            ),
            errors.LoopDetected: self.end_of(request(b"GET / HTTP/1.1", *[b"Via: 1.1 txproxy"] * 9)),
            errors.NoRoute: self.end_of(GET, route='hosts = ["b.example"]'),
            errors.ClientLeft: self.end_of(GET, "leave"),
            errors.Misdirected: self.misdirected_end(),
            errors.TlsVerify: self.end_of(GET, "distrust"),
            errors.ConnectFailed: self.end_of(GET, "refuse"),
            errors.TlsFailed: self.end_of(GET, "no terms"),
            errors.NoHttp2: self.end_of(GET, "backend", "GARBAGE", cluster='protocol = "h2"'),
            errors.Unprocessed: self.end_of(
                GET, *("backend", "GREETING", "REFUSAL") * 2, cluster='protocol = "h2"\nretry.tries = 1'
            ),
            errors.ConnectTimeout: self.end_of(GET, "wait 5"),
            errors.ReplyTimeout: self.end_of(GET, "backend", "wait 60"),
            errors.BadReply: self.end_of(GET, "backend", "GARBAGE"),
            errors.NoReply: self.end_of(post(1) + b"a", "backend", "finish"),
            errors.NoBackend: self.end_of(
                GET, cluster="panic = false\nhealth = { initial = 'down', interval_s = 999 }"
            ),
            errors.QueueFull: self.end_of(GET, "second", "leave", cluster=full + "\npool.queue = 0")
            and self.queue_end(0),
            errors.QueueTimeout: self.queue_end(9),
        }
        for error, seen in ways.items():
            self.assertEqual(seen, (error.status, error.end_reason), error)
        self.assertEqual(self.end_of(GET, "backend", "HALF", "finish"), (200, errors.ReplyCut.end_reason))
        # Not of one exchange, or not reachable yet, or shown elsewhere: stages, slow readers, the service's stop.
        elsewhere = {errors.InternalError, errors.WriteTimeout, errors.ReplyCut, errors.ShuttingDown}
        elsewhere |= {errors.BackendClosed, errors.IdleTimeout, errors.TooOld}  # Of tunnels: downstream.test_tcp.
        elsewhere |= {errors.BadProxyHeader, errors.UntrustedProxy}  # Before there is an exchange.
        kinds = {errors.ProxyError, errors.DownstreamError, errors.UpstreamError}
        every = {each for _, each in inspect.getmembers(errors, inspect.isclass) if issubclass(each, errors.ProxyError)}
        self.assertEqual(every - kinds - elsewhere, set(ways))

    def misdirected_end(self) -> tuple[int, str]:
        dialogue = self.proxy()
        dialogue.client(tls=TlsFacts("TLSv1.3", "x"), names=[b"b.example"]).says(GET)
        line = dialogue.lines[0]
        return line["status"], line["end"]

    def queue_end(self, queue: int) -> tuple[int, str]:
        dialogue = self.proxy(cluster=f"pool.max_connections = 1\npool.queue = {queue}")
        first, _ = self.busy(dialogue)
        second = dialogue.client()
        second.says(GET)
        dialogue.advance_past(5)
        first.resets()
        line = dialogue.lines[0]
        return line["status"], line["end"]
