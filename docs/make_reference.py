"""Writes the tables of keys in ``configuration.md`` from the models of the configuration.

``python docs/make_reference.py`` brings the file up to date; a test fails while it is not.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_origin

from pydantic import BaseModel

from txproxy.config.model import Config

PAGE = Path(__file__).with_name("configuration.md")
BEGIN = "<!-- The tables from here on are written by make_reference.py: change the models instead. -->\n"
END = "<!-- End of the tables. -->\n"

_TYPES = {"string": "text", "integer": "integer", "number": "number", "boolean": "true or false", "object": "table"}


class Table(NamedTuple):
    """A table of the configuration."""

    pattern: str
    """Key path with ``*`` for any name and ``[*]`` for any index; empty for the whole."""
    model: type[BaseModel]


def tables(model: type[BaseModel] = Config, pattern: str = "") -> Iterator[Table]:
    """Yield a table and those in it, in the order of the models."""
    yield Table(pattern, model)
    for name, field in model.model_fields.items():
        inner, container = _inner(field.annotation)
        if inner is not None:
            key = f"{pattern}.{field.alias or name}" if pattern else field.alias or name
            yield from tables(inner, key + container)


def _inner(annotation: Any, container: str = "") -> tuple[type[BaseModel] | None, str]:
    """Return the model that an annotation holds, if any, and how: ``[*]`` in an array, ``.*`` by name."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, container
    origin = get_origin(annotation)
    within = "[*]" if origin is tuple else ".*" if origin is Mapping else ""
    for argument in get_args(annotation):
        found, inside = _inner(argument, within)
        if found is not None:
            return found, container + inside
    return None, ""


def heading(pattern: str) -> str:
    """Return how a table is written in TOML."""
    if not pattern:
        return "Top of the file"
    if pattern.endswith("[*]") and "." not in pattern:
        return f"`[[{pattern.removesuffix('[*]')}]]`"
    if " and " in pattern:
        first, _, others = pattern.partition(" and ")
        return f"`{first.rpartition('.')[2]} = {{ … }}` and {heading(others)}"
    if "[*]" in pattern:
        owner, _, key = pattern.rpartition(".")
        shape = f"{key.removesuffix('[*]')} = [{{ … }}]" if key.endswith("[*]") else f"{key} = {{ … }}"
        return f"`{shape}` in {heading(owner)}"
    return f"`[{pattern.replace('*', 'NAME')}]`"


def lines() -> Iterator[str]:
    """Yield the lines of all tables."""
    for table in _merged(list(tables())):
        yield ""
        yield f"### {heading(table.pattern)}"
        yield ""
        about = " ".join((table.model.__doc__ or "").split()).partition(": ")
        if table.pattern:
            text = about[2] if about[0].startswith("``") and about[2] else "".join(about)
            yield _escaped(text[:1].upper() + text[1:])
            yield ""
        yield "| key | value | default | meaning |"
        yield "|-|-|-|-|"
        for row in _rows(table):
            yield f"| {' | '.join(row)} |"


def _merged(found: list[Table]) -> Iterator[Table]:
    """Yield the tables, those of one model and one owner together."""
    while found:
        first = found.pop(0)
        owner = first.pattern.rpartition(".")[0]
        same = [each for each in found if each.model is first.model and each.pattern.rpartition(".")[0] == owner]
        for each in same:
            found.remove(each)
        yield Table(" and ".join([first.pattern, *(each.pattern for each in same)]), first.model)


def _escaped(text: str) -> str:
    return text.replace("``", "`").replace("*", "\\*").replace("|", "\\|")


def _rows(table: Table) -> Iterator[tuple[str, str, str, str]]:
    properties = table.model.model_json_schema(by_alias=True)["properties"]
    for name, field in table.model.model_fields.items():
        key = field.alias or name
        inner, _ = _inner(field.annotation)
        if inner is not None and not table.pattern:
            continue  # It has a heading of its own.
        default = ""
        if not field.is_required() and (inner is None or properties[key].get("default") is False):
            default = _default(field.get_default(call_default_factory=True))
        yield f"`{key}`", _type(properties[key]), default, _escaped(field.description or "")


def _type(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(f"`{value}`" if value else "empty" for value in schema["enum"])
    if "anyOf" in schema:
        kinds = [_type(each) for each in schema["anyOf"] if each.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if "$ref" in schema:
        return "table"
    if schema.get("type") == "array":
        return f"array of {_type(schema['items'])}".replace("of text", "of texts").replace("of table", "of tables")
    text = _TYPES[schema["type"]]
    lowest, above, highest = (schema.get(key) for key in ("minimum", "exclusiveMinimum", "maximum"))
    if above is not None:
        text += f" above {above}"
    if lowest is not None and highest is not None:
        text += f", {lowest} to {highest}"
    elif lowest is not None:
        text += f", {lowest} or more"
    return text


def _default(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return f"`{json.dumps(value)}`"


def updated(page: str) -> str:
    """Return the page with its tables written anew."""
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}{chr(10).join(lines())}\n\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
