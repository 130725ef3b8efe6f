"""Packages whose names are imported when they are first used.

So that ``sfumato train images --help`` need not wait for torch. The names stand in the package's
stub ``__init__.pyi``, one ``from HOME import NAME as NAME`` each, which type checkers read too.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable
from pathlib import Path


def homes(package: str) -> dict[str, str]:
    """The module that each name in the stub of a package comes from."""
    file = sys.modules[package].__file__
    stub = Path(str(file)).with_suffix(".pyi").read_text("utf-8")
    found: dict[str, str] = {}
    for home, block, line in re.findall(r"^from (\S+) import (?:\(([^)]*)\)|(.*))$", stub, re.M):
        found |= dict.fromkeys(re.findall(r"(\w+) as \w+", block or line), home)
    return found


def lazy(package: str) -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]:
    """``__getattr__``, ``__dir__`` and ``__all__`` of a package (PEP 562), from its stub.

    A name must not be that of a module in the package too: importing the module would put it in
    the name's place.
    """
    home = homes(package)
    names = sorted(home)

    def get(name: str) -> object:
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if home[name] == package:
            value: object = importlib.import_module(f"{package}.{name}")
        else:
            value = getattr(importlib.import_module(home[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    return get, lambda: sorted({*vars(sys.modules[package]), *names}), names
