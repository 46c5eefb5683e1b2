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
        "tls = 't'\nsni_clusters = { 'x.y' = 'b' }\n[cluster.a]\n[tls.t]\n",
        "listener[0].cluster: a tcp listener needs a cluster (or sni_clusters)\n"
        "listener[1].cluster: cluster is for tcp listeners; routes lead an http listener to clusters\n"
        'listener[2].sni_clusters."x.y": there is no cluster "b" (allowed: a)\n'
        "listener[2].sni_clusters: sni_clusters is for listeners without tls",
    ),
    (
        "[[listener]]\n[admin]\nlisten = '0.0.0.0:9901'\n",
        "admin.token: a token is needed to listen on 0.0.0.0:9901 (or listen on loopback)",
    ),
    ("[[listener]]\n[admin]\nlisten = 'unix:/a'\n", ""),
    ("[[listener]]\n[admin]\n", ""),
    ("[[listener]]\n[admin]\nlisten = 'x'\n", ""),
    (
        "[[listener]]\n[cluster.a]\ndns_min_ttl_s = 400\ndns_max_ttl_s = 300\ntls = { client_key = 'k' }\n"
        "[tls.t]\nmin_version = '1.3'\nmax_version = '1.2'\n",
        "cluster.a.tls.client_key: client_key needs client_chain\n"
        "cluster.a.dns_min_ttl_s: 400 is above dns_max_ttl_s = 300\n"
        'tls.t.min_version: "1.3" is above max_version = "1.2"',
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
