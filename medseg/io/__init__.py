"""File formats: one outside format a module, strict about what it accepts.

``png`` reads 16-bit slices, ``rle`` run-length masks, ``strict_yaml`` checked YAML files. The names
below load their module on first use, so that reading a slice never imports a volume library.
"""

from typing import TYPE_CHECKING

from medseg.lazy import loader

if TYPE_CHECKING:
    from medseg.io.png import PngHeader, read_header, read_slice, write_slice

_HOMES = {
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

__getattr__ = loader(__name__, _HOMES)
