"""A named set of backends: what is learned from how tries and checks end, and what follows from it.

Which backend a request tries is the other half: ``upstream/choosing``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from txproxy.errors import Fault, NoBackend, ProxyError
from txproxy.exchange import Exchange
from txproxy.observe.log import Logger
from txproxy.policy.balancing.policy import Policy
from txproxy.policy.breaker import Breaker
from txproxy.policy.deadlines import NEVER
from txproxy.policy.health import Order, Transition
from txproxy.policy.retry_budget import RetryBudget
from txproxy.upstream.backend import Backend
from txproxy.upstream.choosing import Choosing, ClusterSettings, ClusterTools

log = Logger()

_LOOK_S = 1.0
"""How often a cluster looks after itself while nothing happens."""
_BAD = frozenset((502, 503, 504))
"""Statuses by which a backend says that it cannot serve."""
_SLOW_S = 1.0
"""What a failed try counts as where replies are timed, if it took less."""
_ALARMING = ("down", "ejected")


class Cluster(Choosing):
    """Keeps up with what becomes of its backends.

    :param name: see ``Choosing``; likewise the others.
    """

    def __init__(
        self, name: str, settings: ClusterSettings, policy: Policy, breaker: Breaker | None, tools: ClusterTools
    ) -> None:
        super().__init__(name, settings, policy, breaker, tools)
        self.transitions: Counter[tuple[str, str]] = Counter()
        """Changes of state, by backend and the state that it came to."""
        self.makes_idle = True
        """Connections are made in advance, where the pool is to have some; False if nothing new is to come."""
        self.on_transition: Callable[[Backend, Transition], None] | None = None
        """Told of the changes of state that were found out here, not of those that ``told`` has brought."""
        self.speaks = True
        """What comes to all processes alike, as orders and the ends of ejections, is logged and counted here; False if
        another process does that."""
        self.deadline = self.look_at = NEVER
        self._was_served = True

    def _use(self, policy: Policy) -> None:
        super()._use(policy)
        breaker = self.breaker
        self._observe_latency = getattr(policy, "observe_latency", None)
        self._watches_all = self._observe_latency is not None or (breaker is not None and breaker.is_counting)

    @property
    def backends(self) -> tuple[Backend, ...]:
        """All backends, whatever their state."""
        return self.members.backends

    # Learning.

    def replied(self, exchange: Exchange, status: int) -> None:
        """Take note of a reply: called for each if its backend is watched, and always if its status is bad.

        :param status: of the reply.
        """
        backend: Backend = exchange.backend
        now = exchange.replied_at
        transition: Transition | None = None
        if status in _BAD:
            exchange.was_bad = True
            may_eject = self.members.may_eject(backend, self.settings.max_ejected)
            transition = backend.health.request_failed(now, f"status {status}", may_eject, exchange.tried_at)
            if self.breaker is not None:
                self._tell(self.breaker.failed(now, exchange.admitted_at))
        else:
            if backend.health.is_watched and not backend.cuts:
                transition = backend.health.request_succeeded(now, exchange.tried_at)
            self._observe(exchange, now - exchange.leased_at, now)
            if self.breaker is not None:
                self._tell(self.breaker.answered(now, exchange.admitted_at))
        self._apply(backend, transition, now)

    def completed(self, exchange: Exchange, now: float) -> None:
        """Take note that a reply came to its end; called if its backend is watched.

        :param now: the moment, in seconds.
        """
        backend: Backend = exchange.backend
        if exchange.was_bad:
            return
        if self.breaker is not None:
            self._tell(self.breaker.succeeded(now, exchange.admitted_at))
        # From one that breaks its replies off, only a whole one is a success: a good head says nothing.
        if backend.cuts:
            backend.cuts = 0
            self._apply(backend, backend.health.request_succeeded(now, exchange.tried_at), now)

    def connected(self, exchange: Exchange, now: float) -> None:
        """Take note that a backend has accepted a connection for raw bytes: no more can be known of how it does.

        :param now: the moment, in seconds.
        """
        backend: Backend = exchange.backend
        if not backend.is_watched:
            return
        transition: Transition | None = None
        if backend.health.is_watched:
            transition = backend.health.request_succeeded(now, exchange.tried_at)
        self._observe(exchange, now - exchange.tried_at, now)
        if self.breaker is not None:
            self._tell(self.breaker.answered(now, exchange.admitted_at))
            self._tell(self.breaker.succeeded(now, exchange.admitted_at))
        self._apply(backend, transition, now)

    def try_failed(self, exchange: Exchange, error: ProxyError, now: float) -> None:
        """Take note that a try of an exchange's backend has failed.

        :param now: the moment, in seconds.
        """
        if error.fault is not Fault.UPSTREAM:
            return
        backend: Backend = exchange.backend
        if exchange.reply is not None:
            backend.cuts += 1
            if exchange.was_bad:
                return  # It was counted by its status.
        self._observe(exchange, max(_SLOW_S, now - exchange.tried_at), now)
        may_eject = self.members.may_eject(backend, self.settings.max_ejected)
        self._apply(backend, backend.health.request_failed(now, str(error), may_eject, exchange.tried_at), now)

    def _observe(self, exchange: Exchange, seconds: float, now: float) -> None:
        """Tell the policy how long a reply took, if it wants to know and this says anything about the present."""
        backend: Backend = exchange.backend
        if self._observe_latency is None or exchange.tried_at < backend.health.since:
            return
        try:
            self._observe_latency(backend.candidate, seconds, now)
        except Exception:
            # It may be a user's. The request is served all the same, and the log has this once.
            self._observe_latency = None
            log.failure("the policy of {name} raised when it was told of a reply; it is told no more", name=self.name)

    def gave_up(self, exchange: Exchange, error: ProxyError, now: float) -> None:
        """Take note that a request has failed for good.

        :param now: the moment, in seconds.
        """
        if self.breaker is None:
            return
        if error.fault is not Fault.UPSTREAM or isinstance(error, NoBackend):
            self.withdrew(exchange)
        elif not exchange.was_bad:  # Else it was counted by its status.
            was_answered = exchange.reply is not None
            self._tell(self.breaker.failed(now, exchange.admitted_at, was_answered))

    def checked(self, backend: Backend, passed: bool, reason: str) -> None:
        """Take note of the result of a check.

        :param reason: why it failed.
        """
        now = self._tools.clock()
        health = backend.health
        self._apply(backend, health.check_passed(now) if passed else health.check_failed(now, reason), now)

    def told(self, backend: Backend, state: str, reason: str, ejections: int) -> None:
        """Take over what another process has found out of a backend; the last that serves is ejected by none of them.

        :param state: see ``Health.told``, likewise the others.
        """
        health, now = backend.health, self._tools.clock()
        if (
            state == "ejected"
            and health.state == "up"
            and not self.members.may_eject(backend, self.settings.max_ejected)
        ):
            return
        self._apply(backend, health.told(state, reason, now, ejections), now, is_told=True)

    def order(self, backend: Backend, order: Order) -> None:
        """Carry out what the operator wants of a backend.

        :param order: ``serve``, ``drain`` or ``maintain``.
        """
        now = self._tools.clock()
        self._apply(backend, backend.health.order(order, now), now, is_told=not self.speaks)

    # The configuration changes.

    def change(self, settings: ClusterSettings, policy: Policy | None) -> None:
        """Take other settings from here on.

        :param policy: another one, or None to keep the present one with all that it has learned.
        """
        if settings == self.settings and policy is None:
            return
        if settings.retry != self.settings.retry:
            self._budget = RetryBudget(settings.retry.budget, settings.retry.min_per_s)
        self._lobby.change(settings.queue, settings.queue_timeout_s)
        self.settings = settings
        if policy is not None:
            self._use(policy)
            self._sole = None
        self.look_anew()

    def look_anew(self) -> None:
        """Take note that something about its backends has changed that only they know."""
        now = self._tools.clock()
        for backend in self.members.backends:
            self._weigh(backend, now)
        self._refresh(True)

    def follow(self, before: Cluster) -> None:
        """Begin with what is known of the same servers as backends of another cluster.

        :param before: the other one.
        """
        now = self._tools.clock()
        known = {backend.name: backend for backend in before.backends}
        for backend in self.members.backends:
            if backend.name in known:
                backend.health.follow(known[backend.name].health, now)
        self.look_anew()
        self._plan(now)

    # Members come, go and change.

    def add(self, *backends: Backend) -> None:
        """Take backends in."""
        now = self._tools.clock()
        for backend in backends:
            self.members.add(backend)
            self._weigh(backend, now)
        self._refresh(True)
        self._plan(now)

    def remove(self, backend: Backend) -> None:
        """Let a backend go: it gets no new requests, and keeps no connection once those under way are done."""
        self.members.remove(backend)
        for key in [key for key in self.transitions if key[0] == backend.name]:
            del self.transitions[key]
        self._refresh()
        self._relieve(backend)

    def reweigh(self, backend: Backend, weight: int) -> None:
        """Change a backend's share of the requests."""
        backend.weight = weight
        if self._weigh(backend, self._tools.clock()):
            self._refresh(True)

    def names_are_unknown(self) -> None:
        """Take note that there is one more name of backends that has to be resolved."""
        self._names_unknown += 1

    def names_are_known(self) -> None:
        """Take note that a name of backends was resolved, or cannot be."""
        self._names_unknown -= 1
        self._refresh()

    def deadline_passed(self) -> None:
        """Look after what changes with time alone."""
        now = self._tools.clock()
        changed = False
        transitions = []
        for backend in self.members.backends:
            if backend.health.next_change_at <= now:
                transition = backend.health.tick(now)
                changed = self._weigh(backend, now) or changed
                if transition is not None:
                    transitions.append((backend, transition))
        if changed or transitions:
            self._refresh(True)
        for backend, transition in transitions:
            self._carry_out(backend, transition, is_told=not self.speaks)
        if self.breaker is not None and self.breaker.next_change_at <= now:
            self._tell(self.breaker.tick(now))
        self.make_idle()
        self._budget.look(now, self.requests)
        self._plan(now)

    def make_idle(self) -> None:
        """Make the connections that are to be there in advance."""
        for backend in self.members.backends:
            if self.makes_idle and backend.is_serving and backend.pool.limits.min_idle:
                backend.make_idle()

    def _apply(self, backend: Backend, transition: Transition | None, now: float, is_told: bool = False) -> None:
        """Do what a change of one backend's state asks for.

        :param is_told: another process has found out.
        """
        if not backend.is_member:
            return
        self._weigh(backend, now)
        if transition is not None:
            self._refresh(True)
            self._carry_out(backend, transition, is_told)
        if min(backend.health.next_change_at, now + _LOOK_S) < self.deadline:
            self._plan(now)

    def _weigh(self, backend: Backend, now: float) -> bool:
        """Bring up to date what a backend's health means for the policy; return whether its weight has changed."""
        health, candidate = backend.health, backend.candidate
        backend.is_watched = health.is_watched or self._watches_all
        weight = backend.weight * health.share(now)
        changed, candidate.weight = candidate.weight != weight, weight
        return changed

    def _carry_out(self, backend: Backend, transition: Transition, is_told: bool = False) -> None:
        """Log and count a change of state, and do with the backend's connections what it asks for."""
        if is_told:
            emit = log.debug  # Whoever found it out has logged and counted it.
        else:
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
        if backend.is_serving or transition.after == "trial":
            backend.candidate.latency_s = 0.0  # However slow it was before it went down, it may not be now.
            backend.keep_idle(self.makes_idle)
        else:
            self._relieve(backend)
        if self.on_transition is not None and not is_told:
            self.on_transition(backend, transition)

    def _relieve(self, backend: Backend) -> None:
        """Take from a backend what another can do: the requests that wait for it, and its idle connections."""
        backend.keep_idle(False)
        if self.members.eligible or self.members.reserve:
            backend.turn_away()

    def _refresh(self, weights_changed: bool = False) -> None:
        members = self.members
        was_in_need = not members.eligible
        members.refresh(weights_changed)
        eligible = members.eligible
        alone = len(eligible) == 1 and not members.trials and not self._is_choosy
        self._sole = eligible[0].owner if alone else None
        known = not members.checking and not self._names_unknown
        if eligible or known:
            self._lobby.open()
        if eligible and was_in_need:
            # What waits at backends that are down, for want of a better one, has a better one now.
            for backend in members.backends:
                if not backend.is_serving and backend.pool.waiting:
                    backend.turn_away()
        if known and self._was_served != bool(eligible):
            self._was_served = bool(eligible)
            self._say_whether_served()

    def _say_whether_served(self) -> None:
        members = self.members
        if self._was_served:
            log.info("cluster {name}: is served again", name=self.name)
        elif self.settings.panic and members.by_latest_failure():
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

    def __repr__(self) -> str:
        return f"<Cluster {self.name} {self.members!r}>"
