"""Defaults that depend on what else is configured."""

from __future__ import annotations

from txproxy.config.cluster_model import Cluster
from txproxy.config.model import Config


def raw_clusters(config: Config) -> frozenset[str]:
    """Return the names of the clusters that tcp listeners lead to."""
    tcp = [listener for listener in config.listeners if listener.protocol == "tcp"]
    return frozenset(name for listener in tcp for name in listener.clusters)


def effective(config: Config) -> Config:
    """Return a configuration with the defaults that tcp listeners have; what was given is not touched.

    A client of theirs has its connection to a backend for as long as it stays, so that as many are needed as there may
    be clients. What they say is not HTTP, for all that is known: neither is it in their TLS, nor are checks.
    """
    raw = raw_clusters(config)
    if not raw:
        return config
    most = config.proxy.max_connections
    clusters = {name: _raw(each, most) if name in raw else each for name, each in config.clusters.items()}
    http = {listener.tls for listener in config.listeners if listener.protocol != "tcp"}
    tls = {
        name: each if name in http or "alpn" in each.model_fields_set else each.model_copy(update={"alpn": ()})
        for name, each in config.tls.items()
    }
    return config.model_copy(update={"clusters": clusters, "tls": tls})


def _raw(cluster: Cluster, most: int) -> Cluster:
    pool, health = cluster.pool, cluster.health
    if "max_connections" not in pool.model_fields_set:
        pool = pool.model_copy(update={"max_connections": most})
    if health is not None and "type" not in health.model_fields_set:
        health = health.model_copy(update={"type": "tcp"})
    return cluster.model_copy(update={"pool": pool, "health": health})
