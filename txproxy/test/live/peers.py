"""The building blocks of live tests: the proxy as a child process, scripted backends, clients, strict readers."""

from __future__ import annotations

from .backend import (
    Backend,
    BackendConnection,
    BlackHole,
    Handler,
    by_target,
    close_without_reply,
    continuing,
    delayed,
    echo,
    events,
    fixed,
    http_reply,
    never,
    raw,
    streamed,
    unused_port,
)
from .client import DEADLINE_S, Client, Exchanged, pieces_of, raw_exchange, wait_for
from .judge import Judge, JudgedRequest, judge
from .processes import PROJECT, PeerProxy, Process, ProxyProcess, config_for, haproxy, nginx
from .replies import NotHttp, Reply, read_replies

__all__ = [
    "DEADLINE_S",
    "PROJECT",
    "Backend",
    "BackendConnection",
    "BlackHole",
    "Client",
    "Exchanged",
    "Handler",
    "Judge",
    "JudgedRequest",
    "NotHttp",
    "PeerProxy",
    "Process",
    "ProxyProcess",
    "Reply",
    "by_target",
    "close_without_reply",
    "config_for",
    "continuing",
    "delayed",
    "echo",
    "events",
    "fixed",
    "haproxy",
    "http_reply",
    "judge",
    "never",
    "nginx",
    "pieces_of",
    "raw",
    "raw_exchange",
    "read_replies",
    "streamed",
    "unused_port",
    "wait_for",
]
