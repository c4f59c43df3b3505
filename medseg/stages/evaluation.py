"""What an evaluation may be asked for."""

from pathlib import Path
from typing import NamedTuple

from medseg.metrics.scores import TOLERANCE_MM
from medseg.stages.engines import Machines


class Options(NamedTuple):
    """How to evaluate.

    Attributes:
        data: The data set whose slices a table of run-length rows is about; None takes the side
            that is a data set.
        tolerance_mm: Of the normalised surface Dice.
        workers: Processes, each with one scan in memory; see `medseg.stages.workers.worked`.
        competition: Give the competition's score too, in its variants.
        slice_wise: Give means over slices too, as many papers report them.
        machines: Where scans are scored; None takes processes of this machine.
    """

    data: Path | None = None
    tolerance_mm: float = TOLERANCE_MM
    workers: int | None = 1
    competition: bool = False
    slice_wise: bool = False
    machines: Machines | None = None
