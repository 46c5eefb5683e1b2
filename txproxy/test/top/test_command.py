"""The command ``txproxy top`` as text."""

from __future__ import annotations

import argparse
import sys
from io import StringIO
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txproxy.admin.client import AdminError
from txproxy.test.top.reports import report
from txproxy.top import command


class _Client:
    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)

    def get(self, _path: str) -> Any:
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class OnceTests(SynchronousTestCase):
    """``--once``."""

    def ran(self, *answers: Any) -> tuple[int, str, str]:
        self.patch(command, "connect", lambda options, timeout_s: _Client(*answers))
        out, err = StringIO(), StringIO()
        self.patch(sys, "stdout", out)
        self.patch(sys, "stderr", err)
        status = command.run(argparse.Namespace(once=True, interval=0.0))
        return status, out.getvalue(), err.getvalue()

    def test_text(self) -> None:
        """What there is is printed."""
        status, out, err = self.ran(report(1), report(2))
        self.assertEqual((status, err), (0, ""))
        self.assertIn("a:1", out)

    def test_hostileError(self) -> None:
        """What the other end says is no command to the terminal."""
        status, out, err = self.ran(AdminError("no\x1b[2J\x9b31m way"))
        self.assertEqual((status, out), (1, ""))
        self.assertTrue(err.rstrip("\n").isprintable(), err)
        self.assertIn("way", err)

    def test_somethingElseAnswers(self) -> None:
        """JSON of another kind is said to be that, without a traceback."""
        broken = report(2, clusters={"api": {"backends": [{}]}})
        several: tuple[tuple[Any, Any], ...] = (({}, {}), ([], []), (None, 7), (report(1), broken))
        for answers in several:
            status, out, err = self.ran(*answers)
            self.assertEqual((status, out), (1, ""))
            self.assertIn("no admin interface of txproxy", err)
