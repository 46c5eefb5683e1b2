"""What has been worked out before is not worked out anew, and what never repeats fills no memory."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Generic, TypeVar

_MOST_SEEN = 4096

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class Memory(Generic[K, T]):
    """Results by what they were made from, kept from the second time on that they were needed.

    :param most: results that are kept; when there would be more, all but the known ones are forgotten.
    :param known: results that are never forgotten.
    :param seen: hashes of what has come once, where several memories share them; at most 4,096.
    """

    __slots__ = ("_known", "_most", "_results", "_seen", "knows", "recall")

    def __init__(self, most: int, known: Mapping[K, T] | None = None, seen: set[int] | None = None) -> None:
        self._most = most
        self._known = known or {}
        self._results: dict[K, T] = dict(self._known)
        # Only hashes: two keys that share one are remembered a little early, and nothing else comes of it.
        self._seen: set[int] = set() if seen is None else seen
        self.recall = self._results.get
        """Return the result that a key has, or None: a method of dict, for it is called for whatever comes."""
        self.knows = self._results.__contains__
        """Return whether a key has a result."""

    def __len__(self) -> int:
        return len(self._results)

    def __iter__(self) -> Iterator[K]:
        """Yield the keys of all results."""
        return iter(self._results)

    def learn(self, key: K, result: T) -> None:
        """Remember a result if its key has been seen before."""
        seen, number = self._seen, hash(key)
        if number not in seen:
            if len(seen) >= _MOST_SEEN:
                seen.clear()
            seen.add(number)
            return
        if len(self._results) >= self._most:
            self.forget()
        self._results[key] = result

    def forget(self) -> None:
        """Keep only what is known anyway."""
        self._results.clear()
        if self._known:
            self._results.update(self._known)
