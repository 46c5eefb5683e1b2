"""Reason phrases."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txproxy import errors
from txproxy.wire.reasons import reason_phrase


class ReasonPhraseTests(SynchronousTestCase):
    """What stands behind a status."""

    def test_usualPhrases(self) -> None:
        """Every status of ours has its usual phrase; a status that nobody knows has none."""
        self.assertEqual(reason_phrase(404), b"Not Found")
        self.assertEqual(reason_phrase(508), b"Loop Detected")
        self.assertEqual(reason_phrase(299), b"")
        for name in dir(errors):
            status = getattr(getattr(errors, name), "status", 0)
            if isinstance(status, int) and status and status != 499:
                self.assertTrue(reason_phrase(status), name)
