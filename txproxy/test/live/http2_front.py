"""What tests of HTTP/2 share: a proxy with TLS and without in front of a scripted backend, and what foreign clients say."""

from __future__ import annotations

import json
import re
import ssl
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from .client import DEADLINE_S
from .http2_client import Http2Client
from .tls_client import trusting
from .tls_front import Front, needed


def section(name: str, pairs: Iterable[str], keys: str = "") -> str:
    """Return a section of TLS settings that offers HTTP/2 first, as it does by default.

    :param pairs: certificates as ``Leaf.save`` returns them, the default first.
    """
    return f"[tls.{name}]\ncertificates = [{', '.join(pairs)}]\n{keys}\n"


def cluster(name: str, backend: str, path: str, keys: str = "", route: str = "") -> str:
    """Return a further cluster of one backend, and the route whose paths go there.

    :param keys: further keys of the cluster, one a line; ``route``: of the route.
    """
    return (
        f'[[route]]\nname = "{name}"\npath = "{path}"\ncluster = "{name}"\n{route}\n'
        f'[cluster.{name}]\nbackends = [{{ address = "{backend}" }}]\n{keys}\n'
    )


def speaks_h2(front: Front) -> ssl.SSLContext:
    """Return settings of a client that trusts a proxy and speaks HTTP/2 only."""
    return trusting(front.root.pem, alpn=("h2",))


def connect(front: Front, listener: str = "web", **more: Any) -> Http2Client:
    """Connect to a listener: to one whose name begins with ``https`` by TLS, else with prior knowledge."""
    tls = speaks_h2(front) if listener.startswith("https") else None
    return Http2Client(front.port(listener), tls=tls, **more)


def echoed(text: str | None) -> dict[str, Any]:
    """Read the field X-Echo of a backend that echoes: ``method``, ``target``, ``trailers``, and ``values`` by name."""
    assert text is not None, "no X-Echo"
    found: dict[str, Any] = json.loads(text)
    found["values"] = {}
    for name, value in found["fields"]:
        found["values"].setdefault(name.lower(), []).append(value)
    return found


class Curled(NamedTuple):
    """What ``curl`` got: one reply, or several one after another."""

    version: str
    """As it names it: ``2``, ``1.1`` or ``1.0``."""
    heads: list[str]
    """Each head of each reply with its status line first; trailers stand like a head without one."""
    body: bytes

    @property
    def statuses(self) -> list[int]:
        """All statuses, the interim ones too."""
        return [int(head.split(" ")[1]) for head in self.heads if head.startswith("HTTP/")]

    def value(self, name: str) -> str | None:
        """Return the only value of a field in all heads, None if it is absent."""
        found = re.findall(rf"^{name}: (.*)$", "\n".join(self.heads), re.IGNORECASE | re.MULTILINE)
        assert len(found) <= 1, found
        return found[0] if found else None


def curl(front: Front, directory: Path, url: str, *arguments: str, listener: str = "", say: bytes = b"") -> Curled:
    """Fetch a URL by curl; whatever its host, it leads to the listener ``https`` or ``web``, by its scheme.

    :param directory: for files of its own.
    :param listener: another one.
    :param say: its standard input.
    """
    is_tls = url.startswith("https:")
    port = front.port(listener or ("https" if is_tls else "web"))
    (directory / "root.pem").write_bytes(front.root.pem)
    heads, body = directory / "heads", directory / "body"
    chosen = any(argument.startswith("--http") for argument in arguments)
    for path in (heads, body):
        path.unlink(missing_ok=True)
    done = subprocess.run(  # the command line is the test's own
        [needed("curl"), "-sS", "--max-time", "60", "--cacert", str(directory / "root.pem"),
         "--connect-to", f"::127.0.0.1:{port}", "-D", str(heads), "-o", str(body), "-w", "%{http_version}",
         *(("--http2-prior-knowledge",) if not is_tls and not chosen else ()), *arguments, url],
        input=say, capture_output=True, timeout=3 * DEADLINE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done
    parts = heads.read_text("latin-1").replace("\r", "").split("\n\n")
    return Curled(done.stdout.decode(), [part for part in parts if part], body.read_bytes() if body.exists() else b"")


def nghttp(*arguments: str) -> str:
    """Run ``nghttp`` and return all that it printed."""
    done = subprocess.run(  # the command line is the test's own
        [needed("nghttp"), *arguments], capture_output=True, timeout=3 * DEADLINE_S, check=False, text=True,
        stdin=subprocess.DEVNULL, errors="replace",
    )  # fmt: skip
    assert done.returncode == 0 and "[ERROR]" not in done.stderr, done
    return done.stdout + done.stderr


def h2load(*arguments: str) -> tuple[int, int]:
    """Run ``h2load`` and return how many requests succeeded with a status 2xx, and how many did not."""
    done = subprocess.run(  # the command line is the test's own
        [needed("h2load"), *arguments], capture_output=True, timeout=3 * DEADLINE_S, check=False, text=True,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    counted = re.search(
        r"requests: (\d+) total, \d+ started, \d+ done, (\d+) succeeded, .*\nstatus codes: (\d+) 2xx", done.stdout
    )
    assert counted, done
    total, succeeded, good = (int(each) for each in counted.groups())
    return min(succeeded, good), total - min(succeeded, good)
