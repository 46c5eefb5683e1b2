"""The effective configuration as TOML with every default, and its JSON Schema."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from txproxy.config.expand import escape, is_secret
from txproxy.config.model import Config
from txproxy.config.problems import KeyPath, format_key, format_path

_MASK = "***"


def dump(config: Config) -> str:
    """Return the effective configuration as TOML.

    Every key is there with its value or default. Secrets are masked. Included files are part of the whole, so the text
    can be loaded again.
    """
    tables = config.model_dump(by_alias=True, exclude_none=True)
    tables["include"] = ()
    return "\n".join(_table(tables, ())).lstrip("\n") + "\n"


def schema() -> dict[str, Any]:
    """Return the JSON Schema of the configuration, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema(by_alias=True)}


def _table(table: Mapping[str, Any], path: KeyPath) -> Iterator[str]:
    """Yield the lines of a table: plain values first, since a header would end them."""
    later: list[tuple[str, Any]] = []
    for key, value in table.items():
        if isinstance(value, Mapping) or (not path and _is_array_of_tables(value)):
            later.append((key, value))
        else:
            yield _value_line((*path, key), value)
    for key, value in later:
        at = (*path, key)
        if isinstance(value, Mapping):
            if not value or not all(isinstance(part, Mapping) for part in value.values()):
                yield ""
                yield f"[{format_path(at)}]"
            yield from _table(value, at)
        else:
            for index, element in enumerate(value):
                yield ""
                yield f"[[{format_path(at)}]]"
                # Tables in an element of an array of tables stand inline.
                for name, part in element.items():
                    yield _value_line((*at, index, name), part)


def _value_line(path: KeyPath, value: object) -> str:
    return f"{format_key(str(path[-1]))} = {_value(value, path)}"


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
