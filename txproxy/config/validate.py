"""Raw tables to the model: every error of the types and values at once, in words of the user."""

from __future__ import annotations

from collections.abc import Mapping
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from txproxy.config.model import Config
from txproxy.config.problems import Finding, KeyPath, allowed, did_you_mean, shown

_KINDS = {
    "bool_type": "true or false",
    "dict_type": "a table",
    "float_type": "a number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "mapping_type": "a table",
    "model_type": "a table",
    "string_type": "a string",
    "tuple_type": "an array",
}
_LIMITS = {
    "greater_than": ("gt", "above"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "below"),
    "less_than_equal": ("le", "at most"),
}


def validate(raw: Mapping[str, object]) -> tuple[Config | None, list[Finding]]:
    """Return the model of a configuration, or what is wrong with each of its values.

    :param raw: the configuration in the shape of TOML.
    """
    try:
        return Config.model_validate(raw, by_alias=True, by_name=False), []
    except ValidationError as error:
        return None, [_finding(details) for details in error.errors(include_url=False) if not _is_consequence(details)]


def section_at(path: KeyPath) -> type[BaseModel] | None:
    """Return the class of the section at a key path, or None if there is a plain value."""
    found: Any = Config
    for part in path:
        if isinstance(found, type) and issubclass(found, BaseModel):
            found = _field_type(found, part)
        else:
            found = _element_type(found)
        found = _section_of(found)
    return found if isinstance(found, type) and issubclass(found, BaseModel) else None


def keys_of(section: type[BaseModel]) -> list[str]:
    """Return the keys of a section as TOML names them."""
    return [field.alias or name for name, field in section.model_fields.items()]


def _field_type(section: type[BaseModel], key: str | int) -> Any:
    for name, field in section.model_fields.items():
        if key == (field.alias or name):
            return field.annotation
    return None


def _element_type(annotation: Any) -> Any:
    arguments = get_args(annotation)
    origin = get_origin(annotation)
    if origin is tuple and arguments:
        return arguments[0]
    return arguments[1] if isinstance(origin, type) and issubclass(origin, Mapping) else None


def _section_of(annotation: Any) -> Any:
    """Return the one member of a union or annotated type that has parts."""
    if get_origin(annotation) is Annotated:
        return _section_of(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        members = [_section_of(member) for member in get_args(annotation)]
        return next((member for member in members if isinstance(member, type) and issubclass(member, BaseModel)), None)
    return annotation


def _finding(details: ErrorDetails) -> Finding:
    path = tuple(part for part in details["loc"] if part != "[key]")
    return Finding(path, _message(path, details))


def _is_consequence(details: ErrorDetails) -> bool:
    """Tell whether an array only counts as too short because elements of it are wrong."""
    return details["type"] == "too_short" and bool(details["input"])


def _message(path: KeyPath, details: ErrorDetails) -> str:
    kind, value, context = details["type"], details["input"], details.get("ctx", {})
    if kind == "missing":
        return "this key is needed"
    if kind == "extra_forbidden":
        return _unknown_key(path)
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        words = _words(path)
        text = value if isinstance(value, str) else ""
        return f"{shown(value)} is none of the words {allowed(text, words)}" if words else details["msg"]
    if kind in _KINDS:
        return f"must be {_KINDS[kind]}, not {shown(value)}"
    if kind in _LIMITS:
        key, words_of_limit = _LIMITS[kind]
        return f"{shown(value)} is out of range (allowed: {words_of_limit} {_number(context[key])})"
    if kind == "finite_number":
        return f"must be a finite number, not {shown(value)}"
    if kind in ("too_short", "string_too_short"):
        return "must not be empty"
    return details["msg"]


def _number(limit: float) -> str:
    return str(int(limit)) if limit == int(limit) else str(limit)


def _unknown_key(path: KeyPath) -> str:
    section = section_at(path[:-1])
    known = keys_of(section) if section else []
    hint = did_you_mean(str(path[-1]), known) or f"allowed: {', '.join(known)}"
    return f"unknown key ({hint})"


def _words(path: KeyPath) -> tuple[str, ...]:
    """Return the words that the key at a path may have: its own, or those of the elements of its array."""
    is_element = isinstance(path[-1], int)
    key_path = path[:-1] if is_element else path
    section = section_at(key_path[:-1])
    annotation = _field_type(section, key_path[-1]) if section else None
    if is_element:
        annotation = _element_type(annotation)
    return get_args(annotation) if get_origin(annotation) is Literal else ()
