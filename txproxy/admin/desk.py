"""Opens, moves and closes the admin interface of a process as its configuration says."""

from __future__ import annotations

from typing import Any, NamedTuple

from twisted.internet.defer import Deferred, succeed

from txproxy.admin.operator import Operator
from txproxy.config.address import parse_address
from txproxy.config.model import AdminSettings
from txproxy.observe.log import Logger
from txproxy.ports import Change, Given, Ports, Wanted, shown_address

log = Logger()

_NAME = "admin"
_BACKLOG = 128
_MODE = 0o660
"""Of the file of a unix socket: it needs no token."""
_FAREWELL_S = 1.0
"""How long the last answers may take to be read."""


class Move(NamedTuple):
    """From one configuration to the next; ``commit`` or ``abandon`` has to follow in the same turn."""

    change: Change
    settings: AdminSettings | None
    site: Any
    """Of the interface that there will be."""


class Desk:
    """The place where operators are attended to.

    :param operator: carries out what they ask.
    :param reactor: the one to listen on.
    :param given: has listening sockets that need not be bound; see ``txproxy.ports``.
    """

    def __init__(self, operator: Operator, reactor: Any, given: Given | None = None) -> None:
        self._operator = operator
        self._reactor = reactor
        self.ports = Ports(reactor, given)
        """One, or none."""
        self._site: Any = None

    @property
    def url(self) -> str:
        """Where it is; empty if there is none."""
        port = self.ports.get(_NAME)
        if port is None:
            return ""
        shown = shown_address(port)
        return shown if shown.startswith("unix:") else f"http://{shown}"

    def prepare(self, settings: AdminSettings | None) -> Move:
        """Bind what is new; nothing has changed otherwise.

        :param settings: None for no admin interface.
        :raises twisted.internet.error.CannotListenError: if the address cannot be bound.
        """
        if settings is None:
            return Move(self.ports.prepare(()), None, None)
        site = self._make_site(settings) if self._site is None else self._site
        wanted = Wanted(_NAME, parse_address(settings.listen), site, None, _BACKLOG, _MODE)
        return Move(self.ports.prepare((wanted,)), settings, site)

    def commit(self, move: Move) -> None:
        """Attend where, and to whom, the configuration says."""
        before = self.url
        move.change.commit()
        site, self._site = self._site, move.site
        if move.site is not None:
            move.site.change(move.settings)
        elif site is not None:
            self._leave(site)
        if self.url and self.url != before:
            log.info("admin interface on {url}", url=self.url)

    def open(self, settings: AdminSettings | None) -> None:
        """Begin; see ``prepare``."""
        self.commit(self.prepare(settings))

    def hand_over(self) -> None:
        """Attend to nobody any more, at once: another process has the socket, too, and would get half of them."""
        self.ports.share()
        self.stop()

    def close_copies(self) -> None:
        """Close the sockets in a process that was forked: there they would keep connections open."""
        channels = () if self._site is None else self._site.channels
        for each in (*self.ports.values(), *(channel.transport for channel in channels)):
            skt = getattr(each, "socket", None)
            if skt is not None:
                skt.close()

    def stop(self) -> Deferred[Any]:
        """Attend to nobody any more.

        :return: fires when all is closed.
        """
        stopped = self.ports.stop()
        site, self._site = self._site, None
        left = succeed(None) if site is None else self._leave(site)
        return stopped.addCallback(lambda _: left)

    def _leave(self, site: Any) -> Deferred[None]:
        patience = self._reactor.callLater(_FAREWELL_S, site.cut)
        left: Deferred[None] = site.close()
        return left.addCallback(lambda _: patience.cancel() if patience.active() else None)

    def _make_site(self, settings: AdminSettings) -> Any:
        # Only here: twisted.web is as large as the rest, and most processes have no admin interface.
        from txproxy.admin.guard import Guard
        from txproxy.admin.resources import Api
        from txproxy.admin.server import AdminSite
        from txproxy.observe.exposition import exposition_pieces

        return AdminSite(
            Api(self._operator, exposition_pieces, self._reactor.callLater), Guard(settings), self._reactor
        )
