"""How much a peer may send, by itself: what an engine cannot be brought to is looked at here."""

from __future__ import annotations

from h2.errors import ErrorCodes
from twisted.trial.unittest import SynchronousTestCase

from txproxy.wire.http2.frames import ConnectionFault
from txproxy.wire.http2.windows import DEFAULT_WINDOW_BYTES, InboundWindows


class InboundWindowTests(SynchronousTestCase):
    """The windows of one connection and its streams."""

    def test_noneIsSmallerThanWhatAPeerBeginsWith(self) -> None:
        """It may use the default before it knows better (RFC 9113 section 6.9.2)."""
        windows = InboundWindows(10, 20)
        self.assertEqual(windows.first_increment, 0)
        windows.begin(1)
        for _ in range(3):
            windows.came(DEFAULT_WINDOW_BYTES // 3, 1)
        self.assertRaises(ConnectionFault, windows.came, 1, 1)

    def test_bothAreHeldAgainstIt(self) -> None:
        """More than the stream's window, or than the connection's, is an error of the connection."""
        for stream_bytes, connection_bytes in ((100_000, 65535), (65535, 100_000)):
            windows = InboundWindows(connection_bytes, stream_bytes)
            windows.begin(1)
            self.assertEqual(windows.came(0, 1), 0)
            fault = self.assertRaises(ConnectionFault, windows.came, 65536, 1)
            self.assertEqual(fault.code, ErrorCodes.FLOW_CONTROL_ERROR)
        windows = InboundWindows(65535, 65535)
        self.assertRaises(ConnectionFault, windows.came, 65536)

    def test_theConnectionIsFilledUp(self) -> None:
        """As soon as half of its window is used, by as much as is used."""
        windows = InboundWindows(100_000, 100_000)
        self.assertEqual(windows.first_increment, 100_000 - 65535)
        for credit, increment in ((49_999, 0), (0, 0), (1, 50_000), (49_999, 0), (16_384, 66_383), (49_999, 0)):
            self.assertEqual(windows.came(credit), increment)

    def test_aStreamIsFilledUpByWhatHasLeft(self) -> None:
        """When that is half of its window; not when its content has come."""
        windows = InboundWindows(10**6, 100_000)
        windows.begin(1)
        self.assertEqual([windows.came(16_384, 1) for _ in range(6)], [0] * 6)
        self.assertEqual([windows.went(1, credit) for credit in (49_999, 1, 0, 48_304)], [0, 50_000, 0, 0])
        windows.came(51_696, 1)
        self.assertRaises(ConnectionFault, windows.came, 1, 1)

    def test_whatHasEndedIsForgotten(self) -> None:
        """Nothing is kept of a stream on which no more comes, and nothing given back."""
        windows = InboundWindows(10**6, 100_000)
        for number in range(10):
            windows.begin(number)
        self.assertEqual(len(windows), 10)
        for number in (*range(10), 5, 99):
            windows.end(number)
            self.assertEqual(windows.went(number, 100_000), 0)
        self.assertEqual(len(windows), 0)
