"""What can be asked of the admin interface: paths, methods and bodies in, answers out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol
from urllib.parse import unquote_to_bytes

from twisted.internet.defer import Deferred, maybeDeferred, succeed

from txproxy.admin.guard import Refusal
from txproxy.admin.operator import ORDERS, PURGES, Conflict, Operator, Reloaded
from txproxy.admin.page import Page, load_page

_JSON = b"application/json"


class Answer(NamedTuple):
    """What is answered."""

    status: int
    body: bytes
    content_type: bytes = _JSON
    fields: tuple[tuple[bytes, bytes], ...] = ()


class Exposition(Protocol):
    """Writes a report as metrics."""

    def __call__(self, report: Any, accept: str) -> tuple[Iterator[bytes], str]:
        """Return the pieces of a text for Prometheus, to be made one by one, and its content type.

        :param accept: what the client accepts, as the field has it.
        """


class Call(NamedTuple):
    """One thing that can be asked."""

    method: bytes
    path: tuple[str, ...]
    """Segments; those in capitals stand for anything."""
    answer: Callable[..., Any]
    """Given what the request has for the segments in capitals, by name; ``body`` if it changes something; and
    ``accept`` if it is about that. Returns an ``Answer`` or what becomes JSON, or a Deferred of either."""
    is_open: bool = False
    """It needs no token."""

    @property
    def changes(self) -> bool:
        """Whether it changes anything."""
        return self.method != b"GET"


class BadAsked(Exception):
    """A request says something that cannot be; the text says what."""


class Api:
    """All that can be asked.

    :param operator: carries it out.
    :param exposition: writes metrics; None if there are none.
    :param call_later: the reactor's.
    """

    def __init__(self, operator: Operator, exposition: Exposition | None, call_later: Callable[..., Any]) -> None:
        self._call_later = call_later
        self._operator = operator
        self._exposition = exposition
        self._page: Page | None = None
        backend = ("clusters", "CLUSTER", "backends", "BACKEND")
        self._calls = [
            Call(b"GET", ("",), self._show_page, is_open=True),
            Call(b"GET", ("healthz",), lambda: {"state": "alive"}, is_open=True),
            Call(b"GET", ("readyz",), self._readiness, is_open=True),
            Call(b"GET", ("status",), operator.report),
            Call(b"GET", ("metrics",), self._metrics),
            Call(b"GET", ("cache",), self._cache),
            *(Call(b"POST", (*backend, order), self._orderer(order)) for order in ORDERS),
            Call(b"POST", (*backend, "weight"), self._set_weight),
            Call(b"POST", backend[:3], self._add),
            Call(b"DELETE", backend, self._remove),
            Call(b"POST", ("cache", "purge"), self._purge),
            Call(b"POST", ("reload",), self._reload),
            Call(b"POST", ("log-level",), self._set_level),
        ]

    def find(self, method: bytes, path: bytes) -> tuple[Call, dict[str, str]] | Refusal:
        """Return what is asked and what the path has for it, or why there is nothing of that kind.

        :param method: of the request; HEAD asks for what GET does.
        :param path: of the request, as it came.
        """
        if path[:1] != b"/":
            return Refusal(404, "there is nothing here")
        try:
            segments = [unquote_to_bytes(part).decode() for part in path[1:].split(b"/")]
        except UnicodeDecodeError:
            return Refusal(404, "there is nothing here")
        of_path = [(call, found) for call in self._calls if (found := _matched(call.path, segments)) is not None]
        if not of_path:
            return Refusal(404, "there is nothing here")
        wanted = b"GET" if method == b"HEAD" else method
        for call, found in of_path:
            if call.method == wanted:
                return call, found
        allowed = dict.fromkeys(call.method for call, _ in of_path)
        names = b", ".join(b"GET, HEAD" if each == b"GET" else each for each in allowed)
        return Refusal(405, f"this method is not allowed here (allowed: {names.decode()})", ((b"Allow", names),))

    def carry_out(self, call: Call, found: Mapping[str, str], body: bytes, accept: str) -> Deferred[Answer]:
        """Have something done.

        :param call: what ``find`` has returned, with ``found``.
        :param body: of the request.
        :param accept: what the client accepts.
        :return: fires with the answer; fails only for what nobody foresaw.
        """
        arguments: dict[str, Any] = {name.lower(): value for name, value in found.items()}
        if call.changes:
            try:
                arguments["body"] = _read(body)
            except BadAsked as error:
                return succeed(problem(400, str(error)))
        if call.answer == self._metrics:
            arguments["accept"] = accept
        done: Deferred[Any] = maybeDeferred(call.answer, **arguments)
        return done.addCallbacks(_answer, _failed)

    # What does not change anything.

    def _show_page(self) -> Answer:
        if self._page is None:
            self._page = load_page()
        fields = ((b"Content-Security-Policy", self._page.policy.encode()),)
        return Answer(200, self._page.body, b"text/html; charset=utf-8", fields)

    def _readiness(self) -> Answer:
        if self._operator.is_ready:
            return Answer(200, _written({"state": "ready"}))
        return Answer(503, _written({"state": "stopping" if self._operator.is_stopping else "starting"}))

    def _metrics(self, accept: str) -> Any:
        exposition = self._exposition
        if exposition is None:
            return problem(404, "there are no metrics")

        def write(report: Any) -> Deferred[Answer]:
            pieces, kind = exposition(report, accept)
            return self._gathered(pieces).addCallback(lambda text: Answer(200, text, kind.encode()))

        return maybeDeferred(self._operator.report).addCallback(write)

    def _gathered(self, pieces: Iterator[bytes]) -> Deferred[bytes]:
        """Return all pieces as one; requests have their turn after each of them."""
        found: list[bytes] = []
        done: Deferred[bytes] = Deferred()

        def go_on() -> None:
            try:
                piece = next(pieces, None)
            except Exception:
                done.errback()
                return
            if piece is None:
                done.callback(b"".join(found))
                return
            found.append(piece)
            self._call_later(0, go_on)

        go_on()
        return done

    def _cache(self) -> Any:
        def pick(report: Any) -> Any:
            return problem(404, "no route has a cache") if report["cache"] is None else report["cache"]

        return maybeDeferred(self._operator.report).addCallback(pick)

    # What does.

    def _orderer(self, order: str) -> Callable[..., Any]:
        def give(cluster: str, backend: str, body: dict[str, Any]) -> Any:
            _only(body)
            return self._operator.order(cluster, backend, order)

        return give

    def _set_weight(self, cluster: str, backend: str, body: dict[str, Any]) -> Any:
        _only(body, "weight")
        return self._operator.set_weight(cluster, backend, _integer(body, "weight"))

    def _add(self, cluster: str, body: dict[str, Any]) -> Any:
        _only(body, "address", "weight", "max_connections", "backup")
        backup = body.get("backup", False)
        if not isinstance(backup, bool):
            raise BadAsked("backup must be true or false")
        most = None if body.get("max_connections") is None else _integer(body, "max_connections")
        weight = _integer(body, "weight") if "weight" in body else 1
        return self._operator.add(cluster, _text(body, "address"), weight, most, backup)

    def _remove(self, cluster: str, backend: str, body: dict[str, Any]) -> Any:
        _only(body)
        return self._operator.remove(cluster, backend)

    def _purge(self, body: dict[str, Any]) -> Any:
        _only(body, *PURGES)
        if len(body) != 1:
            raise BadAsked(f"a purge is of one of these: {', '.join(PURGES)}")
        (kind,) = body
        if kind == "all" and body["all"] is not True:
            raise BadAsked("all must be true")
        value = "" if kind == "all" else _text(body, kind)
        purged = maybeDeferred(self._operator.purge, kind, value)
        return purged.addCallback(lambda count: {"ok": True, "purged": count})

    def _reload(self, body: dict[str, Any]) -> Any:
        _only(body)

        def tell(reloaded: Reloaded) -> Answer:
            told: dict[str, Any] = {"ok": reloaded.ok, "errors": list(reloaded.errors), "summary": reloaded.summary}
            if not reloaded.ok:
                told["error"] = "the configuration before it stays"
            return Answer(200 if reloaded.ok else 409, _written(told))

        return maybeDeferred(self._operator.reload).addCallback(tell)

    def _set_level(self, body: dict[str, Any]) -> Any:
        _only(body, "level")
        return self._operator.set_level(_text(body, "level"))


def problem(status: int, error: str, fields: tuple[tuple[bytes, bytes], ...] = ()) -> Answer:
    """Return the answer that says what is wrong.

    :param error: one sentence.
    """
    return Answer(status, _written({"error": error}), fields=fields)


def _matched(pattern: tuple[str, ...], segments: list[str]) -> dict[str, str] | None:
    if len(pattern) != len(segments):
        return None
    found = {}
    for expected, segment in zip(pattern, segments, strict=True):
        if expected.isupper():
            found[expected] = segment
        elif expected != segment:
            return None
    return found


def _answer(result: Any) -> Answer:
    return result if isinstance(result, Answer) else Answer(200, _written({"ok": True} if result is None else result))


def _failed(failure: Any) -> Answer:
    error = failure.trap(KeyError, ValueError, BadAsked, Conflict)
    text = str(failure.value.args[0] if failure.value.args else failure.value)
    if error is KeyError:
        return problem(404, text)
    return problem(409 if error is Conflict else 400, text)


def _written(told: Any) -> bytes:
    return json.dumps(told, separators=(",", ":")).encode() + b"\n"


def _read(body: bytes) -> dict[str, Any]:
    """Return what a body says; one that is not there says nothing."""
    if not body.strip():
        return {}
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        raise BadAsked("the body is not JSON") from None
    if not isinstance(told, dict):
        raise BadAsked("the body is not a JSON object")
    return told


def _only(body: Mapping[str, Any], *known: str) -> None:
    for key in body:
        if key not in known:
            allowed = f"allowed: {', '.join(known)}" if known else "nothing is expected"
            raise BadAsked(f"{key[:100]!r} means nothing here ({allowed})")


def _text(body: Mapping[str, Any], key: str) -> str:
    value = body.get(key)
    if not isinstance(value, str) or not value:
        raise BadAsked(f"{key} must be a text")
    try:
        value.encode()
    except UnicodeEncodeError:  # JSON can write halves of characters.
        raise BadAsked(f"{key} is not Unicode") from None
    return value


def _integer(body: Mapping[str, Any], key: str) -> int:
    value = body.get(key)
    if type(value) is not int:
        raise BadAsked(f"{key} must be a whole number")
    return value
