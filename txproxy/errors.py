"""One tree of everything that can go wrong with an exchange.

Each class says which status a client gets, which end reason the access log names, whose fault it is and
whether another backend may be tried. The shells never invent a status: they look it up here.
The sentence is all that a client is told; ``detail`` is for the debug log and may hold what a peer sent.
"""

from __future__ import annotations

from enum import Enum


class Fault(Enum):
    """Whose fault a failure is."""

    DOWNSTREAM = "downstream"
    UPSTREAM = "upstream"
    US = "us"


class ProxyError(Exception):
    """A failure of one exchange.

    :param detail: what was seen, for the debug log only; never sent to a client.
    """

    status = 500
    """Status code of our reply; 0 where no reply can be made any more."""
    end_reason = "internal"
    """Machine-readable reason in the access log and in counters."""
    fault = Fault.US
    retryable = False
    """True if no backend can have acted on the request, so that any method may be tried elsewhere."""
    resendable = False
    """True if the backend may have acted on it but has answered nothing: an idempotent request may be sent again."""
    closes = False
    """True if the client connection cannot be used for another request (RFC 9112 section 9.6)."""
    sentence = "The proxy failed to handle this request."
    retry_after_s = 0
    """Seconds named in Retry-After (RFC 9110 section 10.2.3); 0 for none."""
    logged = False
    """It has its line in the application log already."""

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail or self.sentence)
        self.detail = detail


class InternalError(ProxyError):
    """A bug of ours, or a stage or a user's function that raised.

    :param detail: see the base class.
    :param logged: whether the exception behind it was logged.
    """

    def __init__(self, detail: str = "", logged: bool = False) -> None:
        super().__init__(detail)
        self.logged = logged


class DownstreamError(ProxyError):
    """The client's fault."""

    fault = Fault.DOWNSTREAM
    closes = True


class BadRequest(DownstreamError):
    """A head that is not valid, or whose length is ambiguous (RFC 9112 sections 2 to 6)."""

    status = 400
    end_reason = "bad-request"
    sentence = "The request is malformed."


class BadBody(DownstreamError):
    """A body whose framing is broken, or that ended too early (RFC 9112 sections 6 to 8)."""

    status = 400
    end_reason = "bad-body"
    sentence = "The body of the request is malformed or incomplete."


class UnsupportedCoding(DownstreamError):
    """A transfer coding besides chunked (RFC 9112 section 6.1)."""

    status = 501
    end_reason = "bad-coding"
    sentence = "This transfer coding is not supported."


class UnsupportedVersion(DownstreamError):
    """A major version other than 1 in the text of an HTTP/1 request (RFC 9110 section 15.6.6)."""

    status = 505
    end_reason = "bad-version"
    sentence = "This version of HTTP is not supported."


class UriTooLong(DownstreamError):
    """A request line over its limit."""

    status = 414
    end_reason = "uri-too-long"
    sentence = "The request target is too long."


class HeadersTooLarge(DownstreamError):
    """Too many fields, one field too long, or a header section over its limit (RFC 6585 section 5)."""

    status = 431
    end_reason = "headers-too-large"
    sentence = "The header section is too large."


class BodyTooLarge(DownstreamError):
    """A body over the route's limit, declared or counted."""

    status = 413
    end_reason = "body-too-large"
    sentence = "The body of the request is too large."


class RequestTimeout(DownstreamError):
    """The head or a part of the body did not come in time."""

    status = 408
    end_reason = "request-timeout"
    sentence = "The request did not arrive in time."


class ExpectationFailed(DownstreamError):
    """An Expect field that names anything but 100-continue (RFC 9110 section 10.1.1)."""

    status = 417
    end_reason = "bad-expectation"
    sentence = "This expectation cannot be met."


class MethodRefused(DownstreamError):
    """A method that the route does not allow, such as CONNECT at a reverse proxy."""

    status = 405
    end_reason = "method-refused"
    sentence = "This method is not allowed here."


class NotStored(DownstreamError):
    """The client wants what is stored or nothing, and nothing is that could be sent (RFC 9111 section 5.2.1.7)."""

    status = 504
    end_reason = "only-if-cached"
    closes = False
    sentence = "Nothing is stored that could be sent."


class LoopDetected(DownstreamError):
    """The request came through this proxy too often (RFC 5842 section 7.2 names the status)."""

    status = 508
    end_reason = "loop"
    sentence = "The request is going in circles."


class NoRoute(DownstreamError):
    """No route matches the request."""

    status = 404
    end_reason = "no-route"
    closes = False
    sentence = "Nothing is served at this address."


class Misdirected(DownstreamError):
    """The request's host has another certificate than the one this connection showed (RFC 9110 section 15.5.20)."""

    status = 421
    end_reason = "misdirected"
    closes = False
    sentence = "This connection is not for that host."


class ClientLeft(DownstreamError):
    """The client closed its connection before the reply was complete; logged as 499."""

    status = 499
    end_reason = "client-left"
    sentence = "The client left."


class WriteTimeout(DownstreamError):
    """The client did not read its reply in time."""

    status = 0
    end_reason = "write-timeout"
    sentence = "The client did not read the reply in time."


class BadProxyHeader(DownstreamError):
    """A connection that begins with no valid header of the PROXY protocol where it has to; it is just closed."""

    status = 0
    end_reason = "bad-proxy-header"
    sentence = "The PROXY header is malformed or missing."


class UntrustedProxy(DownstreamError):
    """A peer that may not say for whom it speaks, where each has to; its connection is just closed."""

    status = 0
    end_reason = "untrusted-proxy"
    sentence = "The peer is none of the trusted proxies."


class UpstreamError(ProxyError):
    """A backend's fault."""

    fault = Fault.UPSTREAM
    status = 502
    end_reason = "bad-reply"
    sentence = "The backend gave no valid reply."


class ConnectFailed(UpstreamError):
    """The connection to the backend was refused, reset or had no way there."""

    end_reason = "connect-failed"
    retryable = True
    sentence = "The backend cannot be reached."


class TlsFailed(ConnectFailed):
    """The backend speaks no TLS, or none that we speak, or does not accept who we are."""


class NoHttp2(ConnectFailed):
    """The backend does not speak HTTP/2, which is all that we speak with it."""


class ConnectTimeout(UpstreamError):
    """The backend did not accept the connection in time."""

    status = 504
    end_reason = "connect-timeout"
    retryable = True
    sentence = "The backend did not answer in time."


class TlsVerify(UpstreamError):
    """The backend's certificate is not valid, or not for its name."""

    end_reason = "tls-verify"
    retryable = True
    sentence = "The backend could not be verified."


class ReplyTimeout(UpstreamError):
    """The backend sent no reply in time."""

    status = 504
    end_reason = "reply-timeout"
    resendable = True
    sentence = "The backend did not answer in time."


class BadReply(UpstreamError):
    """The backend's reply is malformed, or ended before its head was complete."""


class NoReply(BadReply):
    """The backend closed or reset the connection before the head of a reply was complete."""

    resendable = True


class Unprocessed(NoReply):
    """The backend says that it did nothing about the request: it refused it, or goes away (RFC 9113 section 8.7)."""

    retryable = True
    resendable = False


class ReplyCut(UpstreamError):
    """The backend stopped in the middle of a body; the client must see that it is incomplete."""

    end_reason = "reply-cut"
    sentence = "The backend stopped in the middle of its reply."


class BackendClosed(UpstreamError):
    """The backend's side of a tunnel was lost before both sides had said that they send no more."""

    status = 0
    end_reason = "backend-closed"
    sentence = "The backend ended the tunnel."


class NoBackend(UpstreamError):
    """No backend may be tried: all are down and are not to be tried, or drained, or a circuit breaker is open.

    :param detail: see the base class.
    :param retry_after_s: seconds until that may have changed.
    """

    status = 503
    end_reason = "no-backend"
    sentence = "No backend is available."

    def __init__(self, detail: str = "", retry_after_s: int = 5) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class QueueFull(UpstreamError):
    """All connections to the backends are in use and no more requests may wait."""

    status = 503
    end_reason = "queue-full"
    retry_after_s = 1
    fault = Fault.US
    sentence = "Too many requests are waiting."


class QueueTimeout(UpstreamError):
    """The request waited too long for a connection to a backend."""

    status = 503
    end_reason = "queue-timeout"
    retry_after_s = 1
    fault = Fault.US
    sentence = "The request waited too long for a backend."


class ShuttingDown(ProxyError):
    """The time for a graceful stop is over and the exchange was cut."""

    status = 503
    end_reason = "shutdown"
    closes = True
    retry_after_s = 1
    sentence = "The proxy is stopping."


class IdleTimeout(ProxyError):
    """A tunnel through which no byte went for too long: either side might have said something."""

    status = 0
    end_reason = "idle-timeout"
    sentence = "Nothing went through the tunnel for too long."


class TooOld(ProxyError):
    """A tunnel that has lasted as long as one may."""

    status = 0
    end_reason = "max-age"
    sentence = "The tunnel has lasted too long."
