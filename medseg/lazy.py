"""Packages whose names load their module on first use.

``import torch`` takes seconds and ``import monai`` ten: a command that needs neither must not wait
for them because a package gathers its names in one place.
"""

from collections.abc import Callable, Mapping
from importlib import import_module


def loader(package: str, homes: Mapping[str, str]) -> Callable[[str], object]:
    """Return the module-level ``__getattr__`` of `package`.

    Args:
        package: The package's ``__name__``.
        homes: For each public name the module of the package that defines it.
    """

    def load(name: str) -> object:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{homes[name]}"), name)

    return load
