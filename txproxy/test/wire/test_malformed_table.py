"""The table of malformed and borderline messages against the pure parsers: every verdict, at every split point."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txproxy.errors import ProxyError
from txproxy.exchange import Exchange
from txproxy.pipeline.screen import Screen
from txproxy.test.malformed import REPLIES, REQUESTS, ReplyCase, RequestCase, split_points
from txproxy.test.wire.judging import judge_reply, judge_request
from txproxy.test.wire.reading import (
    Read,
    as_sent_upstream,
    cut,
    read_reply,
    read_request,
    reply_of,
    request_of,
    single_bytes,
)
from txproxy.wire.forwarding import make_hop, write_reply_head
from txproxy.wire.heads import skip_empty_lines

_HOP = make_hop(b"127.0.0.1", False, b"http", b"8080", b"txproxy")
_MOST_SPLITS = 250
_LONG = 20_000
_WORST_LEFT = 1 << 17
"""More than any head may hold: pieces after it need not be fed one by one."""


def _ways(raw: bytes) -> Iterator[tuple[str, Any]]:
    yield "whole", (raw,)
    yield "byte by byte", single_bytes(raw[:_WORST_LEFT])
    most = _MOST_SPLITS if len(raw) <= _LONG else 24
    for at in split_points(raw, most):
        yield f"split at {at}", cut(raw, at)


class RequestTableTests(SynchronousTestCase):
    """What the table says of each request is what the parsers do, however it is cut into pieces."""

    def read(self, case: RequestCase) -> Read:
        """Return what becomes of a case's first request, after checking that it is the same in every way."""
        whole = read_request((case.raw,))
        for name, pieces in _ways(case.raw):
            if not (name == "byte by byte" and len(case.raw) > _WORST_LEFT and not whole.head_error):
                read = read_request(pieces)
                # How much came before a broken body was noticed may differ; that it was noticed may not.
                if whole.body_error:
                    read = read._replace(content=whole.content)
                self.assertEqual(read, whole, f"{case.id} {name}")
        return whole

    def refused(self, case: RequestCase) -> None:
        read = self.read(case)
        self.assertEqual(read.head_error, case.parser_error, case.id)

    def test_headsAreRefusedWithTheirStatus(self) -> None:
        """A malformed head is refused with the status of the table, never let through (HF8, D4)."""
        for case in REQUESTS:
            if case.parser_error is not None:
                self.refused(case)

    def test_brokenBodiesAreNeverComplete(self) -> None:
        """A body whose framing is broken raises, or is seen to be incomplete when the connection ends (HF8)."""
        for case in REQUESTS:
            if case.parser_error is None and (case.body_error or case.hasty):
                read = self.read(case)
                self.assertIsNotNone(read.head, case.id)
                self.assertFalse(read.complete, case.id)

    def test_whatIsRefusedLaterIsUnderstoodFirst(self) -> None:
        """Dot segments, fragments and CONNECT are understood by the parser and refused where routes can allow them."""
        for case in REQUESTS:
            if case.parser_error is None and case.upstream == "nothing":
                self.read(case)
                request = request_of(case.head)
                exchange = Exchange(b"id", request, None, 0.0)
                with self.assertRaises(ProxyError) as caught:
                    Screen(b"txproxy", False, 0).on_request(exchange)
                self.assertIn(caught.exception.status, case.statuses, case.id)

    def test_validRequestsReachTheBackendAsOneCleanRequest(self) -> None:
        """A valid request is passed on with exactly one reading of its length, and without what must not pass."""
        for case in REQUESTS:
            if case.upstream == "one clean request":
                self.clean(case, self.read(case))

    def clean(self, case: RequestCase, read: Read) -> None:
        self.assertTrue(read.complete, case.id)
        if case.delivered is not None:
            self.assertEqual(read.content, case.delivered, case.id)
        request = request_of(skip_empty_lines(case.raw)[: case.raw.index(b"\r\n\r\n") + 4])
        self.assertFalse(request.suspicious, case.id)
        sent = as_sent_upstream(request, read, _HOP)
        judge_request(sent[: sent.index(b"\r\n\r\n") + 4])
        for piece in case.forwarded:
            self.assertIn(piece, sent, case.id)
        for piece in case.withheld:
            self.assertNotIn(piece, sent, case.id)

    def test_whatFollowsARequestIsNotPartOfIt(self) -> None:
        """Bytes after a complete request are kept for the next one, untouched."""
        for case in REQUESTS:
            if case.upstream == "one clean request" and case.replies == 1:
                for more in (b"GET /", b"\r\n", b"\x00\xff garbage \r\n\r\n"):
                    self.assertTrue(read_request((case.raw + more,)).rest.endswith(more), case.id)

    def test_connectionsPersistAsTheTableSays(self) -> None:
        """A valid request says whether its connection may serve another one."""
        for case in REQUESTS:
            if case.upstream == "one clean request" and case.replies == 1 and case.closes is not None:
                head = read_request((case.raw,)).head
                assert head is not None
                self.assertEqual(head["keep_alive"], not case.closes, case.id)


class ReplyTableTests(SynchronousTestCase):
    """What the table says of each reply of a backend is what the parsers do, however it is cut into pieces."""

    def read(self, case: ReplyCase) -> tuple[list[int], Read]:
        method = case.method.encode()
        whole = read_reply((case.raw,), method)
        for name, pieces in _ways(case.raw):
            interim, read = read_reply(pieces, method)
            if whole[1].body_error:
                read = read._replace(content=whole[1].content)
            self.assertEqual((interim, read), whole, f"{case.id} {name}")
        return whole

    def test_malformedHeadsAreRefused(self) -> None:
        """A head that is malformed or ambiguous is refused as the backend's fault."""
        for case in REPLIES:
            if case.parser_error is not None:
                self.assertEqual(self.read(case)[1].head_error, case.parser_error, case.id)

    def test_brokenBodiesAreNeverComplete(self) -> None:
        """A reply that is cut or broken never looks like a complete one (RFC 9112 section 8)."""
        for case in REPLIES:
            if case.body_error:
                read = self.read(case)[1]
                self.assertIsNotNone(read.head, case.id)
                self.assertFalse(read.complete, case.id)

    def test_noFinalReplyIsMadeUp(self) -> None:
        """Whatever has no final reply in it gives none."""
        for case in REPLIES:
            if case.statuses == {502} and case.parser_error is None and not case.body_error:
                interim, read = self.read(case)
                self.assertIsNone(read.head, case.id)
                self.assertTrue(set(case.interim) <= set(interim), case.id)

    def test_validRepliesAreUnderstood(self) -> None:
        """A valid reply has the status, the body and the length of the table; what follows it is not part of it."""
        for case in REPLIES:
            if case.statuses != {502}:
                interim, read = self.read(case)
                assert read.head is not None, case.id
                self.assertIn(read.head["status"], case.statuses, case.id)
                self.assertTrue(read.complete, case.id)
                if case.minor:
                    self.assertEqual(tuple(interim), case.interim, case.id)
                self.assertEqual(read.content, case.reply_body, case.id)
                reusable = read.head["keep_alive"] and not read.rest
                self.assertEqual(reusable, case.reusable, case.id)

    def test_validRepliesGoDownstreamClean(self) -> None:
        """What is written from a valid reply has no illegal byte and nothing that the table withholds."""
        for case in REPLIES:
            if case.statuses != {502} and not case.interim and case.minor:
                head = write_reply_head(reply_of(case.head, case.method.encode()), b"\r\nVia: 1.1 txproxy\r\n\r\n")
                judge_reply(head)
                for piece in case.withheld:
                    self.assertNotIn(piece, head, case.id)
