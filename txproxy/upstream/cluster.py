"""A named set of backends: which of them an exchange tries, and what is learned from how the tries end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

from txproxy.errors import ConnectFailed, Fault, NoBackend, ProxyError
from txproxy.exchange import Exchange, facts_of
from txproxy.observe.log import Logger
from txproxy.policy.balancing.policy import Policy
from txproxy.policy.balancing.users import UsersPolicy
from txproxy.policy.breaker import Breaker
from txproxy.policy.candidate import Candidate
from txproxy.policy.deadlines import NEVER, Deadlines
from txproxy.policy.health import Order, Transition
from txproxy.policy.retries import IDEMPOTENT, RetrySettings
from txproxy.policy.retry_budget import RetryBudget
from txproxy.policy.sticky import StickyPolicy
from txproxy.upstream.backend import Backend
from txproxy.upstream.lobby import Lobby
from txproxy.upstream.members import Members

log = Logger()

_LOOK_S = 1.0
"""How often a cluster looks after itself while nothing happens."""
_BAD = frozenset((502, 503, 504))
"""Statuses by which a backend says that it cannot serve."""
_SLOW_S = 1.0
"""What a failed try counts as where replies are timed, if it took less."""
_ALARMING = ("down", "ejected")


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


class ClusterTools(NamedTuple):
    """What clusters share."""

    clock: Callable[[], float]
    """The monotonic clock, in seconds."""
    random: Callable[[], float]
    """Numbers from 0 to 1."""
    deadlines: Deadlines


class Cluster:
    """Chooses backends.

    :param name: as the configuration gives it.
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
        self.sticky = policy if isinstance(policy, StickyPolicy) else None
        self.members = Members()
        self.requests = 0
        self.transitions: Counter[tuple[str, str]] = Counter()
        """Changes of state, by backend and the state that it came to."""
        self.names_unknown = 0
        """Names of backends of which the DNS has said nothing yet."""
        self.breaker = breaker
        self.deadline = self.look_at = NEVER
        self._policy = policy
        self._observe_latency = getattr(policy, "observe_latency", None)
        self._budget = RetryBudget(settings.retry.budget, settings.retry.min_per_s)
        self._lobby = Lobby(tools.deadlines, settings.queue, settings.queue_timeout_s)
        self._watches_all = breaker is not None or self._observe_latency is not None
        self._tools = tools
        self._sole: Backend | None = None
        """The only one that can be chosen, if there is no more to be asked."""
        self._choosy = breaker is not None or self.sticky is not None or isinstance(policy, UsersPolicy)
        self._was_served = True

    @property
    def backends(self) -> tuple[Backend, ...]:
        """All backends, whatever their state."""
        return self.members.backends

    # Choosing.

    def pick(self, exchange: Exchange, now: float, may_wait: bool = True) -> Backend | None:
        """Return the backend that a new request tries first.

        One whose connections are all in use is passed over while there is another.

        :param now: the moment, in seconds.
        :param may_wait: whether it may wait until something is known of the backends.
        :return: None if it waits; the exchange's forwarding stage is told ``start_again`` then.
        :raises NoBackend: if none may be tried.
        :raises QueueFull: if too many wait.
        """
        self.requests += 1
        if self._sole is not None:
            return self._sole
        if self.breaker is not None and may_wait:
            self._ask(self.breaker, now)
        members = self.members
        if members.trials and not self._is_kept(exchange):
            backend = members.take_trial(now, exchange.request.method in IDEMPOTENT)  # type: ignore[union-attr]
            if backend is not None:
                exchange.choice = "its trial"
                return backend
        if not members.eligible:
            return self._pick_in_need(exchange, now, may_wait)
        first: Candidate | None = None
        exchange.candidates = self._in_order(members.eligible, exchange, now)
        for candidate in exchange.candidates:
            backend = candidate.owner
            if not backend.pool.is_full:
                return backend
            if first is None or not first.owner.pool.has_room_to_wait():
                first = candidate
        if first is None:
            raise NoBackend(f"the policy of {self.name} names no backend")
        exchange.choice = "all are full"
        return first.owner

    def pick_another(self, exchange: Exchange, now: float) -> Backend | None:
        """Return a backend that the exchange has not tried, or None if there is none left.

        :param now: the moment, in seconds.
        """
        if exchange.candidates is None and self.members.eligible:
            exchange.candidates = self._in_order(self.members.eligible, exchange, now)
        full: Backend | None = None
        for candidate in exchange.candidates or ():
            backend = candidate.owner
            if backend in exchange.backends_tried or not self._may_be_tried(backend):
                continue
            if not backend.pool.is_full:
                return backend
            full = full or backend
        # What the policy has not named, or was passed over before: better than an error.
        left = [each.owner for each in (*self.members.eligible, *self.members.reserve)]
        left = [each for each in left if each not in exchange.backends_tried]
        return next((each for each in left if not each.pool.is_full), full or (left[0] if left else None))

    def may_retry(self, now: float) -> bool:
        """Return whether the budget lets one more request be sent again, and count it if so."""
        return self._budget.allow(now, self.requests)

    def _in_order(self, eligible: tuple[Candidate, ...], exchange: Exchange, now: float) -> Iterator[Candidate]:
        return iter(self._policy(eligible, facts_of(exchange), now, self._tools.random))

    def _is_kept(self, exchange: Exchange) -> bool:
        """Return whether a client's cookie keeps it at a backend that is up: it is not sent to another's trial."""
        return self.sticky is not None and self.sticky.kept(self.members.eligible, facts_of(exchange)) is not None

    def _may_be_tried(self, backend: Backend) -> bool:
        return backend.is_serving or not self.members.eligible

    def _ask(self, breaker: Breaker, now: float) -> None:
        pending = sum(backend.candidate.active for backend in self.members.backends)
        self._tell(breaker.tick(now))
        refusal = breaker.admit(now, pending)
        if refusal:
            raise NoBackend(f"circuit breaker of {self.name}: {refusal}", breaker.retry_after_s(now))

    def _pick_in_need(self, exchange: Exchange, now: float, may_wait: bool) -> Backend | None:
        members = self.members
        if may_wait and (members.checking or self.names_unknown):
            self._lobby.enter(exchange, now)
            self.requests -= 1  # It will be counted when it comes again.
            return None
        if members.reserve:
            exchange.choice = "the first tier's checks take long"
            return members.reserve[0].owner
        if self.settings.panic:
            exchange.choice = "no backend is up"
            exchange.candidates = members.by_latest_failure()
            for candidate in exchange.candidates:
                return candidate.owner
        raise NoBackend(f"no backend of {self.name} is up")

    # Learning.

    def replied(self, exchange: Exchange, status: int) -> None:
        """Take note of a reply: called for each if its backend is watched, and always if its status is bad.

        :param status: of the reply.
        """
        backend: Backend = exchange.backend
        now = exchange.replied_at
        transition: Transition | None = None
        if status in _BAD:
            may_eject = self.members.may_eject(backend, self.settings.max_ejected)
            transition = backend.health.request_failed(now, f"status {status}", may_eject, exchange.tried_at)
            if self.breaker is not None:
                self._tell(self.breaker.failed(now, exchange.tried_at))
        else:
            if backend.health.is_watched:
                transition = backend.health.request_succeeded(now, exchange.tried_at)
            self._observe(exchange, now - exchange.leased_at, now)
            if self.breaker is not None:
                self._tell(self.breaker.succeeded(now, exchange.tried_at))
        self._apply(backend, transition, now)

    def try_failed(self, exchange: Exchange, error: ProxyError, now: float) -> None:
        """Take note that a try of an exchange's backend has failed.

        :param now: the moment, in seconds.
        """
        if error.fault is not Fault.UPSTREAM:
            return
        backend: Backend = exchange.backend
        self._observe(exchange, max(_SLOW_S, now - exchange.tried_at), now)
        may_eject = self.members.may_eject(backend, self.settings.max_ejected)
        self._apply(backend, backend.health.request_failed(now, str(error), may_eject, exchange.tried_at), now)

    def _observe(self, exchange: Exchange, seconds: float, now: float) -> None:
        """Tell the policy how long a reply took, if it wants to know and this says anything about the present."""
        backend: Backend = exchange.backend
        if self._observe_latency is not None and exchange.tried_at >= backend.health.since:
            self._observe_latency(backend.candidate, seconds, now)

    def gave_up(self, exchange: Exchange, error: ProxyError, now: float) -> None:
        """Take note that a request has failed for good.

        :param now: the moment, in seconds.
        """
        if self.breaker is not None and error.fault is Fault.UPSTREAM and not isinstance(error, NoBackend):
            self._tell(self.breaker.failed(now, exchange.tried_at))

    def checked(self, backend: Backend, passed: bool, reason: str) -> None:
        """Take note of the result of a check.

        :param reason: why it failed.
        """
        now = self._tools.clock()
        health = backend.health
        self._apply(backend, health.check_passed(now) if passed else health.check_failed(now, reason), now)

    def order(self, backend: Backend, order: Order) -> None:
        """Carry out what the operator wants of a backend.

        :param order: ``serve``, ``drain`` or ``maintain``.
        """
        now = self._tools.clock()
        self._apply(backend, backend.health.order(order, now), now)

    # Members come, go and change.

    def add(self, *backends: Backend) -> None:
        """Take backends in."""
        now = self._tools.clock()
        for backend in backends:
            self.members.add(backend)
            backend.candidate.weight = backend.weight * backend.health.share(now)
            backend.is_watched = backend.health.is_watched or self._watches_all
        self._refresh(True)
        self._plan(now)

    def remove(self, backend: Backend) -> None:
        """Let a backend go: it gets no new requests, and keeps no connection once those under way are done."""
        self.members.remove(backend)
        self._refresh()
        self._relieve(backend, f"{backend.name} was removed")

    def reweigh(self, backend: Backend, weight: int) -> None:
        """Change a backend's share of the requests."""
        backend.weight = weight
        self._settle(backend, self._tools.clock())

    def names_are_known(self) -> None:
        """Take note that one more name of backends was resolved, or cannot be."""
        self.names_unknown -= 1
        self._refresh()

    def deadline_passed(self) -> None:
        """Look after what changes with time alone."""
        now = self._tools.clock()
        for backend in self.members.backends:
            if backend.health.next_change_at <= now:
                transition = backend.health.tick(now)
                if transition is not None:
                    self._apply(backend, transition, now)
                else:
                    self._settle(backend, now)
            if backend.is_serving and backend.pool.limits.min_idle:
                backend.make_idle()
        if self.breaker is not None and self.breaker.next_change_at <= now:
            self._tell(self.breaker.tick(now))
        self._budget.look(now, self.requests)
        self._plan(now)

    def _apply(self, backend: Backend, transition: Transition | None, now: float) -> None:
        """Do what a change of a backend's state asks for; the one place where that is done."""
        if transition is None:
            backend.is_watched = backend.health.is_watched or self._watches_all
            if backend.health.next_change_at < self.deadline:
                self._plan(now)
            return
        self.transitions[backend.name, transition.after] += 1
        emit = log.warn if transition.after in _ALARMING else log.info
        emit(
            "backend {cluster} {name}: {before} -> {after}: {reason}",
            cluster=self.name,
            name=backend.name,
            before=transition.before,
            after=transition.after,
            reason=transition.reason,
        )
        self._settle(backend, now)
        if backend.is_serving or transition.after == "trial":
            backend.candidate.latency_s = 0.0  # However slow it was before it went down, it may not be now.
            backend.keep_idle(True)
        else:
            self._relieve(backend, f"{backend.name} is {transition.after}")

    def _settle(self, backend: Backend, now: float) -> None:
        health, candidate = backend.health, backend.candidate
        weight = backend.weight * health.share(now)
        changed, candidate.weight = candidate.weight != weight, weight
        backend.is_watched = health.is_watched or self._watches_all
        self._refresh(changed)
        self._plan(now)

    def _relieve(self, backend: Backend, why: str) -> None:
        """Take from a backend what another can do: the requests that wait for it, and its idle connections."""
        backend.keep_idle(False)
        if self.members.eligible:
            backend.turn_away(ConnectFailed(why))

    def _refresh(self, weights_changed: bool = False) -> None:
        members = self.members
        members.refresh(weights_changed)
        eligible = members.eligible
        alone = len(eligible) == 1 and not members.trials and not self._choosy
        self._sole = eligible[0].owner if alone else None
        known = not members.checking and not self.names_unknown
        if eligible or known:
            self._lobby.open()
        if known and self._was_served != bool(eligible):
            self._was_served = bool(eligible)
            self._say_whether_served()

    def _say_whether_served(self) -> None:
        if self._was_served:
            log.info("cluster {name}: is served again", name=self.name)
        elif self.settings.panic:
            log.error("cluster {name}: no backend is up; requests try those that failed last", name=self.name)
        else:
            log.error("cluster {name}: no backend is up; requests are refused", name=self.name)

    def _plan(self, now: float) -> None:
        changes = [backend.health.next_change_at for backend in self.members.backends]
        if self.breaker is not None:
            changes.append(self.breaker.next_change_at)
        self.deadline = min([now + _LOOK_S, *changes])
        if self.deadline < self.look_at:
            self._tools.deadlines.watch(self)

    def _tell(self, transition: Transition | None) -> None:
        """Log what the circuit breaker does."""
        if transition is not None:
            self._plan(self._tools.clock())
            emit = log.warn if transition.after == "open" else log.info
            emit(
                "circuit breaker of {name}: {before} -> {after}: {reason}",
                name=self.name,
                before=transition.before,
                after=transition.after,
                reason=transition.reason,
            )

    def __repr__(self) -> str:
        return f"<Cluster {self.name} {self.members!r}>"
