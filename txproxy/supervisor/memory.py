"""What a worker has to be told when it begins, because the others know it already."""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import Any, NamedTuple

ORDERS = ("drain", "maintain", "serve", "set_weight", "add", "remove")
"""Calls of a ``Roster`` that are made in all workers."""
_STATES = ("serve", "drain", "maintain")
_MOST_VERDICTS = 20_000
"""Backends that are remembered; worker by worker far fewer are configured."""


_LONGEST = 1000
_MOST_EJECTIONS = 1 << 20


class Verdict(NamedTuple):
    """What a worker has found out of a backend."""

    cluster: str
    backend: str
    state: str
    """``up``, ``down`` or ``ejected``."""
    reason: str
    ejections: int = 1
    """The number of an ejection in its series."""
    lasts_s: float = 0.0
    """How long an ejection lasts."""


def verdict_of(value: object) -> Verdict | None:
    """Return the verdict that a message has; None if it has none that may be one.

    :param value: what JSON has become.
    """
    if not isinstance(value, list) or len(value) != len(Verdict._fields):
        return None
    cluster, backend, state, reason, ejections, lasts_s = value
    if not all(isinstance(text, str) and len(text) <= _LONGEST for text in value[:4]):
        return None
    if type(ejections) is not int or type(lasts_s) not in (int, float):
        return None
    return Verdict(cluster, backend, state, reason, min(max(ejections, 1), _MOST_EJECTIONS), lasts_s)


class Verdicts:
    """The last verdict of each backend."""

    def __init__(self) -> None:
        self._verdicts: dict[tuple[str, str], tuple[Verdict, float]] = {}

    def take(self, verdict: Verdict, now: float) -> None:
        """Remember a verdict.

        :param now: the moment, in seconds.
        """
        key = verdict.cluster, verdict.backend
        if key in self._verdicts or len(self._verdicts) < _MOST_VERDICTS:
            self._verdicts[key] = verdict, now

    def keep_only(self, clusters: Container[str]) -> None:
        """Forget all other clusters."""
        self._verdicts = {key: each for key, each in self._verdicts.items() if key[0] in clusters}

    def standing(self, now: float) -> list[Verdict]:
        """Return the verdicts that still hold: an ejection that is over does not.

        :param now: the moment, in seconds.
        """
        return [
            verdict
            for verdict, since in self._verdicts.values()
            if verdict.state != "ejected" or now < since + verdict.lasts_s
        ]


class Order(NamedTuple):
    """What the operator wants of a cluster."""

    cluster: str
    call: str
    """One of ``ORDERS``."""
    arguments: tuple[Any, ...]
    """The first is a backend's name or address."""


class Orders:
    """The orders that have to be repeated to a worker that begins, so that it comes to where the others are."""

    def __init__(self) -> None:
        self._orders: list[Order] = []

    def take(self, order: Order) -> None:
        """Remember an order that was carried out, and forget those that it makes void."""
        cluster, call, arguments = order
        of_it = [each for each in self._orders if each.cluster == cluster and each.arguments[0] == arguments[0]]
        if call == "remove":
            # What was done to it is gone with it. Who is of the configuration is there again in each new worker.
            was_added = [each.call for each in of_it if each.call in ("add", "remove")][:1] == ["add"]
            void, is_kept = of_it, not was_added
        elif call == "add":
            void, is_kept = [], True
        else:
            alike = _STATES if call in _STATES else (call,)
            void = [each for each in of_it if each.call in alike]
            is_kept = call != "serve"
        self._orders = [each for each in self._orders if not any(each is gone for gone in void)]
        if is_kept:
            self._orders.append(order)

    def keep_only(self, clusters: Container[str]) -> None:
        """Forget all other clusters."""
        self._orders = [each for each in self._orders if each.cluster in clusters]

    def __iter__(self) -> Iterator[Order]:
        return iter(list(self._orders))
