"""The backends of a cluster in their tiers, and which of them may be sent requests now."""

from __future__ import annotations

from txproxy.policy.candidate import Candidate
from txproxy.upstream.backend import Backend

_PASSED_OVER = ("draining", "maintenance")


class Members:
    """What it shows is made anew by ``refresh``, on changes only, so that choosing a backend looks at nothing else."""

    def __init__(self) -> None:
        self.backends: tuple[Backend, ...] = ()
        self.eligible: tuple[Candidate, ...] = ()
        """Of the first tier, or the backups if none of the first can serve; the same tuple until something changes."""
        self.reserve: tuple[Candidate, ...] = ()
        """Backups that could serve, if the first tier does or may yet."""
        self.trials: list[Backend] = []
        """Backends that are to be tried by one request."""
        self.checking = 0
        """Backends of which nothing is known yet."""
        self.ejected = 0
        self._has_served = False

    def add(self, backend: Backend) -> None:
        """Take a backend in."""
        self.backends = (*self.backends, backend)
        backend.is_member = True

    def remove(self, backend: Backend) -> None:
        """Let a backend go."""
        self.backends = tuple(each for each in self.backends if each is not backend)
        backend.is_serving = backend.is_member = False

    def refresh(self, weights_changed: bool = False) -> None:
        """Look at every backend's state anew.

        :param weights_changed: those who are eligible are to be told apart from before, even if they are the same.
        """
        tiers: tuple[list[Candidate], list[Candidate]] = ([], [])
        trials: tuple[list[Backend], list[Backend]] = ([], [])
        self.checking = self.ejected = 0
        for backend in self.backends:
            state = backend.health.state
            tier = backend.identity.is_backup
            backend.is_serving = state == "up"
            if state == "up":
                tiers[tier].append(backend.candidate)
            elif state == "trial":
                trials[tier].append(backend)
                self.ejected += 1
            elif state == "ejected":
                self.ejected += 1
            elif state == "checking":
                self.checking += 1
        first, backups = tuple(tiers[0]), tuple(tiers[1])
        if not first and not self._has_served and self._all_are_checking():
            # Backups are not in need because their checks end first.
            eligible: tuple[Candidate, ...] = ()
        else:
            eligible = first or backups
        self._has_served = self._has_served or bool(eligible)
        if weights_changed or eligible != self.eligible:
            self.eligible = eligible
        self.reserve = () if eligible is backups else backups
        self.trials = trials[0] or ([] if first else trials[1])

    def _all_are_checking(self) -> bool:
        states = {backend.health.state for backend in self.backends if not backend.identity.is_backup}
        return states == {"checking"}

    def may_eject(self, backend: Backend, most_ejected: float) -> bool:
        """Return whether a backend may be ejected: never the last that serves, and not too many at once.

        :param most_ejected: part of all backends, 0 to 1.
        """
        if (self.ejected + 1) > most_ejected * len(self.backends):
            return False
        return any(each.is_serving and each is not backend for each in self.backends)

    def take_trial(self, now: float, idempotent: bool) -> Backend | None:
        """Return a backend that this request is to try, or None.

        :param now: the moment, in seconds.
        :param idempotent: the request could be sent again.
        """
        for backend in self.trials:
            if not backend.pool.is_full and backend.health.take_trial(now, idempotent):
                return backend
        return None

    def may_be_asked_in_need(self, backend: Backend) -> bool:
        """Return whether a backend that is not up may be asked if none is: not against the operator's will."""
        return backend.is_member and backend.health.state not in _PASSED_OVER

    def by_latest_failure(self) -> list[Candidate]:
        """Return those that are down, for a request that has no other choice: the one that failed last comes first.

        One that failed a moment ago was alive until then; one that failed long ago has been dead for long. Backups
        come last.
        """
        down = [backend for backend in self.backends if self.may_be_asked_in_need(backend)]
        down.sort(key=lambda backend: (backend.identity.is_backup, -backend.health.last_failure_at))
        return [backend.candidate for backend in down]

    def __repr__(self) -> str:
        return f"<Members {len(self.eligible)} of {len(self.backends)} eligible>"
