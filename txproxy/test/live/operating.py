"""What tests of the admin interface need: where it is, requests to it, and the commands that speak to it."""

from __future__ import annotations

import re
import subprocess
from contextlib import closing
from typing import Any

from txproxy.admin.client import AdminClient

from .client import DEADLINE_S, wait_for
from .helpers import ENVIRONMENT, TXPROXY
from .processes import ProxyProcess

ADMIN = '[admin]\nlisten = "127.0.0.1:0"\n'
_SAID = re.compile(r"admin interface on (\S+)")


def admin_address(proxy: ProxyProcess) -> str:
    """Return where the admin interface is now, as ``ctl`` takes it."""
    wait_for(lambda: _SAID.search(proxy.error_text), "the admin interface")
    return _SAID.findall(proxy.error_text)[-1].removeprefix("http://")


def admin_port(proxy: ProxyProcess) -> int:
    """Return its port."""
    return int(admin_address(proxy).rpartition(":")[2])


class Asking:
    """Asks an admin interface, each time on a connection of its own; see ``AdminClient``.

    :param address: see there.
    """

    def __init__(self, address: str, token: str = "") -> None:
        self._address = address
        self._token = token

    def get(self, path: str) -> Any:
        with closing(AdminClient(self._address, self._token)) as client:
            return client.get(path)

    def text(self, path: str) -> str:
        with closing(AdminClient(self._address, self._token)) as client:
            return client.text(path)

    def change(self, path: str, body: dict[str, Any] | None = None, method: str = "POST") -> Any:
        with closing(AdminClient(self._address, self._token)) as client:
            return client.change(path, body, method)


def admin(proxy: ProxyProcess, token: str = "") -> Asking:
    """Return what asks the admin interface of a proxy, wherever it is when this is called."""
    return Asking(admin_address(proxy), token)


def backends(proxy: ProxyProcess, cluster: str = "origin") -> dict[str, dict[str, Any]]:
    """Return what the status says of the backends of a cluster, by name."""
    return {each["name"]: each for each in admin(proxy).get("/status")["clusters"][cluster]["backends"]}


def ctl(
    proxy: ProxyProcess | None, *words: str, timeout_s: float = DEADLINE_S, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run ``txproxy ctl``.

    :param proxy: that it speaks to; None if the words or the environment say that.
    """
    where = () if proxy is None else ("--admin", admin_address(proxy))
    return subprocess.run(
        [*TXPROXY, "ctl", *where, *words],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env={**ENVIRONMENT, **(environment or {})},
        check=False,
    )
