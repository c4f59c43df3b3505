"""What a reader finds in a folder: scans that can be used, and everything wrong with the others."""

import logging
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from medseg.data.slice_folder import SliceFolder
from medseg.errors import Problem
from medseg.scan import Scan

_LOG = logging.getLogger(__name__)


class Findings(NamedTuple):
    """What a data set holds, and everything wrong or noteworthy about it.

    Attributes:
        scans: The scans that can be used, in natural order.
        problems: Errors and warnings as they were met.
        folders: The slices of every scan, usable or not, by scan id; known bad scans and volumes
            are not there.
    """

    scans: tuple[Scan, ...]
    problems: tuple[Problem, ...]
    folders: Mapping[str, SliceFolder]

    @property
    def n_found(self) -> int:
        """How many scans there are, usable or not; of volumes, how many can be used."""
        return max(len(self.folders), len(self.scans))

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that forbid to use the data."""
        return tuple(problem for problem in self.problems if problem.level == "error")

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """The problems that the user should know of."""
        return tuple(problem for problem in self.problems if problem.level == "warning")


def log_warnings(warnings: Iterable[Problem]) -> None:
    """Write warnings to the log."""
    for problem in warnings:
        _LOG.warning("%s", str(problem).removeprefix("warning"))  # the log says that itself
