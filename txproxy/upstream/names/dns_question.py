"""One question to one name server: by a datagram, and over a connection if the answer does not fit into one."""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError, ConnectError
from twisted.internet.protocol import ClientCreator, DatagramProtocol
from twisted.names import dns
from twisted.protocols.basic import Int16StringReceiver
from twisted.python.failure import Failure

from txproxy.net.udp import listen_udp
from txproxy.policy.dns_records import Record, ttl_of
from txproxy.policy.resolv_conf import NameServer

_KINDS = {"A": dns.A, "AAAA": dns.AAAA}
_MOST_RECORDS = 512
"""Of an answer; the rest is not looked at. That many take 2 ms to be read."""


class NoAnswer(Exception):
    """A name server gave none.

    :param reason: why, in words.
    :param is_silent: nothing came in time, so that it may be asked once more.
    """

    def __init__(self, reason: str, is_silent: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_silent = is_silent


class Question(NamedTuple):
    """What is asked for."""

    name: str
    """Complete, without a dot at its end."""
    kind: str
    """``A`` or ``AAAA``."""


class Reply(NamedTuple):
    """What a name server says."""

    exists: bool
    """False: there is no such name (NXDOMAIN), so that no other kind of record has to be asked for."""
    records: tuple[Record, ...]
    is_recursive: bool
    """It follows aliases for us, so that what is missing does not exist."""
    is_cut: bool = False
    """There is more than fits into a datagram."""


def ask(reactor: Any, server: NameServer, question: Question, timeout_s: float) -> Deferred[Reply]:
    """Ask a name server.

    :param reactor: provides IReactorUDP, IReactorTCP and IReactorTime.
    :param timeout_s: how long an answer may take; again as much if it has to be asked for over TCP.
    :return: fires with its reply; fails with NoAnswer. Cancelling it leaves nothing open.
    """
    return Deferred.fromCoroutine(_ask(reactor, server, question, timeout_s))


async def _ask(reactor: Any, server: NameServer, question: Question, timeout_s: float) -> Reply:
    def silent(_: Any, seconds: float) -> Failure:
        return Failure(NoAnswer(f"{server}: no answer in {seconds:g} s", is_silent=True))

    reply = await _Datagrams(reactor, server, question).start().addTimeout(timeout_s, reactor, silent)
    if reply.is_cut:
        over_tcp = Deferred.fromCoroutine(_ask_over_tcp(reactor, server, question, timeout_s))
        reply = await over_tcp.addTimeout(timeout_s, reactor, silent)
    return reply


class _Message(dns.Message):
    """A message of which only the beginning of the answers is read, for nothing else is used."""

    def parseRecords(self, list: list[dns.RRHeader], num: int, strio: Any) -> None:  # noqa: N802
        if list is self.answers:
            super().parseRecords(list, min(num, _MOST_RECORDS), strio)

    def lookupRecordType(self, type: int) -> Any:  # noqa: N802
        return super().lookupRecordType(type) if type in (dns.A, dns.AAAA, dns.CNAME) else dns.UnknownRecord


def _packed(question: Question, number: int) -> bytes:
    message = dns.Message(number, recDes=1)
    message.queries = [dns.Query(question.name.encode("latin-1"), _KINDS[question.kind], dns.IN)]
    return message.toStr()


def _read(data: bytes, question: Question, number: int, server: NameServer) -> Reply | None:
    """Return what a message says, or None if it does not answer the question.

    :raises NoAnswer: it says that the server cannot answer.
    """
    # The number, and no more than one question: what a flood of guesses, or of questions, does not get past.
    if data[:2] != number.to_bytes(2, "big") or data[4:6] not in (b"\0\0", b"\0\1"):
        return None
    message = _Message()
    try:
        message.fromStr(data)
    except (EOFError, ValueError, struct.error, IndexError, KeyError, TypeError, OverflowError):
        return None  # What the codec makes of noise; it is nobody's answer.
    if not message.answer or message.opCode != dns.OP_QUERY:
        return None
    if not _echoes(message, question):
        return None
    if message.rCode not in (dns.OK, dns.ENAME):
        raise NoAnswer(f"{server}: {_CODES.get(message.rCode, f'code {message.rCode}')}")
    if not (message.answers or message.auth or message.recAv or message.trunc or message.rCode):
        # It neither knows the name nor looks for it; libc passes such a server over, too.
        raise NoAnswer(f"{server}: it only refers to other servers")
    return Reply(
        message.rCode != dns.ENAME,
        tuple(filter(None, map(_record, message.answers))),
        bool(message.recAv),
        bool(message.trunc),
    )


_CODES = {
    dns.EFORMAT: "it calls the question malformed",
    dns.ESERVER: "server failure",
    dns.ENOTIMP: "not implemented",
    dns.EREFUSED: "refused to answer",
}


def _echoes(message: dns.Message, question: Question) -> bool:
    # A server that could not read the question may leave it out.
    if not message.queries:
        return message.rCode not in (dns.OK, dns.ENAME)
    query = message.queries[0]
    return (
        len(message.queries) == 1
        and query.type == _KINDS[question.kind]
        and query.cls == dns.IN
        and _text(query.name) == question.name.lower()
    )


def _record(header: dns.RRHeader) -> Record | None:
    if header.cls != dns.IN:
        return None
    payload: Any = header.payload
    if header.type == dns.A:
        kind, value = "A", payload.dottedQuad()
    elif header.type == dns.AAAA:
        kind, value = "AAAA", ":".join(payload.address[at : at + 2].hex() for at in range(0, 16, 2))
    elif header.type == dns.CNAME:
        kind, value = "CNAME", _text(payload.name)
    else:
        return None
    return Record(_text(header.name), kind, ttl_of(header.ttl), value)


def _text(name: dns.Name) -> str:
    return name.name.decode("latin-1").lower()


class _Datagrams(DatagramProtocol):
    """A port of its own for one question, connected, so that nobody else can answer and a refusal is seen."""

    noisy = False

    def __init__(self, reactor: Any, server: NameServer, question: Question) -> None:
        self._reactor = reactor
        self._server = server
        self._question = question
        self._number = dns.randomSource()
        self._port: Any = None
        self._answer: Deferred[Reply] = Deferred(lambda _: self._close())

    def start(self) -> Deferred[Reply]:
        server = self._server
        try:
            self._port = listen_udp(self._reactor, self, "::" if ":" in server.host else "")
            self._port.connect(server.host, server.port)
            self._port.write(_packed(self._question, self._number))
        except (OSError, CannotListenError) as error:
            self._fail(f"{server}: {error}")
        return self._answer

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:  # noqa: N802
        if self._port is None:
            return
        try:
            reply = _read(datagram, self._question, self._number, self._server)
        except NoAnswer as error:
            self._close()
            self._answer.errback(error)
        else:
            if reply is not None:
                self._close()
                self._answer.callback(reply)

    def connectionRefused(self) -> None:
        self._fail(f"{self._server}: nobody listens there")

    def _fail(self, reason: str) -> None:
        if not self._answer.called:
            self._close()
            self._answer.errback(NoAnswer(reason))

    def _close(self) -> None:
        port, self._port = self._port, None
        if port is not None:
            port.stopListening()


async def _ask_over_tcp(reactor: Any, server: NameServer, question: Question, timeout_s: float) -> Reply:
    stream = _Stream(server, question)
    try:
        await ClientCreator(reactor, lambda: stream).connectTCP(server.host, server.port, timeout=timeout_s)
        return await stream.answer
    except ConnectError as error:
        raise NoAnswer(f"{server}: {error}") from None
    finally:
        stream.end()


class _Stream(Int16StringReceiver):
    """A connection for one question."""

    transport: Any

    def __init__(self, server: NameServer, question: Question) -> None:
        self._server = server
        self._question = question
        self._number = dns.randomSource()
        self.answer: Deferred[Reply] = Deferred()

    def end(self) -> None:
        """Close it, whatever state it is in; who waited for the answer has it or has gone."""
        self.answer.addErrback(lambda _: None)
        if self.transport is not None:
            self.transport.abortConnection()

    def connectionMade(self) -> None:
        self.sendString(_packed(self._question, self._number))

    def stringReceived(self, string: bytes) -> None:  # noqa: N802
        if self.answer.called:
            return
        try:
            reply = _read(string, self._question, self._number, self._server)
        except NoAnswer as error:
            self.answer.errback(error)
            return
        if reply is None or reply.is_cut:
            self.answer.errback(NoAnswer(f"{self._server}: its answer over TCP makes no sense"))
        else:
            self.answer.callback(reply)

    def connectionLost(self, reason: Any = None) -> None:
        if not self.answer.called:
            self.answer.errback(NoAnswer(f"{self._server}: it closed the connection"))
