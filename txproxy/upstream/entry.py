"""One entry of a cluster's backends: a server, or a name that leads to several."""

from __future__ import annotations

from typing import Any

from txproxy.config.address import parse_address
from txproxy.config.cluster_model import Backend as BackendSettings
from txproxy.policy.health import Order
from txproxy.upstream.backend import Backend


class Entry:
    """One entry of a cluster's backends.

    :param settings: as the configuration has them.
    """

    def __init__(self, settings: BackendSettings) -> None:
        self.settings = settings
        self.address = parse_address(settings.address)
        self.comparable = self.address.comparable
        self.weight = settings.weight
        self.order: Order = "serve"
        self.servers: dict[tuple[str, ...], Backend] = {}
        """By their addresses."""
        self.leaving: list[Backend] = []
        """Servers that the DNS names no more, kept until one of those that it names is known to be up."""
        self.discovery: Any = None
        self.is_known = False
        """The DNS has said something of it, if it is a name."""

    def name_of(self, hosts: tuple[str, ...]) -> str:
        """Return what the server at these addresses is called: its own, if there may be several."""
        return self.settings.address if self.discovery is None else f"{self.settings.address}@{hosts[0]}"

    def all_servers(self) -> list[Backend]:
        """Return all of its servers, those that are leaving included."""
        return [*self.servers.values(), *self.leaving]

    def may_let_leave(self) -> bool:
        """Return whether it can do without those that are leaving: one of the others is up, or none will soon be."""
        states = {backend.health.state for backend in self.servers.values()}
        return "up" in states or "checking" not in states
