"""What a reader sees: figures of scans with their organs, and curves of a training.

The names below load matplotlib on first use.
"""

from typing import TYPE_CHECKING

from medseg.lazy import loader

if TYPE_CHECKING:
    from medseg.report.figures import curves, overlay, overlay_per_organ, run_picture, save

_HOMES = dict.fromkeys(("curves", "overlay", "overlay_per_organ", "run_picture", "save"), "figures")

__all__ = ["curves", "overlay", "overlay_per_organ", "run_picture", "save"]

__getattr__ = loader(__name__, _HOMES)
