"""Certificates with their keys: what is read, and what is said of what cannot be used."""

from __future__ import annotations

import base64
import os
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from ipaddress import ip_network
from random import Random

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509 import ocsp
from twisted.trial.unittest import SynchronousTestCase

from txproxy.config.model import Certificate
from txproxy.test.authority import ANY_USE, CLIENT, MUST_STAPLE, SERVER, Authority, Identity, key_usage, self_signed
from txproxy.test.tls.pair_files import PairFiles
from txproxy.tls.certificates import CertificateError, Purpose, inspect_pair, load_authorities, load_pair

AUTHORITY = Authority()
GOOD = AUTHORITY.identity("a.test")
OTHER = AUTHORITY.identity("b.test")
_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC")


def der(pem: bytes) -> bytes:
    return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)


def der_key(pem: bytes) -> bytes:
    key = load_pem_private_key(pem, None)
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def legacy_key(identity: Identity) -> bytes:
    key = load_pem_private_key(identity.key, None)
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())


def dsa_key() -> bytes:
    return dsa.generate_private_key(2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


class PairCase(SynchronousTestCase):
    """Tests of pairs in files; messages are compared without folder and times."""

    def setUp(self) -> None:
        self.files = PairFiles(self)
        self.now = time.time()

    def says(self, certificate: Certificate, purpose: Purpose = Purpose.SERVER) -> list[str]:
        """Return what is said of a pair: ``KEY: TEXT``, warnings with a word more; what is fatal is raised as well."""
        found = inspect_pair(certificate, self.now, purpose)
        errors = [f"{each.key}: {each.text}" for each in found.errors]
        self.assertEqual(found.pair is None, bool(errors))
        if found.pair is not None:
            self.assertEqual(found.pair.warnings, tuple(each.text for each in found.warnings))
        else:
            error = self.assertRaises(CertificateError, load_pair, certificate, self.now, purpose)
            self.assertEqual(f"{error.key}: {error.text}", errors[0])
        lines = [*errors, *(f"warning: {each.key}: {each.text}" for each in found.warnings)]
        for line in lines:
            self.assertNotIn("\n", line)
        return [_TIME.sub("TIME", self.files.without_folder(line)) for line in lines]

    def says_of(self, identity: Identity, purpose: Purpose = Purpose.SERVER) -> list[str]:
        return self.says(self.files.pair(identity), purpose)

    def says_of_chain(self, data: bytes, key: bytes = GOOD.key) -> list[str]:
        return self.says_of(Identity(data, key))

    def says_of_key(self, data: bytes) -> list[str]:
        return self.says_of(Identity(GOOD.certificate, data))

    def says_of_staple(self, data: bytes, identity: Identity = GOOD) -> list[str]:
        return self.says(self.files.pair(identity, staple=data))


class LoadPairTests(PairCase):
    """What a good pair holds."""

    def test_aGoodPair(self) -> None:
        """Names, times, chain and key are those of the files; nothing is said of it."""
        authority = AUTHORITY.intermediate()
        identity = authority.identity("A.Test", "*.b.test", "10.0.0.1", "2001:db8:0::1", "a.test", more=[SERVER])
        pair = load_pair(self.files.pair(identity), self.now)
        self.assertEqual(pair.names, ("a.test", "*.b.test", "10.0.0.1", "2001:db8::1"))
        self.assertEqual(
            [datetime.fromtimestamp(moment, UTC) for moment in (pair.not_before, pair.not_after)],
            [identity.leaf.not_valid_before_utc, identity.leaf.not_valid_after_utc],
        )
        self.assertEqual([each.public_bytes(Encoding.PEM) for each in pair.chain][1:], [authority.certificate])
        self.assertEqual(pair.chain[0], identity.leaf)
        self.assertEqual(pair.key.public_key(), identity.leaf.public_key())
        self.assertEqual((pair.staple, pair.staple_until, pair.warnings), (b"", 0.0, ()))
        self.assertEqual(pair.source.chain, str(self.files.folder / "a.pem"))
        self.assertNotIn("PRIVATE", repr(pair))

    def test_kindsOfKeys(self) -> None:
        """The kind of the key is told; formats of single algorithms are read as well as PKCS #8."""
        for word, kind in (("ec", "ec"), ("ed25519", "ed25519"), ("rsa", "rsa"), ("rsa3072", "rsa")):
            identity = AUTHORITY.identity("a.test", key=word)
            self.assertEqual(load_pair(self.files.pair(identity), self.now).key_type, kind, word)
            if word != "ed25519":
                identity = identity._replace(key=legacy_key(identity))
                self.assertEqual(load_pair(self.files.pair(identity), self.now).key_type, kind, word)

    def test_oneFileForBoth(self) -> None:
        """Chain and key may stand in the same file, in any order, with text between them."""
        for data in (GOOD.certificate + GOOD.key, b"# key\n" + GOOD.key + b"\nsubject=x\n" + GOOD.certificate):
            name = self.files.write("both.pem", data)
            self.assertEqual(self.says(Certificate(chain=name, key=name)), [])

    def test_parametersBesideAKey(self) -> None:
        """`openssl ecparam -genkey` writes parameters before the key."""
        parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
        self.assertEqual(self.says_of_key(parameters + legacy_key(GOOD)), [])

    def test_rootsAndSelfSigned(self) -> None:
        """A root at the end of the chain is harmless, and a certificate may be its own authority."""
        identity = AUTHORITY.intermediate().identity("a.test")
        self.assertEqual(self.says_of_chain(identity.certificate + AUTHORITY.certificate, identity.key), [])
        self.assertEqual(self.says_of(self_signed("a.test")), [])

    def test_carriageReturns(self) -> None:
        """Files that were edited elsewhere end their lines with CR LF."""
        identity = Identity(GOOD.certificate.replace(b"\n", b"\r\n"), GOOD.key.replace(b"\n", b"\r\n"))
        self.assertEqual(self.says_of(identity), [])

    def test_summary(self) -> None:
        """A line of the log names some hosts, the file and the end."""
        for names, title in (
            (("a.test",), "a.test"),
            (("a.test", "b.test", "c.test"), "a.test, b.test, c.test"),
            (("a.test", "b.test", "c.test", "d.test", "e.test"), "a.test, b.test, c.test and 2 more"),
        ):
            pair = load_pair(self.files.pair(AUTHORITY.identity(*names)), self.now)
            self.assertEqual(
                _TIME.sub("TIME", self.files.without_folder(pair.summary)), f'{title} ("a.pem"), expires on TIME'
            )
        nameless = load_pair(self.files.pair(AUTHORITY.identity()), self.now)
        self.assertTrue(nameless.summary.startswith("no host ("))

    def test_stampAndDigest(self) -> None:
        """The stamp tells that a file was replaced, the digest whether that made a difference."""
        certificate = self.files.pair(GOOD)
        first = load_pair(certificate, self.now)
        same = load_pair(certificate, self.now)
        self.assertEqual((first.stamp, first.digest), (same.stamp, same.digest))
        again = load_pair(self.files.pair(GOOD), self.now)
        self.assertNotEqual(again.stamp, first.stamp)
        self.assertEqual(again.digest, first.digest)
        other = load_pair(self.files.pair(OTHER), self.now)
        self.assertNotEqual(other.digest, first.digest)
        stapled = load_pair(self.files.pair(GOOD, staple=AUTHORITY.staple(GOOD)), self.now)
        self.assertNotEqual(stapled.digest, first.digest)

    def test_everyErrorIsThere(self) -> None:
        """What is wrong with one file does not hide what is wrong with another."""
        certificate = Certificate(
            chain=self.files.write("a.pem", AUTHORITY.identity("a.test", ends_in_days=-1).certificate),
            key=str(self.files.folder / "none.key"),
            ocsp=self.files.write("a.ocsp", b"x"),
        )
        self.assertEqual([line.partition(":")[0] for line in self.says(certificate)], ["key", "chain", "warning"])


class NameTests(PairCase):
    """The hosts that a certificate is for."""

    def names(self, identity: Identity, *says: str) -> tuple[str, ...]:
        certificate = self.files.pair(identity)
        self.assertEqual(self.says(certificate), [f"warning: chain: {line}" for line in says])
        return load_pair(certificate, self.now).names

    def test_commonName(self) -> None:
        """Without subjectAltName it is the common name, if that can be one of a host; browsers refuse both."""
        warning = 'the certificate in "a.pem" has no subjectAltName, browsers refuse it (have one issued with it)'
        self.assertEqual(self.names(AUTHORITY.identity(common_name="Old.Test"), warning), ("old.test",))
        self.assertEqual(self.names(AUTHORITY.identity(common_name="*.old.test"), warning), ("*.old.test",))
        self.assertEqual(self.names(AUTHORITY.identity(common_name="a server"), warning), ())
        self.assertEqual(self.names(AUTHORITY.identity("a.test", common_name="old.test")), ("a.test",))

    def test_namesThatNoClientAccepts(self) -> None:
        """They are left out with a word; what else may stand there is no host and passes in silence."""
        self.assertEqual(
            self.names(
                AUTHORITY.identity("w*.a.test", "*.test", "a.test"),
                'no client accepts the name "w*.a.test" of the certificate in "a.pem" for any host (RFC 9525: NAME, *.NAME)',
                'no client accepts the name "*.test" of the certificate in "a.pem" for any host (RFC 9525: NAME, *.NAME)',
            ),
            ("a.test",),
        )
        names = [x509.RFC822Name("a@a.test"), x509.UniformResourceIdentifier("https://a.test"), x509.DNSName("a.test")]
        self.assertEqual(self.names(AUTHORITY.identity(more=[x509.SubjectAlternativeName(names)])), ("a.test",))
        network = x509.SubjectAlternativeName([x509.IPAddress(ip_network("10.0.0.0/8"))])
        self.assertEqual(self.names(AUTHORITY.identity(more=[network])), ())


CHAIN_ERRORS: tuple[tuple[bytes, bytes, str], ...] = (
    (b"", GOOD.key, '"a.pem" is empty'),
    (b" \n\n", GOOD.key, '"a.pem" is empty'),
    (b"hello", GOOD.key, '"a.pem" holds no certificate in PEM'),
    (
        GOOD.key,
        GOOD.key,
        '"a.pem" holds a private key and no certificate (are chain and key interchanged?)',
    ),
    (
        der(GOOD.certificate),
        GOOD.key,
        '"a.pem" is in DER, not in PEM (openssl x509 -inform der -in FILE -out NEW converts it)',
    ),
    (b"\x30\x82\x01", GOOD.key, '"a.pem" holds no certificate in PEM'),
    (
        b"-----BEGIN CERTIFICATE REQUEST-----\nMAA=\n-----END CERTIFICATE REQUEST-----\n",
        GOOD.key,
        '"a.pem" holds no certificate in PEM but CERTIFICATE REQUEST',
    ),
    (GOOD.certificate[:-20], GOOD.key, '"a.pem" is cut off: a BEGIN line has no END line'),
    (GOOD.certificate + b" " * 65536, GOOD.key, '"a.pem" has more than 64 KiB (is it the right file?)'),
    (
        AUTHORITY.certificate + GOOD.certificate,
        GOOD.key,
        'the key in "a.key" is that of certificate 2 in "a.pem" (the server\'s own must stand first)',
    ),
    (
        GOOD.certificate + OTHER.certificate,
        GOOD.key,
        'certificate 2 in "a.pem" ("a server") did not issue the one before it (is it of another authority?; '
        "the server's own stands first, each is followed by that of its issuer)",
    ),
    (
        GOOD.certificate + Authority().certificate,
        GOOD.key,
        'certificate 2 in "a.pem" ("Test Authority") did not issue the one before it (is it of another authority?; '
        "the server's own stands first, each is followed by that of its issuer)",
    ),
)


class ChainTests(PairCase):
    """Files that do not hold the chain that they should."""

    def test_files(self) -> None:
        """Each mistake has its message."""
        for chain, key, expected in CHAIN_ERRORS:
            self.assertEqual(self.says_of_chain(chain, key), [f"chain: {expected}"])

    def test_damage(self) -> None:
        """A certificate that cannot be read is counted, so that it is found among many."""
        damaged = GOOD.certificate.splitlines()
        damaged[3] = damaged[3][::-1]
        both = GOOD.certificate + b"\n".join(damaged) + b"\n"
        (said,) = self.says_of_chain(both)
        self.assertTrue(said.startswith('chain: certificate 2 of 2 in "a.pem" is damaged: '), said)

    def test_order(self) -> None:
        """If the right one is in the file, its place is told."""
        middle = AUTHORITY.intermediate("Middle")
        low = middle.intermediate("Low")
        identity = low.identity("a.test")
        chain = identity.leaf.public_bytes(Encoding.PEM)
        self.assertEqual(self.says_of(identity), [])
        for data, expected in (
            (
                chain + middle.certificate + low.certificate,
                'certificate 2 in "a.pem" ("Middle") did not issue the one before it (certificate 3 did; ',
            ),
            (
                chain + low.certificate + AUTHORITY.certificate + middle.certificate,
                'certificate 3 in "a.pem" ("Test Authority") did not issue the one before it (certificate 4 did; ',
            ),
            (
                chain + low.certificate + low.certificate,
                'certificate 3 in "a.pem" ("Low") did not issue the one before it (is it of another authority?; ',
            ),
        ):
            (said,) = self.says_of_chain(data, identity.key)
            self.assertTrue(said.startswith(f"chain: {expected}"), said)

    def test_dates(self) -> None:
        """An expired certificate is refused with its date, one that is yet to come with the moment to try again."""
        identity = AUTHORITY.identity("a.test", ends_in_days=-1)
        certificate = self.files.pair(identity)
        ended = identity.leaf.not_valid_after_utc
        self.assertEqual(self.says(certificate), ['chain: the certificate in "a.pem" expired on TIME (renew it)'])
        error = self.assertRaises(CertificateError, load_pair, certificate, self.now)
        self.assertIn(ended.strftime("%Y-%m-%d %H:%M:%S UTC"), error.text)
        self.assertIsNone(error.retry_at)
        self.now = ended.timestamp()
        self.assertEqual(self.says(certificate), [])
        self.now += 1
        self.assertEqual(len(self.says(certificate)), 1)

    def test_notYetValid(self) -> None:
        """A clock that is wrong is the usual reason for a certificate that is not valid yet."""
        identity = AUTHORITY.identity("a.test", begins_in_days=0.1)
        certificate = self.files.pair(identity)
        begins_at = identity.leaf.not_valid_before_utc.timestamp()
        self.assertEqual(
            self.says(certificate),
            ['chain: the certificate in "a.pem" is not valid before TIME (is the clock right?)'],
        )
        error = self.assertRaises(CertificateError, load_pair, certificate, self.now)
        self.assertEqual(error.retry_at, begins_at)
        self.now = begins_at
        self.assertEqual(self.says(certificate), [])

    def test_expiredIntermediate(self) -> None:
        """The rest of the chain is served all the same: clients may know a newer one."""
        identity = AUTHORITY.intermediate("Middle", ends_in_days=-1).identity("a.test")
        self.assertEqual(
            self.says_of(identity),
            [
                'warning: chain: certificate 2 in "a.pem" ("Middle") expired on TIME (clients may refuse the chain)',
            ],
        )

    def test_usage(self) -> None:
        """A certificate must be allowed to sign handshakes, and to be that of a server."""
        ours = 'chain: the certificate in "a.pem" '
        no_signing = ours + "may not sign handshakes: its keyUsage lacks digitalSignature"
        no_server = ours + "is not a server's: its extendedKeyUsage lacks serverAuth"
        no_client = ours + "is not a client's: its extendedKeyUsage lacks clientAuth"
        for more, as_server, as_client in (
            ([key_usage("digital_signature")], [], []),
            ([key_usage("key_encipherment")], [no_signing], [no_signing]),
            ([SERVER], [], [no_client]),
            ([CLIENT], [no_server], []),
            ([ANY_USE], [], []),
            ([key_usage("key_encipherment"), CLIENT], [no_signing, no_server], [no_signing]),
        ):
            identity = AUTHORITY.identity("a.test", more=more)
            self.assertEqual(self.says_of(identity), as_server, more)
            self.assertEqual(self.says_of(identity, Purpose.CLIENT), as_client, more)

    def test_aClientNeedsNoName(self) -> None:
        """Names and staples matter of servers only."""
        self.assertEqual(self.says_of(AUTHORITY.identity(more=[CLIENT, MUST_STAPLE]), Purpose.CLIENT), [])

    def test_strength(self) -> None:
        """A short RSA key is refused, as clients would refuse it."""
        expected = 'chain: the RSA key of the certificate in "a.pem" has 1024 bits (allowed: at least 2048)'
        self.assertEqual(self.says_of(AUTHORITY.identity("a.test", key="rsa1024")), [expected])

    def test_whatOpenSSLRefuses(self) -> None:
        """What passes all rules and cannot be served for all that is found out before it is tried."""
        expected = 'chain: OpenSSL refuses the certificate in "a.pem": ee key too small'
        self.assertEqual(self.says_of(AUTHORITY.identity("a.test", key="p192")), [expected])

    def test_damagedExtensions(self) -> None:
        """They are read to the end, lest something is overlooked."""
        extension = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.15"), b"\x30\x00")
        (said,) = self.says_of(AUTHORITY.identity("a.test", more=[extension]))
        self.assertTrue(said.startswith('chain: extensions of the certificate in "a.pem" are damaged: '), said)

    def test_keyInTheChain(self) -> None:
        """A chain is often readable by all: a key that nobody reads from there should not stand in it."""
        self.assertEqual(
            self.says_of_chain(GOOD.certificate + GOOD.key),
            ['warning: chain: "a.pem" holds a private key too (take it out, "a.key" is read)'],
        )


class KeyTests(PairCase):
    """Files that do not hold the key that they should."""

    def test_files(self) -> None:
        """Each mistake has its message."""
        for data, expected in (
            (b"", '"a.key" is empty'),
            (b"hello", '"a.key" holds no private key in PEM'),
            (
                GOOD.certificate,
                '"a.key" holds a certificate and no private key (are chain and key interchanged?)',
            ),
            (
                der_key(GOOD.key),
                '"a.key" is in DER, not in PEM (openssl pkey -inform der -in FILE -out NEW converts it)',
            ),
            (b"\x30\x82\x01", '"a.key" holds no private key in PEM'),
            (
                b"-----BEGIN PUBLIC KEY-----\nMAA=\n-----END PUBLIC KEY-----\n",
                '"a.key" holds no private key in PEM but PUBLIC KEY',
            ),
            (GOOD.key + OTHER.key, '"a.key" holds 2 private keys (leave one in it)'),
            (GOOD.key[:-10], '"a.key" is cut off: a BEGIN line has no END line'),
            (GOOD.key + b"\n" * 65536, '"a.key" has more than 64 KiB (is it the right file?)'),
            (
                GOOD.encrypted_key(),
                'the key in "a.key" is encrypted (openssl pkey -in FILE -out FILE takes that away)',
            ),
            (
                b"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: DES-CBC,00\n\nMAA=\n"
                b"-----END RSA PRIVATE KEY-----\n",
                'the key in "a.key" is encrypted (openssl pkey -in FILE -out FILE takes that away)',
            ),
            (dsa_key(), 'the key in "a.key" is of a kind that TLS has no use for (make one of RSA or EC)'),
            (
                OTHER.key,
                'the key in "a.key" is not that of the certificate in "a.pem" (were both replaced?)',
            ),
        ):
            self.assertEqual(self.says_of_key(data), [f"key: {expected}"])

    def test_damage(self) -> None:
        """What is in the file is not shown, it may be half of a key."""
        (said,) = self.says_of_key(b"-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n")
        self.assertTrue(said.startswith('key: the key in "a.key" is damaged or of an unknown kind: '), said)
        self.assertNotIn("c2VjcmV0", said)
        self.assertNotIn("secret", said)

    def test_permissions(self) -> None:
        """D16: a key that others than its owner and group may open is served with a warning."""
        certificate = self.files.pair(GOOD)
        for mode, is_fine in ((0o600, True), (0o640, True), (0o660, True), (0o644, False), (0o602, False)):
            os.chmod(certificate.key, mode)
            expected = 'warning: key: others than its owner and group may open "a.key" (chmod o= takes that away)'
            self.assertEqual(self.says(certificate), [] if is_fine else [expected], oct(mode))


class FileTests(PairCase):
    """Names that lead to no file that could be read."""

    def test_whatCannotBeRead(self) -> None:
        """Neither a pipe that nobody writes to nor an endless device holds anybody up."""
        good = self.files.pair(GOOD)
        pipe = str(self.files.folder / "pipe")
        os.mkfifo(pipe)
        none = str(self.files.folder / "none")
        for name, expected in (
            (none, 'cannot read "none": No such file or directory'),
            (str(self.files.folder / "a.pem" / "x"), 'cannot read "a.pem/x": Not a directory'),
            (pipe, 'cannot read "pipe": it is not a regular file'),
            ("/dev/zero", 'cannot read "/dev/zero": it is not a regular file'),
            ("/", 'cannot read "/": Is a directory'),
            ("a\0b", 'cannot read "a\\u0000b": it is not the name of a file'),
        ):
            for key in ("chain", "key", "ocsp"):
                certificate = good.model_copy(update={key: name})
                warned = "warning: " if key == "ocsp" else ""
                self.assertEqual(self.says(certificate), [f"{warned}{key}: {expected}"])
            error = self.assertRaises(CertificateError, load_authorities, name, self.now)
            self.assertEqual((error.key, self.files.without_folder(error.text)), ("", expected))


class StapleTests(PairCase):
    """OCSP replies."""

    def test_aGoodOne(self) -> None:
        """It is there until its next update, or as long as the certificate if it names none."""
        for ends_in_days in (0.2, None):
            data = AUTHORITY.staple(GOOD, ends_in_days=ends_in_days)
            certificate = self.files.pair(GOOD, staple=data)
            self.assertEqual(self.says(certificate), [])
            pair = load_pair(certificate, self.now)
            self.assertEqual(pair.staple, data)
            until = pair.not_after if ends_in_days is None else self.now + ends_in_days * 86400
            self.assertLess(abs(pair.staple_until - until), 60)

    def test_unusable(self) -> None:
        """A file that holds something else is left out too: the certificate itself is sound."""
        refusal = ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER)
        for data, expected in (
            (b"hello", '"a.ocsp" is not an OCSP reply (it must be in DER)'),
            (GOOD.certificate, '"a.ocsp" is not an OCSP reply (openssl base64 -d takes it out of PEM)'),
            (
                refusal.public_bytes(Encoding.DER),
                'the OCSP reply in "a.ocsp" is a refusal: try later (fetch it anew)',
            ),
            (
                AUTHORITY.staple(OTHER),
                'the OCSP reply in "a.ocsp" is about another certificate (fetch it anew)',
            ),
            (b"\x30" * 70000, '"a.ocsp" has more than 64 KiB (is it the right file?)'),
        ):
            self.assertEqual(self.says_of_staple(data), [f"warning: ocsp: {expected}"])
            self.assertEqual(load_pair(self.files.pair(GOOD, staple=data), self.now).staple, b"")

    def test_leftOut(self) -> None:
        """One that clients would not accept is left out, and the certificate served without it."""
        text = 'warning: ocsp: the OCSP reply in "a.ocsp" '
        for data, expected in (
            (AUTHORITY.staple(GOOD, ends_in_days=-1), "is too old since TIME and is left out (fetch it anew)"),
            (
                AUTHORITY.staple(GOOD, ends_in_days=2, begins_in_days=1),
                "begins to hold on TIME and is left out",
            ),
            (
                AUTHORITY.staple(GOOD, ocsp.OCSPCertStatus.REVOKED),
                "says that the certificate is revoked; it is left out",
            ),
            (
                AUTHORITY.staple(GOOD, ocsp.OCSPCertStatus.UNKNOWN),
                "says that the certificate is unknown; it is left out",
            ),
        ):
            self.assertEqual(self.says_of_staple(data), [text + expected])
            self.assertEqual(load_pair(self.files.pair(GOOD, staple=data), self.now).staple, b"")

    def test_mustStaple(self) -> None:
        """A certificate that is refused without a staple (RFC 7633) wants one."""
        identity = AUTHORITY.identity("a.test", more=[MUST_STAPLE])
        self.assertEqual(
            self.says_of(identity),
            ['warning: chain: the certificate in "a.pem" wants an OCSP reply stapled (set ocsp)'],
        )
        self.assertEqual(self.says_of_staple(AUTHORITY.staple(identity), identity), [])


class AuthoritiesTests(PairCase):
    """Files of authorities."""

    def test_aGoodFile(self) -> None:
        """All certificates in it, in their order, whatever their relation."""
        other = Authority("Other")
        data = AUTHORITY.certificate + b"# another\n" + other.certificate
        found = load_authorities(self.files.write("ca.pem", data), self.now)
        self.assertEqual(found.pem, data)
        self.assertEqual(
            [each.public_bytes(Encoding.PEM) for each in found.certificates],
            [AUTHORITY.certificate, other.certificate],
        )
        self.assertEqual(found.warnings, ())

    def test_errors(self) -> None:
        """There must be one at least; a file of hundreds is not too large."""
        for data, expected in (
            (b"", '"ca.pem" is empty'),
            (b"x", '"ca.pem" holds no certificate in PEM'),
            (GOOD.key, '"ca.pem" holds a private key and no certificate (are chain and key interchanged?)'),
            (AUTHORITY.certificate * 9000, '"ca.pem" has more than 4096 KiB (is it the right file?)'),
        ):
            error = self.assertRaises(CertificateError, load_authorities, self.files.write("ca.pem", data), self.now)
            self.assertEqual(self.files.without_folder(error.text), expected)
        many = load_authorities(self.files.write("ca.pem", AUTHORITY.certificate * 300), self.now)
        self.assertEqual(len(many.certificates), 300)

    def test_expired(self) -> None:
        """Expired ones are a warning: bundles of systems have some."""
        old = Authority("Old", ends_in_days=-1)
        for data, expected in (
            (old.certificate, 'the only authority in "ca.pem" expired, the last on TIME'),
            (old.certificate + AUTHORITY.certificate, '1 of 2 authorities in "ca.pem" expired, the last on TIME'),
        ):
            (warning,) = load_authorities(self.files.write("ca.pem", data), self.now).warnings
            self.assertEqual(_TIME.sub("TIME", self.files.without_folder(warning)), expected)


def damaged(data: bytes, random: Random) -> bytes:
    """Return DER with some bytes changed, taken away or put in."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 4))):
        place = random.randrange(len(changed))
        changed[place : place + random.choice((0, 1, 1, 1))] = random.randbytes(random.choice((0, 1, 1, 1)))
    return bytes(changed)


def in_pem(label: str, data: bytes) -> bytes:
    return f"-----BEGIN {label}-----\n".encode() + base64.encodebytes(data) + f"-----END {label}-----\n".encode()


class AnyBytesTests(PairCase):
    """Files of anything at all."""

    def test_anyBytes(self) -> None:
        """Whatever is in a file, it is an error of its own kind and none of a library."""
        places: tuple[Callable[[bytes], list[str]], ...] = (self.says_of_chain, self.says_of_key, self.says_of_staple)
        good = (GOOD.certificate, GOOD.key, AUTHORITY.staple(GOOD))
        for says, data in zip(places, good, strict=True):
            for cut in range(1, len(data), 37):
                self.assertNotEqual(says(data[:cut] + b"\xff" + data[cut + 1 :]) + says(data[:cut]), [])

    def test_damageInside(self) -> None:
        """The same where PEM is right and what it wraps is not: libraries find that out late, and in many ways."""
        identity = AUTHORITY.intermediate().identity("a.test", "10.0.0.1", more=[SERVER, MUST_STAPLE])
        certificates = [
            each.public_bytes(Encoding.DER) for each in x509.load_pem_x509_certificates(identity.certificate)
        ]
        random = Random(7)
        for turn in range(200):
            parts = [*certificates, der_key(identity.key), AUTHORITY.staple(identity)]
            parts[turn % 4] = damaged(parts[turn % 4], random)
            chain = in_pem("CERTIFICATE", parts[0]) + in_pem("CERTIFICATE", parts[1])
            files = Identity(chain, in_pem("PRIVATE KEY", parts[2]))
            self.says(self.files.pair(files, staple=parts[3]))
            self.says(self.files.pair(Identity(parts[0], parts[2])))
