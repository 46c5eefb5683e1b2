"""The valve on what a transport reads."""

from __future__ import annotations

from twisted.internet.interfaces import IPushProducer
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from txproxy.bridge.valve import Reason, Valve


@implementer(IPushProducer)
class Transport:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def pauseProducing(self) -> None:
        self.told.append("pause")

    def resumeProducing(self) -> None:
        self.told.append("resume")

    def stopProducing(self) -> None:
        self.told.append("stop")


class ValveTests(SynchronousTestCase):
    """It is open only while nobody has a reason to keep it shut."""

    def setUp(self) -> None:
        self.transport = Transport()
        self.valve = Valve(self.transport)

    def test_oneReason(self) -> None:
        """A reason pauses the transport once, however often it is given, and resumes it once."""
        for _ in range(3):
            self.valve.shut(Reason.PEER_IS_SLOW)
        for _ in range(3):
            self.valve.open(Reason.PEER_IS_SLOW)
        self.assertEqual(self.transport.told, ["pause", "resume"])

    def test_twoReasons(self) -> None:
        """It stays shut until the last reason has gone."""
        self.valve.shut(Reason.PEER_IS_SLOW)
        self.valve.shut(Reason.PIPELINED)
        self.valve.open(Reason.PEER_IS_SLOW)
        self.assertEqual(self.transport.told, ["pause"])
        self.assertIn("PIPELINED", repr(self.valve))
        self.valve.open(Reason.PIPELINED)
        self.assertEqual(self.transport.told, ["pause", "resume"])

    def test_openWithoutReason(self) -> None:
        """Opening an open valve, or for a reason that was not given, does nothing."""
        self.valve.open(Reason.DECIDING)
        self.valve.open_wide()
        self.valve.shut(Reason.PIPELINED)
        self.valve.open(Reason.DECIDING)
        self.assertEqual(self.transport.told, ["pause"])

    def test_openWide(self) -> None:
        """All reasons of the parties of an exchange go with it."""
        self.valve.shut(Reason.PEER_IS_SLOW)
        self.valve.shut(Reason.NO_PEER_YET)
        self.valve.open_wide()
        self.assertEqual((self.transport.told, repr(self.valve)), (["pause", "resume"], "<Valve open>"))
