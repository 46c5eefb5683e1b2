"""A proxy that is replaced by processes that are not this one's children."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

from .client import DEADLINE_S, wait_for
from .processes import ProxyProcess


def is_running(pid: int) -> bool:
    """Tell whether a process runs; one that only waits for somebody to ask how it ended does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except OSError:
        return False


class Dynasty(ProxyProcess):
    """txproxy with a process id file, which another process may take the place of; leaving it stops the last of them.

    :param config: see ``ProxyProcess``; likewise ``more``.
    """

    def __init__(self, config: str, **more: Any) -> None:
        self._replaced: list[int] = []
        super().__init__(config, command=("run", "--pidfile=pid"), **more)
        wait_for((self.directory / "pid").exists, "the file with the process id")

    @property
    def serving_pid(self) -> int:
        """Id of the process that serves, as its file says."""
        return int((self.directory / "pid").read_text())

    def upgrade(self) -> int:
        """Have the process replaced, and return the id of the new one once the old one knows of it."""
        before = self.serving_pid
        self._replaced.append(before)
        os.kill(before, signal.SIGUSR2)
        wait_for(lambda: self.serving_pid != before, f"another process in place of {before}")
        after = self.serving_pid
        wait_for(lambda: f"process {after} serves in place" in self.error_text, f"word of process {after}")
        return after

    def kill(self) -> None:
        """End all of them at once, if they still run."""
        with contextlib.suppress(OSError, ValueError):
            self._replaced.append(self.serving_pid)
        for pid in self._replaced:
            if pid != self.pid and is_running(pid):
                os.kill(pid, signal.SIGKILL)
        super().kill()

    def stop(self, timeout_s: float = DEADLINE_S) -> str:
        """End the last of them by SIGTERM; check that all have ended well and that they have left nothing.

        :return: all that they logged.
        """
        try:
            last = self.serving_pid
            assert is_running(last), f"ended by itself\n{self.error_text[-8000:]}"
            os.kill(last, signal.SIGTERM)
            assert self.process.wait(timeout_s) == 0, f"exit {self.process.returncode}\n{self.error_text[-8000:]}"
            wait_for(lambda: not any(map(is_running, (*self._replaced, last))), "all processes to end", timeout_s)
            self.assert_no_bugs()
            assert not (self.directory / "pid").exists(), "the file with the process id is left"
            text = self.error_text
            # A child says how it ended; of the others the log has the last word.
            assert text.count("] stopped: ") == len({self.pid, *self._replaced, last}), text[-8000:]
            return text
        except BaseException:
            sys.stderr.write(f"log of txproxy:\n{self.error_text[-8000:]}\n")
            raise
        finally:
            self.kill()
            shutil.rmtree(self.directory, ignore_errors=True)
