"""What systemd is told, and that nothing depends on whether it listens."""

from __future__ import annotations

import os

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txproxy.notify import Notifier
from txproxy.test.upstream.observing import logged

ENVIRON = {"NOTIFY_SOCKET": "/run/notify"}


class NotifierTests(SynchronousTestCase):
    """Datagrams as sd_notify(3) has them."""

    def setUp(self) -> None:
        self.sent: list[str] = []
        self.error: OSError | None = None

    def send(self, address: str, data: bytes) -> None:
        """Stand for the socket."""
        self.assertEqual(address, "/run/notify")
        if self.error is not None:
            raise self.error
        self.sent.append(data.decode())

    def test_states(self) -> None:
        """Each state has its variables."""
        notifier = Notifier(ENVIRON, self.send)
        notifier.ready("3 listeners")
        notifier.stopping()
        self.assertEqual(self.sent, ["READY=1\nSTATUS=3 listeners", "STOPPING=1\nSTATUS=finishing what is under way"])

    def test_reloading(self) -> None:
        """A reload says when it began, in microseconds of the monotonic clock, as Type=notify-reload wants it."""
        Notifier(ENVIRON, self.send).reloading()
        first, second = self.sent[0].split("\n")
        self.assertEqual(first, "RELOADING=1")
        self.assertRegex(second, r"^MONOTONIC_USEC=\d{7,}$")

    def test_replaced(self) -> None:
        """Another process is the service: it is named, and nothing that is said here afterwards is taken for its."""
        notifier = Notifier({**ENVIRON, "WATCHDOG_USEC": "4000000"}, self.send)
        clock = Clock()
        notifier.watch(clock)
        notifier.replaced_by(77)
        self.assertEqual(self.sent[-1].split("\n")[:3], ["MAINPID=77", "READY=1", "WATCHDOG=1"])
        notifier.stopping()
        clock.advance(9)
        self.assertEqual(len(self.sent), 2)

    def test_oneLineEach(self) -> None:
        """A line break in a text does not begin another variable."""
        Notifier(ENVIRON, self.send).ready("x\nMAINPID=1\r\n y")
        self.assertEqual(self.sent, ["READY=1\nSTATUS=x MAINPID=1 y"])

    def test_nobodyAsks(self) -> None:
        """Without systemd nothing is sent and nothing is timed."""
        notifier = Notifier({"WATCHDOG_USEC": "1000000"}, self.send)
        clock = Clock()
        notifier.ready()
        notifier.watch(clock)
        self.assertEqual((self.sent, clock.getDelayedCalls()), ([], []))

    def test_watchdog(self) -> None:
        """Twice in the time that systemd allows, it hears that the reactor turns."""
        notifier = Notifier({**ENVIRON, "WATCHDOG_USEC": "4000000", "WATCHDOG_PID": str(os.getpid())}, self.send)
        clock = Clock()
        notifier.watch(clock)
        notifier.watch(clock)
        clock.pump([1.0] * 6)
        self.assertEqual(self.sent, ["WATCHDOG=1"] * 4)

    def test_noWatchdog(self) -> None:
        """None is wanted, or of another process, or what is said of it is no number."""
        for more in (
            {},
            {"WATCHDOG_USEC": "4000000", "WATCHDOG_PID": "1"},
            {"WATCHDOG_USEC": "x"},
            {"WATCHDOG_USEC": "9" * 400},
        ):
            clock = Clock()
            Notifier({**ENVIRON, **more}, self.send).watch(clock)
            self.assertEqual((self.sent, clock.getDelayedCalls()), ([], []))

    def test_failure(self) -> None:
        """That it cannot be told is in the log once, and harms nothing."""
        self.error = OSError(11, "Resource temporarily unavailable")
        notifier = Notifier(ENVIRON, self.send)
        with logged() as lines:
            notifier.ready()
            notifier.stopping()
        self.assertEqual(len(lines), 1)
        self.assertIn("temporarily unavailable", lines[0])

    def test_otherAddresses(self) -> None:
        """An address of another kind than ours is a failure like any other."""
        with logged() as lines:
            Notifier({"NOTIFY_SOCKET": "vsock:2:1234"}).ready()
        self.assertIn("no unix socket", lines[0])
