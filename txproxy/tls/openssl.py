"""What OpenSSL offers and pyOpenSSL has no public name for; the only place in this package that reaches behind it."""

from __future__ import annotations

import os
from pathlib import Path

from OpenSSL import SSL
from OpenSSL._util import exception_from_error_queue, ffi, lib


def set_groups(context: SSL.Context, *groups: str) -> tuple[str, ...]:
    """Set the groups for the key exchange, the preferred one first.

    :param groups: names that OpenSSL knows; those that this library does not have are left out.
    :return: the groups that were set.
    :raises SSL.Error: if it has none of them.
    """
    known = tuple(group for group in groups if _accepts(context, group))
    if not lib.SSL_CTX_set1_curves_list(context._context, ":".join(known).encode()):
        exception_from_error_queue(SSL.Error)
    return known


def _accepts(context: SSL.Context, group: str) -> bool:
    accepted = bool(lib.SSL_CTX_set1_curves_list(context._context, group.encode()))
    if not accepted:
        lib.ERR_clear_error()  # What stays in the queue would be taken for the next connection's error.
    return accepted


def was_resumed(connection: SSL.Connection) -> bool:
    """Return whether a connection goes on with the session of an earlier one."""
    return bool(lib.SSL_session_reused(connection._ssl))


def has_authorities(context: SSL.Context) -> bool:
    """Return whether a context that was given the system's authorities has any.

    Those in files were read by then; those in a folder are looked for by their hashes when they are needed.
    """
    store = context.get_cert_store()
    if store is not None and lib.sk_X509_OBJECT_num(lib.X509_STORE_get0_objects(store._store)) > 0:
        return True
    folders = os.environ.get("SSL_CERT_DIR") or f"{ffi.string(lib.X509_get_default_cert_dir()).decode()}:/etc/ssl/certs"
    return any(any(Path(folder).glob("*.[0-9]")) for folder in folders.split(":"))
