"""Checks that look at several keys: names that must exist, names that must differ, keys that need each other.

They read the raw tables, whatever the types in them: a value that the model refuses hides nothing here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from txproxy.config.address import parse_address
from txproxy.config.problems import Finding, KeyPath, allowed, shown
from txproxy.config.support import matches
from txproxy.config.values import is_reference

Raw = Mapping[str, object]

_ORDERED = (
    ("cluster.*", "dns_min_ttl_s", "dns_max_ttl_s"),
    ("cluster.*.passive", "ejection_s", "max_ejection_s"),
    ("cluster.*.retry", "backoff_min_ms", "backoff_max_ms"),
    ("tls.*", "min_version", "max_version"),
)
"""Keys of a table of which the first must not be above the second, where both are given."""

_FUNCTIONS = ("route[*].choose", "cluster.*.balance", "cluster.*.health.type")


def check_references(raw: Raw) -> list[Finding]:
    """Return a finding for every name that leads nowhere and every set of keys that do not fit together.

    :param raw: the configuration in the shape of TOML, of any types.
    """
    return [
        *_listeners(raw),
        *_routes(raw),
        *_admin(raw),
        *_tls(raw),
        *_ordered(raw),
    ]


def function_references(raw: Raw) -> list[tuple[KeyPath, str]]:
    """Return the key path and text of every well-formed ``module:function`` in a configuration."""
    return [
        (path, value)
        for pattern in _FUNCTIONS
        for path, value in matches(raw, pattern)
        if isinstance(value, str) and is_reference(value)
    ]


def _listeners(raw: Raw) -> Iterator[Finding]:
    listeners = list(_tables(raw, "listener[*]"))
    if "listener" not in raw or raw["listener"] in ([], ()):
        yield Finding(("listener",), "a configuration needs at least one listener (add a [[listener]] table)")
    yield from _distinct([((*path, "name"), table.get("name")) for path, table in listeners], "name")
    yield from _distinct(
        [((*path, "address"), _comparable(table.get("address"))) for path, table in listeners], "address"
    )
    clusters, tls_sections = _keys(raw, "cluster"), _keys(raw, "tls")
    for path, table in listeners:
        yield from _known((*path, "tls"), table.get("tls"), tls_sections, "tls section")
        yield from _known((*path, "cluster"), table.get("cluster"), clusters, "cluster")
        for sni_path, name in matches(table, "sni_clusters.*"):
            yield from _known(path + sni_path, name, clusters, "cluster")
        yield from _listener_kind(path, table)


def _listener_kind(path: KeyPath, table: Raw) -> Iterator[Finding]:
    protocol = table.get("protocol", "http")
    targets = [key for key in ("cluster", "sni_clusters") if table.get(key)]
    if protocol == "tcp" and not targets:
        yield Finding((*path, "cluster"), "a tcp listener needs a cluster (or sni_clusters)")
    elif protocol == "tcp" and "sni_clusters" in targets and table.get("tls"):
        yield Finding((*path, "sni_clusters"), "sni_clusters is for listeners without tls")
    elif protocol == "http":
        for key in targets:
            yield Finding((*path, key), f"{key} is for tcp listeners; routes lead an http listener to clusters")
    if protocol == "http" and table.get("redirect_https") is True and table.get("tls"):
        yield Finding((*path, "redirect_https"), "a listener with tls is https already (set one of the two)")


def _routes(raw: Raw) -> Iterator[Finding]:
    routes = list(_tables(raw, "route[*]"))
    yield from _distinct([((*path, "name"), table.get("name")) for path, table in routes], "name")
    clusters = _keys(raw, "cluster")
    protocols = {
        name: table.get("protocol", "http")
        for _, table in _tables(raw, "listener[*]")
        if isinstance(name := table.get("name"), str)
    }
    http_listeners = [name for name, protocol in protocols.items() if protocol != "tcp"]
    for path, table in routes:
        cluster, choose = table.get("cluster", ""), table.get("choose", "")
        if cluster and choose:
            yield Finding((*path, "choose"), "a route has either cluster or choose, not both (leave one out)")
        elif cluster == "" and choose == "":
            yield Finding((*path, "cluster"), "a route needs a cluster (or choose, the name of a Python function)")
        yield from _known((*path, "cluster"), cluster, clusters, "cluster")
        for name_path, name in matches(table, "listeners[*]"):
            if isinstance(name, str) and protocols.get(name) == "tcp":
                yield Finding(path + name_path, f"{shown(name)} is a tcp listener, it has no routes")
            else:
                yield from _known(path + name_path, name, http_listeners, "http listener")


def _admin(raw: Raw) -> Iterator[Finding]:
    for path, table in _tables(raw, "admin"):
        listen = table.get("listen", "127.0.0.1:9901")
        if table.get("token", "") == "" and isinstance(listen, str) and not _is_local(listen):
            yield Finding((*path, "token"), f"a token is needed to listen on {listen} (or listen on loopback)")


def _tls(raw: Raw) -> Iterator[Finding]:
    for path, table in _tables(raw, "tls.*"):
        if table.get("client_auth") in ("optional", "required") and not table.get("client_ca"):
            yield Finding((*path, "client_ca"), f"client_auth = {shown(table['client_auth'])} needs client_ca")
    for path, table in _tables(raw, "cluster.*.tls"):
        for key, other in (("client_chain", "client_key"), ("client_key", "client_chain")):
            if table.get(key) and not table.get(other):
                yield Finding((*path, key), f"{key} needs {other}")


def _ordered(raw: Raw) -> Iterator[Finding]:
    for pattern, low_key, high_key in _ORDERED:
        for path, table in _tables(raw, pattern):
            low, high = table.get(low_key), table.get(high_key)
            numbers = isinstance(low, int | float) and isinstance(high, int | float) and low > high
            texts = isinstance(low, str) and isinstance(high, str) and low > high
            if numbers or texts:
                yield Finding((*path, low_key), f"{shown(low)} is above {high_key} = {shown(high)}")


def _distinct(names: Sequence[tuple[KeyPath, object]], what: str) -> Iterator[Finding]:
    first: dict[str, KeyPath] = {}
    for path, name in names:
        if not isinstance(name, str):
            continue
        if name in first:
            yield Finding(path, f"{shown(name)} is the {what} of {first[name][0]}[{first[name][1]}] already")
        first.setdefault(name, path)


def _known(path: KeyPath, name: object, known: Sequence[str], what: str) -> Iterator[Finding]:
    if not isinstance(name, str) or name == "" or name in known:
        return
    hint = allowed(name, known) if known else "(there is none)"
    yield Finding(path, f"there is no {what} {shown(name)} {hint}")


def _comparable(address: object) -> object:
    """Return an address in one form, or None if it cannot clash with another."""
    if not isinstance(address, str):
        return None
    try:
        parsed = parse_address(address)
    except ValueError:
        return None
    return None if parsed.kind == "tcp" and parsed.port == 0 else parsed.comparable


def _is_local(listen: str) -> bool:
    try:
        parsed = parse_address(listen)
    except ValueError:
        return True
    return parsed.kind == "unix" or parsed.is_loopback


def _tables(raw: Raw, pattern: str) -> Iterator[tuple[KeyPath, Raw]]:
    for path, value in matches(raw, pattern):
        if isinstance(value, Mapping):
            yield path, value


def _keys(raw: Raw, section: str) -> list[str]:
    table = raw.get(section)
    return [key for key in table if isinstance(key, str)] if isinstance(table, Mapping) else []
