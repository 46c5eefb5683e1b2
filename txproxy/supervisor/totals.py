"""What all workers have counted together, the dead included."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

MOST_NAMES = 50_000
"""Of one worker's numbers; more are not taken from it. Likewise of those of all that are gone."""
_OF_BACKENDS = ("pool|", "transitions|")
"""How numbers begin of which there may be ever more: the DNS names other servers day by day."""
_LONGEST_NAME = 512
_LARGEST = 1 << 63


class Totals:
    """Sums of numbers that never fall: those of a worker that is gone go on to count."""

    def __init__(self) -> None:
        self._gone: Counter[str] = Counter()
        self._told: dict[int, dict[str, int]] = {}

    def tell(self, worker: int, numbers: Mapping[object, object]) -> None:
        """Take what a worker has counted since it began; numbers that it does not name any more keep their value.

        :param worker: something that no other process has, as its process id.
        :param numbers: by name; what is no number is left out.
        """
        known = self._told.setdefault(worker, {})
        for name, number in numbers.items():
            if not isinstance(name, str) or type(number) is not int or not 0 <= number < _LARGEST:
                continue
            if len(name) <= _LONGEST_NAME and (name in known or len(known) < MOST_NAMES):
                known[name] = max(number, known.get(name, 0))

    def ended(self, worker: int) -> None:
        """Take note that a worker is gone."""
        self._gone.update(self._told.pop(worker, {}))
        if len(self._gone) > MOST_NAMES:
            self._forget_backends()

    def _forget_backends(self) -> None:
        """Forget what was counted of backends that no worker names any more, the longest known first."""
        named = set().union(*self._told.values())
        old = [name for name in self._gone if name.startswith(_OF_BACKENDS) and name not in named]
        for name in old[: len(self._gone) - MOST_NAMES]:
            del self._gone[name]

    def add(self, numbers: Mapping[str, int]) -> None:
        """Count what no worker did."""
        self._gone.update(numbers)

    def numbers(self) -> dict[str, int]:
        """Return the sums by name."""
        sums = Counter(self._gone)
        for numbers in self._told.values():
            sums.update(numbers)
        return dict(sums)
