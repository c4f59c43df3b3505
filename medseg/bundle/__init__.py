"""A MONAI bundle: find it, read and open its configuration, check it, and write a new one."""

from typing import TYPE_CHECKING

from medseg.lazy import loader

if TYPE_CHECKING:
    from medseg.bundle.configuration import (
        Bundle,
        Config,
        Opened,
        carried_over,
        differences,
        find_bundle,
        ids,
        overridden,
    )

_HOMES = {
    "Bundle": "configuration",
    "Config": "configuration",
    "Opened": "configuration",
    "carried_over": "configuration",
    "differences": "configuration",
    "find_bundle": "configuration",
    "ids": "configuration",
    "overridden": "configuration",
}

__all__ = [
    "Bundle",
    "Config",
    "Opened",
    "carried_over",
    "differences",
    "find_bundle",
    "ids",
    "overridden",
]

__getattr__ = loader(__name__, _HOMES)
