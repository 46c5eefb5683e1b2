"""What stands for something else in strings: ``${VAR}``, ``${VAR:-default}`` and ``file:PATH``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import BaseModel

from txproxy.config.problems import Finding, KeyPath, quoted

_VARIABLE = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}|\$\{", re.ASCII)
_CREDENTIAL_FIELDS = frozenset({"authorization", "cookie", "x-api-key", "x-auth-token"})


class ExpandError(ValueError):
    """A string cannot be expanded; the message says why."""


def is_secret(path: KeyPath) -> bool:
    """Tell whether a key holds a secret: it may be given as ``file:PATH``, and it is shown to nobody.

    These are ``admin.token``, and the fields with credentials that a route or a health check sends to backends.
    """
    if path == ("admin", "token"):
        return True
    if not path or str(path[-1]).lower() not in _CREDENTIAL_FIELDS:
        return False
    of_route = path[:1] == ("route",) and path[2:4] in (("request_headers", "set"), ("request_headers", "add"))
    of_probe = path[:1] == ("cluster",) and path[2:4] == ("health", "headers")
    return of_route or of_probe


def expand_text(text: str, environ: Mapping[str, str]) -> str:
    """Return a string with its variables put in.

    ``${VAR}`` must be set; ``${VAR:-default}`` is the default where the variable is unset or empty, as in a shell;
    ``$${`` is a plain ``${``. What was put in is not expanded again.

    :param environ: the variables.
    :raises ExpandError: a variable without default is not set, or ``${`` begins nothing of the above.
    """

    def value(match: re.Match[str]) -> str:
        name, default = match[1], match[2]
        if match[0] == "$${":
            return "${"
        if name is None:
            raise ExpandError("'${' begins no variable (allowed: ${NAME}, ${NAME:-default}; write $${ for a plain ${)")
        if default is not None:
            return environ.get(name) or default
        if name not in environ:
            raise ExpandError(f"the variable {name} is not set (set it, or give a default as ${{{name}:-default}})")
        return environ[name]

    return _VARIABLE.sub(value, text)


def escape(text: str) -> str:
    """Return a string that :func:`expand_text` turns into this one."""
    return text.replace("${", "$${")


class Expander:
    """Expands all strings of a configuration.

    :param environ: the variables.
    :param directory_of: the folder that ``file:PATH`` at a key path is relative to.
    :ivar findings: what could not be expanded.
    :ivar files: the files that were read.
    """

    def __init__(self, environ: Mapping[str, str], directory_of: Callable[[KeyPath], Path]) -> None:
        self._environ = environ
        self._directory_of = directory_of
        self.findings: list[Finding] = []
        self.files: list[Path] = []

    def expand(self, value: object, path: KeyPath = ()) -> object:
        """Return a value of the configuration with all strings in it expanded; a section of the model is final."""
        if isinstance(value, BaseModel):
            return plain(value)
        if isinstance(value, Mapping):
            return {str(key): self.expand(element, (*path, str(key))) for key, element in value.items()}
        if isinstance(value, list | tuple):
            return [self.expand(element, (*path, index)) for index, element in enumerate(value)]
        if not isinstance(value, str):
            return value
        try:
            text = expand_text(value, self._environ)
            # An empty token would mean that none is needed; who wants that can say so, by "" or ${VAR:-}.
            if not text.strip() and value and ":-" not in value and path == ("admin", "token"):
                raise ExpandError("this is empty, and the token would not be needed")
            return self._secret(text, path) if text.startswith("file:") and is_secret(path) else text
        except ExpandError as error:
            self.findings.append(Finding(path, str(error)))
            return value

    def _secret(self, text: str, path: KeyPath) -> str:
        file = self._directory_of(path) / text.removeprefix("file:")
        try:
            secret = file.read_text("utf-8")
        except OSError as error:
            raise ExpandError(f"cannot read {quoted(str(file))}: {error.strerror}") from None
        except ValueError:
            raise ExpandError(f"cannot read {quoted(str(file))}: it is not UTF-8") from None
        self.files.append(file)
        secret = secret.removesuffix("\n").removesuffix("\r")
        if not secret.strip():
            raise ExpandError(f"{quoted(str(file))} is empty")
        return secret


def plain(value: object) -> object:
    """Return a value in the shape of TOML: sections become tables with the keys that were given, tuples arrays."""
    if isinstance(value, BaseModel):
        return plain(value.model_dump(by_alias=True, exclude_unset=True))
    if isinstance(value, Mapping):
        return {str(key): plain(element) for key, element in value.items()}
    if isinstance(value, list | tuple):
        return [plain(element) for element in value]
    return value
