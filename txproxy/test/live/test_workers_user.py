"""A supervisor that stays root, and workers that become somebody else."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .crew import wait_for_workers
from .helpers import TXPROXY, Command, get
from .peers import Backend, ProxyProcess, config_for, wait_for
from .test_privileges import low_port

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of the user's, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="txproxy-") as name:
        path = Path(name)
        os.chown(path, 65534, 65534)
        yield path


def uids(pid: int) -> set[str]:
    """Return the real, effective and saved user of a process."""
    return set(Path(f"/proc/{pid}/status").read_text().partition("Uid:")[2].splitlines()[0].split())


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_are_not_root(workers: int, folder: Path) -> None:
    """Each worker is the user alone, from its start and after a respawn; its logs are the user's; the supervisor binds
    a low port at a reload all the same, and reopens logs."""
    access, application = folder / "access.log", folder / "application.log"

    def config(more: str = "") -> str:
        text = f'[proxy]\nworkers = {workers}\nuser = "nobody"\n'
        log = f'[log]\naccess = "{access}"\npath = "{application}"\n'
        return config_for(backend.address, more=text + log + more)

    def says(words: str) -> bool:
        return application.exists() and words in application.read_text()

    with Backend() as backend, Command([*TXPROXY, "run", "-c", "p.toml"], {"p.toml": config()}, ready=None) as proxy:
        wait_for(lambda: says(" ready"), "ready")
        pids = wait_for_workers(proxy, workers)
        assert uids(proxy.pid) == {"0"} and all(uids(pid) == {"65534"} for pid in pids)
        port = int(application.read_text().partition("127.0.0.1:")[2].partition(" ")[0])
        assert get(port).status == 200
        wait_for(lambda: access.exists() and access.read_text(), "a line of the access log")
        assert access.stat().st_uid == application.stat().st_uid == 65534

        low = low_port()
        listener = f'[[listener]]\nname = "low"\naddress = "127.0.0.1:{low}"\n'
        (proxy.directory / "p.toml").write_text(config(listener))
        proxy.directory.chmod(0o755)
        proxy.signal(signal.SIGHUP)
        wait_for(lambda: says("reloaded ") or says("the configuration before it stays"), "the reload")
        assert get(low).status == 200
        os.kill(pids[0], signal.SIGKILL)
        pids = wait_for_workers(proxy, workers, without=[pids[0]])
        assert all(get(low).status == 200 for _ in range(5))
        wait_for(lambda: all(uids(pid) == {"65534"} for pid in pids), "the new one to be the user")

        for path in (access, application):
            path.rename(path.with_suffix(".1"))
        proxy.signal(signal.SIGUSR1)
        wait_for(lambda: access.exists() and application.exists(), "new files")
        assert access.stat().st_uid == application.stat().st_uid == 65534
        assert proxy.end(signal.SIGTERM) == 0
        assert says("stopped: ") and "Traceback" not in proxy.text + application.read_text()


def test_a_group_alone() -> None:
    """A group without a user is followed, too."""
    with Backend() as backend:
        more = '[proxy]\ngroup = "nogroup"\n'
        with ProxyProcess(config_for(backend.address, more=more)) as proxy:
            (pid,) = wait_for_workers(proxy, 1)
            assert get(proxy.port).status == 200
            gids = Path(f"/proc/{pid}/status").read_text().partition("Gid:")[2].splitlines()[0].split()
            assert set(gids) == {"65534"} and uids(pid) == {"0"}
