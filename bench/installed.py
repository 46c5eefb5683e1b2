"""Where the programs of the peers are, and what they can do."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from bench.fleet import ROOT

# `make bench-peers` makes a home for each of these, as txproxy depends on none of them.
CACHE = ROOT / ".cache"
HOMES = ("envoy", "traefik", "caddy", "proxy.py")
STREAM_MODULE = "ngx_stream_module.so"
# By the name in the facts of a run: the program, what to ask it, and what of its answer is the version. That of Envoy
# ends with its TLS library.
VERSIONS = {
    "nginx": ("nginx", "-v", r"nginx/(\S+)"),
    "haproxy": ("haproxy", "-v", r"HAProxy version (\S+)"),
    "envoy": ("envoy", "--version", r"version: \w+/(\S+)"),
    "traefik": ("traefik", "version", r"Version: +(\S+)"),
    "caddy": ("caddy", "version", r"v(\S+)"),
    "varnish": ("varnishd", "-V", r"varnish-(\S+)"),
    "wrk": ("wrk", "-v", r"wrk (\S+)"),
    "h2load": ("h2load", "--version", r"nghttp2/(\S+)"),
}


def path_of(program: str) -> str | None:
    """Return the path of *program*, None if it is not installed."""
    homes = ":".join(str(CACHE / home / "bin") for home in HOMES)
    return shutil.which(program) or shutil.which(program, path=homes)


def python_with(distribution: str) -> str | None:
    """Return the interpreter that has *distribution*: the one of the bench, else that of its home; None without it."""
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return shutil.which("python", path=str(CACHE / distribution / "bin")) if distribution in HOMES else None
    return sys.executable


def version_of(name: str) -> str:
    """Return the version of a program of :data:`VERSIONS`, or that it is not installed."""
    program, option, _ = VERSIONS[name]
    path = path_of(program)
    return version_in(name, _said(path, option)) if path else "not installed"


def version_in(name: str, said: str) -> str:
    """Return the version in what a program of :data:`VERSIONS` *said*, ``unknown`` if there is none."""
    found = re.search(VERSIONS[name][2], said)
    return found[1] if found else "unknown"


def version_with(distribution: str) -> str:
    """Return the version of *distribution* in the interpreter that has it, or that it is not installed."""
    path = python_with(distribution)
    if path is None:
        return "not installed"
    if path == sys.executable:
        return importlib.metadata.version(distribution)
    code = f"import importlib.metadata; print(importlib.metadata.version({distribution!r}))"
    return _said(path, "-c", code).strip() or "unknown"


def _said(*words: str) -> str:
    # wrk ends with 1 after it, and nginx writes to standard error.
    shown = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
    return shown.stdout + shown.stderr


@cache
def nginx_build() -> str:
    """Return what ``nginx -V`` shows, an empty string without nginx."""
    path = path_of("nginx")
    return _said(path, "-V") if path else ""


def stream_module(build: str) -> Path | None:
    """Return the module that *build* of nginx has to load before it knows of streams; None if it has them built in.

    :param build: what ``nginx -V`` shows.
    :raises LookupError: with the reason why it cannot know of streams.
    """
    if re.search(r"--with-stream(\s|$)", build):
        return None
    modules = re.search(r"--modules-path=(\S+)", build)
    if "--with-stream=dynamic" not in build or modules is None:
        raise LookupError("nginx was built without streams")
    module = Path(modules[1]) / STREAM_MODULE
    if not module.exists():
        raise LookupError("nginx has no module for streams (on Debian: libnginx-mod-stream)")
    return module


def load_streams() -> str:
    """Return the line by which an nginx configuration loads streams, an empty one if it need not.

    :raises LookupError: see :func:`stream_module`.
    """
    module = stream_module(nginx_build())
    return f"load_module {module};" if module else ""


def without_streams() -> str:
    """Return why the installed nginx knows no streams, or an empty string."""
    try:
        load_streams()
    except LookupError as error:
        return str(error)
    return ""
