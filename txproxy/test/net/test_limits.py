"""Raising the limit of descriptors."""

import resource

from twisted.trial.unittest import SynchronousTestCase

from txproxy.net.limits import raise_descriptor_limit


class FakeLimits:
    """Stands for the operating system's pair of limits."""

    def __init__(self, soft: int, hard: int, refuse: bool = False) -> None:
        self.pair = (soft, hard)
        self._refuse = refuse

    def getrlimit(self, which: int) -> tuple[int, int]:
        return self.pair

    def setrlimit(self, which: int, pair: tuple[int, int]) -> None:
        if self._refuse:
            raise ValueError("not allowed")
        self.pair = pair


class RaiseDescriptorLimitTests(SynchronousTestCase):
    """As many descriptors as wanted and allowed, never fewer than before, never an exception."""

    def raised(self, limits: FakeLimits, wanted: int) -> int:
        self.patch(resource, "getrlimit", limits.getrlimit)
        self.patch(resource, "setrlimit", limits.setrlimit)
        reached = raise_descriptor_limit(wanted)
        self.assertIn(reached, (limits.pair[0], wanted))
        return reached

    def test_upToTheHardLimit(self) -> None:
        """The soft limit goes up to what is wanted or to the hard limit."""
        self.assertEqual(self.raised(FakeLimits(1024, 4096), 2048), 2048)
        self.assertEqual(self.raised(FakeLimits(1024, 4096), 99999), 4096)
        self.assertEqual(self.raised(FakeLimits(1024, resource.RLIM_INFINITY), 99999), 99999)

    def test_neverLowered(self) -> None:
        """A limit that is high enough is left alone."""
        self.assertEqual(self.raised(FakeLimits(8192, 8192), 100), 8192)
        self.assertEqual(self.raised(FakeLimits(resource.RLIM_INFINITY, resource.RLIM_INFINITY), 100), 100)

    def test_refusal(self) -> None:
        """A system that refuses leaves the process with what it had."""
        self.assertEqual(self.raised(FakeLimits(1024, 4096, refuse=True), 2048), 1024)
