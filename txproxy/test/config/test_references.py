"""Tests for :mod:`txproxy.config.references`."""

from __future__ import annotations

import tomllib

from twisted.trial.unittest import SynchronousTestCase

from txproxy.config.problems import format_path
from txproxy.config.references import check_references, function_references
from txproxy.test.config.helpers import MINIMAL, errors_of
from txproxy.test.config.test_model import EXAMPLE

ERRORS = (
    (
        "[[route]]\nname = 'a'\ncluster = 'aip'\n[cluster.api]\n[[listener]]\n",
        "route[0].cluster: there is no cluster \"aip\" (allowed: api; did you mean 'api'?)",
    ),
    ("[[route]]\ncluster = 'a'\n[[listener]]\n", 'route[0].cluster: there is no cluster "a" (there is none)'),
    (
        "[[route]]\n[[route]]\ncluster = 'a'\nchoose = 'm:f'\n[cluster.a]\n[[listener]]\n",
        "route[0].cluster: a route needs a cluster (or choose, the name of a Python function)\n"
        "route[1].choose: a route has either cluster or choose, not both (leave one out)",
    ),
    (
        "[[route]]\nchoose = 'm:f'\nlisteners = ['wbe', 'web', 'raw', 3]\n"
        "[[listener]]\nname = 'web'\n[[listener]]\nname = 'raw'\nprotocol = 'tcp'\ncluster = 'a'\n[cluster.a]\n",
        "route[0].listeners[0]: there is no http listener \"wbe\" (allowed: web; did you mean 'web'?)\n"
        'route[0].listeners[2]: "raw" is a tcp listener, it has no routes',
    ),
    (
        "[[listener]]\nname = 'a'\naddress = '[::]:80'\n[[listener]]\nname = 'a'\naddress = '[0::]:80'\n"
        "[[listener]]\nname = 'b'\naddress = 'unix:/a'\n[[listener]]\nname = 'c'\naddress = 'unix:/a'\n",
        'listener[1].name: "a" is the name of listener[0] already\n'
        'listener[1].address: "[::]:80" is the address of listener[0] already\n'
        'listener[3].address: "unix:/a" is the address of listener[2] already',
    ),
    ("[[listener]]\naddress = 'a:0'\n[[listener]]\naddress = 'a:0'\n[[listener]]\naddress = 3\n", ""),
    (
        "[[listener]]\n[[route]]\nname = 'r'\nchoose = 'm:f'\n[[route]]\nname = 'r'\nchoose = 'm:f'\n",
        'route[1].name: "r" is the name of route[0] already',
    ),
    (
        "[[listener]]\ntls = 'man'\nredirect_https = true\n[tls.main]\nclient_auth = 'required'\n",
        "listener[0].tls: there is no tls section \"man\" (allowed: main; did you mean 'main'?)\n"
        "listener[0].redirect_https: a listener with tls is https already (set one of the two)\n"
        'tls.main.client_ca: client_auth = "required" needs client_ca',
    ),
    (
        "[[listener]]\nprotocol = 'tcp'\n[[listener]]\ncluster = 'a'\n[[listener]]\nprotocol = 'tcp'\n"
        "tls = 't'\nsni_clusters = { 'x.y' = 'b' }\nalpn_clusters = { h2 = 'c' }\n[cluster.a]\n[tls.t]\n",
        "listener[0].cluster: a tcp listener needs a cluster (or sni_clusters)\n"
        "listener[1].cluster: cluster is for tcp listeners; routes lead an http listener to clusters\n"
        'listener[2].sni_clusters."x.y": there is no cluster "b" (allowed: a)\n'
        'listener[2].alpn_clusters.h2: there is no cluster "c" (allowed: a)\n'
        "listener[2].sni_clusters: sni_clusters is for listeners without tls\n"
        "listener[2].alpn_clusters: alpn_clusters is for listeners without tls",
    ),
    (
        "[[listener]]\nprotocol = 'tcp'\ncluster = 'a'\nsni_clusters = { 'x.y' = 'b' }\n"
        "[[route]]\nname = 'r'\ncluster = 'b'\n[cluster.a]\nsticky = 'c'\n[cluster.b]\nprotocol = 'h2'\n",
        'route[0].cluster: "b" is the cluster of a tcp listener (listener[0]): requests need one of their own\n'
        "cluster.a.sticky: sticky is for requests: a tcp listener (listener[0]) leads here, whose bytes are passed "
        "through unread\n"
        "cluster.b.protocol: protocol is for requests: a tcp listener (listener[0]) leads here, whose bytes are passed "
        "through unread",
    ),
    (
        "[[listener]]\nproxy_protocol = true\n",
        "listener[0].proxy_protocol: proxy_protocol needs proxy.trusted_proxies, the peers whose PROXY headers are "
        "believed",
    ),
    (
        "[[listener]]\nproxy_protocol = true\naddress = 'unix:/a'\n[[listener]]\nproxy_protocol = true\n"
        "[[listener]]\nproxy_protocol = 3\n[proxy]\ntrusted_proxies = ['10.0.0.0/8']\n",
        'listener[0].proxy_protocol: proxy_protocol on a unix socket needs "unix" in proxy.trusted_proxies',
    ),
    (
        "[[listener]]\nproxy_protocol = true\naddress = 'unix:/a'\n[proxy]\ntrusted_proxies = ['unix']\n",
        "",
    ),
    ("[[listener]]\nproxy_protocol = true\n[proxy]\ntrusted_proxies = 3\n", ""),
    (
        "[[listener]]\n[cluster.a]\nsend_proxy_protocol = 'v2'\nprotocol = 'h2'\npool = { min_idle = 1 }\n"
        "[cluster.b]\nsend_proxy_protocol = ''\nprotocol = 'h2'\npool = { min_idle = 1 }\n"
        "[cluster.c]\nsend_proxy_protocol = 'v1'\nprotocol = 'http1'\npool = { min_idle = 0, max_idle = 1 }\n",
        "cluster.a.send_proxy_protocol: a connection of HTTP/2 is for requests of many clients "
        '(set protocol = "http1", or leave this out)\n'
        "cluster.a.pool.min_idle: no connection can be made in advance: each says who its client is "
        "(leave out send_proxy_protocol)",
    ),
    (
        "[[listener]]\n[admin]\nlisten = '0.0.0.0:9901'\n",
        "admin.token: a token is needed to listen on 0.0.0.0:9901 (or listen on loopback)",
    ),
    ("[[listener]]\n[admin]\nlisten = 'unix:/a'\n", ""),
    ("[[listener]]\n[admin]\n", ""),
    ("[[listener]]\n[admin]\nlisten = 'x'\n", ""),
    (
        "[[listener]]\n[cluster.a]\ndns_min_ttl_s = 400\ndns_max_ttl_s = 300\ntls = { enabled = true, client_key = 'k' }\n"
        "[tls.t]\nmin_version = '1.3'\nmax_version = '1.2'\n",
        "cluster.a.tls.client_key: client_key needs client_chain\n"
        "cluster.a.dns_min_ttl_s: 400 is above dns_max_ttl_s = 300\n"
        'tls.t.min_version: "1.3" is above max_version = "1.2"',
    ),
    (
        "[[listener]]\n[cluster.a]\nhash_key = 'uri'\n[cluster.b]\nhash_key = 'header:X'\nbalance = 'm:f'\n"
        "[cluster.c]\nhash_key = 'client'\n[cluster.d]\nhash_key = 'uri'\nbalance = 'ring_hash'\n"
        "[cluster.e]\nhash_key = 'uri'\nbalance = 'ring_has'\n[cluster.f]\nhash_key = 'uri'\nbalance = 3\n",
        'cluster.a.hash_key: only balance = "ring_hash" uses it (set that, or leave hash_key out)\n'
        'cluster.b.hash_key: only balance = "ring_hash" uses it (set that, or leave hash_key out)',
    ),
    (
        "[[listener]]\n[cluster.a]\nbackends = [{ address = '[::1]:80' }, { address = 'A.x:1', weight = 2 }, "
        "{ address = '[0::1]:80' }, { address = 'a.x:1' }, { address = 'a.x:2' }, { address = 'x' }, "
        "{ address = 'x' }, {}, 3]\n[cluster.'b.c']\nbackends = [{ address = '[::1]:80' }, "
        "{ address = 'unix:/a' }, { address = 'unix:/a' }]\n",
        'cluster.a.backends[2].address: "[::1]:80" is the address of cluster.a.backends[0] already '
        "(give it a weight for a larger share)\n"
        'cluster.a.backends[3].address: "a.x:1" is the address of cluster.a.backends[1] already '
        "(give it a weight for a larger share)\n"
        'cluster."b.c".backends[2].address: "unix:/a" is the address of cluster."b.c".backends[1] already '
        "(give it a weight for a larger share)",
    ),
    (
        "[[listener]]\n[cluster.a]\nbackends = [{ backup = true }, { backup = true }]\n[cluster.b]\nbackends = []\n"
        "[cluster.c]\nbackends = [{ backup = true }, { backup = 1 }]\n",
        "cluster.a.backends: all of them are backups (at least one must not be: backup = false)",
    ),
    (
        "[[listener]]\n[cluster.a.health]\ntype = 'tcp'\npath = '/h'\nhost = 'h'\nheaders = { X-A = 'b' }\n"
        "statuses = ['200']\nbody = 'ok'\nmax_response_s = 1\n"
        "[cluster.b.health]\ntype = 'm:f'\npath = '/health'\nstatuses = ['200-399']\nbody = 'ok'\n"
        "[cluster.c.health]\ntype = 'tls'\nhost = 'h'\n"
        "[cluster.d.health]\npath = '/h'\nhost = 'h'\n[cluster.e.health]\ntype = 'tcpp'\npath = '/h'\n",
        'cluster.a.health.path: only a check of type "http" uses it, this one is "tcp"\n'
        'cluster.a.health.host: only a check of type "http" uses it, this one is "tcp"\n'
        'cluster.a.health.headers: only a check of type "http" uses it, this one is "tcp"\n'
        'cluster.a.health.statuses: only a check of type "http" uses it, this one is "tcp"\n'
        'cluster.a.health.body: only a check of type "http" uses it, this one is "tcp"\n'
        'cluster.b.health.body: only a check of type "http" uses it, this one is "m:f"\n'
        'cluster.c.health.host: only a check of type "http" uses it, this one is "tls"',
    ),
    (
        "[[listener]]\nprotocol = 'tcp'\ncluster = 'a'\nsni_clusters = { 'x.y' = 'b' }\n"
        "[cluster.a.health]\npath = '/health'\n[cluster.b.health]\ntype = 'http'\npath = '/h'\n"
        "[cluster.c.health]\npath = '/h'\n",
        'cluster.a.health.path: only a check of type "http" uses it: a tcp listener (listener[0]) leads here, where '
        'the default is "tcp" (set type = "http", or leave path out)',
    ),
    (
        "[[listener]]\n[cluster.a.breaker]\nwindow_s = 5\nopen_s = 5\n[cluster.b.breaker]\nerror_rate = 0\nopen_s = 5\n"
        "[cluster.c.breaker]\nmax_pending = 5\n",
        "cluster.a.breaker.window_s: window_s needs error_rate, which is 0 (never) unless it is set\n"
        "cluster.a.breaker.open_s: open_s needs error_rate, which is 0 (never) unless it is set",
    ),
    (
        "[[listener]]\n[cluster.a.pool]\nmin_idle = 33\n[cluster.b.pool]\nmin_idle = 4\nmax_idle = 3\n"
        "max_connections = 2\n[cluster.c.pool]\nmin_idle = 32\n[cluster.d.pool]\nmax_idle = 0\nmax_connections = 1\n",
        "cluster.a.pool.min_idle: 33 is above max_idle = 32 (its default)\n"
        "cluster.b.pool.min_idle: 4 is above max_idle = 3\n"
        "cluster.b.pool.min_idle: 4 is above max_connections = 2",
    ),
    (
        "[[listener]]\n[cluster.a]\ndns_min_ttl_s = 301\n[cluster.a.health]\nmax_response_s = 3\ninterval_s = 1\n"
        "[cluster.a.passive]\nmax_ejection_s = 5\n[cluster.a.retry]\nbackoff_max_ms = 24.5\nidempotent_tries = 9\n"
        "[cluster.b.retry]\nbackoff_min_ms = 300\nbackoff_max_ms = 'x'\ntries = 1\nbody_bytes = 0\n",
        "cluster.a.dns_min_ttl_s: 301 is above dns_max_ttl_s = 300 (its default)\n"
        "cluster.a.health.max_response_s: 3 is above timeout_s = 2 (its default)\n"
        "cluster.a.passive.max_ejection_s: 5 is below ejection_s = 10 (its default)\n"
        "cluster.a.retry.backoff_max_ms: 24.5 is below backoff_min_ms = 25 (its default)",
    ),
    (
        "[[listener]]\nhttps_port = 8443\ntls_handshake_timeout_s = 5\n"
        "[[listener]]\nhttps_port = 443\ntls_handshake_timeout_s = 10\nredirect_https = false\ntls = ''\n"
        "[[listener]]\nhttps_port = 8443\nredirect_https = true\n"
        "[[listener]]\ntls_handshake_timeout_s = 5\ntls = 't'\n"
        "[[listener]]\nredirect_https = true\nprotocol = 'tcp'\ncluster = 'a'\n"
        "[[listener]]\nhttps_port = 'x'\nredirect_https = 3\ntls = 3\ntls_handshake_timeout_s = 5\n"
        "[cluster.a]\n[tls.t]\n",
        "listener[0].https_port: https_port needs redirect_https, which is false unless it is set\n"
        "listener[0].tls_handshake_timeout_s: tls_handshake_timeout_s needs tls, the name of a [tls.NAME] section\n"
        "listener[4].redirect_https: redirect_https is for http listeners",
    ),
    (
        "[[listener]]\n[tls.a]\nclient_ca = 'c'\n[tls.b]\nclient_auth = 'optional'\n"
        "[tls.c]\nclient_auth = 'required'\nclient_ca = 'c'\n[tls.d]\nclient_auth = 'none'\nclient_ca = ''\n"
        "[tls.e]\nclient_auth = 'any'\nclient_ca = 'c'\n",
        'tls.a.client_ca: client_ca needs client_auth, which is "none" unless it is set\n'
        'tls.b.client_ca: client_auth = "optional" needs client_ca',
    ),
    (
        "[[listener]]\n[tls.a]\npreset = 'modern'\nmax_version = '1.2'\nciphers = 'x'\n"
        "[tls.b]\npreset = 'modern'\nmin_version = '1.2'\nmax_version = '1.3'\nciphers = ''\n"
        "[tls.c]\nmin_version = '1.3'\nciphers = 'x'\n[tls.d]\nciphers = 'x'\nmax_version = '1.2'\n"
        "[tls.e]\ntickets = false\nticket_lifetime_s = 60\n"
        "[tls.f]\ntickets = false\nticket_lifetime_s = 43200\n[tls.g]\nticket_lifetime_s = 60\n",
        'tls.a.max_version: preset = "modern" is TLS 1.3 only (leave max_version out, or set preset = "intermediate")\n'
        'tls.a.ciphers: preset = "modern" is TLS 1.3 only: '
        "it is for TLS 1.2 (those of TLS 1.3 are all good, and not chosen by it)\n"
        'tls.c.ciphers: min_version is "1.3": '
        "it is for TLS 1.2 (those of TLS 1.3 are all good, and not chosen by it)\n"
        "tls.e.ticket_lifetime_s: there are no tickets (set tickets = true, or leave this out)",
    ),
    (
        "[[listener]]\n[cluster.a.tls]\nverify = false\nserver_name = 'x'\nca = 'c'\nclient_chain = 'c'\n"
        "[cluster.b.tls]\nenabled = false\nca = 'c'\n[cluster.b.health]\ntype = 'tcp'\n"
        "[cluster.c.tls]\nca = 'c'\n[cluster.c.health]\ntype = 'tls'\n"
        "[cluster.d.tls]\nenabled = true\nca = 'c'\nverify = false\n"
        "[cluster.e.tls]\nverify = true\nserver_name = ''\nca = ''\nclient_chain = ''\nclient_key = ''\n"
        "[cluster.f.tls]\nenabled = 3\nca = 'c'\n[cluster.g.tls]\nca = 'c'\n[cluster.g.health]\ntype = 'tsl'\n"
        "[cluster.h]\nhealth = 3\n[cluster.h.tls]\nca = 'c'\n",
        'cluster.a.tls.verify: verify needs enabled = true (or health.type = "tls")\n'
        'cluster.a.tls.server_name: server_name needs enabled = true (or health.type = "tls")\n'
        'cluster.a.tls.ca: ca needs enabled = true (or health.type = "tls")\n'
        'cluster.a.tls.client_chain: client_chain needs enabled = true (or health.type = "tls")\n'
        'cluster.b.tls.ca: ca needs enabled = true (or health.type = "tls")\n'
        "cluster.d.tls.ca: authorities are not looked at with verify = false (leave one of the two out)",
    ),
    ("listener = 3\nroute = 'x'\ncluster = 5\ntls = []\nadmin = 1\n", ""),
    ("listener = []\n", "listener: a configuration needs at least one listener (add a [[listener]] table)"),
)


class CheckReferencesTests(SynchronousTestCase):
    """Checks on raw tables."""

    def test_tablesGiveTheirErrors(self) -> None:
        """Each set of tables gives exactly these errors, whatever else is wrong with them."""
        for text, errors in ERRORS:
            found = [f"{format_path(path)}: {message}" for path, message in check_references(tomllib.loads(text))]
            self.assertEqual("\n".join(found), errors)

    def test_theExampleHasNone(self) -> None:
        """All names of the file with every key lead somewhere."""
        self.assertEqual(check_references(tomllib.loads(EXAMPLE)), [])

    def test_aWrongTypeDoesNotHideAWrongName(self) -> None:
        """The names are checked even where the model refuses a value beside them."""
        text = MINIMAL.replace('"api"', '"aip"').replace('name = "web"', "name = 3")
        self.assertEqual(
            errors_of(text),
            [
                "f:2: listener[0].name: must be a string, not 3",
                "f:7: route[0].cluster: there is no cluster \"aip\" (allowed: api; did you mean 'api'?)",
            ],
        )

    def test_functionsAreFound(self) -> None:
        """Every key that can name a function is looked at."""
        raw = {
            "route": [{"choose": "site:pick"}, {"choose": "x"}, {"choose": 3}],
            "cluster": {"a": {"balance": "m.n:f.g", "health": {"type": "m:p"}}, "b": {"balance": "random"}},
        }
        self.assertEqual(
            function_references(raw),
            [
                (("route", 0, "choose"), "site:pick"),
                (("cluster", "a", "balance"), "m.n:f.g"),
                (("cluster", "a", "health", "type"), "m:p"),
            ],
        )
