"""What nothing serves yet: such keys are refused, never ignored.

A key that is refused may still be written with the value that means "off", if that is also its default.
To serve a key, take its line out of the table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from txproxy.config.problems import Finding, KeyPath, format_path, shown

Raw = Mapping[str, object]
Refuse = Callable[[object], bool]


def present(_value: object) -> bool:
    """Refuse any value: the default means something that is not there yet, or the section switches something on."""
    return True


def on(value: object) -> bool:
    """Refuse any value but those that mean "off": false, 0, and empty strings, arrays and tables."""
    return bool(value)


def _several_workers(value: object) -> bool:
    return type(value) is int and value != 1


def _from_systemd(value: object) -> bool:
    return isinstance(value, str) and value.startswith("systemd:")


class _NotYet(NamedTuple):
    pattern: str
    """Key path with ``*`` for any key and ``[*]`` for any index."""
    refuse: Refuse = on
    served: str = ""
    """What can be written instead, for the message."""


NOT_YET = (
    _NotYet("proxy.workers", _several_workers, "1"),
    _NotYet("proxy.user"),
    _NotYet("proxy.group"),
    _NotYet("admin", present),
    _NotYet("listener[*].address", _from_systemd, "HOST:PORT, [IPV6]:PORT, unix:/PATH"),
    _NotYet("stage.*", present),
)


def check_support(raw: Raw) -> list[Finding]:
    """Return a finding for every key whose value asks for something that nothing serves yet.

    :param raw: the configuration in the shape of TOML, of any types.
    """
    return [
        Finding(path, _message(path, value, row.served))
        for row in NOT_YET
        for path, value in matches(raw, row.pattern)
        if row.refuse(value)
    ]


def matches(raw: object, pattern: str) -> Iterator[tuple[KeyPath, object]]:
    """Yield every key path that matches a pattern, with its value.

    :param raw: the configuration in the shape of TOML, of any types.
    :param pattern: keys with dots between them, ``*`` for any key and ``[*]`` behind a key for any index.
    """
    return _matches(raw, pattern.replace("[*]", ".[*]").split("."), ())


def _matches(value: object, parts: list[str], path: KeyPath) -> Iterator[tuple[KeyPath, object]]:
    if not parts:
        yield path, value
    elif parts[0] == "[*]":
        if isinstance(value, list | tuple):
            for index, element in enumerate(value):
                yield from _matches(element, parts[1:], (*path, index))
    elif isinstance(value, Mapping):
        for key in list(value) if parts[0] == "*" else [parts[0]]:
            if key in value:
                yield from _matches(value[key], parts[1:], (*path, key))


def _message(path: KeyPath, value: object, served: str) -> str:
    key = path[-1]
    what = f"[{format_path(path)}]" if isinstance(value, Mapping) else str(key)
    if isinstance(value, str | int | float):
        what = shown(value) if isinstance(key, int) else f"{key} = {shown(value)}"
    return f"{what} is not supported yet" + (f" (allowed: {served})" if served else "")
