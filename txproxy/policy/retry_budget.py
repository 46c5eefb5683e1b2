"""How many retries a cluster may add to its load: when everything fails, retries must not make it worse."""

from __future__ import annotations

from collections import deque

WINDOW_S = 10
"""Seconds over which retries are compared with requests."""


class _Second:
    """What is known of one second."""

    __slots__ = ("number", "requests_before", "retries")

    def __init__(self, number: int, requests_before: int) -> None:
        self.number = number
        self.requests_before = requests_before
        self.retries = 0


class RetryBudget:
    """The budget of one cluster.

    :param budget: part of the requests of the last ``WINDOW_S`` seconds, 0 to 1, that may be retries.
    :param min_per_s: retries per second, over as long, that are allowed whatever that comes to.
    """

    def __init__(self, budget: float, min_per_s: float) -> None:
        self._budget = budget
        self._least = min_per_s * WINDOW_S
        self._seconds: deque[_Second] = deque()
        self._retries = 0

    def look(self, now: float, requests_total: int) -> None:
        """Note how many requests there have been; to be called about once a second.

        Between two calls nothing is known: after a long pause only the least is allowed until more has been seen.

        :param now: seconds of the monotonic clock.
        :param requests_total: requests of the cluster since its start.
        """
        number = int(now)
        seconds = self._seconds
        # The second that is going on, and the whole ones before it: no stretch of WINDOW_S that ends now holds more.
        while seconds and seconds[0].number < number - WINDOW_S:
            self._retries -= seconds.popleft().retries
        if not seconds or seconds[-1].number < number:
            seconds.append(_Second(number, requests_total))

    def allow(self, now: float, requests_total: int) -> bool:
        """Return whether a retry may be made; it is counted then.

        :param now: see ``look``, as the other one.
        """
        self.look(now, requests_total)
        requests = requests_total - self._seconds[0].requests_before
        if self._retries + 1 > max(self._least, self._budget * requests):
            return False
        self._seconds[-1].retries += 1
        self._retries += 1
        return True
