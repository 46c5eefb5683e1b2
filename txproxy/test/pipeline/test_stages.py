"""Stages in the way of an exchange: what they return and raise, and what a client sees of it."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail, succeed

from txproxy.errors import BadRequest, NoBackend
from txproxy.exchange import Exchange, Reply
from txproxy.pipeline import catalogue
from txproxy.test.talk import GET, OK, POST_5, TalkCase, head, post, reply
from txproxy.testing import Dialogue

OWN_STAGES = catalogue.STAGES


class Stage:
    """Does what each of its functions does; counts the ends that it is told of."""

    def __init__(self, ended: list[str], **hooks: Any) -> None:
        for name, hook in hooks.items():
            setattr(self, name, hook)
        self._ended = ended

    def on_end(self, exchange: Exchange) -> None:
        self._ended.append(exchange.end_reason)


class StageCase(TalkCase):
    """A proxy with further stages."""

    def setUp(self) -> None:
        self.ended: list[str] = []

    def with_stages(self, *stages: Any, **parts: Any) -> Dialogue:
        makers = tuple(lambda settings, config, stage=stage: stage for stage in stages)
        self.patch(catalogue, "STAGES", (*OWN_STAGES, *makers))
        return self.proxy(**parts)

    def with_hook(self, **hooks: Any) -> Dialogue:
        return self.with_stages(Stage(self.ended, **hooks))


class RequestHookTests(StageCase):
    """on_request."""

    def test_goesOn(self) -> None:
        """None at once, a Deferred of None, or a coroutine: the request goes on in the same turn."""

        async def coroutine(exchange: Exchange) -> None:
            return None

        for hook in (lambda exchange: None, lambda exchange: succeed(None), coroutine):
            dialogue = self.with_hook(on_request=hook)
            client, backend = self.busy(dialogue)
            backend.says(OK)
            self.assertStatus(client, 200)
        self.assertEqual(set(self.ended), {"ok"})

    def test_waits(self) -> None:
        """A Deferred that fires later: the client waits, then the request goes on; what is pipelined behind stays."""
        decisions: list[Deferred[Any]] = []

        def hook(exchange: Exchange) -> Deferred[Any]:
            decisions.append(Deferred())
            return decisions[-1]

        dialogue = self.with_hook(on_request=hook)
        client = dialogue.client()
        client.says(POST_5 + GET)
        self.assertEqual(dialogue.attempts, [])
        decisions[0].callback(None)
        dialogue.settle()
        backend = dialogue.backend()
        backend.gets_head()
        self.assertEqual(backend.gets(), b"hello")
        backend.says(OK)
        self.assertStatus(client, 200)
        decisions[1].callback(None)
        dialogue.settle()
        backend.says(OK)
        self.assertStatus(client, 200)

    def test_coroutineThatWaits(self) -> None:
        """A coroutine may await several times."""
        first: Deferred[None] = Deferred()
        second: Deferred[None] = Deferred()

        async def hook(exchange: Exchange) -> Reply:
            await first
            await second
            return Reply(202, b"later")

        dialogue = self.with_hook(on_request=hook)
        client = dialogue.client()
        client.says(GET)
        first.callback(None)
        self.assertEqual(client.gets(), b"")
        second.callback(None)
        dialogue.settle()
        self.assertEqual(self.assertStatus(client, 202), b"later")
        self.assertEqual(self.ended, ["ok"])
        client.finishes()

    def test_order(self) -> None:
        """Requests pass stages in order, replies in the opposite one; a stage that waits delays those behind it."""
        order: list[str] = []
        gate: Deferred[None] = Deferred()

        def note(name: str, decision: Any = None) -> Any:
            def hook(exchange: Exchange) -> Any:
                order.append(name)
                return decision

            return hook

        dialogue = self.with_stages(
            Stage(self.ended, on_request=note("a"), on_reply=note("A")),
            Stage(self.ended, on_request=note("b", gate), on_reply=note("B")),
            Stage(self.ended, on_request=note("c"), on_reply=note("C")),
        )
        client = dialogue.client()
        client.says(GET)
        self.assertEqual(order, ["a", "b"])
        gate.callback(None)
        dialogue.settle()
        dialogue.backend().says(OK)
        self.assertEqual(order, ["a", "b", "c", "C", "B", "A"])
        self.assertEqual(self.ended, ["ok"] * 3)

    def test_replies(self) -> None:
        """A Reply, however it comes, is sent; no backend is asked."""

        async def coroutine(exchange: Exchange) -> Reply:
            return Reply(418, b"tea", ((b"X-Tea", b"green"),), "tea")

        made = Reply(418, b"tea", ((b"X-Tea", b"green"),), "tea")
        for hook in (lambda exchange: made, lambda exchange: succeed(made), coroutine):
            dialogue = self.with_hook(on_request=hook)
            client = dialogue.client()
            client.says(GET + GET)
            got = client.gets_head()
            self.assertEqual((got.line[9:12], got.get(b"X-Tea"), got.get(b"Content-Length")), (b"418", b"green", b"3"))
            self.assertTrue(client.gets().endswith(b"tea"))
            self.assertEqual([line["end"] for line in dialogue.lines], ["tea", "tea"])
            self.assertEqual(dialogue.attempts, [])
            client.finishes()

    def test_replyWithoutContent(self) -> None:
        """A Reply of 204 or 304 has no content and no length."""
        dialogue = self.with_hook(on_request=lambda exchange: Reply(204, b"ignored"))
        client = dialogue.client()
        client.says(GET)
        self.assertEqual(client.gets_head().get(b"Content-Length"), None)
        self.assertEqual(client.gets(), b"")
        client.finishes()

    def test_raisesProxyError(self) -> None:
        """A ProxyError, raised or failed with, is answered with its own status."""

        async def coroutine(exchange: Exchange) -> None:
            raise NoBackend()

        def raises(exchange: Exchange) -> None:
            raise NoBackend()

        for hook in (raises, lambda exchange: fail(NoBackend()), coroutine):
            dialogue = self.with_hook(on_request=hook)
            client = dialogue.client()
            client.says(GET)
            got = client.gets_head()
            self.assertEqual((got.line[9:12], got.get(b"Retry-After")), (b"503", b"5"))
            self.assertEnd(dialogue, "no-backend", 503)
            client.finishes()
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_raisesAnything(self) -> None:
        """Anything else is a 500 with one line in the log; the connection and the process live on."""

        async def coroutine(exchange: Exchange) -> None:
            raise ZeroDivisionError()

        def raises(exchange: Exchange) -> None:
            raise ZeroDivisionError()

        for hook in (raises, lambda exchange: fail(ZeroDivisionError()), coroutine):
            dialogue = self.with_hook(on_request=hook)
            client = dialogue.client()
            client.says(GET)
            self.assertNotIn(b"ZeroDivision", self.assertStatus(client, 500))
            self.assertEnd(dialogue, "internal", 500)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
            self.assertTrue(client.is_open)
            client.finishes()
        self.assertEqual(self.ended, ["internal"] * 3)

    def test_raisesLater(self) -> None:
        """The same after it has waited."""
        decision: Deferred[None] = Deferred()
        dialogue = self.with_hook(on_request=lambda exchange: decision)
        client = dialogue.client()
        client.says(GET)
        decision.errback(ZeroDivisionError())
        dialogue.settle()
        self.assertStatus(client, 500)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        client.finishes()

    def test_nextStageRaisesAfterAWait(self) -> None:
        """A stage that raises behind one that has waited."""
        decision: Deferred[None] = Deferred()

        def raises(exchange: Exchange) -> None:
            raise ZeroDivisionError()

        dialogue = self.with_stages(
            Stage(self.ended, on_request=lambda exchange: decision), Stage(self.ended, on_request=raises)
        )
        client = dialogue.client()
        client.says(GET)
        decision.callback(None)
        dialogue.settle()
        self.assertStatus(client, 500)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        client.finishes()

    def test_returnsNonsense(self) -> None:
        """Anything but the agreed is a 500."""
        for nonsense in (True, b"reply", 404):
            dialogue = self.with_hook(on_request=lambda exchange, nonsense=nonsense: nonsense)
            client = dialogue.client()
            client.says(GET)
            self.assertStatus(client, 500)
            client.finishes()
        self.flushLoggedErrors()

    def test_deferredOfNonsense(self) -> None:
        """The same from a Deferred."""
        dialogue = self.with_hook(on_request=lambda exchange: succeed("x"))
        client = dialogue.client()
        client.says(GET)
        self.assertStatus(client, 500)
        client.finishes()
        self.flushLoggedErrors()

    def test_clientLeavesWhileItWaits(self) -> None:
        """The stage's Deferred is cancelled; the exchange ends once, as client-left, with no error in the log."""
        for way in ("finishes", "resets"):
            self.ended.clear()
            decision: Deferred[None] = Deferred()
            dialogue = self.with_hook(on_request=lambda exchange, decision=decision: decision)
            client = dialogue.client()
            client.says(GET)
            getattr(client, way)()
            self.assertTrue(decision.called)
            self.assertEnd(dialogue, "client-left", 499)
            self.assertEqual((self.ended, len(dialogue.lines)), (["client-left"], 1))
            self.assertEqual(self.flushLoggedErrors(), [])

    def test_decidesAfterTheClientLeft(self) -> None:
        """A decision that cannot be cancelled and comes too late changes nothing."""
        decision: Deferred[Any] = Deferred(lambda _: None)
        decision.addErrback(lambda _: None)
        dialogue = self.with_hook(on_request=lambda exchange: decision)
        client = dialogue.client()
        client.says(GET)
        client.resets()
        self.assertEqual(dialogue.attempts, [])
        self.assertEqual(self.ended, ["client-left"])

    def test_bodyStallsWhileItWaits(self) -> None:
        """A client that stops in its body while a stage waits is timed out, and the stage is cancelled."""
        decision: Deferred[None] = Deferred()
        dialogue = self.with_hook(on_request=lambda exchange: decision)
        client = dialogue.client()
        client.says(post(10) + b"abc")
        dialogue.advance_past(60)
        self.assertStatus(client, 408)
        self.assertEqual((self.ended, decision.called), (["request-timeout"], True))
        self.assertEqual(self.flushLoggedErrors(), [])
        dialogue.advance_past(2)

    def test_bodyWaitsWithIt(self) -> None:
        """While it waits, no more than 64 KiB of the body are read."""
        decision: Deferred[None] = Deferred()
        dialogue = self.with_hook(on_request=lambda exchange: decision)
        client = dialogue.client()
        client.says(post(300_000) + bytes(300_000))
        self.assertFalse(client.transport.is_reading)
        decision.callback(None)
        dialogue.settle()
        backend = dialogue.backend()
        backend.gets_head()
        self.assertEqual(len(backend.gets()), 300_000)
        backend.says(OK)
        self.assertStatus(client, 200)


class ReplyHookTests(StageCase):
    """on_reply."""

    def test_sees(self) -> None:
        """It sees the status of the backend's reply, for each reply once."""
        seen: list[int] = []
        dialogue = self.with_hook(on_reply=lambda exchange: seen.append(exchange.reply.status))
        dialogue.script("10.0.0.1:80", OK, head(b"Content-Length: 0", status=b"HTTP/1.1 404 Not Found"), OK)
        client = dialogue.client()
        client.says(GET * 3)
        self.assertEqual(seen, [200, 404, 200])

    def test_changes(self) -> None:
        """What it changes in the head's fields is for this reply only, also when the same head comes again."""

        def add(exchange: Exchange) -> None:
            assert exchange.reply is not None
            exchange.reply.fields.append((b"X-Stage", b"1"))

        dialogue = self.with_hook(on_reply=add)
        dialogue.script("10.0.0.1:80", OK)
        client = dialogue.client()
        for _ in range(5):
            client.says(GET)
            self.assertEqual(client.gets_head().all(b"X-Stage"), [b"1"])
            client.gets()

    def test_waits(self) -> None:
        """While it waits the backend's connection is held and not read; then all of the reply is passed on."""
        for content in (b"", b"ab", b"x" * 200_000):
            decision: Deferred[None] = Deferred()
            dialogue = self.with_hook(on_reply=lambda exchange, decision=decision: decision)
            client, backend = self.busy(dialogue)
            backend.says(reply(content))
            self.assertEqual(client.gets(), b"")
            self.assertFalse(backend.transport.is_reading)
            self.assertIn("1 leased", repr(dialogue.pool))
            dialogue.advance(100)
            self.assertEqual(client.gets(), b"")
            decision.callback(None)
            dialogue.settle()
            self.assertEqual(self.assertStatus(client, 200), content)
            self.assertIn("1 idle", repr(dialogue.pool))
            client.says(GET)
            self.assertTrue(backend.gets().startswith(b"GET"))
            backend.resets()
            client.finishes()

    def test_waitsForStreams(self) -> None:
        """The same with chunks, and with a reply that ends with its connection."""
        for says, ends in (
            (head(b"Transfer-Encoding: chunked") + b"2\r\nab\r\n0\r\n\r\n", False),
            (head() + b"ab", True),
        ):
            decision: Deferred[None] = Deferred()
            dialogue = self.with_hook(on_reply=lambda exchange, decision=decision: decision)
            client, backend = self.busy(dialogue)
            backend.says(says)
            if ends:
                backend.finishes()
            decision.callback(None)
            dialogue.settle()
            client.gets_head()
            self.assertEqual(client.gets(), b"2\r\nab\r\n0\r\n\r\n")

    def test_replies(self) -> None:
        """A Reply takes the place of the backend's, whose connection is given up."""
        waited: Deferred[Reply] = Deferred()
        for hook in (lambda exchange: Reply(403, b"no"), lambda exchange: succeed(Reply(403, b"no")), lambda _: waited):
            dialogue = self.with_hook(on_reply=hook)
            client, backend = self.busy(dialogue)
            backend.says(reply(b"secret"))
            if not waited.called and client.transport.queued_bytes == 0 and not dialogue.lines:
                waited.callback(Reply(403, b"no"))
                dialogue.settle()
            self.assertEqual(self.assertStatus(client, 403), b"no")
            self.assertFalse(backend.is_open)
            client.finishes()

    def test_raises(self) -> None:
        """A stage that raises is a 500; a ProxyError has its own status."""

        def raises(exchange: Exchange) -> None:
            raise ZeroDivisionError()

        def refuses(exchange: Exchange) -> None:
            raise BadRequest()

        for hook, status in ((raises, 500), (lambda exchange: fail(ZeroDivisionError()), 500), (refuses, 400)):
            dialogue = self.with_hook(on_reply=hook)
            client, backend = self.busy(dialogue)
            backend.says(reply(b"secret"))
            self.assertNotIn(b"secret", self.assertStatus(client, status))
            self.assertFalse(backend.is_open)
            client.finishes()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_clientLeavesWhileItWaits(self) -> None:
        """The backend's connection is reset and the exchange ends once."""
        decision: Deferred[None] = Deferred()
        dialogue = self.with_hook(on_reply=lambda exchange: decision)
        client, backend = self.busy(dialogue)
        backend.says(OK)
        client.resets()
        self.assertTrue(backend.sees_reset)
        self.assertEqual(self.ended, ["client-left"])
        if not decision.called:
            decision.callback(None)
        dialogue.settle()
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_backendResetsWhileItWaits(self) -> None:
        """A backend that resets meanwhile: 502, and the late decision changes nothing."""
        decision: Deferred[None] = Deferred()
        dialogue = self.with_hook(on_reply=lambda exchange: decision)
        client, backend = self.busy(dialogue)
        backend.says(head(b"Content-Length: 10") + b"abc")
        backend.resets()
        self.assertStatus(client, 502)
        if not decision.called:
            decision.callback(None)
        dialogue.settle()
        self.assertEqual(self.ended, ["reply-cut"])
        self.assertEqual(self.flushLoggedErrors(), [])
        client.finishes()

    def test_notForOwnReplies(self) -> None:
        """Replies of ours do not pass it; their end is told."""
        seen: list[Any] = []
        dialogue = self.with_hook(on_reply=seen.append)
        client = dialogue.client()
        client.says(GET)
        dialogue.refuse()
        self.assertStatus(client, 502)
        self.assertEqual((seen, self.ended), ([], ["connect-failed"]))


class EndHookTests(StageCase):
    """on_end."""

    def test_once(self) -> None:
        """It is called once for each exchange that reached the route, whatever became of it."""
        dialogue = self.with_hook()
        client, backend = self.busy(dialogue, GET + GET)
        backend.says(OK)
        backend.says(head(b"Content-Length: 10") + b"abc")
        backend.resets()
        other = dialogue.client()
        other.says(GET)
        other.resets()
        dialogue.backend()
        self.assertEqual(self.ended, ["ok", "reply-cut", "client-left"])
        client.finishes()

    def test_raises(self) -> None:
        """What it raises is logged and harms nobody, not even the stages behind it."""
        seen: list[str] = []

        class Raises:
            def on_end(self, exchange: Exchange) -> None:
                raise ZeroDivisionError()

        dialogue = self.with_stages(Raises(), Stage(seen))
        client, backend = self.busy(dialogue)
        backend.says(OK)
        self.assertStatus(client, 200)
        self.assertEqual(seen, ["ok"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
