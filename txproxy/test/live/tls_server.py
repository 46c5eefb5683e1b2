"""A server that shakes hands over TLS and waits for its peer to leave."""

from __future__ import annotations

import contextlib
import socket
import ssl
import tempfile
import threading

from txproxy.test.authority import Identity

from .client import DEADLINE_S


class TlsServer:
    """Serves until it is left; a context manager.

    :param identity: its certificate and key.
    """

    def __init__(self, identity: Identity) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.NamedTemporaryFile() as file:
            file.write(identity.key + identity.certificate)
            file.flush()
            self._context.load_cert_chain(file.name)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        """As a configuration names it."""
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> TlsServer:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                accepted, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(accepted,), daemon=True).start()

    def _serve(self, accepted: socket.socket) -> None:
        accepted.settimeout(DEADLINE_S)
        with contextlib.suppress(OSError), self._context.wrap_socket(accepted, server_side=True) as secured:
            secured.recv(1)
