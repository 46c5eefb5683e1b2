"""Chromium without a screen, with a home of its own in which an authority is trusted."""

from __future__ import annotations

import html
import os
import re
import subprocess
from pathlib import Path
from typing import NamedTuple

from .client import DEADLINE_S
from .peers import Backend, ProxyProcess
from .tls_front import needed
from .tls_identities import Issuer

# Without these it asks hosts of its maker for news, and wants a sandbox that containers do not have.
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
)  # fmt: skip


class Site(NamedTuple):
    """A site for the browser, on the listeners ``web`` and ``https``."""

    proxy: ProxyProcess
    backend: Backend
    home: Path
    """As ``home_trusting`` has made it."""

    def visit(self, url: str) -> tuple[str, str]:
        """Return the page that the browser has in the end and what it complained of; every name leads to the proxy."""
        rules = f"MAP *:80 127.0.0.1:{self.proxy.ports['web']}, MAP *:443 127.0.0.1:{self.proxy.ports['https']}"
        done = subprocess.run(  # the command line is the test's own
            [needed("chromium"), *FLAGS, f"--user-data-dir={self.home / 'profile'}",
             f"--host-resolver-rules={rules}", "--virtual-time-budget=60000", "--dump-dom", url],
            env={**os.environ, "HOME": str(self.home), "XDG_DATA_HOME": str(self.home / ".local/share")},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=4 * DEADLINE_S, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done
        return html.unescape(done.stdout), done.stderr


def home_trusting(root: Issuer, home: Path) -> None:
    """Make a folder the home of a user who trusts an authority."""
    (home / "root.pem").write_bytes(root.pem)
    for place in (".pki/nssdb", ".local/share/pki/nssdb"):
        store = home / place
        store.mkdir(parents=True)
        for arguments in (("-N", "--empty-password"), ("-A", "-t", "C,,", "-n", "root", "-i", str(home / "root.pem"))):
            subprocess.run(  # the command line is the test's own
                [needed("certutil"), "-d", f"sql:{store}", *arguments], check=True, timeout=DEADLINE_S
            )


def said(visited: tuple[str, str]) -> list[str]:
    """Return the words that a page's script has put into its element ``said``."""
    found = re.search(r'<p id="said">([^<]*)</p>', visited[0])
    assert found, visited
    return found[1].split()
