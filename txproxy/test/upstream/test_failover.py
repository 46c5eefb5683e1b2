"""Which backend is asked when another has failed, and which request may be sent again."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import TimeoutError

from txproxy.test.talk import GET, OK, POST_5, TalkCase, request
from txproxy.testing import CLOSE, REFUSE, RESET, SILENT, Dialogue

A, B, C = "10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"
PUT_20K = request(b"PUT / HTTP/1.1", body=b"x" * 20480)
UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"


class FailoverCase(TalkCase):
    """Three backends that answer as each test says."""

    def served(self, dialogue: Dialogue, says: bytes = GET, status: int = 200) -> dict[str, Any]:
        """Send one request, let the back-off pass, and return its line of the log."""
        client = dialogue.client()
        client.says(says)
        dialogue.advance(0.3)
        self.assertStatus(client, status)
        client.finishes()
        line: dict[str, Any] = dialogue.lines[-1]
        return line


class ConnectFailureTests(FailoverCase):
    """A backend that cannot be reached has not seen the request: any method goes elsewhere (R1)."""

    def test_nextBackend(self) -> None:
        """R1: the first refuses, the second answers; the log has both, and how many tries it took."""
        dialogue = self.proxy(backends=(A, B))
        dialogue.script(A, REFUSE)
        dialogue.script(B, OK)
        line = self.served(dialogue, POST_5)
        self.assertEqual((line["backend"], line["tries"], line["end"]), (f"{A},{B}", 2, "ok"))
        self.assertNotIn("retry", line)

    def test_neverTwiceTheSame(self) -> None:
        """R1: three backends, all refuse: each is tried once, and the client is told 502."""
        dialogue = self.proxy(backends=(A, B, C))
        for address in (A, B, C):
            dialogue.script(address, REFUSE)
        line = self.served(dialogue, status=502)
        self.assertEqual(sorted(line["backend"].split(",")), [A, B, C])
        self.assertEqual((line["tries"], line["retry"]), (3, "tries"))

    def test_nobodyLeft(self) -> None:
        """Two backends and three tries: 502 once both have refused."""
        dialogue = self.proxy(backends=(A, B))
        dialogue.script(A, REFUSE)
        dialogue.script(B, REFUSE)
        line = self.served(dialogue, status=502)
        self.assertEqual((line["tries"], line["end"], line["retry"]), (2, "connect-failed", "no-backend-left"))

    def test_oneTry(self) -> None:
        """retry.tries = 1: no other backend is tried."""
        dialogue = self.proxy(backends=(A, B), cluster="retry.tries = 1")
        dialogue.script(A, REFUSE)
        self.assertEqual(self.served(dialogue, status=502)["backend"], A)

    def test_timeouts(self) -> None:
        """A backend that does not accept: the next one after connect_timeout_s; if that does not either, 504."""
        dialogue = self.proxy(backends=(A, B))
        client = dialogue.client()
        client.says(GET)
        dialogue.refuse(A, TimeoutError())
        dialogue.refuse(B, TimeoutError())
        self.assertStatus(client, 504)
        self.assertEnd(dialogue, "connect-timeout", 504)

    def test_theBodyGoesToTheNext(self) -> None:
        """R5: PUT of 20 KiB, the first refuses: the second gets the same bytes."""
        dialogue = self.proxy(backends=(A, B))
        dialogue.script(A, REFUSE)
        backend = dialogue.script(B, OK)
        self.served(dialogue, PUT_20K)
        self.assertEqual(backend.requests[0].content, b"x" * 20480)


class ResendTests(FailoverCase):
    """A backend that may have seen the request: only what is idempotent is sent again, and once (R2)."""

    def test_get(self) -> None:
        """R2: closed after the request, no reply: a GET is sent once more, to another backend."""
        dialogue = self.proxy(backends=(A, B))
        dialogue.script(A, CLOSE)
        dialogue.script(B, OK)
        line = self.served(dialogue)
        self.assertEqual((line["backend"], line["tries"]), (f"{A},{B}", 2))

    def test_sameBackendIfThereIsNoOther(self) -> None:
        """R2: with one backend the GET goes to it once more, and no third time."""
        dialogue = self.proxy(backends=(A,))
        backend = dialogue.script(A, CLOSE)
        line = self.served(dialogue, status=502)
        self.assertEqual(len(backend.requests), 2)
        self.assertEqual((line["tries"], line["end"], line["retry"]), (2, "bad-reply", "tries"))

    def test_post(self) -> None:
        """R2: a POST is answered with 502, and one backend has seen it."""
        for answer in (CLOSE, RESET):
            dialogue = self.proxy(backends=(A, B))
            backend = dialogue.script(A, answer)
            other = dialogue.script(B, OK)
            line = self.served(dialogue, POST_5, 502)
            self.assertEqual((len(backend.requests), len(other.requests)), (1, 0))
            self.assertEqual((line["tries"], line["retry"]), (1, "not-idempotent"))

    def test_replyTimeout(self) -> None:
        """A backend that is silent for first_byte_s: a GET goes to another."""
        dialogue = self.proxy(backends=(A, B), cluster="timeouts.first_byte_s = 1")
        dialogue.script(A, SILENT)
        dialogue.script(B, OK)
        client = dialogue.client()
        client.says(GET)
        dialogue.advance(1.5)
        self.assertStatus(client, 200)
        self.assertEqual(dialogue.lines[-1]["tries"], 2)

    def test_replyTimeoutOfAPost(self) -> None:
        """A POST is not: 504."""
        dialogue = self.proxy(backends=(A, B), cluster="timeouts.first_byte_s = 1")
        dialogue.script(A, SILENT)
        client = dialogue.client()
        client.says(POST_5)
        dialogue.advance(1.5)
        self.assertStatus(client, 504)
        self.assertEqual(self.assertEnd(dialogue, "reply-timeout")["retry"], "not-idempotent")

    def test_waitsBetween(self) -> None:
        """Between both tries lie 25 ms at least."""
        dialogue = self.proxy(backends=(A, B))
        dialogue.script(A, CLOSE)
        backend = dialogue.script(B, OK)
        client = dialogue.client()
        client.says(GET)
        dialogue.advance(0.024)
        self.assertEqual(backend.requests, [])
        dialogue.advance(0.3)
        self.assertStatus(client, 200)

    def test_clientLeavesBetween(self) -> None:
        """A client that leaves in between: nothing is sent for it any more."""
        dialogue = self.proxy(backends=(A, B))
        dialogue.script(A, CLOSE)
        backend = dialogue.script(B, OK)
        client = dialogue.client()
        client.says(GET)
        client.finishes()
        dialogue.advance(0.3)
        self.assertEqual(backend.requests, [])
        self.assertEnd(dialogue, "client-left", 499)

    def test_bodyTooLong(self) -> None:
        """R5: PUT of more than body_bytes that were sent: 502, and the log says why it was not sent again."""
        dialogue = self.proxy(backends=(A, B), cluster="retry.body_bytes = 1000")
        dialogue.script(A, CLOSE)
        backend = dialogue.script(B, OK)
        line = self.served(dialogue, request(b"PUT / HTTP/1.1", body=b"x" * 1001), 502)
        self.assertEqual((line["retry"], line["tries"], len(backend.requests)), ("body-too-large", 1, 0))

    def test_bodyOfTheLimit(self) -> None:
        """R5: one of just body_bytes is sent again, the same."""
        dialogue = self.proxy(backends=(A, B), cluster="retry.body_bytes = 1000")
        dialogue.script(A, CLOSE)
        backend = dialogue.script(B, OK)
        self.served(dialogue, request(b"PUT / HTTP/1.1", body=b"x" * 1000))
        self.assertEqual(backend.requests[0].content, b"x" * 1000)

    def test_noBodyIsKept(self) -> None:
        """retry.body_bytes = 0: a PUT still waits for its connection, but is not sent again."""
        dialogue = self.proxy(backends=(A, B), cluster="retry.body_bytes = 0")
        dialogue.script(A, CLOSE)
        self.assertEqual(self.served(dialogue, PUT_20K, 502)["retry"], "body-too-large")

    def test_budget(self) -> None:
        """The budget: with 0 % and none per second nothing is sent again."""
        dialogue = self.proxy(backends=(A, B), cluster="retry.budget = 0.0\nretry.min_per_s = 0")
        dialogue.script(A, CLOSE)
        self.assertEqual(self.served(dialogue, status=502)["retry"], "budget")

    def test_budgetIsSpent(self) -> None:
        """3 per second over 10 s are allowed at the least: the 31st of one burst is refused."""
        dialogue = self.proxy(cluster="retry.budget = 0.0\npassive.failures = 1000", backends=(A,))
        dialogue.script(A, CLOSE)
        refused = [self.served(dialogue, status=502)["retry"] for _ in range(33)]
        self.assertEqual(refused[:30], ["tries"] * 30)
        self.assertIn("budget", refused[30:])

    def test_cutInTheHeadOfAReply(self) -> None:
        """Nothing has gone to the client, so a GET is sent again."""
        dialogue = self.proxy(backends=(A, B))
        dialogue.script(B, OK)
        client = dialogue.client()
        client.says(GET)
        backend = dialogue.backend(A)
        backend.gets()
        backend.says(b"HTTP/1.1 200 OK\r\nContent-Le")
        backend.finishes()
        dialogue.advance(0.3)
        self.assertStatus(client, 200)

    def test_notAfterAnInterimReply(self) -> None:
        """The client was told something already: 502."""
        dialogue = self.proxy(backends=(A, B))
        client = dialogue.client()
        client.says(GET)
        backend = dialogue.backend(A)
        backend.gets()
        backend.says(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        backend.finishes()
        dialogue.advance(0.3)
        self.assertIn(b"HTTP/1.1 502 ", client.gets())
        self.assertEqual(self.assertEnd(dialogue, "bad-reply")["retry"], "reply-begun")

    def test_statusesAreNoReason(self) -> None:
        """A backend's own 503 is its answer: it goes to the client."""
        dialogue = self.proxy(backends=(A, B))
        dialogue.script(A, UNAVAILABLE)
        line = self.served(dialogue, status=503)
        self.assertEqual((line["tries"], line["end"]), (1, "ok"))

    def test_deadIdleConnectionThenClosedAgain(self) -> None:
        """An idle connection is dead, the new one is closed too: no client sees that while another backend is up."""
        dialogue = self.proxy(backends=(A, B), cluster='balance = "ip_hash"')
        client = dialogue.client()
        client.says(GET)
        address = dialogue.attempts[0].address
        other = B if address == A else A
        backend = dialogue.backend()
        backend.says(OK)
        client.gets()
        client.says(GET)
        backend.finishes()
        dialogue.backend(address).finishes()
        dialogue.script(other, OK)
        dialogue.advance(0.3)
        self.assertStatus(client, 200)
        line = self.assertEnd(dialogue, "ok")
        self.assertEqual((line["tries"], line["backend"]), (2, f"{address},{other}"))
