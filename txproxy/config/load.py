"""From a file, a text or data to the model: the one place where all checks meet, and every error gets its place."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from txproxy.config.documents import Document, Reader
from txproxy.config.effective import effective
from txproxy.config.expand import Expander, plain
from txproxy.config.files import check_files
from txproxy.config.functions import FunctionError, resolve_function
from txproxy.config.model import Config
from txproxy.config.patterns import Raw
from txproxy.config.problems import (
    ConfigError,
    Finding,
    KeyPath,
    Place,
    Problem,
    Remark,
    format_path,
    locate,
    starts_with,
)
from txproxy.config.references import check_references, function_references
from txproxy.config.site_file import run_site, site_config, site_places
from txproxy.config.stage_model import check_stages
from txproxy.config.validate import validate

_SITE_FILE = "site.py"

T = TypeVar("T", Finding, Finding | Remark)

Further = Callable[[Raw], Iterable[Finding | Remark]]
"""A check that this package cannot make itself, as of what is in a file: it is given the raw tables, of any types."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration that has passed every check."""

    config: Config
    functions: Mapping[str, Callable[..., Any]]
    """The Python functions that the configuration names, by ``module:function`` as it stands there."""
    files: tuple[Path, ...]
    """Every file that was read, the main one first."""
    remarks: tuple[Problem, ...] = ()
    """What is doubtful, as far as further checks remark upon it."""


def load_file(path: str | Path, environ: Mapping[str, str] | None = None, further: Further | None = None) -> Loaded:
    """Read a file of TOML, or a Python site file if its name ends in ``.py``, with all that it includes.

    :param environ: the variables for ``${VAR}``; those of the process if omitted.
    :param further: one more check.
    :raises ConfigError: with everything that is wrong with it.
    """
    path = Path(path)
    try:
        return _load_file(path, environ, further)
    except RecursionError:
        raise ConfigError([Problem(str(path), 0, "", "is nested too deeply")]) from None


def _load_file(path: Path, environ: Mapping[str, str] | None, further: Further | None) -> Loaded:
    reader = Reader(os.environ if environ is None else environ)
    if path.suffix == ".py":
        namespace = run_site(path)
        reader.files.append(path)
        data = site_config(namespace, path)
        places = site_places(path)
        document = reader.read_data(_tables(data), places, str(path), path.parent)
        return _Checks(reader, document, environ, further, is_final=isinstance(data, Config)).finish(namespace)
    return _Checks(reader, reader.read_file(path), environ, further).finish()


def load_text(
    text: str,
    name: str = "<config>",
    environ: Mapping[str, str] | None = None,
    directory: str | Path = ".",
    further: Further | None = None,
) -> Loaded:
    """Read a text of TOML.

    :param name: what messages call it.
    :param environ: the variables for ``${VAR}``; those of the process if omitted.
    :param directory: the folder that paths in it are relative to.
    :param further: one more check.
    :raises ConfigError: with everything that is wrong with it.
    """
    reader = Reader(os.environ if environ is None else environ)
    return _Checks(reader, reader.read_text(text, name, Path(directory)), environ, further).finish()


def load_data(
    data: Mapping[str, object] | Config,
    name: str = "<config>",
    environ: Mapping[str, str] | None = None,
    directory: str | Path = ".",
    further: Further | None = None,
) -> Loaded:
    """Check a configuration that is given as data: tables in the shape of TOML, or the model.

    :param name: what messages call it; they name no lines.
    :param environ: the variables for ``${VAR}`` in tables; those of the process if omitted. A model is final.
    :param directory: the folder that paths in it are relative to.
    :param further: one more check.
    :raises ConfigError: with everything that is wrong with it.
    """
    reader = Reader(os.environ if environ is None else environ)
    document = reader.read_data(_tables(data), {(): Place(name, 0)}, name, Path(directory))
    return _Checks(reader, document, environ, further, is_final=isinstance(data, Config)).finish()


def _tables(data: Mapping[str, object] | Config) -> Mapping[str, object]:
    tables = plain(data) if isinstance(data, Config) else data
    assert isinstance(tables, Mapping)
    return tables


class _Checks:
    """All checks of one document.

    :param further: one more check.
    :param is_final: whether its strings are not to be expanded.
    """

    def __init__(
        self,
        reader: Reader,
        document: Document,
        environ: Mapping[str, str] | None,
        further: Further | None,
        is_final: bool = False,
    ) -> None:
        self._reader = reader
        self._further = further
        self._places = document.places
        self._main = next(iter(reader.directories))
        self._problems = list(reader.problems)
        self._files = list(reader.files)
        expander = Expander(os.environ if environ is None else environ, self._directory_of)
        raw = plain(document.raw) if is_final else expander.expand(document.raw)
        assert isinstance(raw, dict)
        self._raw: dict[str, object] = raw
        self._expand_findings = expander.findings
        self._files += expander.files

    def finish(self, site_namespace: Mapping[str, Any] | None = None) -> Loaded:
        """Return what was loaded.

        :param site_namespace: the names of the site file, if the document is one.
        :raises ConfigError: with everything that is wrong.
        """
        stops = self._expand_findings
        config, wrong = validate(self._raw)
        stopped = [finding.path for finding in stops]
        # A name that is not there may stand in a file that could not be read.
        references = check_references(self._raw) if self._reader.is_complete else []
        wrong += _not_at({finding.path for finding in wrong}, references)
        # Of a key that is wrong already it does not matter what is in its file.
        of_files = _not_at(
            {finding.path for finding in wrong},
            [*check_files(self._raw), *check_stages(self._raw), *self._further_findings()],
        )
        wrong += [finding for finding in of_files if isinstance(finding, Finding)]
        findings = [*stops, *(finding for finding in wrong if not _is_beneath(finding.path, stopped))]
        functions = self._functions(stopped, site_namespace, findings)
        self._problems += [self._problem(finding) for finding in findings]
        remarks = self._sorted([self._problem(each) for each in of_files if isinstance(each, Remark)])
        if self._problems or config is None:
            raise ConfigError(self._sorted(self._problems), remarks)
        return Loaded(effective(config), functions, tuple(self._files), tuple(remarks))

    def _further_findings(self) -> list[Finding | Remark]:
        return [] if self._further is None else list(self._further(self._raw))

    def _functions(
        self, stopped: list[KeyPath], site_namespace: Mapping[str, Any] | None, findings: list[Finding]
    ) -> dict[str, Callable[..., Any]]:
        functions: dict[str, Callable[..., Any]] = {}
        references = [(path, text) for path, text in function_references(self._raw) if not _is_beneath(path, stopped)]
        if site_namespace is None and any(text.startswith("site:") for _, text in references):
            site = self._reader.directories[self._main] / _SITE_FILE
            if site.exists():
                try:
                    site_namespace = run_site(site)
                except ConfigError as error:
                    self._problems += error.problems
                    references = [(path, text) for path, text in references if not text.startswith("site:")]
                self._files.append(site)
        for path, text in references:
            try:
                functions[text] = resolve_function(text, site_namespace)
            except FunctionError as error:
                findings.append(Finding(path, str(error)))
        return functions

    def _directory_of(self, path: KeyPath) -> Path:
        return self._reader.directories[self._place(path).file]

    def _place(self, path: KeyPath) -> Place:
        return locate(self._places, path, self._places.get((), Place(self._main, 1)))

    def _problem(self, finding: Finding | Remark) -> Problem:
        place = self._place(finding.path)
        message = f"warning: {finding.message}" if isinstance(finding, Remark) else finding.message
        return Problem(place.file, place.line, format_path(finding.path), message)

    def _sorted(self, problems: list[Problem]) -> list[Problem]:
        order = {name: index for index, name in enumerate(self._reader.directories)}
        unique = dict.fromkeys(problems)
        return sorted(unique, key=lambda problem: (order.get(problem.file, len(order)), problem.line))


def _not_at(paths: set[KeyPath], findings: Iterable[T]) -> list[T]:
    return [finding for finding in findings if finding.path not in paths]


def _is_beneath(path: KeyPath, stopped: list[KeyPath]) -> bool:
    return any(starts_with(path, prefix) for prefix in stopped)


__all__ = ["ConfigError", "Loaded", "Problem", "load_data", "load_file", "load_text"]
