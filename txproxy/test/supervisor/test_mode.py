"""When there is a supervisor."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from txproxy.config.load import load_text
from txproxy.config.model import Config
from txproxy.supervisor.mode import is_supervised, workers_of
from txproxy.supervisor.place import shared_out
from txproxy.testing import site


def _config(keys: str = "", user: str = "") -> Config:
    config = load_text(site(rest=f"[proxy]\n{keys}\n")).config
    return config.model_copy(update={"proxy": config.proxy.model_copy(update={"user": user})})


class ModeTests(SynchronousTestCase):
    """What the configuration says of processes."""

    def test_number(self) -> None:
        """One by default; 0 is one for each core that the process may use."""
        self.patch(os, "sched_getaffinity", lambda _pid: {0, 2, 5})
        self.assertEqual([workers_of(_config(keys)) for keys in ("", "workers = 2", "workers = 0")], [1, 2, 3])

    def test_supervised(self) -> None:
        """Several, or one that becomes another user."""
        self.patch(os, "geteuid", lambda: 0)
        self.assertEqual([is_supervised(_config(keys)) for keys in ("", "workers = 2")], [False, True])
        self.assertTrue(is_supervised(_config(user="www")))
        self.patch(os, "geteuid", lambda: 1000)
        self.assertFalse(is_supervised(_config(user="www")))

    def test_shares(self) -> None:
        """Connections are for all workers together; the last one is somebody's, too."""
        config = _config("max_connections = 10")
        self.assertEqual([shared_out(config, n).proxy.max_connections for n in (1, 2, 3, 4, 20)], [10, 5, 4, 3, 1])
        self.assertEqual(config.proxy.max_connections, 10)
