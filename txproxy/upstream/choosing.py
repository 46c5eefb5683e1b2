"""The half of a cluster that chooses: which backend an exchange tries, and which next."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from txproxy.bridge.tunnel import TunnelLimits
from txproxy.errors import NoBackend, ProxyError
from txproxy.exchange import Exchange, facts_of
from txproxy.observe.log import Logger
from txproxy.policy.balancing.policy import Policy
from txproxy.policy.balancing.users import UsersPolicy
from txproxy.policy.breaker import Breaker
from txproxy.policy.candidate import Candidate
from txproxy.policy.deadlines import Deadlines
from txproxy.policy.facts import NO_FACTS
from txproxy.policy.health import Transition
from txproxy.policy.retries import IDEMPOTENT, RetrySettings
from txproxy.policy.retry_budget import RetryBudget
from txproxy.policy.sticky import StickyPolicy
from txproxy.upstream.backend import Backend
from txproxy.upstream.lobby import Lobby
from txproxy.upstream.members import Members

log = Logger()


class ClusterSettings(NamedTuple):
    """Settings of one cluster; see the configuration's ``cluster`` section."""

    retry: RetrySettings = RetrySettings()
    panic: bool = True
    """Backends are tried although all are down."""
    max_ejected: float = 0.5
    """Part of the backends that may be ejected at once."""
    queue: int = 1024
    """Requests that may wait while nothing is known of any backend."""
    queue_timeout_s: float = 5
    balance: str = "round_robin"
    """The policy's name, for the log."""
    tunnel: TunnelLimits = TunnelLimits()


class ClusterTools(NamedTuple):
    """What clusters share."""

    clock: Callable[[], float]
    """The monotonic clock, in seconds."""
    random: Callable[[], float]
    """Numbers from 0 to 1."""
    deadlines: Deadlines


class Choosing:
    """Chooses backends.

    :param name: of the cluster, as the configuration gives it.
    :param settings: see there.
    :param policy: puts those in order that may be tried; see ``txproxy.policy.balancing``.
    :param breaker: refuses requests while too many fail, or None.
    :param tools: shared by all clusters.
    """

    def __init__(
        self, name: str, settings: ClusterSettings, policy: Policy, breaker: Breaker | None, tools: ClusterTools
    ) -> None:
        self.name = name
        self.settings = settings
        self.members = Members()
        self.requests = 0
        """Those that were given a backend."""
        self.breaker = breaker
        self._tools = tools
        self._random = tools.random
        self._budget = RetryBudget(settings.retry.budget, settings.retry.min_per_s)
        self._lobby = Lobby(tools.deadlines, settings.queue, settings.queue_timeout_s)
        self._names_unknown = 0
        """Names of backends of which the DNS has said nothing yet."""
        self._sole: Backend | None = None
        """The only one that can be chosen, if there is no more to be asked."""
        self._use(policy)

    def _use(self, policy: Policy) -> None:
        """Choose by this policy from here on."""
        self._policy = policy
        self._reads_request = getattr(policy, "reads_request", True)
        self.sticky = policy if isinstance(policy, StickyPolicy) else None
        self._is_choosy = self.breaker is not None or self.sticky is not None or isinstance(policy, UsersPolicy)
        """Even the only backend is not chosen without a question."""

    @property
    def is_awaited(self) -> bool:
        """Whether requests wait until something is known of its backends."""
        return len(self._lobby) > 0

    def pick(self, exchange: Exchange, now: float, may_wait: bool = True) -> Backend | None:
        """Return the backend that a new request tries first.

        One whose connections are all in use is passed over while there is another.

        :param now: the moment, in seconds.
        :param may_wait: whether it may wait until something is known of the backends; if not, it has.
        :return: None if it waits; the exchange's forwarding stage is told ``start_again`` then.
        :raises NoBackend: if none may be tried.
        :raises QueueFull: if too many wait.
        """
        if self._sole is not None:
            self.requests += 1
            return self._sole
        if self.breaker is None:
            return self._pick(exchange, now, may_wait)
        if may_wait:
            exchange.admitted_at = now
            self._ask(self.breaker, now)
        try:
            return self._pick(exchange, now, may_wait)
        except ProxyError:
            self.withdrew(exchange)
            raise

    def _pick(self, exchange: Exchange, now: float, may_wait: bool) -> Backend | None:
        members = self.members
        if members.trials and self._may_try_out(exchange):
            request = exchange.request
            # A connection that cannot be made costs its client nothing but time.
            backend = members.take_trial(now, request is None or request.method in IDEMPOTENT)
            if backend is not None:
                exchange.choice = "its trial"
                self.requests += 1
                return backend
        if members.eligible:
            exchange.candidates = self._in_order(members.eligible, exchange, now)
        elif may_wait and (members.checking or self._names_unknown):
            self._lobby.enter(exchange, now)
            return None
        else:
            self._look_around(exchange, now)
        self.requests += 1
        for candidate in exchange.candidates:
            if not candidate.owner.pool.is_full:
                return candidate.owner
            return self._with_most_room(exchange, candidate)
        raise NoBackend(f"the policy of {self.name} names no backend")

    def pick_another(self, exchange: Exchange, now: float) -> Backend | None:
        """Return a backend that the exchange has not tried, or None if there is none left.

        :param now: the moment, in seconds.
        """
        members = self.members
        if exchange.candidates is None and members.eligible:
            exchange.candidates = self._in_order(members.eligible, exchange, now)
        left = self._left(exchange, exchange.candidates or ())
        found = _roomiest(left)
        if found is None or found.pool.is_full:
            # What the policy has not named, or was passed over before: better than an error.
            rest = _roomiest(self._left(exchange, (*members.eligible, *members.reserve)))
            found = _roomiest([each for each in (found, rest) if each is not None])
        return found

    def withdrew(self, exchange: Exchange) -> None:
        """Take note that an exchange has ended here, without any verdict on the backends."""
        if self.breaker is not None:
            self.breaker.withdraw(exchange.admitted_at)

    def may_be_asked(self, backend: Backend) -> bool:
        """Return whether a request may go to a backend: it is up, or none is and that is no reason."""
        if backend.is_serving:
            return True
        members = self.members
        return self.settings.panic and not members.eligible and members.may_be_asked_in_need(backend)

    def may_retry(self, now: float) -> bool:
        """Return whether the budget lets one more request be sent again, and count it if so."""
        return self._budget.allow(now, self.requests)

    def _in_order(self, candidates: tuple[Candidate, ...], exchange: Exchange, now: float) -> Iterator[Candidate]:
        facts = facts_of(exchange) if self._reads_request else NO_FACTS
        return iter(self._policy(candidates, facts, now, self._random))

    def _left(self, exchange: Exchange, candidates: Iterable[Candidate]) -> Iterator[Backend]:
        tried = exchange.backends_tried
        for candidate in candidates:
            if candidate.owner not in tried and self.may_be_asked(candidate.owner):
                yield candidate.owner

    def _with_most_room(self, exchange: Exchange, first: Candidate) -> Backend:
        """Return what comes after the first, which is full: one that is not, else one that one can wait for."""
        found = _roomiest((first.owner, *(candidate.owner for candidate in exchange.candidates)))
        assert found is not None
        if found.pool.is_full:
            exchange.choice = "all are full"
        return found

    def _look_around(self, exchange: Exchange, now: float) -> None:
        """Find candidates although none of the first tier is up.

        :raises NoBackend: if there are none.
        """
        members = self.members
        if members.reserve:
            exchange.choice = "checks of the first tier take long"
            exchange.candidates = self._in_order(members.reserve, exchange, now)
            return
        down = members.by_latest_failure() if self.settings.panic else []
        if not down:
            raise NoBackend(f"no backend of {self.name} is up")
        exchange.choice = "no backend is up"
        exchange.candidates = iter(down)

    def _may_try_out(self, exchange: Exchange) -> bool:
        """Return whether a request may be the trial of a backend.

        Not if it is one for the whole cluster and another backend is up, nor if a cookie keeps its client at one that
        is.
        """
        if self.breaker is not None and self.breaker.state != "closed" and self.members.eligible:
            return False
        return self.sticky is None or self.sticky.kept(self.members.eligible, facts_of(exchange)) is None

    def _ask(self, breaker: Breaker, now: float) -> None:
        self._tell(breaker.tick(now))
        pending = len(self._lobby)
        if breaker.max_pending:
            pending += sum(backend.candidate.active for backend in self.members.backends)
        refusal = breaker.admit(now, pending)
        if refusal:
            raise NoBackend(f"circuit breaker of {self.name}: {refusal}", breaker.retry_after_s(now))

    def _tell(self, transition: Transition | None) -> None:
        """Log what the circuit breaker does."""
        if transition is not None:
            emit = log.warn if transition.after == "open" else log.info
            emit(
                "circuit breaker of {name}: {before} -> {after}: {reason}",
                name=self.name,
                before=transition.before,
                after=transition.after,
                reason=transition.reason,
            )


def _roomiest(backends: Iterable[Backend]) -> Backend | None:
    """Return the first that has a free place, else the first that one can wait for, else the first."""
    first: Backend | None = None
    for backend in backends:
        if not backend.pool.is_full:
            return backend
        if first is None or not first.pool.has_room_to_wait() and backend.pool.has_room_to_wait():
            first = backend
    return first
