"""What becomes of the configurations of the bench's peers."""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

try:
    from bench.proxies import PROXIES, WITHOUT_TCP
    from bench.templates import OPTIONAL_PARTS, PEERS, Kind, filled, for_tcp, go_name
except ModuleNotFoundError:
    skip = "bench is no part of an installed package"

# What a proxy adds to what its kind has.
OF_PROXY = ("PORT", "BACKEND", "DIR", "CLIENTS", "CONNECTIONS", "SECOND", "STREAM_MODULE")


class FilledTests(SynchronousTestCase):
    """Names are replaced, sections left out."""

    def test_names(self) -> None:
        self.assertEqual(filled("listen @PORT@ $host @OTHER@", {"PORT": 80}), "listen 80 $host @OTHER@")

    def test_section(self) -> None:
        text = "a\n    # [tls] Why.\n    b\n    # [end]\nc\n# [tls]\nd\n# [end]\n# [plain]\ne\n# [end]\n"
        self.assertEqual(filled(text, {}, ["tls"]), "a\nc\n# [plain]\ne\n# [end]\n")

    def test_section_behind_tabs(self) -> None:
        self.assertEqual(filled("a\n\t# [tls]\n\tb\n\t# [end]\nc\n", {}, ["tls"]), "a\nc\n")


class KindTests(SynchronousTestCase):
    """What a scenario asks for is what is left."""

    def test_without(self) -> None:
        self.assertEqual(Kind().without(), ["tls", *OPTIONAL_PARTS, "cachefields"])
        self.assertEqual(Kind(tls=True).without()[0], "plain")

    def test_bare(self) -> None:
        self.assertIn("fields", Kind(bare=True).without())
        self.assertIn("cachefields", Kind(bare=True, parts=("cache",)).without())

    def test_cache(self) -> None:
        left_out = Kind(parts=("cache",)).without()
        self.assertNotIn("cache", left_out)
        self.assertNotIn("cachefields", left_out)

    def test_protocols(self) -> None:
        values = Kind(tls=True, http2=True).values()
        self.assertEqual(values["ALPN_LIST"], '["h2", "http/1.1"]')
        self.assertEqual((values["ALPN"], values["CODEC"]), ("h2,http/1.1", "AUTO"))
        self.assertEqual(Kind(tls=True).values()["ALPN_LIST"], '["http/1.1"]')

    def test_names_of_go(self) -> None:
        # As crypto/tls has them.
        self.assertEqual(go_name("ECDHE-ECDSA-AES128-GCM-SHA256"), "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256")
        self.assertEqual(go_name("ECDHE-RSA-AES256-GCM-SHA384"), "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384")
        self.assertEqual(go_name("ECDHE-RSA-CHACHA20-POLY1305"), "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256")


class TemplateTests(SynchronousTestCase):
    """The committed configurations fit what fills them in."""

    def texts(self, kind: Kind) -> dict[str, str]:
        """Return all templates of *kind*, filled in."""
        values = kind.values() | dict.fromkeys(OF_PROXY, "1")
        found = {}
        for proxy in PROXIES:
            tcp = "tcp" in kind.parts
            if tcp and (proxy.name in WITHOUT_TCP or proxy.caches_only):
                continue
            for template in filter(None, (proxy.second, proxy.template)):
                name = for_tcp(template) if tcp else template
                found[name] = filled((PEERS / name).read_text(), values, kind.without())
        return found

    def test_every_name_is_known(self) -> None:
        parts: tuple[tuple[str, ...], ...] = ((), OPTIONAL_PARTS, ("tcp", "bulk"))
        kinds = [Kind(bare, tls, tls, some) for bare in (False, True) for tls in (False, True) for some in parts]
        for kind in kinds:
            for name, text in self.texts(kind).items():
                # What their first lines explain.
                left = set(re.findall(r"@[A-Z0-9_]+@", text)) - {"@NAMES@"}
                self.assertEqual(left, set(), name)

    def test_sections_end(self) -> None:
        for path in PEERS.iterdir():
            if path.is_file() and path.suffix != ".py":
                text = path.read_text()
                begun = re.findall(r"^[ \t]*# \[(?!end\])(\w+)\]", text, re.MULTILINE)
                self.assertEqual(len(begun), len(re.findall(r"^[ \t]*# \[end\]$", text, re.MULTILINE)), path.name)
                self.assertLessEqual(set(begun), {"plain", "tls", "fields", "cachefields", *OPTIONAL_PARTS}, path.name)

    def test_plain_has_no_certificate(self) -> None:
        for name, text in self.texts(Kind()).items():
            self.assertNotIn("bench.key.pem", text, name)
            self.assertNotIn("bench.both.pem", text, name)

    def test_bare_makes_no_request_id(self) -> None:
        for name, text in self.texts(Kind(bare=True)).items():
            self.assertNotIn("X-Request-Id", "\n".join(_without_comments(text)), name)


def _without_comments(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.lstrip().startswith("#")]
