"""A client and a server of TLS that talk through memory."""

from __future__ import annotations

from collections.abc import Sequence

from OpenSSL import SSL


class Pipe:
    """One handshake between a server's context and a client of our own.

    :param server: the server's context.
    :param context: the client's; one that trusts everybody if None.
    :param name: for SNI; None: none is sent.
    :param alpn: protocols that the client offers.
    :param session: one to go on with.
    """

    def __init__(
        self,
        server: SSL.Context,
        context: SSL.Context | None = None,
        name: bytes | None = None,
        alpn: Sequence[bytes] = (),
        session: SSL.Session | None = None,
    ) -> None:
        self.server = SSL.Connection(server, None)
        self.server.set_accept_state()
        self.client = SSL.Connection(context or SSL.Context(SSL.TLS_CLIENT_METHOD), None)
        self.client.set_connect_state()
        if name is not None:
            self.client.set_tlsext_host_name(name)
        if alpn:
            self.client.set_alpn_protos(list(alpn))
        if session is not None:
            self.client.set_session(session)
        self.server_error: Exception | None = None
        self.client_error: Exception | None = None

    def shake_hands(self) -> Pipe:
        """Do as much of the handshake as can be done, and read the tickets that follow it."""
        for _ in range(10):
            self.step()
        if self.is_complete:
            self.server.send(b"!")
            self._move(self.server, self.client)
            assert self.client.recv(1) == b"!"
            # OpenSSL gives up the session of a connection that is let go without a close.
            self.client.set_shutdown(SSL.SENT_SHUTDOWN | SSL.RECEIVED_SHUTDOWN)
        return self

    def step(self) -> None:
        """Have each side say once what it has to say."""
        self.client_error = self._step(self.client, self.client_error)
        self._move(self.client, self.server)
        self.server_error = self._step(self.server, self.server_error)
        self._move(self.server, self.client)

    @property
    def is_complete(self) -> bool:
        """Both sides have finished."""
        return not (self.server_error or self.client_error)

    @property
    def alert(self) -> str:
        """What the client was told, in OpenSSL's words; empty if nothing."""
        error = self.client_error
        return "" if error is None or not error.args or not error.args[0] else str(error.args[0][-1][-1])

    def _step(self, connection: SSL.Connection, before: Exception | None) -> Exception | None:
        if before is not None and not isinstance(before, SSL.WantReadError):
            return before
        try:
            connection.do_handshake()
        except SSL.Error as error:
            return error.with_traceback(None)
        return None

    def _move(self, source: SSL.Connection, target: SSL.Connection) -> None:
        try:
            while True:
                target.bio_write(source.bio_read(65536))
        except SSL.WantReadError:
            pass
