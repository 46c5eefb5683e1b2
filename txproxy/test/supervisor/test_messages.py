"""What a supervisor and a worker say to each other, and what is not listened to."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from txproxy.supervisor import messages
from txproxy.supervisor.member import Member
from txproxy.supervisor.memory import Verdict
from txproxy.supervisor.messages import Channel, Refused, names
from txproxy.test.upstream.observing import logged


class Transport(StringTransport):
    """Remembers that it was aborted."""

    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True
        super().abortConnection()


class Other(Channel):
    """The worker's end, which answers as it is told."""

    understood = names(messages.Purge, messages.Heard, messages.Carry)

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[Any] = []
        self.error: Exception | None = None

    @messages.Heard.responder
    def take(self, verdict: object) -> dict[str, Any]:
        self.heard.append(verdict)
        return {}

    @messages.Purge.responder
    def purge(self, kind: str, values: object) -> dict[str, Any]:
        self.heard.append((kind, values))
        return {"count": 7}

    @messages.Carry.responder
    def carry(self, order: object) -> dict[str, Any]:
        assert self.error is not None
        raise self.error


class Crew:
    """Stands for the supervisor's side: keeps what it is told."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []

    def __getattr__(self, name: str) -> Any:
        return lambda _member, *arguments: self.calls.append((name, arguments))


class ChannelTests(SynchronousTestCase):
    """Both ends, joined by hand."""

    def setUp(self) -> None:
        self.crew = Crew()
        self.member = Member(0, self.crew, 0.0, 0)
        self.ours, self.theirs = Transport(), Transport()
        self.other = Other()
        self.member.channel.makeConnection(self.ours)
        self.other.makeConnection(self.theirs)

    def pump(self) -> None:
        """Carry what was said to the other end, until nothing is."""
        while self.ours.value() or self.theirs.value():
            for transport, end in ((self.ours, self.other), (self.theirs, self.member.channel)):
                data = transport.value()
                transport.clear()
                if data:
                    end.dataReceived(data)

    def test_askAndAnswer(self) -> None:
        """What is asked is answered, however long it is."""
        long = ["x" * 200_000, "é\x00"]
        asked = self.member.channel.ask(messages.Purge, kind="url", values=long)
        self.pump()
        self.assertEqual(self.successResultOf(asked), {"count": 7})
        self.assertEqual(self.other.heard, [("url", long)])

    def test_verdicts(self) -> None:
        """A verdict arrives as it was."""
        verdict = Verdict("app", "a", "down", "it said 'no'", 1, 0.0)
        self.member.hear(verdict)
        self.other.tell(messages.Found, verdict=list(verdict))
        self.pump()
        self.assertEqual(self.other.heard, [list(verdict)])
        self.assertEqual(self.crew.calls, [("found", (verdict,))])

    def test_errors(self) -> None:
        """What a call may raise is raised here; anything else is a refusal, and so is a connection that is gone."""
        for error in (KeyError("no such"), ValueError("not so")):
            self.other.error = error
            asked = self.member.channel.ask(messages.Carry, order=[])
            self.pump()
            self.failureResultOf(asked, type(error))
        asked = self.member.channel.ask(messages.Carry, order=[])
        self.member.channel.connectionLost(Failure(ConnectionDone()))
        self.failureResultOf(asked, Refused)
        self.failureResultOf(self.member.channel.ask(messages.Carry, order=[]), Refused)
        self.member.channel.tell(messages.Stop)
        self.assertEqual(self.crew.calls, [("lost", ())])

    def refused(self, data: bytes) -> list[str]:
        """Let the worker send bytes; return what is in the log of it."""
        with logged() as lines:
            self.member.channel.dataReceived(data)
        self.assertTrue(self.ours.aborted, data[:40])
        self.assertFalse(self.member.channel.is_open)
        return lines

    def test_answerThatNobodyAskedFor(self) -> None:
        """It is cut off, and no traceback is in the log."""
        (line,) = self.refused(b"\0\7_answer\0\1x\0\0")
        self.assertIn("worker 1 (process 0) is cut off: it said what cannot be understood", line)

    def test_emptyBox(self) -> None:
        """Likewise a box without meaning."""
        self.refused(b"\0\1a\0\1b\0\0")

    def test_messageWithoutEnd(self) -> None:
        """A message is 16 MiB long at most."""
        piece = b"\0\1a\xff\xff" + bytes(0xFFFF)
        with logged() as lines:
            for _ in range(300):
                self.member.channel.dataReceived(piece)
        self.assertTrue(self.ours.aborted)
        self.assertEqual(len(lines), 1)

    def test_messagesWithoutEnd(self) -> None:
        """A worker that talks all the time is cut off; one that has said as much in a longer time is not."""
        ready = b"\0\x08_command\0\5Ready\0\0"
        for _ in range(3):
            self.member.channel.dataReceived(ready * 15_000)
            self.assertFalse(self.ours.aborted)
            self.member.channel.look()
        self.refused(ready * 20_001)

    def test_neverReads(self) -> None:
        """Nor is one kept that does not read what it is told: the memory for that is ours."""
        channel = self.member.channel
        channel.pauseProducing()
        for _ in range(5):
            channel.look()
        channel.resumeProducing()
        channel.look()
        channel.pauseProducing()
        with logged():
            for _ in range(9):
                channel.look()
            self.assertFalse(self.ours.aborted)
            channel.look()
        self.assertTrue(self.ours.aborted)

    def test_otherCommands(self) -> None:
        """A worker gets no answer to what only the supervisor may say, nor to AMP's own commands."""
        for command in (b"Stop", b"StartTLS", b"Purge"):
            self.member.channel.dataReceived(
                b"\0\x04_ask\0\1x\0\x08_command" + bytes((0, len(command))) + command + b"\0\0"
            )
            self.assertIn(b"UNHANDLED", self.ours.value())
            self.ours.clear()
        self.assertEqual(self.crew.calls, [])

    def test_numbersThatAreNone(self) -> None:
        """What is no table of numbers is not counted."""
        for number in (0, 1, 2, 3):
            numbers: Any = ([], None, "x", 3)[number]
            asked = self.other.ask(messages.Counted, numbers=numbers)
            self.pump()
            self.successResultOf(asked)
        self.assertEqual(self.crew.calls, [])
