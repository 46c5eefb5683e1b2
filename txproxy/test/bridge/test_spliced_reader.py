"""The reader of a body that is moved unread: what it tells of who has to read before more can move."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txproxy.bridge.spliced_reader import SplicedReader
from txproxy.net.pipes import PipePool
from txproxy.test.net.splice_fakes import Rig


class SplicedReaderTests(SynchronousTestCase):
    """A body whose target reads slowly."""

    def make_rig(self) -> Rig:
        """Return a source and a target between which everything is copied."""
        rig = Rig(PipePool(lambda: 0.0, most=0))
        self.addCleanup(rig.sender.close)
        self.addCleanup(rig.reader.close)
        return rig

    def begin(self, rig: Rig, length: int) -> SplicedReader:
        self.moved = 0
        self.is_full = False

        def on_moved(byte_count: int, is_full: bool) -> None:
            self.moved += byte_count
            self.is_full = is_full

        return SplicedReader(length, rig.source, rig.target, rig.pool, on_moved)

    def test_a_target_that_had_to_be_copied_to_is_not_full_for_good(self) -> None:
        """Without pipes the last piece may wait in the target's queue, where the transport's own rules go on."""
        rig, other = self.make_rig(), self.make_rig()
        other.begin()
        other.stall()
        room = len(other.read(turns=False))  # What a socket takes.
        reader = self.begin(rig, room + 1001)
        rig.send(b"x" * (room + 1000))
        self.assertTrue(rig.target.has_queue)
        self.assertEqual((self.moved, reader.remaining), (room + 1000, 1))
        self.assertFalse(reader.waits_for_target)
        self.assertFalse(self.is_full)
