"""Logs are rotated by logrotate as the example says."""

from __future__ import annotations

import contextlib
import grp
import gzip
import os
import pwd
import re
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .backend import Backend, fixed
from .client import wait_for
from .helpers import TXPROXY, Command, get, run_command
from .processes import PROJECT, config_for

_LOGROTATE = shutil.which("logrotate") or shutil.which("logrotate", path="/usr/sbin:/sbin")
_REOPEN = "systemctl kill --signal=USR1 --kill-whom=main txproxy.service"
_EACH = 5


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for logs that logrotate finds safe: nobody else may write there."""
    with tempfile.TemporaryDirectory(prefix="txproxy-logs-") as name:
        yield Path(name)


def _open_in(folder: Path, pid: int) -> set[str]:
    """Return the names of the files of a folder that a process has open."""
    names = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            path = Path(os.readlink(descriptor))
            names |= {path.name} if path.parent == folder else set()
    return names


@pytest.mark.skipif(_LOGROTATE is None, reason="logrotate is not installed")
def test_logrotate(folder: Path, tmp_path: Path) -> None:
    """The example, with paths and users of this machine: no line is lost, and new files are written."""
    text = (PROJECT / "examples" / "logrotate.conf").read_text().replace("/var/log/txproxy", str(folder))
    owner = f"{pwd.getpwuid(os.geteuid()).pw_name} {grp.getgrgid(os.getegid()).gr_name}"
    assert text.count("txproxy txproxy") == 2 and _REOPEN in text
    application, access = folder / "txproxy.log", folder / "access.log"
    log = f'[log]\npath = "{application}"\naccess = "{access}"\n'
    with Backend(fixed()) as backend:
        files = {"p.toml": config_for(backend.address, more=log)}
        with Command([*TXPROXY, "run", "-c", "p.toml", "--pidfile=pid"], files, ready=None) as proxy:
            pidfile = proxy.directory / "pid"
            wait_for(pidfile.exists, "the start")
            found = re.search(r"listening on http://127\.0\.0\.1:(\d+)", application.read_text())
            assert found is not None
            configuration = tmp_path / "logrotate.conf"
            settled = text.replace("txproxy txproxy", owner).replace(_REOPEN, f'kill -USR1 "$(cat {pidfile})"')
            configuration.write_text(settled)
            configuration.chmod(0o644)
            command = [str(_LOGROTATE), "--force", "--state", str(tmp_path / "state"), str(configuration)]
            for round_ in range(3):
                for _ in range(_EACH):
                    assert get(int(found[1])).status == 200
                wait_for(lambda: access.read_text().count("\n") == _EACH, "lines of the access log")
                if round_ < 2:
                    done = run_command(command)
                    assert done.returncode == 0, done.stderr
                    both = {"txproxy.log", "access.log"}
                    wait_for(lambda both=both: _open_in(folder, proxy.pid) == both, "both to be opened anew")
            oldest = gzip.decompress((folder / "access.log.2.gz").read_bytes()).decode()
            assert (oldest.count("\n"), (folder / "access.log.1").read_text().count("\n")) == (_EACH, _EACH)
            assert proxy.end(signal.SIGTERM) == 0
            assert "stopped: " in application.read_text()
            assert not proxy.error_text, proxy.error_text
