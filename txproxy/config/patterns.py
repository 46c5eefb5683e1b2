"""Patterns of key paths: which keys of a configuration are meant by one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from txproxy.config.problems import KeyPath

Raw = Mapping[str, object]


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
