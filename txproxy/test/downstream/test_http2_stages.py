"""Stages in the way of a stream of HTTP/2."""

from __future__ import annotations

from typing import Any

from h2.errors import ErrorCodes
from twisted.internet.defer import Deferred

from txproxy.exchange import Exchange, Reply
from txproxy.pipeline import catalogue
from txproxy.policy.facts import RequestFacts
from txproxy.test.http2_talk import Http2Case, length
from txproxy.test.talk import OK, head, reply
from txproxy.testing import ClientStream, Dialogue, Http2Client, site


class Stage:
    """Does what each of its functions does."""

    def __init__(self, **hooks: Any) -> None:
        for name, hook in hooks.items():
            setattr(self, name, hook)


class StageCase(Http2Case):
    """A proxy with one more stage."""

    def with_hook(self, **hooks: Any) -> Dialogue:
        """Return a proxy with one more stage."""
        self.patch(catalogue, "STAGES", (*catalogue.STAGES, lambda settings, config: Stage(**hooks)))
        return self.proxy()


class StageTests(StageCase):
    """Stages in the way of a stream."""

    def test_requestWaits(self) -> None:
        """A stage that waits holds up one stream, not the others."""
        gate: Deferred[None] = Deferred()
        dialogue = self.with_hook(on_request=lambda exchange: gate if exchange.request.path == b"/slow" else None)
        client = self.h2(dialogue)
        slow, quick = client.asks(b"POST", b"/slow", ended=False), client.asks(b"GET", b"/quick")
        slow.says(b"hello", ended=True)
        backend = dialogue.backend()
        backend.says(OK)
        self.assertReply(quick, 200, b"ok")
        self.assertEqual(dialogue.attempts, [])
        backend.gets()
        gate.callback(None)
        dialogue.settle()
        self.assertTrue(backend.gets().endswith(b"5\r\nhello\r\n0\r\n\r\n"))
        backend.says(OK)
        self.assertReply(slow, 200, b"ok")

    def test_clientLeavesWhileAStageDecides(self) -> None:
        """A stream that is reset meanwhile: the decision is cancelled, and reaches nobody."""
        gate: Deferred[None] = Deferred()
        dialogue = self.with_hook(on_request=lambda exchange: gate)
        client = self.h2(dialogue)
        client.asks().resets()
        self.assertTrue(gate.called)
        self.assertEnd(dialogue, "client-left", 499)
        self.assertEqual(dialogue.attempts, [])

    def test_replyOfAStage(self) -> None:
        """A Reply, at once or later, is sent in place of a backend's; its names are written in lower case."""
        made = Reply(418, b"tea", ((b"X-Tea", b"green"),), "tea")
        later: Deferred[Reply] = Deferred()
        for decision in (made, later):
            dialogue = self.with_hook(on_request=lambda exchange, decision=decision: decision)
            stream = self.h2(dialogue).asks()
            if not later.called and decision is later:
                later.callback(made)
                dialogue.settle()
            self.assertEqual(stream.gets_head().get(b"x-tea"), b"green")
            self.assertEqual((stream.gets(), stream.has_ended), (b"tea", True))
            self.assertEnd(dialogue, "tea", 418)

    def test_replyWaits(self) -> None:
        """A stage that thinks about a backend's reply: nothing goes out before it has decided, and all of it then."""
        gate: Deferred[None] = Deferred()

        def on_reply(exchange: Exchange) -> Deferred[None]:
            assert exchange.reply is not None
            exchange.reply.fields.append((b"X-Stage", b"was here"))
            return gate

        dialogue = self.with_hook(on_reply=on_reply)
        _, stream, backend = self.asked(dialogue)
        backend.says(reply(b"hello"))
        self.assertEqual(stream.heads, [])
        gate.callback(None)
        dialogue.settle()
        self.assertEqual(stream.gets_head().get(b"x-stage"), b"was here")
        self.assertEqual((stream.gets(), stream.has_ended), (b"hello", True))

    def test_raises(self) -> None:
        """A stage that raises is a 500 of one stream."""

        def on_request(exchange: Exchange) -> None:
            raise ZeroDivisionError

        dialogue = self.with_hook(on_request=on_request)
        client = self.h2(dialogue)
        self.assertReply(client.asks(), 500)
        self.assertEnd(dialogue, "internal", 500)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertTrue(client.peer.is_open)


class FailingStageTests(StageCase):
    """Stages that raise, or decide what is no decision: a 500 of one stream."""

    def assertFailed500(self, dialogue: Dialogue, client: Http2Client, stream: ClientStream, bugs: int = 1) -> None:
        """Check the reply, its line, what is said in the log, and that the connection goes on."""
        self.assertReply(stream, 500)
        self.assertEnd(dialogue, "internal", 500)
        self.assertEqual(len(dialogue.lines), 1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), bugs)
        self.assertEqual((client.goaways, client.peer.is_open), ([], True))

    def test_whileTheBodyComes(self) -> None:
        """The body of such a request is not wanted."""
        dialogue = self.with_hook(on_request=fails)
        client = self.h2(dialogue)
        stream = client.asks(b"POST", ended=False)
        self.assertFailed500(dialogue, client, stream)
        stream.says(b"hello")
        dialogue.advance_past(1)
        self.assertReset(stream, ErrorCodes.NO_ERROR)
        self.assertEqual(dialogue.attempts, [])

    def test_emptyBodyThatEndsLate(self) -> None:
        """One that is asked only when the end of an empty body shows that it is a request."""
        dialogue = self.with_hook(on_request=fails)
        client = self.h2(dialogue)
        stream = client.asks(b"POST", b"/", length(0), ended=False)
        self.assertEqual(stream.heads, [])
        stream.finishes()
        self.assertFailed500(dialogue, client, stream)
        dialogue.advance_past(1)
        self.assertIsNone(stream.reset_code)

    def test_later(self) -> None:
        """One that has waited first; what has come of the body meanwhile goes nowhere."""
        gate: Deferred[None] = Deferred()
        dialogue = self.with_hook(on_request=lambda exchange: gate)
        client = self.h2(dialogue)
        stream = client.asks(b"POST", ended=False)
        stream.says(b"hello", ended=True)
        gate.errback(ZeroDivisionError())
        dialogue.settle()
        self.assertFailed500(dialogue, client, stream)

    def test_coroutine(self) -> None:
        """One that is written with async."""

        async def on_request(exchange: Exchange) -> None:
            raise ZeroDivisionError

        dialogue = self.with_hook(on_request=on_request)
        client = self.h2(dialogue)
        self.assertFailed500(dialogue, client, client.asks())

    def test_noDecision(self) -> None:
        """One that returns what is no decision."""
        dialogue = self.with_hook(on_request=lambda exchange: 7)
        client = self.h2(dialogue)
        self.assertFailed500(dialogue, client, client.asks(), 0)

    def test_onReply(self) -> None:
        """In the way of a reply: nothing of it goes out, and its backend is told to stop."""
        for is_late in (False, True):
            gate: Deferred[None] = Deferred()
            dialogue = self.with_hook(on_reply=(lambda exchange, gate=gate: gate) if is_late else fails)
            client, stream, backend = self.asked(dialogue)
            backend.says(head(b"Content-Length: 10") + b"abc")
            if is_late:
                self.assertEqual(stream.heads, [])
                gate.errback(ZeroDivisionError())
                dialogue.settle()
            self.assertFailed500(dialogue, client, stream)
            self.assertTrue(backend.sees_reset)

    def test_onReplyWithABody(self) -> None:
        """The same while the request still comes."""
        dialogue = self.with_hook(on_reply=fails)
        client, stream, backend = self.asked(dialogue, b"POST", b"/", length(10), ended=False)
        backend.says(OK)
        self.assertFailed500(dialogue, client, stream)
        stream.says(b"hello")
        self.assertEqual(backend.gets(), b"")
        dialogue.advance_past(1)
        self.assertReset(stream, ErrorCodes.NO_ERROR)

    def test_onEnd(self) -> None:
        """At the end of an exchange: the reply is out, and complete."""
        dialogue = self.with_hook(on_end=fails)
        client, stream, backend = self.asked(dialogue)
        backend.says(OK)
        self.assertReply(stream, 200, b"ok")
        client.asks().resets()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        self.assertEqual(self.ends(dialogue), [(200, "ok"), (499, "client-left")])

    def test_onEndKnowsTheError(self) -> None:
        """At the end of an exchange stages know why it has failed, if it has."""
        seen: list[str | None] = []
        hooks = {"on_end": lambda exchange: seen.append(exchange.error and exchange.error.end_reason)}
        dialogue = self.with_hook(**hooks)
        client = self.h2(dialogue, window_bytes=100)
        client.asks()
        dialogue.refuse()
        client.asks(b"POST", b"/", length(1), ended=False).says(b"hello")
        backend = dialogue.backend()
        client.asks().resets()
        backend.resets()
        client.asks()
        dialogue.backend().says(reply(bytes(1_000)))
        dialogue.advance_past(60)
        client.asks()
        client.peer.resets()
        self.assertEqual(seen, ["connect-failed", "bad-body", "client-left", "write-timeout", "client-left"])

    def test_onEndOfTheLastStream(self) -> None:
        """The same when the connection closes behind it."""
        dialogue = self.with_hook(on_end=fails)
        client, stream, backend = self.asked(dialogue)
        client.goes_away()
        backend.says(OK)
        self.assertReply(stream, 200, b"ok")
        self.assertTrue(client.peer.sees_end)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        dialogue.advance_past(2)
        self.assertNothingLeft(dialogue)

    def test_choose(self) -> None:
        """A user's function that chooses the cluster, and raises."""

        def choose(facts: RequestFacts) -> str:
            raise ZeroDivisionError

        text = site().replace('name = "all"\ncluster = "app"', 'name = "all"\nchoose = "json:loads"')
        dialogue = Dialogue.of(self, text, {"json:loads": choose})
        client = self.h2(dialogue)
        self.assertFailed500(dialogue, client, client.asks(), 0)

    def test_othersGoOn(self) -> None:
        """Streams beside it notice nothing."""
        dialogue = self.with_hook(on_reply=lambda exchange: fails(exchange) if exchange.request.path == b"/x" else None)
        client = self.h2(dialogue)
        streams = [client.asks(b"GET", path) for path in (b"/a", b"/x", b"/b")]
        backends = [dialogue.backend() for _ in streams]
        for backend in backends:
            backend.says(head(b"Content-Length: 4") + b"ab")
        for backend in backends:
            backend.says(b"cd")
        self.assertReply(streams[0], 200, b"abcd")
        self.assertReply(streams[1], 500)
        self.assertReply(streams[2], 200, b"abcd")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


def fails(_exchange: Exchange) -> None:
    """Do what nobody expected."""
    raise ZeroDivisionError
