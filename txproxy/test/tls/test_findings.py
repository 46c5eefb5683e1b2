"""What a check says of certificates: each problem with its key, and with its line if it is in a file."""

from __future__ import annotations

import io
import os
import re
import sys

from twisted.trial.unittest import SynchronousTestCase

from txproxy.config.load import ConfigError, load_data, load_text
from txproxy.config.problems import Finding, Remark, format_path
from txproxy.main import main
from txproxy.options import Options, configure
from txproxy.service import make_service
from txproxy.test.authority import CLIENT, SERVER, Authority
from txproxy.test.config.helpers import MINIMAL
from txproxy.test.tls.pair_files import PairFiles
from txproxy.tls.findings import check_certificates, check_trusted_files

AUTHORITY = Authority()
GOOD, EXPIRED = AUTHORITY.identity("a.test"), AUTHORITY.identity("b.test", ends_in_days=-1)
_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC")


class FindingsCase(SynchronousTestCase):
    """Tests with a folder of certificates."""

    def setUp(self) -> None:
        self.files = PairFiles(self)
        self.files.pair(GOOD)
        self.files.pair(EXPIRED, "b")
        self.files.write("ca.pem", AUTHORITY.certificate)
        self.files.write("none.pem", b"x")

    def path(self, name: str) -> str:
        return str(self.files.folder / name)

    def pair(self, stem: str) -> dict[str, str]:
        return {"chain": self.path(f"{stem}.pem"), "key": self.path(f"{stem}.key")}

    def bare(self, text: str) -> str:
        return _TIME.sub("TIME", self.files.without_folder(text))

    def found(self, findings: list[Finding | Remark]) -> list[str]:
        return [
            f"{'warning: ' * isinstance(each, Remark)}{format_path(each.path)}: {self.bare(each.message)}"
            for each in findings
        ]


class CheckCertificatesTests(FindingsCase):
    """Raw tables in, findings out."""

    def test_pairs(self) -> None:
        """Each certificate, key and OCSP reply of each section, with all that is wrong with it."""
        raw = {
            "tls": {
                "good": {"certificates": [self.pair("a")]},
                "bad": {
                    "certificates": (
                        self.pair("a"),
                        self.pair("b"),
                        {"chain": self.path("a.pem"), "key": self.path("b.key"), "ocsp": self.path("ca.pem")},
                    )
                },
            }
        }
        self.assertEqual(
            self.found(check_certificates(raw)),
            [
                'tls.bad.certificates[1].chain: the certificate in "b.pem" expired on TIME (renew it)',
                'tls.bad.certificates[2].key: the key in "b.key" is not that of the certificate in "a.pem" '
                "(were both replaced?)",
                'warning: tls.bad.certificates[2].ocsp: "ca.pem" is not an OCSP reply (openssl base64 -d takes it out of PEM)',
            ],
        )
        self.assertEqual(check_trusted_files(raw), [])

    def test_authorities(self) -> None:
        """Files of authorities must hold one at least."""
        old = self.files.write("old.pem", Authority(ends_in_days=-1).certificate)
        raw = {
            "tls": {"a": {"client_ca": self.path("ca.pem")}, "b": {"client_ca": self.path("none.pem")}},
            "cluster": {"a": {"tls": {"ca": self.path("a.key")}}, "b": {"tls": {"ca": old}}},
        }
        expected = [
            'tls.b.client_ca: "none.pem" holds no certificate in PEM',
            'cluster.a.tls.ca: "a.key" holds a private key and no certificate (are chain and key interchanged?)',
            'warning: cluster.b.tls.ca: the only authority in "old.pem" expired, the last on TIME',
        ]
        self.assertEqual(self.found(check_certificates(raw)), expected)
        self.assertEqual(self.found(check_trusted_files(raw)), expected)

    def test_ourOwnCertificates(self) -> None:
        """What is shown to backends must be a certificate of a client."""
        self.files.pair(AUTHORITY.identity("a.test", more=[SERVER]), "server")
        client = self.files.pair(AUTHORITY.identity(more=[CLIENT]), "client")
        os.chmod(client.key, 0o604)
        raw = {
            "cluster": {
                name: {"tls": {"client_chain": self.path(f"{stem}.pem"), "client_key": self.path(f"{key}.key")}}
                for name, stem, key in (("a", "client", "client"), ("b", "server", "server"), ("c", "client", "a"))
            }
        }
        expected = [
            "warning: cluster.a.tls.client_key: others than its owner and group may open "
            '"client.key" (chmod o= takes that away)',
            'cluster.b.tls.client_chain: the certificate in "server.pem" is not a client\'s: '
            "its extendedKeyUsage lacks clientAuth",
            'cluster.c.tls.client_key: the key in "a.key" is not that of the certificate in "client.pem" '
            "(were both replaced?)",
        ]
        self.assertEqual(self.found(check_certificates(raw)), expected)
        self.assertEqual(self.found(check_trusted_files(raw)), expected)

    def test_certificatesThatNoNameLeadsTo(self) -> None:
        """The first certificate of a name is served; one of another kind of key for the same names is served, too."""
        for stem, names, key in (
            ("1", ("a.test", "*.a.test"), "ec"),
            ("2", ("*.a.test", "a.test"), "rsa"),
            ("3", ("a.test", "*.a.test"), "rsa"),
            ("4", ("a.test",), "ed25519"),
            ("5", ("a.test", "b.test"), "ec"),
            ("6", ("b.test", "*.a.test"), "ec"),
            ("7", ("x.a.test",), "ec"),
        ):
            self.files.pair(AUTHORITY.identity(*names, key=key), stem)
        raw = {"tls": {"t": {"certificates": [self.pair(str(number)) for number in range(1, 8)]}}}
        self.assertEqual(
            self.found(check_certificates(raw)),
            [
                f'warning: tls.t.certificates[{index}].chain: no name leads to the certificate in "{index + 1}.pem": '
                f"{name} is that of tls.t.certificates[{owner}] already"
                for index, name, owner in ((2, "a.test", 0), (3, "a.test", 0), (5, "b.test", 4))
            ],
        )

    def test_time(self) -> None:
        """The moment can be given."""
        raw = {"tls": {"t": {"certificates": [self.pair("a")]}}}
        self.assertEqual(len(check_certificates(raw, GOOD.leaf.not_valid_after_utc.timestamp() + 1)), 1)

    def test_anyTypesPass(self) -> None:
        """Wrong types and keys that are missing are left to the model."""
        for raw in (
            {},
            {"tls": 3, "cluster": []},
            {"tls": {"a": 3, "b": {"certificates": 3, "client_ca": 3}}, "cluster": {"a": 3, "b": {"tls": 3}}},
            {"tls": {"a": {"certificates": [3, {}, {"chain": "/x"}, {"chain": 3, "key": "/x"}, {"key": "/x"}]}}},
            {"tls": {"a": {"certificates": [{"chain": "", "key": "/x"}, {"chain": "/x", "key": "/x", "ocsp": 3}]}}},
            {"cluster": {"a": {"tls": {"client_chain": "/x"}}, "b": {"tls": {"client_key": "/x", "ca": ""}}}},
        ):
            self.assertEqual(check_certificates(raw), [])


class LoadTests(FindingsCase):
    """Findings among the other errors of a configuration."""

    def text(self, more: str = "") -> str:
        return (
            MINIMAL.replace('8080"\n', '8080"\ntls = "main"\n')
            + f'[tls.main]\ncertificates = [\n  {{ chain = "{self.path("a.pem")}", key = "{self.path("a.key")}" }},\n'
            + f'  {{ chain = "{self.path("b.pem")}", key = "{self.path("b.key")}" }},\n]\n{more}'
        )

    def test_withOtherErrors(self) -> None:
        """A wrong type elsewhere hides nothing of a certificate; each stands at its line."""
        os.chmod(self.path("a.key"), 0o644)
        error = self.assertRaises(
            ConfigError, load_text, self.text('preset = "old"\n'), "f", {}, further=check_certificates
        )
        self.assertEqual(
            [self.bare(str(problem)) for problem in error.problems],
            [
                'f:15: tls.main.certificates[1].chain: the certificate in "b.pem" expired on TIME (renew it)',
                'f:17: tls.main.preset: "old" is none of the words (allowed: intermediate, modern)',
            ],
        )
        (remark,) = error.remarks
        self.assertEqual(
            self.bare(str(remark)),
            "f:14: tls.main.certificates[0].key: warning: "
            'others than its owner and group may open "a.key" (chmod o= takes that away)',
        )

    def test_remarks(self) -> None:
        """What is doubtful fails nothing and comes with what was loaded."""
        os.chmod(self.path("a.key"), 0o644)
        loaded = load_text(self.text(), "f", {}, further=check_trusted_files)
        self.assertEqual(loaded.remarks, ())
        self.files.pair(AUTHORITY.identity("c.test"), "b")
        loaded = load_text(self.text(), "f", {}, further=check_certificates)
        self.assertEqual([remark.line for remark in loaded.remarks], [14])
        data = load_data(loaded.config, further=check_certificates)
        self.assertEqual([remark.line for remark in data.remarks], [0])

    def test_oneLineForAFileThatIsNotThere(self) -> None:
        """A file that both checks look at has one line."""
        text = self.text('client_auth = "required"\nclient_ca = "/no.pem"\n').replace("b.", "a.")
        error = self.assertRaises(ConfigError, load_text, text, "f", {}, further=check_certificates)
        self.assertEqual(str(error), 'f:18: tls.main.client_ca: cannot read "/no.pem": No such file or directory')


class CommandTests(LoadTests):
    """The two commands that check, and those that run."""

    def setUp(self) -> None:
        super().setUp()
        self.output, self.errors = io.StringIO(), io.StringIO()
        self.patch(sys, "stdout", self.output)
        self.patch(sys, "stderr", self.errors)

    def write(self, text: str) -> str:
        return self.files.write("site.toml", text.encode())

    def lines(self) -> list[str]:
        lines = self.bare(self.output.getvalue()).splitlines()
        self.output.seek(0)
        self.output.truncate()
        return lines

    def checks(self, path: str) -> tuple[int, list[str]]:
        """Return status and output of ``txproxy check``, which are those of ``twistd txproxy --check``."""
        status = main(["check", path])
        lines = self.lines()
        error = self.assertRaises(SystemExit, Options().parseOptions, ["-c", path, "--check"])
        self.assertEqual((error.code, self.lines()), (status, lines))
        return status, lines

    def test_check(self) -> None:
        """D9: certificates are checked with the rest: errors are 1, warnings alone are 0."""
        os.chmod(self.path("a.key"), 0o644)
        path = self.write(self.text())
        warning = (
            "site.toml:14: tls.main.certificates[0].key: warning: "
            'others than its owner and group may open "a.key" (chmod o= takes that away)'
        )
        self.assertEqual(
            self.checks(path),
            (
                1,
                [
                    'site.toml:15: tls.main.certificates[1].chain: the certificate in "b.pem" expired on TIME '
                    "(renew it)",
                    warning,
                ],
            ),
        )
        self.files.pair(AUTHORITY.identity("c.test"), "b")
        self.assertEqual(self.checks(path), (0, [warning, "site.toml: no errors"]))

    def test_dumpStaysToml(self) -> None:
        """Warnings do not stand between the lines of a dump."""
        os.chmod(self.path("a.key"), 0o644)
        self.files.pair(AUTHORITY.identity("c.test"), "b")
        self.assertEqual(main(["check", self.write(self.text()), "--dump"]), 0)
        load_text(self.output.getvalue(), "f", {})
        self.assertIn("warning: ", self.errors.getvalue())

    def test_run(self) -> None:
        """One bad certificate of several is not fatal; authorities and our own certificates are, with their line."""
        options = {"config": self.write(self.text())}
        self.assertEqual(len(configure(options)[0].tls["main"].certificates), 2)
        options["config"] = self.write(
            self.text('client_auth = "required"\n' + f'client_ca = "{self.path("none.pem")}"\n')
        )
        error = self.assertRaises(ConfigError, configure, options)
        self.assertEqual(
            self.bare(str(error)), 'site.toml:18: tls.main.client_ca: "none.pem" holds no certificate in PEM'
        )
        self.assertRaises(ConfigError, make_service, {**Options(), **options}, None)
