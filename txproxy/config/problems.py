"""What is wrong with a configuration, and where: key paths, places, problems and the error that carries them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import NamedTuple

KeyPath = tuple[str | int, ...]
"""Keys and array indexes from the top of the configuration, such as ``("listener", 0, "address")``."""

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


class Place(NamedTuple):
    """Where a key stands."""

    file: str
    line: int
    """Counted from 1; 0 where there are no lines, as on a command line."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


class Finding(NamedTuple):
    """Something wrong with a key whose place is not looked up yet."""

    path: KeyPath
    message: str


class Remark(NamedTuple):
    """Something doubtful about a key: it is shown, and nothing fails by it."""

    path: KeyPath
    message: str


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a configuration."""

    file: str
    line: int
    """Counted from 1; 0 where there are no lines."""
    path: str
    """As ``listener[0].address``; empty if it is about a whole file."""
    message: str

    def __str__(self) -> str:
        place = str(Place(self.file, self.line))
        return f"{place}: {self.path}: {self.message}" if self.path else f"{place}: {self.message}"


class ConfigError(Exception):
    """A configuration cannot be used.

    :ivar problems: everything that is wrong with it, in the order of the files and lines; never empty.
    :ivar remarks: what is doubtful as well, in the same order.
    """

    def __init__(self, problems: Iterable[Problem], remarks: Iterable[Problem] = ()) -> None:
        self.problems = tuple(problems)
        self.remarks = tuple(remarks)
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


def format_key(key: str) -> str:
    """Return a key as TOML wants it: bare where that is allowed, else quoted."""
    return key if _BARE_KEY.fullmatch(key) else quoted(key)


def format_path(path: KeyPath) -> str:
    """Return a key path as it stands in messages, such as ``cluster.api.backends[1].weight``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{format_key(part)}" if text else format_key(part)
    return text


def starts_with(path: KeyPath, prefix: KeyPath) -> bool:
    """Tell whether ``path`` is ``prefix`` or stands beneath it."""
    return path[: len(prefix)] == prefix


def locate(places: Mapping[KeyPath, Place], path: KeyPath, otherwise: Place) -> Place:
    """Return the place of a key or, if it is absent, of the nearest table around it.

    :param places: where the keys stand that are there.
    :param otherwise: the answer if no table around it has a place.
    """
    for length in range(len(path), 0, -1):
        place = places.get(path[:length])
        if place is not None:
            return place
    return otherwise


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``did you mean 'x'?`` for the known word nearest to this one, or an empty string if none is near."""
    originals = {candidate.lower(): candidate for candidate in known}
    near = get_close_matches(word.lower(), originals, n=1)
    return f"did you mean '{originals[near[0]]}'?" if near else ""


def allowed(word: str, known: Sequence[str]) -> str:
    """Return the hint in brackets for a word that is none of the known: all of them, and the nearest one."""
    hint = did_you_mean(word, known)
    listed = ", ".join(each if each.isprintable() else quoted(each) for each in known)
    return f"(allowed: {listed}{'; ' + hint if hint else ''})"


def quoted(text: str) -> str:
    """Return a text in quotes, with control characters escaped, so that a message stays on its line."""
    return json.dumps(text, ensure_ascii=False)


def shown(value: object) -> str:
    """Return a value as a message shows it: of TOML's kinds, on one line and short."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, list | tuple):
        return "an array"
    text = quoted(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."
