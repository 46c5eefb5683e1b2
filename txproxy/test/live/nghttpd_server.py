"""The HTTP/2 server of nghttp2's own tools as a backend: files, uploads, settings of every kind."""

from __future__ import annotations

import shutil
import socket
import tempfile
from pathlib import Path

from .client import wait_for
from .peers import Process, unused_port
from .tls_front import needed
from .tls_identities import Leaf


class NghttpdServer(Process):
    """A server; a context manager.

    :param arguments: further ones.
    :param files: what it serves, by name.
    :param leaf: its certificate; None: no TLS.
    """

    def __init__(self, *arguments: str, files: dict[str, bytes] | None = None, leaf: Leaf | None = None) -> None:
        program = needed("nghttpd")
        directory = Path(tempfile.mkdtemp(prefix="txproxy-nghttpd-"))
        for name, content in (files or {}).items():
            (directory / name).write_bytes(content)
        self.port = unused_port()
        self.address = f"127.0.0.1:{self.port}"
        command = [program, "--address=127.0.0.1", f"--htdocs={directory}", *arguments]
        if leaf is None:
            command += ["--no-tls", str(self.port)]
        else:
            leaf.save(directory, "server")
            command += [str(self.port), str(directory / "server.key"), str(directory / "server.pem")]
        super().__init__(command, directory)
        try:
            wait_for(lambda: self._listens() or self.process.poll() is not None, "nghttpd")
            assert self.process.poll() is None, self.error_text
        except BaseException:
            self.__exit__()
            raise

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def __enter__(self) -> NghttpdServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)
