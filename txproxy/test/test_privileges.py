"""Root is given up completely, in the right order, or the process does not go on."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txproxy import privileges
from txproxy.privileges import acting_as, check_identity, drop, identity, warn_if_powerless
from txproxy.test.upstream.observing import logged

USERS = {"root": (0, 0), "www": (33, 33), "same": (1000, 1000)}
GROUPS = {"root": 0, "www": 33, "adm": 4, "same": 1000}


class System:
    """Stands for the system: who there is, and who the process is; notes what it becomes.

    :param case: whose patches these are.
    :param uid: of the process.
    """

    def __init__(self, case: SynchronousTestCase, uid: int = 0) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.uid = self.gid = uid
        self.may_return = False
        """The system is broken: root can be had back."""
        for module, name, function in (
            (pwd, "getpwnam", self._user),
            (pwd, "getpwuid", lambda uid: self._user({of[0]: name for name, of in USERS.items()}[uid])),
            (grp, "getgrnam", lambda name: grp.struct_group((name, "x", GROUPS[name], []))),
            (os, "geteuid", lambda: self.uid),
            (os, "getegid", lambda: self.gid),
            (os, "getgroups", lambda: [0, 7]),
            (os, "getgrouplist", lambda name, gid: [gid, 4]),
            (os, "setgroups", self._noting("setgroups")),
            (os, "setresgid", self._noting("setresgid")),
            (os, "setresuid", self._becoming),
            (os, "setegid", self._noting("setegid")),
            (os, "seteuid", self._noting("seteuid")),
            (os, "setuid", self._back),
        ):
            case.patch(module, name, function)

    def _user(self, name: str) -> Any:
        uid, gid = USERS[name]
        return pwd.struct_passwd((name, "x", uid, gid, "", "/", "/bin/sh"))

    def _noting(self, name: str) -> Callable[..., None]:
        def note(*arguments: Any) -> None:
            if name == "seteuid" and self.uid and not self.may_return:
                raise PermissionError
            self.calls.append((name, *arguments))

        return note

    def _becoming(self, *uids: int) -> None:
        self.calls.append(("setresuid", *uids))
        self.uid = uids[0]

    def _back(self, uid: int) -> None:
        if not self.may_return:
            raise PermissionError


class IdentityTests(SynchronousTestCase):
    """Names are looked up."""

    def setUp(self) -> None:
        System(self)

    def test_found(self) -> None:
        """The group is the user's own unless one is named; the other groups are the user's."""
        self.assertEqual(identity("www")[1:], (33, 33, (33, 4)))
        self.assertEqual(identity("www", "adm")[1:], (33, 4, (4, 4)))
        self.assertEqual(identity("", "adm")[1:], (0, 4, (4,)))

    def test_unknown(self) -> None:
        """The error says what there is not."""
        error = self.assertRaises(LookupError, identity, "nemo")
        self.assertIn("no user 'nemo'", str(error))
        error = self.assertRaises(LookupError, identity, "www", "nemo")
        self.assertIn("no group 'nemo'", str(error))

    def test_check(self) -> None:
        """A check of the configuration finds both; values of other types are others' to refuse."""
        found = list(check_identity({"proxy": {"user": "nemo", "group": "no"}}))
        self.assertEqual([each.path for each in found], [("proxy", "user"), ("proxy", "group")])
        self.assertIn("there is no user 'nemo'", found[0].message)
        for good in ({}, {"proxy": {"user": "www", "group": "adm"}}, {"proxy": {"user": ""}}, {"proxy": {"user": 3}}):
            self.assertEqual(list(check_identity(good)), [])


class DropTests(SynchronousTestCase):
    """For good."""

    def test_order(self) -> None:
        """The groups first: without root they could not be changed any more. Real, effective and saved ids all change."""
        system = System(self)
        drop("www")
        expected = [("setgroups", (33, 4)), ("setresgid", 33, 33, 33), ("setresuid", 33, 33, 33)]
        self.assertEqual(system.calls, expected)

    def test_groupAlone(self) -> None:
        """Root may stay root in another group, and then is not asked whether it is still root."""
        system = System(self)
        drop("", "adm")
        self.assertEqual(system.calls[:2], [("setgroups", (4,)), ("setresgid", 4, 4, 4)])

    def test_root(self) -> None:
        """Whoever asks for root gets it."""
        System(self)
        drop("root")

    def test_cannotBeRegained(self) -> None:
        """A process that could be root again does not serve."""
        system = System(self)
        system.may_return = True
        self.assertRaises(RuntimeError, drop, "www")

    def test_unknown(self) -> None:
        """Nothing is changed for a user that there is not."""
        system = System(self)
        self.assertRaises(LookupError, drop, "nemo")
        self.assertEqual(system.calls, [])

    def test_powerless(self) -> None:
        """Without root nothing changes, and the log says so, unless all is as it should be."""
        system = System(self, uid=1000)
        for user, group, warnings in (
            ("www", "", 1), ("same", "adm", 1), ("nemo", "", 1), ("same", "", 0), ("same", "same", 0), ("", "", 0),
        ):  # fmt: skip
            with logged() as lines:
                drop(user, group)
            self.assertEqual(len(lines), warnings, (user, group))
        self.assertEqual(system.calls, [])

    def test_root_is_not_warned(self) -> None:
        """Root has the power."""
        System(self)
        with logged() as lines:
            warn_if_powerless("www")
        self.assertEqual(lines, [])


class ActingTests(SynchronousTestCase):
    """For a moment."""

    def test_thereAndBack(self) -> None:
        """Files are touched with the user's groups and rights; afterwards all is as before, whatever happened."""
        system = System(self)
        with self.assertRaises(ZeroDivisionError), acting_as("www"):
            raise ZeroDivisionError
        self.assertEqual(
            system.calls,
            [
                ("setgroups", (33, 4)), ("setegid", 33), ("seteuid", 33),
                ("seteuid", 0), ("setegid", 0), ("setgroups", [0, 7]),
            ],
        )  # fmt: skip

    def test_nobodyElse(self) -> None:
        """Without root, or without a user, nothing changes."""
        for uid, user in ((1000, "www"), (0, "")):
            system = System(self, uid)
            with acting_as(user):
                pass
            self.assertEqual(system.calls, [])


class SystemTests(SynchronousTestCase):
    """The real lookups."""

    def test_nobodyIsKnown(self) -> None:
        """Root is on every system."""
        self.assertEqual(privileges.identity("root").uid, 0)
