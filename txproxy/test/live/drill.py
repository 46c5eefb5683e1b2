"""The failure drill: steady traffic while backends are killed, frozen, thawed and brought back; and what is told of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from .farm import Farm, Member
from .load import Load, Outcome

SLOW_S = 1.0
"""A request above this had to wait for the frozen backend."""

_WINDOW_S = 0.2
_SHARE = 0.5


class Plan(NamedTuple):
    """When what happens, in seconds after the first request; three backends, of which the last is left alone."""

    rate: float = 500
    """Requests per second."""
    kill_s: float = 4
    """The first backend is killed."""
    restart_s: float = 5.5
    """It comes back."""
    freeze_s: float = 8
    """The second backend is frozen."""
    thaw_s: float = 13
    """It goes on."""
    bounce_s: float = 15.5
    """The second backend is killed and brought back at once."""
    end_s: float = 20


class Return(NamedTuple):
    """How long it took until a backend had its share of the traffic again."""

    what: str
    took_s: float
    """From the moment at which it could serve; infinite if it never had."""


class Drilled:
    """What a drill showed.

    :param farm: its three backends, with the records of this drill only.
    :param outcomes: of all requests.
    :param frozen: who was frozen, and when that began and ended.
    :param returned: what came back, which backend that is, and since when it could serve.
    """

    def __init__(
        self,
        farm: Farm,
        rate: float,
        outcomes: list[Outcome],
        frozen: tuple[Member, float, float],
        returned: Iterable[tuple[str, Member, float]],
    ) -> None:
        self.outcomes = outcomes
        victim, began, ended = frozen
        self._freeze = began, ended
        due = {one.id: one.due_s for one in outcomes}
        hit = [due[seen.id] for seen in victim.requests() if began <= due[seen.id] <= ended]
        self.left_alone_s = max(hit, default=began) - began
        """How long after it froze the last request went to the frozen backend, as it found in its sockets later."""
        fair = rate / len(farm.members)
        self.returns = [
            Return(what, _time_until_share([due[seen.id] for seen in member.requests()], since, fair) - since)
            for what, member, since in returned
        ]
        self.seen_twice = sorted(id for id, count in farm.sightings().items() if count > 1)
        """Ids of requests that were read more than once, whoever read them."""

    @property
    def failed(self) -> list[Outcome]:
        """Requests without a 200."""
        return [one for one in self.outcomes if one.status != 200]

    @property
    def unanswered(self) -> list[Outcome]:
        """Requests without any complete reply."""
        return [one for one in self.outcomes if not one.answered]

    @property
    def statuses(self) -> Counter[int]:
        """How many replies there were of each status; 0 for none."""
        return Counter(one.status for one in self.outcomes)

    def _in_freeze(self, one: Outcome) -> bool:
        return self._freeze[0] <= one.due_s <= self._freeze[1]

    @property
    def slow_in_freeze(self) -> int:
        """How many requests that were due during the freeze took more than a second."""
        return sum(self._in_freeze(one) and one.latency_s > SLOW_S for one in self.outcomes)

    def latency_s(self, share: float) -> float:
        """Return a percentile of the times of requests that were due outside the freeze."""
        times = sorted(one.latency_s for one in self.outcomes if not self._in_freeze(one))
        return times[min(len(times) - 1, int(share * len(times)))]


def _time_until_share(due_s: list[float], since_s: float, fair: float) -> float:
    """Return the moment from which a backend had at least half of its fair share for a while.

    Only requests that were due later count: a backend that thaws also reads those that were waiting in its sockets.
    """
    times = sorted(one for one in due_s if one >= since_s)
    needed = max(1, int(_SHARE * fair * _WINDOW_S))
    for first, last in zip(times, times[needed - 1 :], strict=False):
        if last - first <= _WINDOW_S:
            return first
    return float("inf")


def drill(farm: Farm, port: int, method: str, plan: Plan) -> Drilled:
    """Run a drill as planned.

    :param farm: three running backends that have seen no request yet.
    :param port: the proxy's.
    """
    first, second, _ = farm.members
    with Load(port, plan.rate, plan.end_s, method) as load:
        load.sleep_until(plan.kill_s)
        first.kill()
        load.sleep_until(plan.restart_s)
        restarted = first.start()
        load.sleep_until(plan.freeze_s)
        second.freeze()
        frozen = time.monotonic()
        load.sleep_until(plan.thaw_s)
        second.thaw()
        thawed = time.monotonic()
        load.sleep_until(plan.bounce_s)
        second.kill()
        bounced = second.start()
        outcomes = load.finish(early=False)
    returned = (
        ("restart after a kill", first, restarted),
        ("thaw", second, thawed),
        ("restart at once", second, bounced),
    )
    return Drilled(farm, plan.rate, outcomes, (second, frozen, thawed), returned)
