"""Steady traffic from a process of its own, and what became of each request of it."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from .client import DEADLINE_S, wait_for

_CLIENT = Path(__file__).with_name("load_client.py")


class Outcome(NamedTuple):
    """What became of a request. Moments are those of the monotonic clock."""

    id: str
    due_s: float
    """When it was to be sent."""
    sent_s: float
    done_s: float
    status: int
    """0 if there was no answer."""
    backend: str
    """Name of the farm's member that answered; empty if the proxy did."""
    error: str
    """What went wrong with the connection; empty if nothing."""

    @property
    def answered(self) -> bool:
        """Whether a complete reply came."""
        return self.status != 0

    @property
    def latency_s(self) -> float:
        """From when it was due to the end of the reply; infinite without one."""
        return self.done_s - self.due_s if self.answered else float("inf")


class Load:
    """Requests at a steady rate; a context manager, for the client to end with the block.

    :param rate: per second.
    :param seconds: for how long; less if ``finish`` is called before.
    :param method: POST and PUT have a small body.
    """

    def __init__(self, port: int, rate: float, seconds: float = 60, method: str = "GET") -> None:
        self.rate = rate
        self._directory = Path(tempfile.mkdtemp(prefix="txproxy-load-"))
        self._path = self._directory / "output"
        with self._path.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-I", str(_CLIENT), str(port), str(rate), str(seconds), method],
                stdin=subprocess.PIPE, stdout=output,
            )  # fmt: skip
        try:
            wait_for(lambda: "\n" in self._path.read_text() or self._process.poll() is not None, "the client to begin")
            self.began_s = float(self._path.read_text().split()[1])
            """When the first request is due."""
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def sleep_until(self, second: float) -> None:
        """Wait until so many seconds after the first request."""
        time.sleep(max(0.0, self.began_s + second - time.monotonic()))

    def finish(self, early: bool = True, timeout_s: float = 3 * DEADLINE_S) -> list[Outcome]:
        """Wait until every request is answered or given up, and return them all in order.

        :param early: stop sending now; else only when the time is over.
        """
        assert self._process.stdin is not None
        if early:
            self._process.stdin.close()
        status = self._process.wait(timeout_s)
        assert status == 0, f"the client ended with status {status}"
        return [Outcome(*json.loads(line)) for line in self._path.read_text().splitlines()[1:]]

    def close(self) -> None:
        """End the client, if it still runs, and delete what it wrote."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(DEADLINE_S)
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        shutil.rmtree(self._directory, ignore_errors=True)
