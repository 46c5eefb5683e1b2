"""Tests for :mod:`txproxy.config.load`: golden pairs of text and model, and of text and errors."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txproxy.config.load import ConfigError, load_data, load_text
from txproxy.config.model import (
    AdminSettings,
    Backend,
    Breaker,
    Cluster,
    Config,
    HeaderRules,
    Health,
    Listener,
    Passive,
    Pool,
    Retry,
    Route,
)
from txproxy.config.problems import Problem
from txproxy.test.config.helpers import MINIMAL, errors_of, load
from txproxy.test.config.test_model import EXAMPLE
from txproxy.tls.findings import check_certificates

MODELS: tuple[tuple[str, dict[str, str], Config], ...] = (
    (
        MINIMAL,
        {},
        Config(
            listener=(Listener(name="web", address="127.0.0.1:8080"),),
            route=(Route(name="all", cluster="api"),),
            cluster={"api": Cluster(backends=(Backend(address="127.0.0.1:8081"),))},
        ),
    ),
    (
        "[[listener]]\nname = 'a'\naddress = 'unix:/run/${WHO}.sock'\nkeepalive_timeout_s = 5\nbody_timeout_s = 0.5\n",
        {"WHO": "me"},
        Config(
            listener=(Listener(name="a", address="unix:/run/me.sock", keepalive_timeout_s=5.0, body_timeout_s=0.5),)
        ),
    ),
    (
        MINIMAL.replace("cluster = ", "request_headers = { set = { X-A = 'b' } }\nhost = 'literal:a:1'\ncluster = "),
        {},
        Config(
            listener=(Listener(name="web", address="127.0.0.1:8080"),),
            route=(
                Route(name="all", cluster="api", host="literal:a:1", request_headers=HeaderRules(set={"X-A": "b"})),
            ),
            cluster={"api": Cluster(backends=(Backend(address="127.0.0.1:8081"),))},
        ),
    ),
    (
        MINIMAL.replace('8081" }]', '8081", weight = 3 }, { address = "app.internal:80", backup = true }]')
        + "balance = 'ring_hash'\nhash_key = 'cookie:id'\nsticky = 'at'\npanic = false\nslow_start_s = 30\n"
        "dns_min_ttl_s = 5\ndns_max_ttl_s = 60\nhealth = {}\n"
        "[cluster.api.passive]\nfailures = 3\nmax_ejected = 1\n[cluster.api.breaker]\nerror_rate = 0.5\n"
        "window_s = 20\nmax_pending = 100\n[cluster.api.pool]\nmin_idle = 4\n"
        "[cluster.api.retry]\ntries = 2\nidempotent_tries = 3\nbudget = 0\nmin_per_s = 0\nbackoff_min_ms = 1\n"
        "backoff_max_ms = 1\nbody_bytes = 0\n",
        {},
        Config(
            listener=(Listener(name="web", address="127.0.0.1:8080"),),
            route=(Route(name="all", cluster="api"),),
            cluster={
                "api": Cluster(
                    backends=(
                        Backend(address="127.0.0.1:8081", weight=3),
                        Backend(address="app.internal:80", backup=True),
                    ),
                    balance="ring_hash",
                    hash_key="cookie:id",
                    sticky="at",
                    panic=False,
                    slow_start_s=30.0,
                    dns_min_ttl_s=5.0,
                    dns_max_ttl_s=60.0,
                    health=Health(),
                    passive=Passive(failures=3, max_ejected=1.0),
                    breaker=Breaker(error_rate=0.5, window_s=20.0, max_pending=100),
                    pool=Pool(min_idle=4),
                    retry=Retry(
                        tries=2,
                        idempotent_tries=3,
                        budget=0.0,
                        min_per_s=0,
                        backoff_min_ms=1.0,
                        backoff_max_ms=1.0,
                        body_bytes=0,
                    ),
                )
            },
        ),
    ),
    (
        MINIMAL + "[cluster.api.health]\npath = '/h?full=1'\nhost = 'app.example:81'\nheaders = { User-Agent = 'me' }\n"
        "statuses = ['200', '204-206']\nbody = 'ok'\ninterval_s = 0.5\njitter = 0\ntimeout_s = 3\nfall = 1\nrise = 1\n"
        "max_response_s = 1.5\ninitial = 'up'\n",
        {},
        Config(
            listener=(Listener(name="web", address="127.0.0.1:8080"),),
            route=(Route(name="all", cluster="api"),),
            cluster={
                "api": Cluster(
                    backends=(Backend(address="127.0.0.1:8081"),),
                    health=Health(
                        path="/h?full=1",
                        host="app.example:81",
                        headers={"User-Agent": "me"},
                        statuses=("200", "204-206"),
                        body="ok",
                        interval_s=0.5,
                        jitter=0.0,
                        timeout_s=3.0,
                        fall=1,
                        rise=1,
                        max_response_s=1.5,
                        initial="up",
                    ),
                )
            },
        ),
    ),
)

ERRORS = (
    ("", "f:1: listener: a configuration needs at least one listener (add a [[listener]] table)"),
    ("a = [", "f:1: not valid TOML: Invalid value (at the end of the file)"),
    ("# x\n\ny = 2 3\n", "f:3: not valid TOML: Expected newline or end of document after a statement (column 7)"),
    ("x = " + "[" * 5000, "f:1: not valid TOML: nested too deeply"),
    (
        "\n[proxy]\nvia_nam = 'x'\n[poxy]\n" + MINIMAL,
        "f:3: proxy.via_nam: unknown key (did you mean 'via_name'?)\nf:4: poxy: unknown key (did you mean 'proxy'?)",
    ),
    (
        "[log]\nzzz = 1\n" + MINIMAL,
        "f:2: log.zzz: unknown key (allowed: level, path, access, format)",
    ),
    ("listeners = []\n" + MINIMAL, "f:1: listeners: unknown key (did you mean 'listener'?)"),
    (
        MINIMAL
        + "[proxy]\nbacklog = 'many'\nmax_connections = true\nshutdown_timeout_s = '3'\nvia_name = 3\nworkers = 1.0\n",
        'f:12: proxy.backlog: must be a whole number, not "many"\n'
        "f:13: proxy.max_connections: must be a whole number, not true\n"
        'f:14: proxy.shutdown_timeout_s: must be a number, not "3"\n'
        "f:15: proxy.via_name: must be a string, not 3\n"
        "f:16: proxy.workers: must be a whole number, not 1.0",
    ),
    (
        MINIMAL
        + "[proxy]\nbacklog = 0\nshutdown_timeout_s = 0\ntrusted_proxies = '10.0.0.0/8'\n[log]\nlevel = 'warning'\n"
        "path = ''\nformat = 3\n",
        "f:12: proxy.backlog: 0 is out of range (allowed: at least 1)\n"
        "f:13: proxy.shutdown_timeout_s: 0 is out of range (allowed: above 0)\n"
        'f:14: proxy.trusted_proxies: must be an array, not "10.0.0.0/8"\n'
        "f:16: log.level: \"warning\" is none of the words (allowed: debug, info, warn, error; did you mean 'warn'?)\n"
        "f:17: log.path: must not be empty\n"
        "f:18: log.format: 3 is none of the words (allowed: combined, json)",
    ),
    (
        MINIMAL + "[proxy]\nshutdown_timeout_s = inf\n",
        "f:12: proxy.shutdown_timeout_s: must be a finite number, not inf",
    ),
    (
        "[[listener]]\naddress = 'a:70000'\n",
        'f:1: listener[0].name: this key is needed\nf:2: listener[0].address: "70000" is not a port '
        "(allowed: 0 to 65535)",
    ),
    (
        MINIMAL.replace("{ address", "\n  { weight = 0, adress = 'a:1' },\n  { weight = 65536, address"),
        "f:11: cluster.api.backends[0].address: this key is needed\n"
        "f:11: cluster.api.backends[0].weight: 0 is out of range (allowed: at least 1)\n"
        "f:11: cluster.api.backends[0].adress: unknown key (did you mean 'address'?)\n"
        "f:12: cluster.api.backends[1].weight: 65536 is out of range (allowed: at most 65535)",
    ),
    (
        MINIMAL.replace('[{ address = "127.0.0.1:8081" }]', "[]"),
        "f:10: cluster.api.backends: must not be empty",
    ),
    (
        MINIMAL.replace(
            "cluster = ",
            "path = 'v1'\nhosts = ['*']\nmethods = ['GE T']\nhost = 'kep'\nstrip_prefix = '=/a'\n"
            "request_headers = { set = { host = 'x', 'X A' = 'y', X-B = \"z\\n\" }, remove = ['TE'], "
            "add = { a = '', A = '' } }\n"
            "cache = 3\nchoose = 5\nmax_body_bytes = -1\nheaders = { 'a:' = 'b' }\nupgrade = []\ncluster = ",
        ),
        'f:7: route[0].path: "v1" is not a path (allowed: /PREFIX, =/EXACT)\n'
        'f:8: route[0].hosts[0]: "*" is not a host (leave the key out for any host; allowed: NAME, *.NAME)\n'
        'f:9: route[0].methods[0]: "GE T" is not a token (allowed: letters, digits and !#$%&\'*+-.^_`|~)\n'
        'f:10: route[0].host: "kep" is not a rule for Host (allowed: keep, backend, literal:NAME; '
        "did you mean 'keep'?)\n"
        'f:11: route[0].strip_prefix: "=/a" is not a prefix (allowed: /PREFIX)\n'
        "f:12: route[0].request_headers.set.host: host frames the message or belongs to one connection, "
        "no rule may touch it (the key 'host' of the route sets it)\n"
        'f:12: route[0].request_headers.set."X A": "X A" is not a token (allowed: letters, digits and '
        "!#$%&'*+-.^_`|~)\n"
        "f:12: route[0].request_headers.set.X-B: a field value must not hold CR, LF, NUL or other control characters\n"
        "f:12: route[0].request_headers.add: 'a' and 'A' are the same field\n"
        "f:12: route[0].request_headers.remove[0]: TE frames the message or belongs to one connection, "
        "no rule may touch it\n"
        "f:13: route[0].cache: must be true, false or a table, not 3\n"
        "f:14: route[0].choose: must be a string, not 5\n"
        "f:15: route[0].max_body_bytes: -1 is out of range (allowed: at least 0)\n"
        'f:16: route[0].headers."a:": "a:" is not a token (allowed: letters, digits and !#$%&\'*+-.^_`|~)\n'
        "f:17: route[0].upgrade: unknown key (did you mean 'upgrades'?)",
    ),
    (
        MINIMAL.replace("cluster = ", "path = '/a?b'\nchoose = 'pick'\nname_ = 1\nmax_body_bytes = 1.5\ncluster = "),
        'f:7: route[0].path: "/a?b" has characters that no path has (write them as %XX; a query is not matched)\n'
        'f:8: route[0].choose: "pick" is not the name of a function (allowed: MODULE:FUNCTION, site:FUNCTION)\n'
        "f:9: route[0].name_: unknown key (did you mean 'name'?)\n"
        "f:10: route[0].max_body_bytes: must be a whole number, not 1.5",
    ),
    (
        "listener = 3\nroute = 'x'\ncluster = []\nproxy = []\ntls = 1\nstage = 2\nlog = ''\ninclude = 'x'\n",
        "f:1: listener: must be an array, not 3\n"
        'f:2: route: must be an array, not "x"\n'
        "f:3: cluster: must be a table, not an array\n"
        "f:4: proxy: must be a table, not an array\n"
        "f:5: tls: must be a table, not 1\n"
        "f:6: stage: must be a table, not 2\n"
        'f:7: log: must be a table, not ""\n'
        'f:8: include: must be an array, not "x"',
    ),
    (
        MINIMAL + "[proxy]\nvia_name = '${NOT_SET}'\n[log]\npath = '${'\naccess = '${NOT_SET:-}'\n",
        "f:12: proxy.via_name: the variable NOT_SET is not set (set it, or give a default as ${NOT_SET:-default})\n"
        "f:14: log.path: '${' begins no variable (allowed: ${NAME}, ${NAME:-default}; write $${ for a plain ${)",
    ),
    (
        MINIMAL
        + "balance = 'least_connection'\nhash_key = 'header:X Y'\nsticky = 'a b'\npanic = 'no'\nslow_start_s = -1\n"
        "health = { type = 'htp', path = 'health', statuses = ['2xx', '300-200'], timeout_s = 0, fall = 0, initial = 'u' }\n"
        "[cluster.api.passive]\nfailure = 3\nmax_ejected = 50\n[cluster.api.breaker]\nerror_rate = 2\n"
        "[cluster.api.retry]\nidempotent_tries = 0\nbudget = 1.5\nbody_bytes = '64k'\n",
        'f:11: cluster.api.balance: "least_connection" is not a balancing policy (allowed: round_robin, '
        "weighted_round_robin, least_connections, ip_hash, random, p2c, ewma, ring_hash, MODULE:FUNCTION; "
        "did you mean 'least_connections'?)\n"
        'f:12: cluster.api.hash_key: "X Y" is not a token (allowed: letters, digits and !#$%&\'*+-.^_`|~)\n'
        'f:13: cluster.api.sticky: "a b" is not a token (allowed: letters, digits and !#$%&\'*+-.^_`|~)\n'
        'f:14: cluster.api.panic: must be true or false, not "no"\n'
        "f:15: cluster.api.slow_start_s: -1 is out of range (allowed: at least 0)\n"
        'f:16: cluster.api.health.type: "htp" is not a health check (allowed: http, tcp, tls, MODULE:FUNCTION; '
        "did you mean 'http'?)\n"
        'f:16: cluster.api.health.path: "health" is not a path (allowed: /PATH, /PATH?QUERY)\n'
        'f:16: cluster.api.health.statuses[0]: "2xx" is not a status or range of them (allowed: 100 to 599, '
        "as 200 or 200-399)\n"
        "f:16: cluster.api.health.statuses[1]: \"300-200\" is an empty range (did you mean '200-300'?)\n"
        "f:16: cluster.api.health.timeout_s: 0 is out of range (allowed: above 0)\n"
        "f:16: cluster.api.health.fall: 0 is out of range (allowed: at least 1)\n"
        "f:16: cluster.api.health.initial: \"u\" is none of the words (allowed: checking, up, down; did you mean 'up'?)\n"
        "f:18: cluster.api.passive.failure: unknown key (did you mean 'failures'?)\n"
        "f:19: cluster.api.passive.max_ejected: 50 is out of range (allowed: at most 1)\n"
        "f:21: cluster.api.breaker.error_rate: 2 is out of range (allowed: at most 1)\n"
        "f:23: cluster.api.retry.idempotent_tries: 0 is out of range (allowed: at least 1)\n"
        "f:24: cluster.api.retry.budget: 1.5 is out of range (allowed: at most 1)\n"
        'f:25: cluster.api.retry.body_bytes: must be a whole number, not "64k"',
    ),
    (
        MINIMAL.replace("}]", "}, { address = '127.0.0.1:08081', backup = true }]")
        + "hash_key = 'uri'\nbalance = 'no.such.module:f'\n[cluster.api.health]\ntype = 'math:pi'\npath = '/h'\n",
        'f:10: cluster.api.backends[1].address: "127.0.0.1:8081" is the address of cluster.api.backends[0] already '
        "(give it a weight for a larger share)\n"
        'f:11: cluster.api.hash_key: only balance = "ring_hash" uses it (set that, or leave hash_key out)\n'
        "f:12: cluster.api.balance: there is no module 'no' (is its folder in PYTHONPATH?)\n"
        "f:14: cluster.api.health.type: 'math:pi' is not a function but of type float\n"
        'f:15: cluster.api.health.path: only a check of type "http" uses it, this one is "math:pi"',
    ),
    (
        MINIMAL.replace("api]", '"a b"]').replace('"api"', '"a b"'),
        'f:7: route[0].cluster: "a b" is not a name (allowed: letters, digits and _.-, not beginning with . or -)\n'
        'f:9: cluster."a b": "a b" is not a name (allowed: letters, digits and _.-, not beginning with . or -)',
    ),
)


class LoadTextTests(SynchronousTestCase):
    """From text to model, or to errors."""

    def test_textsGiveTheirModels(self) -> None:
        """Each right text gives exactly this model."""
        for text, environ, config in MODELS:
            self.assertEqual(load(text, environ).config, config)

    def test_textsGiveTheirErrors(self) -> None:
        """Each wrong text gives exactly these errors, all at once, with line and key path."""
        for text, errors in ERRORS:
            self.assertEqual(errors_of(text), errors.split("\n"))

    def test_problemsCanBeTakenApart(self) -> None:
        """An error carries each problem with its parts, for those who show it in another way."""
        error = self.assertRaises(ConfigError, load_text, "x = 1\n" + MINIMAL, "f", {})
        keys = "include, proxy, log, admin, listener, tls, route, cluster, cache, stage"
        self.assertEqual(error.problems, (Problem("f", 1, "x", f"unknown key (allowed: {keys})"),))

    def test_secretsAreNotShown(self) -> None:
        """An error about a value that may be a credential does not show it."""
        text = MINIMAL.replace("cluster = ", 'request_headers.set.Authorization = "s3cret\\n"\ncluster = ')
        self.assertIn("must not hold CR", errors_of(text)[0])
        self.assertNotIn("s3cret", errors_of(text)[0])


class LoadDataTests(SynchronousTestCase):
    """Configurations that Python code gives."""

    def test_theModelIsCheckedLikeAFile(self) -> None:
        """A model may name what does not exist or miss what is needed; its strings are final."""
        listener = Listener(name="web", address="127.0.0.1:0")
        route = Route(name="all", cluster="api", headers={"X": "${NO}"})
        config = Config(admin=AdminSettings(listen="0.0.0.0:1"), listener=(listener,), route=(route,))
        error = self.assertRaises(ConfigError, load_data, config, "here", {})
        self.assertEqual(
            str(error).split("\n"),
            [
                'here: route[0].cluster: there is no cluster "api" (there is none)',
                "here: admin.token: a token is needed to listen on 0.0.0.0:1 (or listen on loopback)",
            ],
        )
        config = Config(
            listener=(listener,),
            route=(Route(name="all", cluster="api", headers={"X": "${NO}"}),),
            cluster={"api": Cluster(backends=(Backend(address="a:1"),))},
        )
        self.assertEqual(load_data(config, environ={}).config, config)

    def test_tablesMayHoldSectionsAndTuples(self) -> None:
        """Tables in the shape of TOML may be mixed with sections of the model."""
        data = {
            "listener": ({"name": "web", "address": "${A}:0"},),
            "route": [Route(name="all", cluster="api")],
            "cluster": {"api": {"backends": [Backend(address="a:1")]}},
        }
        config = load_data(data, environ={"A": "127.0.0.1"}).config
        self.assertEqual(config.listeners[0].address, "127.0.0.1:0")
        self.assertEqual(config.routes, (Route(name="all", cluster="api"),))
        self.assertEqual(config.clusters["api"].backends, (Backend(address="a:1"),))


def slots(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every table or array in some tables with each of its keys or indexes."""
    for key, part in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, key
        if isinstance(part, dict | list):
            yield from slots(part)


values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just("${X}:0")),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2), st.dictionaries(st.one_of(st.text(max_size=3), st.integers()), inner, max_size=2)
    ),
    max_leaves=4,
)


class LoadDataProperties(SynchronousTestCase):
    """Whatever stands in a configuration, it is loaded or refused."""

    def test_oddNamesStayOnTheirLine(self) -> None:
        """A name with a line break in it, listed as what is allowed, does not break the message."""
        tables = {"cluster": {"\n": {}}, "route": [{"name": "a", "cluster": "b"}]}
        error = self.assertRaises(ConfigError, load_data, tables)
        self.assertIn('there is no cluster "b" (allowed: "\\n")', str(error))

    @given(st.data())
    @settings(deadline=None, max_examples=200)
    def test_nothingButConfigErrorIsRaised(self, data: st.DataObject) -> None:
        """Any value at any place of the file with every key gives problems with file, path and message at most."""
        tables = tomllib.loads(EXAMPLE)
        for _ in range(data.draw(st.integers(1, 4))):
            table, key = data.draw(st.sampled_from(list(slots(tables))))
            table[key] = data.draw(values)
        try:
            load_data(tables, "f", {}, further=check_certificates)
        except ConfigError as error:
            for problem in (*error.problems, *error.remarks):
                self.assertTrue(str(problem).startswith("f: "), problem)
                self.assertNotIn("\n", str(problem))


class ValuesTests(SynchronousTestCase):
    """Keys with the values that they have anyway, and with values that they cannot have."""

    def test_theExample(self) -> None:
        """The file with every key is served as it is."""
        self.assertEqual(errors_of(EXAMPLE), [])

    def test_theValueThatMeansOffIsAccepted(self) -> None:
        """A key may be written with its default if that means "off"."""
        text = MINIMAL + (
            'protocol = "http1"\nsend_proxy_protocol = ""\n'
            "tls = { enabled = false, server_name = '', ca = '' }\n[proxy]\nworkers = 1\nuser = ''\n[stage]\n[tls]\n"
        )
        self.assertEqual(errors_of(text), [])
        inside = 'protocol = "http"\ntls = ""\nsni_clusters = {}\nredirect_https = false\n\n[[route]]\n'
        inside += "upgrades = []\ncache = false\n"
        self.assertEqual(errors_of(MINIMAL.replace("\n[[route]]\n", inside)), [])

    def test_valuesThatAreNotValid(self) -> None:
        """A word that is no balancing policy at all is an error of its own, with the nearest one."""
        text = MINIMAL + 'balance = "round_robbin"\nprotocol = "h3"\n'
        self.assertEqual(
            errors_of(text),
            [
                'f:11: cluster.api.balance: "round_robbin" is not a balancing policy (allowed: round_robin, '
                "weighted_round_robin, least_connections, ip_hash, random, p2c, ewma, ring_hash, MODULE:FUNCTION; "
                "did you mean 'round_robin'?)",
                'f:12: cluster.api.protocol: "h3" is none of the words (allowed: http1, h2)',
            ],
        )
