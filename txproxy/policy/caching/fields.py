"""Fields that the proxy itself does not act on, found by name (RFC 9110 section 5.3)."""

from __future__ import annotations

from txproxy.wire.fields import Field


def values_of(fields: list[Field], lower_name: bytes) -> list[bytes]:
    """Return the values of all fields of one name, in order.

    :param lower_name: the name in lower case.
    """
    # The length first: it is right for few of a head's names, and costs nothing to look at.
    length = len(lower_name)
    return [value for name, value in fields if len(name) == length and name.lower() == lower_name]


def joined(fields: list[Field], lower_name: bytes) -> bytes | None:
    """Return the values of all fields of one name, joined by commas, or None if there are none.

    :param lower_name: the name in lower case, of a field whose value is a list.
    """
    values = values_of(fields, lower_name)
    if len(values) < 2:
        return values[0] if values else None
    return b", ".join(values)


def sole_value(fields: list[Field], lower_name: bytes) -> bytes | None:
    """Return the value of a field that may stand only once; None without it, and if it is repeated.

    :param lower_name: the name in lower case.
    """
    values = values_of(fields, lower_name)
    return values[0] if len(values) == 1 else None


def has_field(fields: list[Field], lower_name: bytes) -> bool:
    """Return whether there is a field of a name, be its value empty.

    :param lower_name: the name in lower case.
    """
    return bool(values_of(fields, lower_name))


class FieldTable:
    """The fields of one head by name: for those who ask for many names, so that the head is gone over once.

    :param fields: that do not change as long as this is used.
    """

    __slots__ = ("_repeated", "joined")

    def __init__(self, fields: list[Field]) -> None:
        values = {name.lower(): value for name, value in fields}
        self._repeated: frozenset[bytes] = _NO_NAMES
        if len(values) < len(fields):
            lists: dict[bytes, list[bytes]] = {}
            for name, value in fields:
                lists.setdefault(name.lower(), []).append(value)
            self._repeated = frozenset(name for name, found in lists.items() if len(found) > 1)
            values = {name: b", ".join(found) for name, found in lists.items()}
        self.joined = values.get
        """Return what ``joined`` does for a name in lower case: a method of dict, for it is called so often."""

    def sole_value(self, lower_name: bytes) -> bytes | None:
        """Return what ``sole_value`` does."""
        return None if lower_name in self._repeated else self.joined(lower_name)

    def has_field(self, lower_name: bytes) -> bool:
        """Return what ``has_field`` does."""
        return self.joined(lower_name) is not None


_NO_NAMES: frozenset[bytes] = frozenset()
