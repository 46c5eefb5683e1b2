"""Files of configuration: TOML with the places of its keys, and the files it includes merged into one document."""

from __future__ import annotations

import glob
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeGuard

from txproxy.config.expand import ExpandError, expand_text
from txproxy.config.positions import scan
from txproxy.config.problems import KeyPath, Place, Problem, format_path, locate, quoted, starts_with

_TOML_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


@dataclass(slots=True)
class Document:
    """A configuration in the shape of TOML, with the place of every key that stands in a file."""

    raw: dict[str, object] = field(default_factory=dict)
    places: dict[KeyPath, Place] = field(default_factory=dict)


class Reader:
    """Reads a file with all that it includes.

    :param environ: the variables that the names of included files may hold.
    :ivar problems: what could not be read or merged.
    :ivar is_complete: False if keys may be missing because a file could not be read.
    :ivar directories: the folder of each file, by its name as it stands in places, in the order of reading.
    :ivar files: the files that were read.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._open: list[Path] = []
        self._resolved: set[Path] = set()
        self.problems: list[Problem] = []
        self.is_complete = True
        self.directories: dict[str, Path] = {}
        self.files: list[Path] = []

    def read_file(self, path: Path, at: Problem | None = None) -> Document:
        """Return a file with what it includes; empty if it cannot be read.

        :param at: the place that names it, with a message for a file that is not there; the file itself if omitted.
        """
        self.directories.setdefault(str(path), path.parent)
        try:
            text = path.read_bytes().decode("utf-8")
        except OSError as error:
            self.is_complete = False
            place = at or Problem(str(path), 0, "", "")
            self.problems.append(
                Problem(place.file, place.line, place.path, f"cannot read {quoted(str(path))}: {error.strerror}")
            )
            return Document()
        except UnicodeDecodeError as error:
            self.is_complete = False
            line = error.object.count(b"\n", 0, error.start) + 1
            self.problems.append(Problem(str(path), line, "", "not valid TOML: the file is not UTF-8"))
            return Document()
        self.files.append(path)
        self._open.append(path.resolve())
        self._resolved.add(path.resolve())
        document = self.read_text(text, str(path), path.parent)
        self._open.pop()
        return document

    def read_text(self, text: str, name: str, directory: Path) -> Document:
        """Return a text of TOML with what it includes; empty if it is not valid.

        :param name: what messages call it.
        :param directory: the folder that its paths are relative to.
        """
        self.directories.setdefault(name, directory)
        try:
            raw = tomllib.loads(text)
            lines = scan(text)
        except (ValueError, RecursionError) as error:
            self.is_complete = False
            self.problems.append(_syntax_problem(text, name, error))
            return Document()
        places = {path: Place(name, line) for path, line in lines.items()}
        return self.read_data(raw, places, name, directory)

    def read_data(
        self, raw: Mapping[str, object], places: Mapping[KeyPath, Place], name: str, directory: Path
    ) -> Document:
        """Return a configuration in the shape of TOML with what it includes.

        :param places: where its keys stand.
        :param name: what messages call it.
        :param directory: the folder that its paths are relative to.
        """
        self.directories.setdefault(name, directory)
        document = Document(dict(raw), dict(places))
        patterns = raw.get("include")
        if isinstance(patterns, list | tuple):
            for index, pattern in enumerate(patterns):
                if isinstance(pattern, str):
                    place = locate(places, ("include", index), places.get((), Place(name, 1)))
                    at = Problem(place.file, place.line, f"include[{index}]", "")
                    self._include(document, pattern, directory, at)
        return document

    def _include(self, document: Document, pattern: str, directory: Path, at: Problem) -> None:
        try:
            pattern = expand_text(pattern, self._environ)
        except ExpandError as error:
            self.is_complete = False
            self.problems.append(Problem(at.file, at.line, at.path, str(error)))
            return
        names = sorted(glob.glob(pattern, root_dir=directory, recursive=True)) if glob.has_magic(pattern) else [pattern]
        for name in names:
            path = directory / name
            try:
                resolved = path.resolve()
            except (OSError, ValueError, RuntimeError) as error:
                self.is_complete = False
                self.problems.append(Problem(at.file, at.line, at.path, f"cannot be a file's name: {error}"))
                continue
            if resolved in self._open:
                chain = [*self._open[self._open.index(resolved) :], resolved]
                message = "files include each other: " + " -> ".join(file.name for file in chain)
                self.problems.append(Problem(at.file, at.line, at.path, message))
            elif resolved not in self._resolved:
                self._merge(document, self.read_file(path, at))

    def _merge(self, document: Document, addition: Document) -> None:
        addition.raw.pop("include", None)
        merger = _Merger(document.places, addition.places)
        merger.merge(document.raw, addition.raw, (), ())
        self.problems += merger.problems


class _Merger:
    """Merges one document into another: tables key by key, arrays of tables one behind the other."""

    def __init__(self, places: dict[KeyPath, Place], added_places: Mapping[KeyPath, Place]) -> None:
        self._places = places
        self._added_places = added_places
        self.problems: list[Problem] = []

    def merge(self, target: dict[str, object], added: Mapping[str, object], path: KeyPath, source: KeyPath) -> None:
        """Merge a table.

        :param path: where it stands in the whole.
        :param source: where it stands in the document that is added.
        """
        for key, value in added.items():
            at, source_at = (*path, key), (*source, key)
            here = target.get(key)
            if key not in target:
                target[key] = value
                self._copy_places(at, source_at)
            elif isinstance(here, dict) and isinstance(value, dict):
                target[key] = merged = dict(here)
                self.merge(merged, value, at, source_at)
            elif _is_array_of_tables(here) and _is_array_of_tables(value):
                target[key] = [*here, *value]
                for index in range(len(value)):
                    self._copy_places((*at, index + len(here)), (*source_at, index))
            else:
                place = self._added_places[source_at]
                first = locate(self._places, at, self._places.get((), place))
                self.problems.append(
                    Problem(place.file, place.line, format_path(at), f"set twice (it is set at {first} already)")
                )

    def _copy_places(self, path: KeyPath, source: KeyPath) -> None:
        for at, place in self._added_places.items():
            if starts_with(at, source):
                self._places[path + at[len(source) :]] = place


def _is_array_of_tables(value: object) -> TypeGuard[list[object]]:
    return isinstance(value, list) and bool(value) and all(isinstance(element, dict) for element in value)


def _syntax_problem(text: str, name: str, error: ValueError | RecursionError) -> Problem:
    if isinstance(error, RecursionError):
        return Problem(name, 1, "", "not valid TOML: nested too deeply")
    message = str(error)
    place = _TOML_PLACE.search(message)
    if place is None:
        return Problem(name, 1, "", f"not valid TOML: {message}")
    what = message[: place.start()]
    if place[1] is None:
        return Problem(name, text.rstrip().count("\n") + 1, "", f"not valid TOML: {what} (at the end of the file)")
    return Problem(name, int(place[1]), "", f"not valid TOML: {what} (column {place[2]})")
