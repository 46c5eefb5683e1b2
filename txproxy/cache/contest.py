"""Which of several replies to one URL is the newer one, where fetches end in another order than they began."""

from __future__ import annotations

from typing import NamedTuple

from txproxy.cache.entry import Entry

_MOST_CONTESTED = 256


class _Shown(NamedTuple):
    """What fetches have shown of one key. They have numbers, in the order in which they began."""

    floor: int = 0
    """What is older may not be stored, whatever it varies by."""
    names: tuple[bytes, ...] = ()
    """By what that varies which is stored."""
    newest: int = 0
    """The newest fetch that has brought some of that."""


_NOTHING = _Shown()


class Contest:
    """What fetches of one URL have shown, as far as older ones that are under way can contest it.

    Variants by the same fields may be stored in any order, one that varies by others takes the place of them all, and
    what may not be stored has no place: so for each key the fields of the newest count, and for each variant its own
    fetch. Nothing here holds a key, only its hash: where two share one, something older is not stored, and that is all.
    """

    __slots__ = ("_floor", "_keys", "_variants")

    def __init__(self) -> None:
        self._keys: dict[int, _Shown] = {}
        self._variants: dict[int, int] = {}
        """The newest fetches that have brought them."""
        self._floor = 0
        """What is older than this is not stored: what it would take the place of is not known any more."""

    def __len__(self) -> int:
        return len(self._keys) + len(self._variants)

    def takes(self, number: int, entry: Entry, is_oldest: bool) -> bool:
        """Return whether a reply is newer than what it would take the place of, and take note of it.

        :param number: of the fetch that has brought it.
        :param is_oldest: no fetch is under way that could contest it.
        """
        names, what = entry.variant.names, hash((entry.key, entry.variant))
        shown = self._keys.get(hash(entry.key), _NOTHING)
        floor = shown.floor if names == shown.names else max(shown.floor, shown.newest)
        if number < max(self._floor, floor, self._variants.get(what, 0)):
            return False
        if not is_oldest:
            self._show(entry.key, _Shown(floor, names, max(number, shown.newest)))
            self._variants[what] = number
            if len(self._variants) > _MOST_CONTESTED:
                self._floor = max(self._floor, self._variants.pop(next(iter(self._variants))))
        return True

    def rule_out_older(self, number: int, key: bytes) -> None:
        """Have nothing of a key stored that is older than a fetch: it has brought what may not be stored."""
        shown = self._keys.get(hash(key), _NOTHING)
        self._show(key, shown._replace(floor=max(number, shown.floor)))

    def _show(self, key: bytes, shown: _Shown) -> None:
        self._keys[hash(key)] = shown
        if len(self._keys) > _MOST_CONTESTED:
            lost = self._keys.pop(next(iter(self._keys)))
            self._floor = max(self._floor, lost.floor, lost.newest)
