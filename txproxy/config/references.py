"""Checks that look at several keys: names that must exist, names that must differ, keys that need each other.

They read the raw tables, whatever the types in them: a value that the model refuses hides nothing here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from txproxy.config.address import parse_address
from txproxy.config.patterns import Raw, matches
from txproxy.config.problems import Finding, KeyPath, allowed, format_path, shown
from txproxy.config.validate import section_at
from txproxy.config.values import BALANCERS, PROBES, is_reference

_ORDERED = (
    ("cluster.*", "dns_min_ttl_s", "dns_max_ttl_s"),
    ("cluster.*.health", "max_response_s", "timeout_s"),
    ("cluster.*.passive", "ejection_s", "max_ejection_s"),
    ("cluster.*.pool", "min_idle", "max_idle"),
    ("cluster.*.pool", "min_idle", "max_connections"),
    ("cluster.*.retry", "backoff_min_ms", "backoff_max_ms"),
    ("tls.*", "min_version", "max_version"),
)
"""Keys of a table of which the first must not be above the second; a default counts where one is not given."""

_ADMIN = "127.0.0.1:9901"
"""Where the admin interface is unless it is said."""

_HTTP_CHECK_KEYS = ("path", "host", "headers", "statuses", "body")
"""Keys of ``health`` that only a check by HTTP looks at."""

_CLIENT_TLS_KEYS = ("verify", "server_name", "ca", "client_chain", "client_key")
"""Keys of a cluster's ``tls`` that mean nothing as long as nobody speaks TLS to its backends."""

_HELLO_KEYS = ("sni_clusters", "alpn_clusters")
"""Keys of a tcp listener that need a ClientHello."""

_RAW_TARGETS = ("cluster", *(f"{key}.*" for key in _HELLO_KEYS))

_FUNCTIONS = ("route[*].choose", "cluster.*.balance", "cluster.*.health.type", "cache.store")


def check_references(raw: Raw) -> list[Finding]:
    """Return a finding for every name that leads nowhere and every set of keys that do not fit together.

    :param raw: the configuration in the shape of TOML, of any types.
    """
    return [
        *_listeners(raw),
        *_routes(raw),
        *_admin(raw),
        *_tls(raw),
        *_clusters(raw),
        *_raw_clusters(raw),
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
    places = [((*path, "address"), _comparable(table.get("address"))) for path, table in listeners]
    places += [((*path, "listen"), _comparable(table.get("listen", _ADMIN))) for path, table in _tables(raw, "admin")]
    yield from _distinct(places, "address")
    clusters, tls_sections = _keys(raw, "cluster"), _keys(raw, "tls")
    for path, table in listeners:
        yield from _known((*path, "tls"), table.get("tls"), tls_sections, "tls section")
        yield from _known((*path, "cluster"), table.get("cluster"), clusters, "cluster")
        for key in _HELLO_KEYS:
            for key_path, name in matches(table, f"{key}.*"):
                yield from _known(path + key_path, name, clusters, "cluster")
        yield from _listener_kind(path, table)
        yield from _listener_proxies(path, table, raw)


def _listener_proxies(path: KeyPath, table: Raw, raw: Raw) -> Iterator[Finding]:
    """Somebody must be trusted, or each connection would be closed."""
    proxy = raw.get("proxy", {})
    trusted = proxy.get("trusted_proxies", ()) if isinstance(proxy, Mapping) else None
    if table.get("proxy_protocol") is not True or not isinstance(trusted, list | tuple):
        return
    where, address = (*path, "proxy_protocol"), table.get("address")
    if not trusted:
        yield Finding(where, "proxy_protocol needs proxy.trusted_proxies, the peers whose PROXY headers are believed")
    elif isinstance(address, str) and address.startswith("unix:") and "unix" not in trusted:
        yield Finding(where, 'proxy_protocol on a unix socket needs "unix" in proxy.trusted_proxies')


def _listener_kind(path: KeyPath, table: Raw) -> Iterator[Finding]:
    protocol = table.get("protocol", "http")
    targets = [key for key in ("cluster", *_HELLO_KEYS) if table.get(key)]
    if protocol == "tcp" and not targets:
        yield Finding((*path, "cluster"), "a tcp listener needs a cluster (or sni_clusters)")
    elif protocol == "tcp" and table.get("tls"):
        for key in targets:
            if key in _HELLO_KEYS:
                yield Finding((*path, key), f"{key} is for listeners without tls")
    elif protocol == "http":
        for key in targets:
            yield Finding((*path, key), f"{key} is for tcp listeners; routes lead an http listener to clusters")
    yield from _listener_tls(path, table, protocol)


def _listener_tls(path: KeyPath, table: Raw, protocol: object) -> Iterator[Finding]:
    redirects = table.get("redirect_https", False)
    if redirects is True and protocol == "tcp":
        yield Finding((*path, "redirect_https"), "redirect_https is for http listeners")
    elif redirects is True and table.get("tls"):
        yield Finding((*path, "redirect_https"), "a listener with tls is https already (set one of the two)")
    if redirects is False and _is_set(path, table, "https_port"):
        yield Finding((*path, "https_port"), "https_port needs redirect_https, which is false unless it is set")
    if table.get("tls", "") == "" and _is_set(path, table, "tls_handshake_timeout_s"):
        text = "tls_handshake_timeout_s needs tls, the name of a [tls.NAME] section"
        yield Finding((*path, "tls_handshake_timeout_s"), text)


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
        listen = table.get("listen", _ADMIN)
        if table.get("token", "") == "" and isinstance(listen, str) and not _is_local(listen):
            yield Finding((*path, "token"), f"a token is needed to listen on {listen} (or listen on loopback)")


def _tls(raw: Raw) -> Iterator[Finding]:
    for path, table in _tables(raw, "tls.*"):
        client_auth = table.get("client_auth", "none")
        if client_auth in ("optional", "required") and not table.get("client_ca"):
            yield Finding((*path, "client_ca"), f"client_auth = {shown(client_auth)} needs client_ca")
        elif client_auth == "none" and table.get("client_ca"):
            yield Finding((*path, "client_ca"), 'client_ca needs client_auth, which is "none" unless it is set')
        if table.get("tickets") is False and _is_set(path, table, "ticket_lifetime_s"):
            yield Finding((*path, "ticket_lifetime_s"), "there are no tickets (set tickets = true, or leave this out)")
        yield from _tls_versions(path, table)
    for path, cluster in _tables(raw, "cluster.*"):
        for tls_path, table in _tables(cluster, "tls"):
            yield from _cluster_tls(path + tls_path, table, cluster)


def _tls_versions(path: KeyPath, table: Raw) -> Iterator[Finding]:
    is_modern = table.get("preset") == "modern"
    if is_modern and table.get("max_version") == "1.2":
        text = 'preset = "modern" is TLS 1.3 only (leave max_version out, or set preset = "intermediate")'
        yield Finding((*path, "max_version"), text)
    if table.get("ciphers"):
        reason = "it is for TLS 1.2 (those of TLS 1.3 are all good, and not chosen by it)"
        if is_modern:
            yield Finding((*path, "ciphers"), f'preset = "modern" is TLS 1.3 only: {reason}')
        elif table.get("min_version") == "1.3":
            yield Finding((*path, "ciphers"), f'min_version is "1.3": {reason}')


def _cluster_tls(path: KeyPath, table: Raw, cluster: Raw) -> Iterator[Finding]:
    health = cluster.get("health", {})
    kind = health.get("type", PROBES[0]) if isinstance(health, Mapping) else None
    if table.get("enabled", False) is False and kind != "tls" and _is_word_or_reference(kind, PROBES):
        for key in _CLIENT_TLS_KEYS:
            if _is_set(path, table, key):
                yield Finding((*path, key), f'{key} needs enabled = true (or health.type = "tls")')
        return
    if table.get("verify") is False and table.get("ca"):
        yield Finding((*path, "ca"), "authorities are not looked at with verify = false (leave one of the two out)")
    for key, other in (("client_chain", "client_key"), ("client_key", "client_chain")):
        if table.get(key) and not table.get(other):
            yield Finding((*path, key), f"{key} needs {other}")


def _clusters(raw: Raw) -> Iterator[Finding]:
    for path, table in _tables(raw, "cluster.*"):
        yield from _backends(path, table)
        balance, hash_key = table.get("balance", BALANCERS[0]), table.get("hash_key")
        if hash_key not in (None, "client") and balance != "ring_hash" and _is_word_or_reference(balance, BALANCERS):
            yield Finding((*path, "hash_key"), 'only balance = "ring_hash" uses it (set that, or leave hash_key out)')
        yield from _sent_headers(path, table)
    for path, table in _tables(raw, "cluster.*.health"):
        kind = table.get("type", PROBES[0])
        if kind != "http" and _is_word_or_reference(kind, PROBES):
            for key in _HTTP_CHECK_KEYS:
                if _is_set(path, table, key):
                    yield Finding((*path, key), f'only a check of type "http" uses it, this one is {shown(kind)}')
    for path, table in _tables(raw, "cluster.*.breaker"):
        for key in ("window_s", "open_s"):
            if key in table and "error_rate" not in table:
                yield Finding((*path, key), f"{key} needs error_rate, which is 0 (never) unless it is set")


def _raw_clusters(raw: Raw) -> Iterator[Finding]:
    """Look at the clusters of tcp listeners: their connections carry one client's bytes each, and no requests."""
    leads = dict[str, str]()
    for path, table in _tables(raw, "listener[*]"):
        if table.get("protocol") == "tcp":
            found = (name for key in _RAW_TARGETS for _, name in matches(table, key))
            leads.update((name, format_path(path)) for name in found if isinstance(name, str))
    for path, table in _tables(raw, "route[*]"):
        name = table.get("cluster")
        if isinstance(name, str) and name in leads:
            text = f"{shown(name)} is the cluster of a tcp listener ({leads[name]}): requests need one of their own"
            yield Finding((*path, "cluster"), text)
    for path, table in _tables(raw, "cluster.*"):
        if path[-1] not in leads:
            continue
        for key in ("protocol", "sticky"):
            if _is_set(path, table, key):
                reason = f"a tcp listener ({leads[str(path[-1])]}) leads here, whose bytes are passed through unread"
                yield Finding((*path, key), f"{key} is for requests: {reason}")
        for inner, health in _tables(table, "health"):
            for key in () if "type" in health else _HTTP_CHECK_KEYS:
                if key in health:  # Whoever gives it may think that "http" is the default here too.
                    reason = f'a tcp listener ({leads[str(path[-1])]}) leads here, where the default is "tcp"'
                    text = f'only a check of type "http" uses it: {reason} (set type = "http", or leave {key} out)'
                    yield Finding((*path, *inner, key), text)


def _sent_headers(path: KeyPath, cluster: Raw) -> Iterator[Finding]:
    """A connection that says who the client is can carry nothing of another."""
    if cluster.get("send_proxy_protocol") not in ("v1", "v2"):
        return
    if cluster.get("protocol") == "h2":
        text = 'a connection of HTTP/2 is for requests of many clients (set protocol = "http1", or leave this out)'
        yield Finding((*path, "send_proxy_protocol"), text)
    for pool_path, pool in _tables(cluster, "pool"):
        if _is_set(path + pool_path, pool, "min_idle"):
            text = "no connection can be made in advance: each says who its client is (leave out send_proxy_protocol)"
            yield Finding((*path, *pool_path, "min_idle"), text)


def _backends(path: KeyPath, cluster: Raw) -> Iterator[Finding]:
    backends = [(path + inner, table) for inner, table in _tables(cluster, "backends[*]")]
    addresses = [((*inner, "address"), _comparable(table.get("address"))) for inner, table in backends]
    yield from _distinct(addresses, "address", "give it a weight for a larger share")
    if backends and all(table.get("backup") is True for _, table in backends):
        yield Finding((*path, "backends"), "all of them are backups (at least one must not be: backup = false)")


def _ordered(raw: Raw) -> Iterator[Finding]:
    for pattern, low_key, high_key in _ORDERED:
        for path, table in _tables(raw, pattern):
            low, high = (table.get(key, _default(path, key)) for key in (low_key, high_key))
            numbers = isinstance(low, int | float) and isinstance(high, int | float) and low > high
            texts = isinstance(low, str) and isinstance(high, str) and low > high
            if not numbers and not texts:
                continue
            if low_key in table:
                note = "" if high_key in table else " (its default)"
                yield Finding((*path, low_key), f"{shown(low)} is above {high_key} = {shown(high)}{note}")
            else:
                yield Finding((*path, high_key), f"{shown(high)} is below {low_key} = {shown(low)} (its default)")


def _default(path: KeyPath, key: str) -> object:
    """Return the default of a key of the table at a path."""
    section = section_at(path)
    value = section.model_fields[key].get_default(call_default_factory=True) if section else None
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _is_set(path: KeyPath, table: Raw, key: str) -> bool:
    """Tell whether a table has a key with another value than its default, which may always be written."""
    return key in table and not _is_default(path, key, table[key])


def _is_default(path: KeyPath, key: str, value: object) -> bool:
    default = _default(path, key)
    return value == (list(default) if isinstance(value, list) and isinstance(default, tuple) else default)


def _is_word_or_reference(value: object, words: Sequence[str]) -> bool:
    """Tell whether a value is allowed at all; what follows from one that is not is not worth a line."""
    return isinstance(value, str) and (value in words or is_reference(value))


def _distinct(names: Sequence[tuple[KeyPath, object]], what: str, hint: str = "") -> Iterator[Finding]:
    first: dict[str, KeyPath] = {}
    for path, name in names:
        if not isinstance(name, str):
            continue
        if name in first:
            other = format_path(first[name][:-1])
            message = f"{shown(name)} is the {what} of {other} already"
            yield Finding(path, f"{message} ({hint})" if hint else message)
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
