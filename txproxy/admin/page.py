"""The dashboard as one reply: markup, style and scripts in one page that loads nothing else."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from importlib import resources
from typing import NamedTuple

_STYLE = re.compile(r'<link rel="stylesheet" href="([a-z]+\.css)">')
_SCRIPT = re.compile(r'<script src="([a-z]+\.js)"></script>')


class Page(NamedTuple):
    """A page and what a browser is to allow it."""

    body: bytes
    """HTML in UTF-8."""
    policy: str
    """Value of Content-Security-Policy: only the style and scripts of the page itself, told by their hashes, and calls
    to where it came from. So markup in a name or in an error text would not run even if it were taken for markup."""


def load_page() -> Page:
    """Read the dashboard from this package and join its parts.

    :raises OSError: the installation lacks one of its files.
    """
    styles: list[str] = []
    scripts: list[str] = []
    text = _read("page.html")
    text = _STYLE.sub(_inlined("style", styles), text)
    text = _SCRIPT.sub(_inlined("script", scripts), text)
    policy = (
        f"default-src 'none'; script-src {' '.join(scripts)}; style-src {' '.join(styles)}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Page(text.encode(), policy)


def _inlined(tag: str, hashes: list[str]) -> Callable[[re.Match[str]], str]:
    """Return what writes a linked file in place of its link and adds its hash, as CSP has it, to a list."""

    def inline(link: re.Match[str]) -> str:
        content = f"\n{_read(link[1])}"
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        hashes.append(f"'sha256-{digest}'")
        return f"<{tag}>{content}</{tag}>"

    return inline


def _read(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
