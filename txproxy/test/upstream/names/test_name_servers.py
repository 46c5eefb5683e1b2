"""Name servers that do not answer, answer what was not asked, or have more to say than a datagram holds."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError
from twisted.names import dns

from txproxy.test.name_server import REFUSED, SERVER_FAILURE
from txproxy.test.upstream.names.name_reactor import Connection
from txproxy.test.upstream.names.resolver_case import ResolverCase
from txproxy.upstream.names.resolver import Answer, ResolveFailed


class ServerTests(ResolverCase):
    """Name servers that do not answer, or not what was asked."""

    def setUp(self) -> None:
        super().setUp()
        self.conf("nameserver 10.0.0.53", "nameserver 2001:db8::53")
        self.first, self.second = self.reactor.zone("10.0.0.53"), self.reactor.zone("2001:db8::53")
        for zone in (self.first, self.second):
            zone.set("app.test", ["10.0.0.1", "fd00::1"])

    def test_firstOneFirst(self) -> None:
        """The second is asked only if the first has no answer; a no is an answer."""
        self.resolve("app.test")
        self.first.remove("app.test")
        self.assertEqual(self.reason("app.test"), "there is no such name")
        self.assertEqual(self.second.asked, [])

    def test_mute(self) -> None:
        """One that is mute has a second; then the next is asked, over its own family."""
        self.first.is_mute = True
        asked = self.resolver.resolve("app.test")
        self.reactor.turn(0.95)
        self.assertEqual((len(self.first.asked), len(self.second.asked)), (2, 0))
        self.reactor.turn(0.1)
        self.assertEqual(self.successResultOf(asked).v4, ("10.0.0.1",))
        self.assertEqual([port.interface for port in self.reactor.ports], ["", "", "::", "::"])

    def test_allMute(self) -> None:
        """Each is asked three times, with more patience each time."""
        self.first.is_mute = self.second.is_mute = True
        asked = self.resolver.resolve("app.test")
        self.reactor.turn(13.9)
        self.assertNoResult(asked)
        self.reactor.turn(0.2)
        reason = self.failureResultOf(asked, ResolveFailed).value.reason
        self.assertEqual(reason, "[10.0.0.53]:53: no answer in 4 s; [2001:db8::53]:53: no answer in 4 s")
        self.assertEqual((len(self.first.asked), len(self.second.asked)), (6, 6))
        # Each time with another number, so that a late answer to the one is none to the other.
        self.assertTrue(len({port.sent[0][:2] for port in self.reactor.ports}) > 6)

    def test_answersTheSecondTime(self) -> None:
        """A datagram that was lost costs a second."""
        self.conf("nameserver 10.0.0.53")
        self.first.is_mute = True
        asked = self.resolver.resolve("app.test")
        self.reactor.turn(0.95)
        self.first.is_mute = False
        self.reactor.turn(0.1)
        self.assertEqual(self.successResultOf(asked).v6, ("fd00::1",))

    def test_oneFamilyMute(self) -> None:
        """Servers that never answer for IPv6 delay an answer by a second only; it says what is missing."""
        for zone in (self.first, self.second):
            zone.mute_kinds = {"AAAA"}
        asked = self.resolver.resolve("app.test")
        self.reactor.turn(0.95)
        self.assertNoResult(asked)
        self.reactor.turn(0.1)
        self.assertEqual(self.successResultOf(asked), Answer(("10.0.0.1",), (), 1, "v6"))
        # "No such name" is meant for both as well.
        self.assertEqual(self.reason("no.test", 1.1), "there is no such name")

    def test_oneFamilyFails(self) -> None:
        """What the other one answered is used."""
        for zone in (self.first, self.second):
            zone.fail("app.test", SERVER_FAILURE, "A")
        self.assertEqual(self.resolve("app.test"), Answer((), ("fd00::1",), 1, "v4"))
        # But if that has no address it is not known that there is none.
        for zone in (self.first, self.second):
            zone.set("app.test", ["10.0.0.1"])
        self.assertIn("server failure", self.reason("app.test"))

    def test_failing(self) -> None:
        """One that says that it cannot answer is passed over at once."""
        for code, word in (
            (SERVER_FAILURE, "server failure"),
            (REFUSED, "refused"),
            (dns.EFORMAT, "malformed"),
            (9, "code 9"),
        ):
            self.first.fail("app.test", code)
            self.second.fail("app.test", 0)
            self.assertEqual(self.resolve("app.test").v4, ("10.0.0.1",))
            self.second.fail("app.test", code)
            self.assertIn(word, self.reason("app.test"))

    def test_closedPort(self) -> None:
        """A server that does not run is known by the refusal, and is not asked a second time."""
        self.reactor.closed.add("10.0.0.53")
        self.assertEqual(self.resolve("app.test").v4, ("10.0.0.1",))
        self.reactor.closed.add("2001:db8::53")
        self.assertEqual(
            self.reason("app.test"), "[10.0.0.53]:53: nobody listens there; [2001:db8::53]:53: nobody listens there"
        )

    def test_noWayThere(self) -> None:
        """Neither is one that no route leads to, or whose family this machine does not have."""
        self.reactor.unreachable.add("10.0.0.53")
        self.assertEqual(self.resolve("app.test").v4, ("10.0.0.1",))
        self.reactor.has_ipv6 = False
        reason = self.reason("app.test")
        self.assertIn("Network is unreachable", reason)
        self.assertIn("Address family not supported", reason)

    def test_cancelled(self) -> None:
        """While it waits for an answer, for the second family, or for TCP: nothing is left."""
        self.first.is_mute = True
        asked = self.resolver.resolve("app.test")
        self.reactor.turn(0.5)
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        self.first.is_mute, self.first.mute_kinds = False, {"A"}
        asked = self.resolver.resolve("app.test")
        self.reactor.turn(0.5)
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        self.reactor.turn(20)
        self.assertEqual(self.second.asked, [])

    def test_strangersAnswers(self) -> None:
        """What does not fit the question is not taken for its answer, and does not end the wait for that."""
        self.first.is_mute = True
        asked = self.resolver.resolve("app.test")
        port = self.reactor.ports[0]
        question = dns.Message()
        question.fromStr(port.sent[0])

        def answer(**changes: Any) -> bytes:
            message = dns.Message(question.id, answer=1, recAv=1)
            message.queries = question.queries
            message.answers = [dns.RRHeader("app.test", dns.A, ttl=5, payload=dns.Record_A("6.6.6.6", 5))]
            for name, value in changes.items():
                setattr(message, name, value)
            return message.toStr()

        right = answer()
        for data in (
            b"",
            right[:5],
            right[:11],
            answer(id=question.id ^ 1),
            answer(answer=0),
            answer(opCode=4),
            answer(queries=[dns.Query("evil.test", dns.A)]),
            answer(queries=[dns.Query("app.test", dns.MX)]),
            answer(queries=[dns.Query("app.test", dns.A, 3)]),
            answer(queries=[*question.queries] * 2),
            answer(queries=[]),
            right[:4] + b"\xff\xff" + right[6:],
            right[:12] + b"\xc0\x0c" + right[14:],
        ):
            port.receive(data)
            self.assertTrue(port.is_open, data)
        port.receive(right)
        self.assertFalse(port.is_open)
        self.reactor.ports[1].receive(right)
        self.reactor.turn(1.5)
        self.assertEqual(self.successResultOf(asked).v4, ("6.6.6.6",))
        port.protocol.datagramReceived(right, port.server)
        port.protocol.connectionRefused()

    def test_aServerThatCannotReadTheQuestion(self) -> None:
        """It may leave the question out of its refusal."""
        self.first.is_mute = True
        asked = self.resolver.resolve("app.test")
        for port in self.reactor.ports[:2]:
            port.receive(port.sent[0][:2] + b"\x80\x01" + bytes(8))
        self.reactor.turn()
        self.assertEqual(self.successResultOf(asked).v4, ("10.0.0.1",))
        self.assertEqual(len(self.second.asked), 2)

    def test_referrals(self) -> None:
        """A server that neither knows nor looks for the name is passed over."""
        self.first.is_mute = True
        asked = self.resolver.resolve("app.test")
        for port in self.reactor.ports[:2]:
            port.receive(port.sent[0][:2] + b"\x80\x00" + port.sent[0][4:])
        self.reactor.turn()
        self.assertEqual(self.successResultOf(asked).v4, ("10.0.0.1",))

    @settings(max_examples=200)
    @given(st.binary(max_size=80), st.booleans())
    def test_anyDatagram(self, data: bytes, keep_the_head: bool) -> None:
        """No datagram raises or hangs."""
        self.first.is_mute = self.second.is_mute = True
        asked = self.resolver.resolve("app.test")
        for port in self.reactor.open_ports:
            sent = port.sent[0]
            port.receive(
                sent[:2] + b"\x81\x80\x00\x01\x00\x03\x00\x01\x00\x01" + sent[12:] + data
                if keep_the_head
                else sent[:2] + data
            )
        asked.addBoth(lambda _: None)
        asked.cancel()
        self.assertEqual(self.reactor.open_ports, [])
        self.reactor.ports.clear()


class LongAnswerTests(ResolverCase):
    """What does not fit into a datagram comes over TCP, from the same server."""

    def setUp(self) -> None:
        super().setUp()
        self.conf("nameserver 10.0.0.53", "nameserver 10.0.0.54")
        self.zone, self.other = self.reactor.zone("10.0.0.53"), self.reactor.zone("10.0.0.54")
        self.addresses = [f"10.1.{high}.{low}" for high in range(20) for low in range(1, 101)]
        self.zone.set("app.test", self.addresses[:100])
        self.other.set("app.test", ["10.9.9.9"])

    def connection(self) -> Connection:
        """Return the connection that is being made."""
        self.reactor.turn()
        return self.reactor.connections[-1]

    def connected(self) -> Connection:
        """Return a connection that was made."""
        connection = self.connection()
        connection.connects()
        self.reactor.turn()
        return connection

    def test_overTcp(self) -> None:
        """The whole answer is used, the cut one is not; the connection is closed after it."""
        asked = self.resolver.resolve("app.test")
        connection = self.connected()
        self.assertEqual(connection.server, ("10.0.0.53", 53))
        connection.says(self.zone.reply(connection.question, over_tcp=True) or b"")
        self.reactor.turn()
        self.assertEqual(len(self.successResultOf(asked).v4), 100)
        self.assertTrue(connection.transport.disconnecting)
        connection.is_lost()

    def test_answersBeforeItIsAwaited(self) -> None:
        """An answer, and the end of the connection, in the same packet as its beginning are not lost."""
        asked = self.resolver.resolve("app.test")
        connection = self.connection()
        connection.connects()
        connection.says(self.zone.reply(connection.question, over_tcp=True) or b"")
        connection.is_lost()
        self.reactor.turn()
        self.assertEqual(len(self.successResultOf(asked).v4), 100)

    def test_thousands(self) -> None:
        """Of thousands of addresses 256 are used."""
        self.zone.set("app.test", self.addresses)
        asked = self.resolver.resolve("app.test")
        connection = self.connected()
        connection.says(self.zone.reply(connection.question, over_tcp=True) or b"")
        self.reactor.turn()
        self.assertEqual(len(self.successResultOf(asked).v4), 256)

    def test_whatGoesWrong(self) -> None:
        """A refusal, silence, an end without an answer, or nonsense: the next server is asked."""

        def refused() -> None:
            self.connection().fails()

        def silent() -> None:
            self.connected()
            self.reactor.turn(1.05)

        def never_made() -> None:
            self.connection()
            self.reactor.turn(1.05)

        def closed() -> None:
            self.connected().is_lost()

        def closed_at_once() -> None:
            connection = self.connection()
            connection.connects()
            connection.is_lost()

        def nonsense() -> None:
            self.connected().says(b"??")

        def twice() -> None:
            connection = self.connected()
            connection.says(b"")
            connection.says(b"??")

        def still_cut() -> None:
            connection = self.connected()
            connection.says(self.zone.reply(connection.question) or b"")

        def server_failure() -> None:
            connection = self.connected()
            self.zone.fail("app.test", SERVER_FAILURE)
            connection.says(self.zone.reply(connection.question) or b"")
            self.zone.fail("app.test", 0)

        for trouble in (
            refused,
            silent,
            never_made,
            closed,
            closed_at_once,
            nonsense,
            twice,
            still_cut,
            server_failure,
        ):
            asked = self.resolver.resolve("app.test")
            trouble()
            self.reactor.turn()
            self.assertEqual(self.successResultOf(asked).v4, ("10.9.9.9",), trouble.__name__)
            self.assertTrue(trouble is refused or self.reactor.connections[-1].transport.disconnecting)

    def test_cancelled(self) -> None:
        """Before the connection was made, in the same moment, and after it."""

        def at_once() -> None:
            self.connection().connects()

        for step in (self.connection, at_once, self.connected):
            asked = self.resolver.resolve("app.test")
            step()
            asked.cancel()
            self.failureResultOf(asked, CancelledError)
            connection = self.reactor.connections[-1]
            self.assertTrue(connection.transport.disconnecting)
            if connection.protocol is not None:
                connection.is_lost()
        self.assertEqual(self.other.asked, [])
