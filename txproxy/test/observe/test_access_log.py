"""The access log's lines: golden ones, hostile ones, and a file that cannot be written."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txproxy.errors import ClientLeft
from txproxy.exchange import Exchange
from txproxy.observe import access_log
from txproxy.observe.access_log import AccessLog, CombinedFormatter, JsonFormatter
from txproxy.observe.counters import Counters
from txproxy.test.talk import GET, OK, POST_5, TalkCase, head, post, reply, request
from txproxy.test.wire.http2.heads_case import request_with
from txproxy.testing import Peer
from txproxy.wire.fields import FieldTokenizer
from txproxy.wire.h1 import parse_request_head
from txproxy.wire.limits import HeadLimits
from txproxy.wire.proxy_protocol import ProxiedTls, ProxyHeader

_CLIENT = SimpleNamespace(tls=None, hop=SimpleNamespace(proxied=None))


class Named:
    """A route, a cluster or a backend: something with a name."""

    def __init__(self, name: str) -> None:
        self.name = name


def exchange(says: bytes | None = None) -> Exchange:
    """Return an exchange that went well, after two tries."""
    says = says or b"GET /a?b=c HTTP/1.1\r\nHost: a.example:81\r\nUser-Agent: curl/8\r\nReferer: http://r/\r\n\r\n"
    made = Exchange(b"0123abcd", parse_request_head(says, FieldTokenizer(), HeadLimits()), _CLIENT, 10.0)
    made.peer = made.client_address = "192.0.2.7"
    made.route, made.cluster, made.backend = Named("api"), Named("app"), Named("10.0.0.1:80")
    made.backends_tried = (Named("10.0.0.2:80"), made.backend)
    made.connect_at, made.leased_at, made.replied_at, made.ended_at = 10.001, 10.003, 10.0145, 10.5
    made.status, made.bytes_in, made.bytes_out, made.tries, made.end_reason = 200, 3, 12345, 2, "ok"
    return made


def by_http2() -> Exchange:
    """Return an exchange whose request came by HTTP/2."""
    made = exchange()
    made.request = request_with((b"user-agent", b"curl"))
    return made


def unreadable() -> Exchange:
    """Return an exchange whose request could not be understood."""
    made = Exchange(b"0123abce", None, _CLIENT, 10.0)
    made.peer = made.client_address = "192.0.2.7"
    made.status, made.bytes_out, made.end_reason, made.ended_at = 400, 60, "bad-request", 10.25
    return made


class CombinedTests(SynchronousTestCase):
    """The combined format."""

    def test_golden(self) -> None:
        """As Apache and nginx write it, then request id, backend, tries, timings in microseconds and the end reason."""
        self.assertEqual(
            CombinedFormatter()(exchange(), 784111777.9),
            '192.0.2.7 - - [06/Nov/1994:08:49:37 +0000] "GET /a?b=c HTTP/1.1" 200 12345 "http://r/" "curl/8" '
            "0123abcd 10.0.0.2:80,10.0.0.1:80 2 1000 2000 11500 485500 500000 ok",
        )

    def test_retryRefused(self) -> None:
        """Why a failed try was not followed by another stands last; so does nothing if there is nothing to say."""
        made = exchange()
        made.retry_refused = "body-too-large"
        self.assertTrue(CombinedFormatter()(made, 0).endswith(" ok retry=body-too-large"))
        self.assertEqual(json.loads(JsonFormatter()(made, 0))["retry"], "body-too-large")

    def test_unreadable(self) -> None:
        """A request that could not be understood has a line too."""
        self.assertEqual(
            CombinedFormatter()(unreadable(), 784111777),
            '192.0.2.7 - - [06/Nov/1994:08:49:37 +0000] "-" 400 60 "-" "-" '
            "0123abce - 0 0 0 0 250000 250000 bad-request",
        )

    def test_timeMovesOn(self) -> None:
        """The time of day is that of the exchange."""
        formatter = CombinedFormatter()
        seconds = [formatter(exchange(), 784111777 + step).split("]")[0][-14:-6] for step in (0, 0.5, 1, 60)]
        self.assertEqual(seconds, ["08:49:37", "08:49:37", "08:49:38", "08:50:37"])

    def test_proxy(self) -> None:
        """What a proxy in front has said is there if it has said anything; no line can be forged by it."""
        self.assertNotIn("proxy", json.loads(JsonFormatter()(exchange(), 0)))
        header = ProxyHeader(("2001:db8::7", 1), ("2001:db8::1", 443), authority='a"\n{}', tls=ProxiedTls("TLSv1.3"))
        made = exchange()
        made.client = SimpleNamespace(tls=None, hop=SimpleNamespace(proxied=header))
        line = JsonFormatter()(made, 0)
        self.assertNotIn("\n", line)
        expected = {"destination": "[2001:db8::1]:443", "authority": 'a"\n{}', "tls": "TLSv1.3"}
        self.assertEqual(json.loads(line)["proxy"], expected)

    def test_forgery(self) -> None:
        """Quotes, backslashes, tabs and bytes above 0x7E are escaped, so that no field can be forged."""
        says = request(b"GET / HTTP/1.1", b'User-Agent: a" 200 1 "b\\x41\tc\xff', b'Referer: "')
        line = CombinedFormatter()(exchange(says), 0)
        self.assertEqual(line.count('"'), 6)
        self.assertIn(r'"\x22" "a\x22 200 1 \x22b\x5Cx41\x09c\xFF"', line)
        self.assertTrue(line.isascii() and line.isprintable())

    def test_forgeryInTheTarget(self) -> None:
        """The same in a target."""
        line = CombinedFormatter()(exchange(request(b'GET /"%20x HTTP/1.1')), 0)
        self.assertEqual(line.count('"'), 6)

    def test_versions(self) -> None:
        """The one that was spoken; above 1.1 HTTP/1 means no more than that."""
        for version, expected in ((b"1.0", "HTTP/1.0"), (b"1.7", "HTTP/1.1")):
            self.assertIn(f' {expected}" 200', CombinedFormatter()(exchange(request(b"GET / HTTP/" + version)), 0))
        self.assertIn('"GET /x HTTP/2.0" 200 12345 "-" "curl"', CombinedFormatter()(by_http2(), 0))

    def test_momentIsWrittenOnceASecond(self) -> None:
        """However many clients take turns, their lines have one stamp, which is made once."""
        made: list[str] = []

        def counted(form: str, moment: time.struct_time) -> str:
            made.append(form)
            return time.strftime(form, moment)

        self.patch(access_log, "strftime", counted)
        formatter, one = CombinedFormatter(), exchange()
        for number in range(6):
            one.client_address = f"192.0.2.{number % 3}"
            line = formatter(one, 1_700_000_000.5 + number // 3)
            stamp = f"14/Nov/2023:22:13:2{number // 3} +0000"
            self.assertTrue(line.startswith(f"{one.client_address} - - [{stamp}] "), line)
        self.assertEqual(len(made), 2)


class JsonTests(SynchronousTestCase):
    """One JSON object per line."""

    def test_golden(self) -> None:
        """All the keys of the contract, times in ms."""
        self.assertEqual(
            json.loads(JsonFormatter()(exchange(), 784111777.1234)),
            {
                **{"ts": 784111777.123, "client": "192.0.2.7", "method": "GET", "host": "a.example:81"},
                **{"target": "/a?b=c", "version": "1.1", "status": 200, "bytes_in": 3, "bytes_out": 12345},
                **{"route": "api", "cluster": "app", "backend": "10.0.0.2:80,10.0.0.1:80", "tries": 2},
                **{"cache": None},
                **{"queue_ms": 1.0, "connect_ms": 2.0, "first_byte_ms": 11.5, "transfer_ms": 485.5, "total_ms": 500.0},
                **{"end": "ok", "request_id": "0123abcd", "tls": None, "user_agent": "curl/8", "referer": "http://r/"},
            },
        )

    def test_versions(self) -> None:
        """The same in a key of its own."""
        self.assertEqual(json.loads(JsonFormatter()(exchange(request(b"GET / HTTP/1.0")), 0))["version"], "1.0")
        self.assertEqual(json.loads(JsonFormatter()(by_http2(), 0))["version"], "2.0")

    def test_unreadable(self) -> None:
        """What is not known is null."""
        line = json.loads(JsonFormatter()(unreadable(), 0))
        self.assertEqual((line["method"], line["backend"]), (None, None))
        self.assertEqual((line["end"], line["total_ms"]), ("bad-request", 250))

    def test_forgery(self) -> None:
        """It is one line of ASCII whatever a client sends, and says exactly that."""
        made = exchange(request(b"GET / HTTP/1.1", b'User-Agent: a", "status": 1\tb\xff'))
        line = JsonFormatter()(made, 0)
        self.assertTrue(line.isascii() and "\n" not in line)
        self.assertEqual(json.loads(line)["user_agent"], 'a", "status": 1\tb\xff')
        self.assertEqual(json.loads(line)["status"], 200)


class Full:
    """A file on a full disk."""

    def write(self, text: str) -> None:
        raise OSError(28, "No space left on device")

    def flush(self) -> None:
        raise OSError(28, "No space left on device")

    def close(self) -> None:
        pass


class AccessLogTests(SynchronousTestCase):
    """The file."""

    def setUp(self) -> None:
        self.counters = Counters()
        self.files: list[Any] = []

    def log(self, *files: Any) -> AccessLog:
        waiting = list(files)

        def open_file() -> Any:
            opened = waiting.pop(0)
            if isinstance(opened, Exception):
                raise opened
            self.files.append(opened)
            return opened

        return AccessLog(lambda: 10.0, lambda: 784111777.0, CombinedFormatter(), open_file, self.counters)

    def test_batch(self) -> None:
        """A batch is written at once, a line each; the wall clock's time is that of the exchange's end."""
        log = self.log(io.StringIO())
        log.write([exchange(), unreadable()])
        log.write([])
        lines = self.files[0].getvalue().split("\n")
        self.assertEqual(len(lines), 3)
        self.assertIn("08:49:37", lines[0])

    def test_full(self) -> None:
        """A file that cannot be written to loses lines, which are counted; nothing is raised."""
        log = self.log(Full())
        log.write([exchange(), unreadable()])
        log.write([exchange()])
        self.assertEqual(self.counters.log_lines_lost, 3)

    def test_closed(self) -> None:
        """The same for a stream that somebody has closed."""
        file = io.StringIO()
        log = self.log(file)
        file.close()
        log.write([exchange()])
        self.assertEqual(self.counters.log_lines_lost, 1)

    def test_reopen(self) -> None:
        """After a reopen lines go to the new file, and the old one is closed."""
        log = self.log(io.StringIO(), io.StringIO())
        log.reopen()
        log.write([exchange()])
        self.assertTrue(self.files[0].closed)
        self.assertIn("GET", self.files[1].getvalue())
        log.close()
        self.assertTrue(self.files[1].closed)

    def test_reopenFails(self) -> None:
        """If it cannot be opened anew, the old file is used on."""
        log = self.log(io.StringIO(), PermissionError(13, "no"))
        log.reopen()
        log.write([exchange()])
        self.assertIn("GET", self.files[0].getvalue())


class EveryExchangeTests(TalkCase):
    """One line each, whatever the end (O1)."""

    def test_timings(self) -> None:
        """The four phases add up to the total."""
        dialogue = self.proxy(cluster="pool.max_connections = 1\npool.queue_timeout_s = 100")
        client = dialogue.client()
        client.says(GET)
        other = dialogue.client()
        other.says(POST_5)
        dialogue.advance(1)
        backend = dialogue.backend()
        dialogue.advance(2)
        backend.says(head(b"Content-Length: 2"))
        dialogue.advance(3)
        backend.says(b"ok")
        dialogue.advance(0.5)
        backend.says(OK)
        first, second = dialogue.lines
        names = ("queue_ms", "connect_ms", "first_byte_ms", "transfer_ms", "total_ms")
        self.assertEqual([round(first[name]) for name in names], [0, 1000, 2000, 3000, 6000])
        self.assertEqual([round(second[name]) for name in names], [6000, 0, 500, 0, 6500])
        for line in (first, second):
            self.assertAlmostEqual(sum(line[name] for name in names[:4]), line["total_ms"], delta=1)

    def test_oneEach(self) -> None:
        """Served, refused, malformed, cut, left, timed out: one line for each."""
        dialogue = self.proxy(route='hosts = ["a.example"]\nmax_body_bytes = 10')
        ends: list[str] = []

        def cut(client: Peer) -> None:
            dialogue.backend().says(head(b"Content-Length: 9") + b"a")
            client.resets()

        ways: tuple[tuple[bytes, Callable[[Peer], Any]], ...] = (
            (GET, lambda client: dialogue.backend().says(reply(b"ok", b"Connection: close"))),
            (GET, lambda client: dialogue.refuse()),
            (post(1) + b"a", lambda client: dialogue.backend().finishes()),
            (GET, cut),
            (b"BAD\r\n\r\n", lambda client: None),
            (GET[:9], lambda client: dialogue.advance_past(10)),
            (request(host=b"b.example"), lambda client: None),
            (post(11), lambda client: None),
            (request(b"CONNECT a.example:443 HTTP/1.1"), lambda client: None),
            (request(b"GET / HTTP/1.1", *[b"Via: 1.1 txproxy"] * 9), lambda client: None),
        )
        for says, acts in ways:
            client = dialogue.client()
            client.says(says)
            acts(client)
            if client.is_open:
                client.finishes()
            dialogue.advance_past(2)
            ends.append(dialogue.lines[-1]["end"])
            self.assertEqual(len(dialogue.lines), len(ends), says)
        self.assertEqual(
            ends,
            ["ok", "connect-failed", "bad-reply", "client-left", "bad-request", "request-timeout", "no-route"]
            + ["body-too-large", "method-refused", "loop"],
        )
        self.assertEqual(dialogue.assembled.counters.outcomes.total(), len(ends))

    def test_requestId(self) -> None:
        """The same id stands in the log, upstream and in the reply; a client's own is replaced (O5)."""
        dialogue = self.proxy()
        client = dialogue.client()
        client.says(request(b"GET / HTTP/1.1", b"X-Request-Id: mine"))
        backend = dialogue.backend()
        upstream = backend.gets_head().get(b"X-Request-Id")
        backend.says(OK)
        self.assertEqual(client.gets_head().get(b"X-Request-Id"), upstream)
        self.assertEqual(dialogue.lines[0]["request_id"].encode(), upstream)
        self.assertNotEqual(upstream, b"mine")

    def test_requestIdOfATrustedPeer(self) -> None:
        """A trusted peer's id is kept, and its client is the one that is logged (HF5)."""
        dialogue = self.proxy(rest='[proxy]\ntrusted_proxies = ["10.0.0.0/8"]')
        client = dialogue.client("10.1.1.1")
        chain = b"X-Forwarded-For: 6.6.6.6, 203.0.113.9, 10.1.1.1"
        client.says(request(b"GET / HTTP/1.1", b"X-Request-Id: mine", chain))
        backend = dialogue.backend()
        self.assertEqual(backend.gets_head().get(b"X-Request-Id"), b"mine")
        backend.says(OK)
        self.assertEqual((dialogue.lines[0]["request_id"], dialogue.lines[0]["client"]), ("mine", "203.0.113.9"))

    def test_forgedRequestId(self) -> None:
        """An id that could forge something is replaced, even a trusted peer's."""
        for bad in (b'a"b', b"a b", b"a,b", b"a\tb", b"\xff", b"x" * 300):
            dialogue = self.proxy(rest='[proxy]\ntrusted_proxies = ["10.0.0.0/8"]\n[log]\nformat = "combined"')
            dialogue.script("10.0.0.1:80", OK)
            dialogue.client("10.1.1.1").says(request(b"GET / HTTP/1.1", b"X-Request-Id: " + bad))
            self.assertNotIn(bad.decode("latin-1"), dialogue.lines[0])

    def test_combined(self) -> None:
        """The format is the configuration's choice."""
        dialogue = self.proxy(rest='[log]\nformat = "combined"')
        dialogue.script("10.0.0.1:80", OK)
        dialogue.client().says(GET)
        self.assertIn('"GET / HTTP/1.1" 200 2 "-" "-"', dialogue.lines[0])

    def test_clientLeft(self) -> None:
        """499 is what a client that left gets."""
        self.assertEqual((ClientLeft.status, ClientLeft.end_reason), (499, "client-left"))
