"""What a reader sees: pages, figures of scans with their organs, and curves of a training.

The names below load matplotlib on first use.
"""

from typing import TYPE_CHECKING

from medseg.lazy import loader

if TYPE_CHECKING:
    from medseg.report.epochs import curves
    from medseg.report.figures import overlay, run_picture, save

_HOMES = {
    "curves": "epochs",
    "overlay": "figures",
    "run_picture": "figures",
    "save": "figures",
}

__all__ = ["curves", "overlay", "run_picture", "save"]

__getattr__ = loader(__name__, _HOMES)
