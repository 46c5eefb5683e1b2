"""Tests for :mod:`txproxy.config.patterns`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txproxy.config.patterns import Raw, matches
from txproxy.config.problems import format_path


class PatternTests(SynchronousTestCase):
    """What a pattern finds."""

    def test_matches(self) -> None:
        """Any key, any index, and nothing where the types are others than the pattern takes them for."""
        raw: Raw = {"proxy": {"via_name": "a"}, "listener": [{"tls": "x"}, {}, 3], "cluster": {"a": {"tls": 1}, "b": 2}}
        cases: tuple[tuple[str, list[str]], ...] = (
            ("proxy.via_name", ["proxy.via_name"]),
            ("listener[*].tls", ["listener[0].tls"]),
            ("cluster.*.tls", ["cluster.a.tls"]),
            ("cluster.*", ["cluster.a", "cluster.b"]),
            ("proxy[*]", []),
            ("listener.*", []),
            ("admin", []),
        )
        for pattern, expected in cases:
            self.assertEqual([format_path(path) for path, _ in matches(raw, pattern)], expected, pattern)
