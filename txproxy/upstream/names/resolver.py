"""From a name to addresses, as the system would find them, without holding anybody up: getaddrinfo blocks."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from twisted.internet.defer import CancelledError, Deferred, succeed

from txproxy.policy.dns_members import sorted_addresses
from txproxy.policy.dns_records import follow
from txproxy.policy.hosts_file import addresses_in_hosts, is_address, is_localhost
from txproxy.policy.resolv_conf import NameServer, ResolvConf, can_be_asked, names_to_ask, parse_resolv_conf
from txproxy.upstream.names.dns_question import NoAnswer, Question, Reply, ask
from txproxy.upstream.names.name_files import NameFile

FOREVER_S = float("inf")
HOSTS_TTL_S = 5.0
"""How long an answer of the hosts file holds: looking at the file again costs nothing."""
TIMEOUTS_S = (1.0, 2.0, 4.0)
"""How long each server may take, the first time, the second time, and the third."""
_PATIENCE_S = 1.0
"""How much longer than the one family the other may take: some servers never answer for IPv6."""
_MOST_ALIASES = 8


class ResolveFailed(Exception):
    """No address was found for a name.

    :param reason: why, in words.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Answer(NamedTuple):
    """The addresses of a name: at least one, of each family in numerical order."""

    v4: tuple[str, ...]
    v6: tuple[str, ...]
    ttl_s: float
    """How long they hold; without end if they cannot change."""
    missing: str = ""
    """The family, ``v4`` or ``v6``, about which no server had an answer: what was known of it may still be so."""


def resolv_conf_path() -> str:
    """Return the path of the file that names the name servers; TXPROXY_RESOLV_CONF in the environment overrides it."""
    return os.environ.get("TXPROXY_RESOLV_CONF") or "/etc/resolv.conf"


class _Family(NamedTuple):
    """What is known of a name in one family."""

    addresses: tuple[str, ...] = ()
    ttl_s: float = FOREVER_S
    exists: bool = True
    trouble: str = ""
    """Why nothing is known of it."""


class Resolver:
    """Looks into the hosts file, and asks the name servers of resolv.conf. It keeps neither answers nor timers.

    :param reactor: provides IReactorUDP, IReactorTCP and IReactorTime.
    :param resolv_conf: path of the file that names the servers, the search list and ``ndots``.
    :param hosts: path of the hosts file.
    """

    def __init__(self, reactor: Any, resolv_conf: str = "/etc/resolv.conf", hosts: str = "/etc/hosts") -> None:
        self._reactor = reactor
        self._resolv_conf = NameFile(resolv_conf, parse_resolv_conf)
        self._hosts = NameFile(hosts, str)

    def resolve(self, name: str) -> Deferred[Answer]:
        """Find the addresses of a name.

        :param name: a host name, complete if it ends with a dot; or an address, which is the answer itself.
        :return: fires with the answer, at once if no server has to be asked; fails with ResolveFailed. Cancelling it
            leaves nothing open.
        """
        known = self._known(name.removesuffix("."))
        if known is not None:
            return succeed(known)
        return Deferred.fromCoroutine(self._ask_for(name))

    def _known(self, name: str) -> Answer | None:
        if is_address(name):
            return Answer((), (name,), FOREVER_S) if ":" in name else Answer((name,), (), FOREVER_S)
        v4, v6 = sorted_addresses(addresses_in_hosts(self._hosts.read(), name))
        if v4 or v6:
            return Answer(v4, v6, HOSTS_TTL_S)
        if is_localhost(name):
            return Answer(("127.0.0.1",), ("::1",), FOREVER_S)
        return None

    async def _ask_for(self, name: str) -> Answer:
        conf = self._resolv_conf.read()
        try:
            names = names_to_ask(name if name.isascii() else name.encode("idna").decode("ascii"), conf)
        except UnicodeError:
            names = ()
        if not names:
            raise ResolveFailed("it is not a name that can be asked for")
        exists = False
        for each in names:
            both = _Both(self._reactor)
            v4, v6 = await both.wait([Deferred.fromCoroutine(self._family(each, kind, conf)) for kind in ("A", "AAAA")])
            if v4.addresses or v6.addresses:
                return _answer(v4, v6)
            if not (v4.exists and v6.exists):
                continue
            exists = True
            if v4.trouble or v6.trouble:
                # The next name of the search list may be another server's: only a "no" leads there.
                raise ResolveFailed(v4.trouble or v6.trouble)
        raise ResolveFailed("it has no address" if exists else "there is no such name")

    async def _family(self, name: str, kind: str, conf: ResolvConf) -> _Family:
        ttl_s = FOREVER_S
        for _ in range(_MOST_ALIASES):
            reply = await self._ask_servers(Question(name, kind), conf)
            found = follow(reply.records, name, kind)
            ttl_s = min(ttl_s, found.ttl_s)
            if found.is_loop:
                return _Family(trouble=f"{name} is an alias of itself")
            if found.addresses:
                v4, v6 = sorted_addresses(found.addresses)
                return _Family(v4 + v6, ttl_s)
            if reply.is_recursive or not found.alias or not can_be_asked(found.alias):
                return _Family(exists=reply.exists)
            name = found.alias
        return _Family(trouble=f"{name}: too many aliases")

    async def _ask_servers(self, question: Question, conf: ResolvConf) -> Reply:
        servers = list(conf.servers)
        reasons: dict[NameServer, str] = {}
        for timeout_s in TIMEOUTS_S:
            for server in tuple(servers):
                try:
                    return await ask(self._reactor, server, question, timeout_s)
                except NoAnswer as error:
                    reasons[server] = error.reason
                    if not error.is_silent:
                        servers.remove(server)
        raise NoAnswer("; ".join(reasons.values()))


def _answer(v4: _Family, v6: _Family) -> Answer:
    missing = "v4" if v4.trouble else "v6" if v6.trouble else ""
    return Answer(v4.addresses, v6.addresses, min(v4.ttl_s, v6.ttl_s), missing)


class _Both:
    """Waits for both families; once one has shown what the name is, the other has only a little more time.

    :param reactor: provides IReactorTime.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._asked: list[Deferred[_Family]] = []
        self._known: dict[int, _Family] = {}
        self._patience: Any = None
        self._is_over = False
        self._result: Deferred[list[_Family]] = Deferred(lambda _: self._end())

    def wait(self, asked: list[Deferred[_Family]]) -> Deferred[list[_Family]]:
        """Return a Deferred of what is known in the end, in the order of ``asked``. Cancelling it cancels them all."""
        self._asked = asked
        for number, each in enumerate(asked):
            each.addErrback(_trouble).addCallback(self._one, number).addErrback(self._bug)
        return self._result

    def _one(self, family: _Family, number: int) -> None:
        if self._is_over:
            return
        self._known[number] = family
        if len(self._known) == len(self._asked):
            self._end()
            self._result.callback([self._known[each] for each in range(len(self._asked))])
        elif self._patience is None and (family.addresses or not family.exists):
            self._patience = self._reactor.callLater(_PATIENCE_S, self._cancel_all)

    def _bug(self, failure: Any) -> None:
        if not self._is_over:
            self._end()
            self._result.errback(failure)

    def _cancel_all(self) -> None:
        self._patience = None
        for each in self._asked:
            each.cancel()

    def _end(self) -> None:
        self._is_over = True
        if self._patience is not None:
            self._patience.cancel()
        self._cancel_all()


def _trouble(failure: Any) -> _Family:
    failure.trap(NoAnswer, CancelledError)
    return _Family(trouble=getattr(failure.value, "reason", "no answer in time"))
