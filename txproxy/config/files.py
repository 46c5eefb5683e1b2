"""Files that a configuration names and that are read later: whether they can be read is said at once."""

from __future__ import annotations

from txproxy.config.problems import Finding, quoted
from txproxy.config.support import Raw, matches

_READ = ("cluster.*.tls.ca",)


def check_files(raw: Raw) -> list[Finding]:
    """Return a finding for every file that cannot be read.

    :param raw: the configuration in the shape of TOML, of any types.
    """
    findings = []
    for pattern in _READ:
        for path, name in matches(raw, pattern):
            problem = _problem(name) if isinstance(name, str) and name else ""
            if problem:
                findings.append(Finding(path, f"cannot read {quoted(str(name))}: {problem}"))
    return findings


def _problem(name: str) -> str:
    try:
        with open(name, "rb"):
            return ""
    except OSError as error:
        return str(error.strerror)
    except ValueError:
        return "it is not the name of a file"
