"""File formats: one outside format a module, strict about what it accepts.

``png`` reads 16-bit slices, ``rle`` run-length masks, ``strict_yaml`` checked YAML files. The names
below load their module on first use, so that reading a slice never imports a volume library.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medseg.io.png import PngHeader, read_header, read_slice, write_slice

_HOME = {
    "PngHeader": "png",
    "read_header": "png",
    "read_slice": "png",
    "write_slice": "png",
}

__all__ = [
    "PngHeader",
    "read_header",
    "read_slice",
    "write_slice",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
