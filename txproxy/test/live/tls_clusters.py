"""What tests of TLS to backends share: certificates, configurations, and questions to backends that tell what they saw."""

from __future__ import annotations

import json
import ssl
from pathlib import Path
from typing import Any

from txproxy.test.authority import Authority, Identity

from .client import wait_for
from .helpers import get
from .peers import ProxyProcess
from .replies import Reply

AUTHORITY = Authority()
GOOD = AUTHORITY.identity("app.test", "b.test", "127.0.0.1")
STRANGER = Authority("Stranger")
VERSIONS = (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2)


def saved(folder: Path, name: str, identity: Identity) -> str:
    """Write certificate and key to files; return the settings that show them to backends."""
    chain, key = folder / f"{name}.pem", folder / f"{name}.key"
    chain.write_bytes(identity.certificate)
    key.write_bytes(identity.key)
    return f'client_chain = "{chain}", client_key = "{key}"'


def clusters(**settings: tuple[str, str, str]) -> str:
    """Return a configuration with a cluster for each host ``NAME.test``.

    :param settings: by name, each with the addresses of its backends, its settings of TLS and further lines.
    """
    parts = ['[[listener]]\nname = "web"\naddress = "127.0.0.1:0"\n']
    for name, (addresses, tls, more) in settings.items():
        members = ", ".join(f'{{ address = "{address}" }}' for address in addresses.split())
        parts.append(
            f'[[route]]\nname = "{name}"\nhosts = ["{name}.test"]\ncluster = "{name}"\n'
            f"[cluster.{name}]\nbackends = [{members}]\ntls = {{ enabled = true, {tls} }}\n{more}\n"
        )
    return "".join(parts)


def ask(proxy: ProxyProcess, name: str, **more: Any) -> Reply:
    """Make a request to one of the clusters."""
    return get(proxy.port, host=f"{name}.test", **more)


def seen(reply: Reply) -> dict[str, Any]:
    """Return what a backend has told of its connection."""
    assert reply.status == 200, reply
    found: dict[str, Any] = json.loads(reply.body)
    return found


def logs(proxy: ProxyProcess, text: str) -> None:
    """Wait until the application log contains a text."""
    wait_for(lambda: text in proxy.error_text, f"{text!r} in the log")
