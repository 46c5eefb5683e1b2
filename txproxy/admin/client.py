"""The other end of the admin interface: plain blocking calls, for the command line."""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any
from urllib.parse import quote, urlsplit

from txproxy.config.address import bracketed, parse_address

TIMEOUT_S = 70.0
"""The interface itself gives up after 60 s."""


class AdminError(Exception):
    """It cannot be reached, or has refused; the text says why.

    :param status: of the reply; 0 if there was none.
    :param details: further lines.
    """

    def __init__(self, text: str, status: int = 0, details: tuple[str, ...] = ()) -> None:
        super().__init__(text)
        self.status = status
        self.details = details


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect to a unix socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class AdminClient:
    """Asks an admin interface.

    :param address: ``HOST:PORT``, ``http://HOST:PORT``, ``https://HOST[:PORT]`` or ``unix:/PATH``.
    :param token: empty for none.
    :param timeout_s: for an answer.
    :raises ValueError: that is no address.
    """

    def __init__(self, address: str, token: str = "", timeout_s: float = TIMEOUT_S) -> None:
        self.address = address
        self.token = token
        self._timeout_s = timeout_s
        self._connection = self._make(address)

    def _make(self, address: str) -> http.client.HTTPConnection:
        scheme, has_scheme, _ = address.partition("://")
        if not has_scheme:
            parsed = parse_address(address)
            if parsed.kind == "unix":
                return _UnixConnection(parsed.path, self._timeout_s)
            host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(parsed.host, parsed.host)
            return http.client.HTTPConnection(bracketed(host), parsed.port, timeout=self._timeout_s)
        parts = urlsplit(address)
        if scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/") or parts.query:
            raise ValueError(f"{address!r} is no address (allowed: HOST:PORT, http://HOST:PORT, unix:/PATH)")
        make = http.client.HTTPSConnection if scheme == "https" else http.client.HTTPConnection
        return make(parts.hostname, parts.port, timeout=self._timeout_s)

    def get(self, path: str) -> Any:
        """Return what JSON there is at a path.

        :raises AdminError: if there is none; likewise the others.
        """
        return _json(self._ask("GET", path))

    def text(self, path: str) -> str:
        """Return the text at a path."""
        return self._ask("GET", path).decode()

    def change(self, path: str, body: dict[str, Any] | None = None, method: str = "POST") -> Any:
        """Have something done, and return what is told of it."""
        return _json(self._ask(method, path, json.dumps(body or {}).encode()))

    def close(self) -> None:
        """Leave."""
        self._connection.close()

    def _ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        fields = {"Content-Type": "application/json"} if body is not None else {}
        if self.token:
            fields["Authorization"] = f"Bearer {self.token}"
        may_repeat = method == "GET" and self._connection.sock is not None
        try:
            return self._once(method, path, body, fields)
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
            self._connection.close()
            # A connection that was idle may have been closed meanwhile.
            if may_repeat:
                try:
                    return self._once(method, path, body, fields)
                except (OSError, http.client.HTTPException) as another:
                    error = another
            raise self._unreachable(error) from None
        except (OSError, http.client.HTTPException, UnicodeError) as error:
            raise self._unreachable(error) from None

    def _once(self, method: str, path: str, body: bytes | None, fields: dict[str, str]) -> bytes:
        self._connection.request(method, path, body, fields)
        reply = self._connection.getresponse()
        content = reply.read()
        if reply.status >= 400:
            raise _refusal(reply.status, content)
        return content

    def _unreachable(self, error: Exception) -> AdminError:
        self._connection.close()
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return AdminError(f"no admin interface is to be reached at {self.address}: {reason}")


def backend_path(cluster: str, backend: str = "", what: str = "") -> str:
    """Return the path of a cluster's backends, of one of them, or of what can be done to it."""
    path = f"/clusters/{quote(cluster, safe='')}/backends"
    if backend:
        path += f"/{quote(backend, safe='')}"
    return f"{path}/{what}" if what else path


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        raise AdminError("what answers there is no admin interface of txproxy") from None


def _refusal(status: int, content: bytes) -> AdminError:
    try:
        told = json.loads(content)
        text, details = str(told["error"]), tuple(map(str, told.get("errors", ())))
    except (ValueError, TypeError, KeyError, AttributeError):
        text, details = f"it was refused with status {status}", ()
    return AdminError(text, status, details)
