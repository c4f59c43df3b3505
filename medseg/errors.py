"""Everything medseg raises on purpose, and the exit code each kind ends a command with.

::

    MedsegError
    ├── UsageError        2  the command line, a configuration, a manifest or a bundle is wrong
    ├── DataError         3  the input data are wrong
    │   └── GeometryError    a grid is wrong, or two grids that must agree do not
    ├── ResourceError     4  disk, memory or device do not suffice
    ├── UnsafeError       5  refused for safety or integrity
    ├── PartialError      6  some cases failed, the others are written
    └── DivergedError     7  training produced non-finite numbers

`Stopped` (130, 143) is no error: a signal asked, and the work is saved.

An error carries one or more `Problem` rows, so that all faults of an input are told in one pass.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import ClassVar, Literal

SHOWN = 50


@dataclass(frozen=True)
class Problem:
    """One fault: what it is about, what was found, what was expected, and what to do.

    >>> print(Problem("E-GAP", "case7_day0", "slice 42 is missing", expected="41, 42, 43"))
    error[E-GAP]: case7_day0: slice 42 is missing (expected 41, 42, 43).
    """

    code: str
    subject: str
    found: str
    expected: str = ""
    fix: str = ""
    level: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        expected = f" (expected {self.expected})" if self.expected else ""
        fix = f" Fix: {self.fix}{'' if self.fix.endswith('?') else '.'}" if self.fix else ""
        return _printable(
            f"{self.level}[{self.code}]: {self.subject}: {self.found}{expected}.{fix}"
        )

    def as_dict(self) -> dict[str, str]:
        """Return the fields by name, for ``--json`` and report files."""
        return {name: _printable(value) for name, value in asdict(self).items()}


class MedsegError(Exception):
    """The root: one or more problems and the exit code of the command that met them."""

    exit_code: ClassVar[int] = 1

    def __init__(self, *problems: Problem) -> None:
        super().__init__(*problems)
        self.problems = problems

    def __str__(self) -> str:
        return shown(self.problems)


class UsageError(MedsegError):
    """The command line, a configuration, a manifest or a bundle is wrong."""

    exit_code = 2


class DataError(MedsegError):
    """The input data are wrong."""

    exit_code = 3


class GeometryError(DataError, ValueError):
    """A grid is wrong, or two grids that must agree do not."""


class ResourceError(MedsegError):
    """Disk, memory or device do not suffice."""

    exit_code = 4


class UnsafeError(MedsegError):
    """The work was refused for safety or integrity."""

    exit_code = 5


class PartialError(MedsegError):
    """Some cases failed; the others are written."""

    exit_code = 6


class DivergedError(MedsegError):
    """Training produced non-finite numbers."""

    exit_code = 7


class Stopped(KeyboardInterrupt):
    """A signal asked the work to stop, and what there was to save is saved."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.exit_code = 128 + signal_number


def cause_of(error: BaseException) -> MedsegError | None:
    """Return the MedsegError behind an error that a library raised instead of it, if there is one.

    MONAI wraps whatever a part raises into a RuntimeError that prints the part.
    """
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, MedsegError):
        cause = cause.__cause__
    return cause


def shown(problems: Iterable[Problem]) -> str:
    """Return the first 50 problems, a line each, and the count of those left out."""
    rows = [str(problem) for problem in problems]
    more = [f"… and {len(rows) - SHOWN} more"] if len(rows) > SHOWN else []
    return "\n".join(rows[:SHOWN] + more)


def _printable(text: str) -> str:
    """Return `text` on one line, with what no terminal or file can take written as an escape.

    File names may hold bytes that are no text, line feeds and control characters.
    """
    text = text.encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
