"""Root is given up for good, and what was bound before goes on being served."""

from __future__ import annotations

import json
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .backend import Backend, fixed
from .helpers import Command, get, run_command
from .processes import config_for

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")

_DROPPED = """
import json, os
from txproxy.privileges import drop
drop("nobody")
def tries(call, *arguments):
    try:
        call(*arguments)
    except PermissionError:
        return False
    return True
print(json.dumps({
    "uids": os.getresuid(), "gids": os.getresgid(), "groups": os.getgroups(),
    "root": [tries(os.setuid, 0), tries(os.seteuid, 0), tries(os.setresuid, -1, 0, -1), tries(os.setgroups, [0])],
    "shadow": tries(open, "/etc/shadow"), "capabilities": [line for line in open("/proc/self/status") if "Cap" in line],
}))
"""

_SERVING = """
import sys
from twisted.internet import reactor
from txproxy import build
from txproxy.application_log import start_logging
from txproxy.config.load import load_file
from txproxy.privileges import drop
service = build(load_file(sys.argv[1]), reactor)
start_logging("-")
service.privilegedStartService()
drop("nobody")
service.startService()
reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
reactor.run()
"""

_ACTING = """
import os, sys
from txproxy.privileges import acting_as
os.umask(0)
with acting_as("nobody"):
    for name in sys.argv[1:]:
        try:
            open(name, "a").close()
        except PermissionError:
            print("refused", name)
print(os.geteuid(), os.getegid())
open("/etc/shadow").close()
"""


def test_root_is_gone() -> None:
    """User and group of all three kinds, supplementary groups and capabilities; nothing of it can be had back."""
    done = run_command([sys.executable, "-c", _DROPPED])
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (len(set(found["uids"])), len(set(found["gids"]))) == (1, 1)
    assert 0 not in (*found["uids"], *found["gids"], *found["groups"])
    assert (found["root"], found["shadow"]) == ([False] * 4, False)
    held = {line.split()[0]: int(line.split()[1], 16) for line in found["capabilities"]}
    assert held["CapEff:"] == held["CapPrm:"] == held["CapAmb:"] == 0


def low_port() -> int:
    """Return a port that only root may bind, and that nobody has."""
    for port in range(1023, 600, -1):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    pytest.skip("no port below 1024 is free")


def test_a_low_port_is_served_without_root() -> None:
    """It was bound before."""
    with Backend(fixed()) as backend:
        port = low_port()
        config = config_for(backend.address).replace("127.0.0.1:0", f"127.0.0.1:{port}")
        with Command(
            [sys.executable, "-c", _SERVING, "p.toml"], {"p.toml": config + '\n[log]\naccess = ""\n'}
        ) as proxy:
            assert get(port).status == 200
            status = Path(f"/proc/{proxy.pid}/status").read_text()
            uids = status.partition("Uid:")[2].splitlines()[0].split()
            assert "0" not in uids and len(set(uids)) == 1
            assert "Traceback" not in proxy.text


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="txproxy-") as name:
        path = Path(name)
        path.chmod(0o711)
        yield path


def test_files_are_touched_as_the_user(open_folder: Path) -> None:
    """A file in the user's folder is made and is the user's; a link there leads root to no file of its own."""
    theirs, roots = open_folder / "theirs", open_folder / "roots"
    theirs.mkdir()
    os.chown(theirs, 65534, 65534)
    roots.write_text("root's\n")
    roots.chmod(0o600)
    (theirs / "link").symlink_to(roots)
    done = run_command([sys.executable, "-c", _ACTING, str(theirs / "log"), str(theirs / "link")])
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"refused {theirs / 'link'}", "0 0"]
    assert (theirs / "log").stat().st_uid != 0
