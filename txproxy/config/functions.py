"""Python functions that a configuration names: ``module:function`` and ``site:function``."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


class FunctionError(ValueError):
    """A reference leads to no function; the message says why."""


def resolve_function(reference: str, site_namespace: Mapping[str, object] | None) -> Callable[..., Any]:
    """Return the function that a reference names.

    :param reference: ``package.module:function``, or ``site:function`` for one of the site file. Behind the colon may
        stand attributes of attributes, with dots.
    :param site_namespace: the names that the site file defines; None if there is no site file.
    :raises FunctionError: there is no such module or name, importing it fails, or it cannot be called.
    """
    module_name, _, name = reference.partition(":")
    first, *further = name.split(".")
    if module_name == "site":
        if site_namespace is None:
            raise FunctionError("there is no site.py beside the configuration")
        if first not in site_namespace:
            raise FunctionError(f"the site file defines no '{first}'")
        found = site_namespace[first]
    else:
        module = _imported(module_name)
        if not hasattr(module, first):
            raise FunctionError(f"the module '{module_name}' has no '{first}'")
        found = getattr(module, first)
    for attribute in further:
        if not hasattr(found, attribute):
            raise FunctionError(f"'{first}' of '{module_name}' has no '{attribute}'")
        found = getattr(found, attribute)
    if not callable(found):
        raise FunctionError(f"'{reference}' is not a function but of type {type(found).__name__}")
    return found


def _imported(name: str) -> object:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise FunctionError(f"there is no module '{error.name}' (is its folder in PYTHONPATH?)") from None
        raise FunctionError(f"importing '{name}' failed: {error}") from None
    except (Exception, SystemExit) as error:
        # The module is the user's: whatever it raises is a fault of the configuration, not of ours.
        raise FunctionError(f"importing '{name}' failed: {type(error).__name__}: {error}") from None
