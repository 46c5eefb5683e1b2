"""The access log: one line per exchange, whatever its end.

A file that cannot be written to loses lines, which are counted, and stops nobody.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from time import gmtime, strftime
from typing import Any, Protocol

from txproxy.exchange import NOT_YET, Exchange, Passage
from txproxy.observe.counters import Counters
from txproxy.observe.log import Logger
from txproxy.observe.log_files import let_go
from txproxy.wire.messages import RequestHead
from txproxy.wire.proxy_protocol import Place, ProxyHeader

log = Logger()

# What stands for itself in a quoted part of a line: printable ASCII but for the quote and the backslash.
_HARMLESS = bytes(code for code in range(0x20, 0x7F) if code not in b'"\\')

_MOST_WORDS = 10_000
_WORDS = tuple(map(str, range(_MOST_WORDS)))
"""Small numbers in words: found in a third of the time that it takes to write one."""


def escape(value: bytes) -> bytes:
    """Return a value as it may stand between quotes: no client can end a line, or forge a field of it."""
    if not value.translate(None, _HARMLESS):
        return value
    return b"".join(bytes((code,)) if code in _HARMLESS else b"\\x%02X" % code for code in value)


class Formatter(Protocol):
    """Makes a line of an exchange."""

    def __call__(self, exchange: Exchange, ended_at_wall_s: float) -> str:
        """Return the line, without its end.

        :param ended_at_wall_s: when the exchange ended, in seconds since 1970.
        """
        ...


class CombinedFormatter:
    """The combined format of Apache and nginx, then request id, backend, tries, timings and end reason.

    Backends that were tried in turn have commas between them. The timings are queue, connect, first byte, transfer and
    total, in microseconds. If a try failed and no other followed, ``retry=`` and the reason stand last.
    """

    def __init__(self) -> None:
        self._second = -1
        self._stamp = ""
        self._client = ""
        self._prefix = ""
        # Of the last line: heads that are the same have one model, and come in a row.
        self._told: tuple[RequestHead | None, int, int] = (None, -1, 0)
        self._quoted = ""

    def __call__(self, exchange: Exchange, ended_at_wall_s: float) -> str:
        """Return the line, without its end."""
        second = int(ended_at_wall_s)
        if second != self._second or exchange.client_address != self._client:
            self._begin(exchange.client_address, second)
        request, status, length = self._told
        if exchange.request is not request or exchange.status != status or exchange.bytes_out != length:
            told = self._told = exchange.request, exchange.status, exchange.bytes_out
            self._quoted = _quoted(*told)
        start, end = exchange.started_at, exchange.ended_at
        connect, leased, replied = exchange.connect_at, exchange.leased_at, exchange.replied_at
        backend, total_us = exchange.backend, int((end - start) * 1e6 + 0.5)
        if (
            start <= connect <= leased <= replied <= end
            and exchange.tries == 1
            and total_us < _MOST_WORDS
            and backend is not None
        ):
            # The usual case, without a call; no part takes longer than the whole.
            words = _WORDS
            timings = (
                f"{backend.name} 1 {words[int((connect - start) * 1e6 + 0.5)]} "
                f"{words[int((leased - connect) * 1e6 + 0.5)]} {words[int((replied - leased) * 1e6 + 0.5)]} "
                f"{words[int((end - replied) * 1e6 + 0.5)]} {words[total_us]}"
            )
        elif backend is None and connect == NOT_YET and not exchange.tries:
            # No backend was sought, as for what is stored: all of its time was its reply's.
            total = _WORDS[total_us] if 0 <= total_us < _MOST_WORDS else str(total_us)
            timings = f"- 0 0 0 0 {total} {total}"
        else:
            phases = ["%d" % (seconds * 1e6 + 0.5) for seconds in exchange.timings()]  # noqa: UP031
            names = "-" if backend is None else backend.name if exchange.tries < 2 else exchange.backend_names()
            timings = " ".join((names, str(exchange.tries), *phases))
        line = f"{self._prefix}{self._quoted} {exchange.id.decode()} {timings} {exchange.end_reason}"
        refused = exchange.retry_refused
        return f"{line} retry={refused}" if refused else line

    def _begin(self, client: str, second: int) -> None:
        """Make what stands before the quotes."""
        if second != self._second:
            self._second = second
            self._stamp = strftime("%d/%b/%Y:%H:%M:%S +0000", gmtime(second))
        self._client = client
        self._prefix = f"{client or '-'} - - [{self._stamp}] "


def _quoted(request: RequestHead | None, status: int, bytes_out: int) -> str:
    """Return what a line says of a request and its reply, from the first quote to the last."""
    shown = b"%d" % status
    if request is None:
        line = agent = referer = b"-"
        shown = shown if status else b"-"
    else:
        known = request.known
        line = b"%b %b HTTP/%b" % (request.method, request.target, request.version)
        agent = known.get(b"user-agent", b"-")
        referer = known.get(b"referer", b"-")
    quoted = b'"%b" %b %d "%b" "%b"' % (line, shown, bytes_out, referer, agent)
    # One look at all of it together; six quotes are ours.
    if quoted.translate(None, _HARMLESS) != b'""""""':
        quoted = b'"%b" %b %d "%b" "%b"' % (escape(line), shown, bytes_out, escape(referer), escape(agent))
    return quoted.decode("ascii")


class PassageFormatter:
    """Combined lines for those listeners too whose connections have no requests.

    ``listener=``, ``cluster=`` and ``bytes_in=`` stand behind the line of such a connection; then ``sni=`` and
    ``alpn=``, if its ClientHello was looked at.

    :param formatter: for all that stands before.
    """

    def __init__(self, formatter: Formatter) -> None:
        self._formatter = formatter

    def __call__(self, exchange: Exchange, ended_at_wall_s: float) -> str:
        """Return the line, without its end."""
        line = self._formatter(exchange, ended_at_wall_s)
        if type(exchange) is not Passage:
            return line
        cluster = "-" if exchange.cluster is None else exchange.cluster.name
        line = f"{line} listener={exchange.client.settings.name} cluster={cluster} bytes_in={exchange.bytes_in}"
        hello = exchange.hello
        if hello is None:
            return line
        # A name cannot hold a space, but a protocol may be any bytes.
        protocols = escape(",".join(hello.protocols).encode("latin-1")).decode("ascii").replace(" ", "\\x20")
        return f"{line} sni={hello.server_name or '-'} alpn={protocols or '-'}"


class JsonFormatter:
    """One JSON object per line.

    ``retry`` is there only if a failed try was not followed by another, ``proxy`` only if a proxy in front has said
    something of the connection by the PROXY protocol. A connection without requests has its ``listener`` too, and
    ``alpn`` if its ClientHello was looked at; ``host`` is the name in that.
    """

    def __call__(self, exchange: Exchange, ended_at_wall_s: float) -> str:
        """Return the line, without its end. Bytes above 0x7F of what a client sent are shown as Latin-1."""
        request = exchange.request
        known = request.known if request is not None else {}
        tls, proxied = exchange.client.tls, exchange.client.hop.proxied
        queue, connect, first, transfer, total = (round(phase * 1e3, 3) for phase in exchange.timings())
        fields = {
            "ts": round(ended_at_wall_s, 3),
            "client": exchange.client_address,
            "method": _text(request.method) if request is not None else None,
            "host": _text(request.host) if request is not None else None,
            "target": _text(request.target) if request is not None else None,
            "version": _text(request.version) if request is not None else None,
            "status": exchange.status,
            "bytes_in": exchange.bytes_in,
            "bytes_out": exchange.bytes_out,
            "route": exchange.route.name if exchange.route is not None else None,
            "cluster": exchange.cluster.name if exchange.cluster is not None else None,
            "backend": exchange.backend_names() or None,
            "tries": exchange.tries,
            "cache": _text(exchange.cache) or None,
            "queue_ms": queue,
            "connect_ms": connect,
            "first_byte_ms": first,
            "transfer_ms": transfer,
            "total_ms": total,
            "end": exchange.end_reason,
            "request_id": _text(exchange.id),
            "tls": tls.version if tls is not None else None,
            "user_agent": _text(known[b"user-agent"]) if b"user-agent" in known else None,
            "referer": _text(known[b"referer"]) if b"referer" in known else None,
        }
        if type(exchange) is Passage:
            fields |= _of_passage(exchange)
        if exchange.retry_refused:
            fields["retry"] = exchange.retry_refused
        if proxied is not None:
            fields["proxy"] = _said_by_proxy(proxied)
        return json.dumps(fields, separators=(",", ":"))


def _of_passage(passage: Passage) -> dict[str, Any]:
    fields: dict[str, Any] = {"status": None, "listener": passage.client.settings.name}
    if passage.hello is not None:
        fields["host"] = passage.hello.server_name or None
        fields["alpn"] = list(passage.hello.protocols)
    return fields


def _said_by_proxy(header: ProxyHeader) -> dict[str, object]:
    """Return what a header of the PROXY protocol says, as far as it says anything."""
    tls = header.tls
    facts = {
        "destination": _shown(header.destination) if header.destination is not None else "",
        "authority": header.authority,
        "alpn": header.alpn,
        "unique_id": header.unique_id,
        "netns": header.netns,
        "tls": "" if tls is None else tls.version,
        "common_name": "" if tls is None else tls.common_name,
    }
    return {name: fact for name, fact in facts.items() if fact}


def _shown(place: Place) -> str:
    host, port = place
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _text(value: bytes) -> str:
    return value.decode("latin-1")


class AccessLog:
    """Writes the lines of exchanges.

    :param clock: the monotonic clock that exchanges are timed by, in seconds.
    :param wall_clock: seconds since 1970.
    :param formatter: makes the lines.
    :param open_file: opens the file anew for appending, in text mode; called again by ``reopen``.
    :param counters: where lost lines are counted.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
        formatter: Formatter,
        open_file: Callable[[], Any],
        counters: Counters,
    ) -> None:
        self._clock = clock
        self._wall_clock = wall_clock
        self._formatter = formatter
        self._open_file = open_file
        self._file = open_file()
        self._counters = counters
        self._failing = False

    def write(self, exchanges: Sequence[Exchange]) -> None:
        """Write the lines of exchanges that have ended."""
        if not exchanges:
            return
        formatter = self._formatter
        offset = self._wall_clock() - self._clock()
        lines = [formatter(exchange, exchange.ended_at + offset) for exchange in exchanges]
        lines.append("")
        try:
            self._file.write("\n".join(lines))
            self._file.flush()
            self._failing = False
        except (OSError, ValueError) as reason:
            self._counters.log_lines_lost += len(exchanges)
            if not self._failing:
                # Once: on a full disk this comes many times a second.
                self._failing = True
                log.error("the access log cannot be written: {reason}", reason=reason)

    def reopen(self) -> None:
        """Open the file anew, for it may have been moved away (logrotate)."""
        try:
            fresh = self._open_file()
        except OSError as reason:
            log.error("the access log cannot be opened anew: {reason}", reason=reason)
            return
        old, self._file = self._file, fresh
        self._close(old, let_go)

    def let_go(self) -> None:
        """Write no more; another log has taken its place."""
        self._close(self._file, let_go)

    def close(self) -> None:
        """Close the file."""
        self._close(self._file, lambda file: file.close())

    def _close(self, file: Any, close: Callable[[Any], None]) -> None:
        try:
            close(file)
        except (OSError, ValueError) as reason:
            # What its buffer still held is lost; it was counted when it could not be written.
            log.error("the access log cannot be closed: {reason}", reason=reason)
