"""The effective configuration as TOML with every default, and its JSON Schema."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from txproxy.config.expand import escape, is_secret
from txproxy.config.model import Config
from txproxy.config.problems import KeyPath, format_key, format_path, starts_with
from txproxy.config.support import check_support

_MASK = "***"


def dump(config: Config) -> str:
    """Return the effective configuration as TOML.

    Every key is there with its value or default. Secrets are masked. A key that nothing serves yet is a comment, and
    included files are part of the whole, so the text can be loaded again.
    """
    tables = config.model_dump(by_alias=True, exclude_none=True)
    tables["include"] = ()
    refused = [finding.path for finding in check_support(tables)]
    return "\n".join(_Writer(refused).table(tables, ())).lstrip("\n") + "\n"


def schema() -> dict[str, Any]:
    """Return the JSON Schema of the configuration, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema(by_alias=True)}


class _Writer:
    """Writes tables as TOML.

    :param refused: the key paths to be written as comments.
    """

    def __init__(self, refused: list[KeyPath]) -> None:
        self._refused = refused

    def table(self, table: Mapping[str, Any], path: KeyPath) -> Iterator[str]:
        """Yield the lines of a table: plain values first, since a header would end them."""
        later: list[tuple[str, Any]] = []
        for key, value in table.items():
            if isinstance(value, Mapping) or (not path and _is_array_of_tables(value)):
                later.append((key, value))
            else:
                yield self._value_line((*path, key), value)
        for key, value in later:
            at = (*path, key)
            if isinstance(value, Mapping):
                if not value or not all(isinstance(part, Mapping) for part in value.values()):
                    yield ""
                    yield self._line(at, f"[{format_path(at)}]")
                yield from self.table(value, at)
            else:
                for index, element in enumerate(value):
                    yield ""
                    yield f"[[{format_path(at)}]]"
                    yield from self._element(element, (*at, index))

    def _element(self, table: Mapping[str, Any], path: KeyPath) -> Iterator[str]:
        """Yield the lines of an element of an array of tables: tables in it stand inline."""
        for key, value in table.items():
            yield self._value_line((*path, key), value)

    def _value_line(self, path: KeyPath, value: object) -> str:
        return self._line(path, f"{format_key(str(path[-1]))} = {_value(value, path)}")

    def _line(self, path: KeyPath, text: str) -> str:
        if any(starts_with(path, prefix) for prefix in self._refused):
            return _comment(text)
        return text


def _comment(text: str) -> str:
    return "# " + text.replace("\n", "\n# ")


def _is_array_of_tables(value: object) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(part, Mapping) for part in value)


def _value(value: object, path: KeyPath) -> str:
    if isinstance(value, str):
        return _string(_MASK if value and is_secret(path) else escape(value))
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, Mapping):
        parts = [f"{format_key(key)} = {_value(part, (*path, key))}" for key, part in value.items()]
        return "{ " + ", ".join(parts) + " }" if parts else "{}"
    if isinstance(value, list | tuple):
        texts = [_value(part, (*path, index)) for index, part in enumerate(value)]
        if _is_array_of_tables(value):
            return "[\n" + "".join(f"  {text},\n" for text in texts) + "]"
        return "[" + ", ".join(texts) + "]"
    return str(value)


def _string(text: str) -> str:
    # JSON leaves DEL as it is, TOML wants it escaped.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
