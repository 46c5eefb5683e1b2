"""Python site files: what they define, where their keys stand, and their faults as problems with a line."""

from __future__ import annotations

import ast
import runpy
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from traceback import walk_tb
from typing import Any, TypeVar

from txproxy.config.model import Config
from txproxy.config.problems import ConfigError, KeyPath, Place, Problem

_RUN_NAME = "txproxy_site"
"""``__name__`` of a site file; not ``site``, which is a module of Python itself."""

T = TypeVar("T")


def run_site(path: Path) -> Mapping[str, Any]:
    """Execute a site file and return the names that it defines.

    :raises ConfigError: it cannot be read or raises an exception; the line is the failing one.
    """
    return _guarded(lambda: runpy.run_path(str(path), run_name=_RUN_NAME), path)


def site_config(namespace: Mapping[str, Any], path: Path) -> Mapping[str, object] | Config:
    """Return what a site file defines as ``config``: tables in the shape of TOML, or the model.

    :param namespace: the names that it defines.
    :raises ConfigError: there is no ``config``, it is of another type, or it is a function that raises.
    """
    if "config" not in namespace:
        raise ConfigError(
            [Problem(str(path), 1, "config", "the site file defines no config (allowed: a dict, a Config)")]
        )
    config = namespace["config"]
    if callable(config):
        config = _guarded(config, path)
    if isinstance(config, Mapping | Config):
        return config
    line = site_places(path).get((), Place(str(path), 1)).line
    message = f"must be a dict, a Config or a function that returns one, not {type(config).__name__}"
    raise ConfigError([Problem(str(path), line, "config", message)])


def site_places(path: Path) -> dict[KeyPath, Place]:
    """Return where the keys of ``config`` stand in a site file, as far as it is written as a literal.

    The empty key path stands for ``config`` itself.
    """
    places: dict[KeyPath, Place] = {}
    for statement in ast.parse(path.read_bytes()).body:
        if isinstance(statement, ast.FunctionDef) and statement.name == "config":
            returns = [part.value for part in ast.walk(statement) if isinstance(part, ast.Return)]
            value = returns[-1] if returns else None
        elif isinstance(statement, ast.Assign | ast.AnnAssign) and _is_config(statement):
            value = statement.value
        else:
            continue
        places = {(): Place(str(path), statement.lineno)}
        places.update((key_path, Place(str(path), line)) for key_path, line in _literal_lines(value, ()))
    return places


def _is_config(statement: ast.Assign | ast.AnnAssign) -> bool:
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    return any(isinstance(target, ast.Name) and target.id == "config" for target in targets)


def _literal_lines(value: ast.expr | None, path: KeyPath) -> Iterator[tuple[KeyPath, int]]:
    if isinstance(value, ast.Dict):
        for key, element in zip(value.keys, value.values, strict=True):
            if isinstance(key, ast.Constant):
                yield (*path, str(key.value)), key.lineno
                yield from _literal_lines(element, (*path, str(key.value)))
    elif isinstance(value, ast.List | ast.Tuple):
        for index, element in enumerate(value.elts):
            yield (*path, index), element.lineno
            yield from _literal_lines(element, (*path, index))


def _guarded(call: Callable[[], T], path: Path) -> T:
    try:
        return call()
    except BaseException as error:
        # The code is the user's: whatever it raises is a fault of the configuration, not of ours.
        raise ConfigError([_problem(error, path)]) from error


def _problem(error: BaseException, path: Path) -> Problem:
    names = (str(path), str(path.absolute()))
    if isinstance(error, SyntaxError) and error.filename in names:
        return Problem(str(path), error.lineno or 1, "", f"{type(error).__name__}: {error.msg}")
    frames = [(frame.f_code.co_filename, line) for frame, line in walk_tb(error.__traceback__)]
    own = [line for file, line in frames if file in names]
    if not own:
        # The file could not even be opened.
        reason = error.strerror if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
        return Problem(str(path), 0, "", f"cannot run this file: {reason}")
    message = f"{type(error).__name__}: {error}".rstrip(": ")
    file, line = frames[-1]
    return Problem(str(path), own[-1], "", message if file in names else f"{message} (raised at {file}:{line})")
