"""Starting the processes of workers."""

from __future__ import annotations

import os
import signal
from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txproxy.supervisor import member as module
from txproxy.supervisor.member import Launcher


class LauncherTests(SynchronousTestCase):
    """Processes without a connection to them."""

    def test_noConnection(self) -> None:
        """A process that the supervisor has no descriptor left for is ended and waited for at once."""
        ended: list[Any] = []

        def refuse(*_arguments: Any) -> None:
            raise OSError("too many open files")

        self.patch(module, "fork", lambda _reactor, _work: 4711)
        self.patch(os, "kill", lambda *call: ended.append(("kill", *call)))
        self.patch(os, "waitpid", lambda *call: ended.append(("wait", *call)))
        member: Any = SimpleNamespace(pid=0, channel=None)
        reactor: Any = SimpleNamespace(adoptStreamConnection=refuse)
        launcher = Launcher(reactor, lambda *_: None)
        self.assertRaises(OSError, launcher.launch, member, None)
        self.assertEqual(ended, [("kill", 4711, signal.SIGKILL), ("wait", 4711, 0)])
