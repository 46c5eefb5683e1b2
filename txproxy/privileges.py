"""Who the process is: from root to a user without rights, for good.

Binding a low port needs root, serving does not. A process that has given root up cannot have it back, so whoever
may still have to bind, the supervisor, keeps it and never reads a byte of a client.
"""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from txproxy.config.patterns import Raw, matches
from txproxy.config.problems import Finding
from txproxy.observe.log import Logger

log = Logger()


class Identity(NamedTuple):
    """Whom to become."""

    user: str
    """Name; that of the process as it is if only its group is to change."""
    uid: int
    gid: int
    groups: tuple[int, ...]
    """All groups, ``gid`` among them."""


def identity(user: str, group: str = "") -> Identity:
    """Look a user and a group up.

    :param user: name; empty for that of the process.
    :param group: name; empty for the user's own.
    :raises LookupError: there is no such user or group; the message says which.
    """
    try:
        of_user = pwd.getpwnam(user) if user else pwd.getpwuid(os.geteuid())
    except KeyError:
        raise LookupError(f"there is no user {user or os.geteuid()!r}") from None
    try:
        gid = grp.getgrnam(group).gr_gid if group else of_user.pw_gid
    except KeyError:
        raise LookupError(f"there is no group {group!r}") from None
    groups = os.getgrouplist(of_user.pw_name, gid) if user else [gid]
    return Identity(of_user.pw_name, of_user.pw_uid, gid, tuple(groups))


def check_identity(raw: Raw) -> Iterator[Finding]:
    """Yield a finding if the configuration names a user or a group that there is not.

    :param raw: the configuration in the shape of TOML, of any types.
    """
    for key, look_up in (("user", pwd.getpwnam), ("group", grp.getgrnam)):
        for path, name in matches(raw, f"proxy.{key}"):
            if isinstance(name, str) and name:
                try:
                    look_up(name)
                except (KeyError, ValueError):
                    yield Finding(path, f"there is no {key} {name!r} on this machine")


def drop(user: str, group: str = "") -> None:
    """Become another user and group, with no way back; without root, say that it cannot be and go on.

    :param user: name; empty to change the group alone.
    :param group: name; empty for the user's own.
    :raises LookupError: there is no such user or group.
    :raises OSError: the system refuses.
    :raises RuntimeError: root could be had back: the process must not go on.
    """
    if os.geteuid() != 0:
        warn_if_powerless(user, group)
        return
    wanted = identity(user, group)
    os.setgroups(wanted.groups)
    os.setresgid(wanted.gid, wanted.gid, wanted.gid)
    os.setresuid(wanted.uid, wanted.uid, wanted.uid)
    if wanted.uid != 0 and _is_root_again():
        raise RuntimeError(f"root could be had back after becoming {wanted.user}")


def warn_if_powerless(user: str, group: str = "") -> None:
    """Say in the log that user and group of the configuration have no effect, if we are not root and it matters.

    :param user: as the configuration has it; likewise ``group``.
    """
    if os.geteuid() == 0 or not (user or group):
        return
    try:
        wanted = identity(user, group)
    except LookupError:
        pass
    else:
        if (wanted.uid, wanted.gid) == (os.geteuid(), os.getegid()):
            return
    log.warn(
        "user and group have no effect: only root can become somebody else, and this is user {uid}", uid=os.geteuid()
    )


@contextmanager
def acting_as(user: str, group: str = "") -> Iterator[None]:
    """Touch files with the rights of another user: what is made is theirs, and what is not theirs to write is refused.

    So root can open a log in a folder of that user, and be led to no file of its own by a link that lies there.
    Without root nothing changes. Not for a process with threads that need root's rights meanwhile.

    :param user: name; empty for nobody else.
    :param group: name; empty for the user's own.
    :raises LookupError: there is no such user or group.
    """
    if os.geteuid() != 0 or not user:
        yield
        return
    wanted = identity(user, group)
    gid, groups = os.getegid(), os.getgroups()
    os.setgroups(wanted.groups)
    os.setegid(wanted.gid)
    os.seteuid(wanted.uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(gid)
        os.setgroups(groups)


def _is_root_again() -> bool:
    for become in (os.setuid, os.seteuid):
        try:
            become(0)
        except PermissionError:
            continue
        return True
    return False
