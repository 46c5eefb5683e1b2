"""What became of one exchange, in one event of the debug log."""

from __future__ import annotations

from txproxy.exchange import Exchange
from txproxy.observe.log import Logger

log = Logger()


def log_exchange(exchange: Exchange) -> None:
    """Log an exchange's phases with their times, and the choices that were made for it."""
    request = exchange.request
    asked = None if request is None else request.asked
    key = b"" if asked is None or not exchange.cache else asked.key
    queue, connect, first, transfer, total = (round(phase * 1e3, 3) for phase in exchange.timings())
    log.debug(
        "exchange {id}: {asked} from {client}: route {route}, cluster {cluster}, "
        "backend {backend} (chosen by: {choice}; tried in turn: {tried}; not tried again: {refused}), "
        "cache {cache} (key: {key}), "
        "status {status}, {bytes_in} bytes in, {bytes_out} bytes out; queue {queue} ms, connect {connect} ms, "
        "first byte {first} ms, transfer {transfer} ms, total {total} ms; end {end}: {detail}",
        id=exchange.id.decode("latin-1"),
        asked="no request" if request is None else ascii((request.method + b" " + request.target).decode("latin-1")),
        client=exchange.client_address,
        route=getattr(exchange.route, "name", None),
        cluster=getattr(exchange.cluster, "name", None),
        backend=getattr(exchange.backend, "name", None),
        tried=exchange.backend_names() or "none",
        choice="-" if exchange.cluster is None else exchange.choice or exchange.cluster.settings.balance,
        refused=exchange.retry_refused or "-",
        cache=exchange.cache.decode("ascii") or "-",
        key=ascii(key.decode("latin-1")) if key else "-",
        status=exchange.status,
        bytes_in=exchange.bytes_in,
        bytes_out=exchange.bytes_out,
        queue=queue,
        connect=connect,
        first=first,
        transfer=transfer,
        total=total,
        end=exchange.end_reason,
        detail="-" if exchange.error is None else exchange.error.detail or exchange.error.sentence,
    )
