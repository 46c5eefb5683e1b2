"""Small configurations and files for the tests of this package."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from txproxy.config.load import ConfigError, Loaded, load_file, load_text

MINIMAL = """\
[[listener]]
name = "web"
address = "127.0.0.1:8080"

[[route]]
name = "all"
cluster = "api"

[cluster.api]
backends = [{ address = "127.0.0.1:8081" }]
"""
"""The shortest configuration that forwards a request: 10 lines."""


def errors_of(text: str, environ: Mapping[str, str] | None = None) -> list[str]:
    """Return what is wrong with a text, one line each, with ``f`` as the file's name."""
    try:
        load_text(text, "f", environ or {})
    except ConfigError as error:
        return str(error).split("\n")
    return []


def errors_of_file(path: Path, environ: Mapping[str, str] | None = None) -> list[str]:
    """Return what is wrong with a file, one line each, without its folder."""
    try:
        load_file(path, environ or {})
    except ConfigError as error:
        return [line.replace(f"{path.parent}/", "") for line in str(error).split("\n")]
    return []


def load(text: str, environ: Mapping[str, str] | None = None) -> Loaded:
    """Load a text that must be right."""
    return load_text(text, "f", environ or {})


def write_files(folder: Path, files: Mapping[str, str]) -> None:
    """Write files by name into a folder that need not exist."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
