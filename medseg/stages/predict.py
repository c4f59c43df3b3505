"""Predict: the three steps from a scan to its files, each at work on another scan."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from medseg.bundle import Config, Opened
from medseg.data.batches import in_advance
from medseg.data.sources import Item
from medseg.errors import DataError, DivergedError, MedsegError, PartialError, Problem
from medseg.stages.display import Display

READ_AHEAD = 2
# What `medseg.engine.inference` calls logits that are no numbers.
NONFINITE = "E-NONFINITE"

Step = Callable[[Item], Item]


class Steps(NamedTuple):
    """What is done with a scan: read and prepare it, segment it, write what was found.

    Attributes:
        read: Takes an item of `medseg.data.sources`, gives its prepared ``image``.
        segment: Puts ``pred``, and ``probs`` on request, in the image's place.
        write: Adds ``file`` and ``files``.
    """

    read: Step
    segment: Step
    write: Step


def steps_of(config: Config) -> Steps:
    """Return the steps that an inference configuration names, its network loaded."""
    opened = Opened(config)
    opened["initialize"]
    network = opened["network"].eval()
    before, inferer, after = (
        opened[part] for part in ("preprocessing", "inferer", "postprocessing")
    )

    def segment(scan: Item) -> Item:
        try:
            pred, probs = inferer(scan["image"], network, native=scan["native"])
        except DivergedError as error:
            # Of this scan; the network may well answer for the others.
            faults = [replace(problem, subject=scan["scan_id"]) for problem in error.problems]
            raise DataError(*faults) from error
        # The image has served, and would wait with the masks for their turn to be written.
        return {**scan, "image": None, "pred": pred, "probs": probs}

    return Steps(before, segment, after)


def outcomes(steps: Steps, chosen: Iterable[Item]) -> Iterator[Item | DataError]:
    """Yield what became of each scan, in their order: its item, or the fault that it had.

    While one scan is computed the next are read and the one before is written, so that memory
    holds a handful of scans however many there are.
    """
    read = in_advance(_sparing(steps.read), map(dict, chosen), ahead=READ_AHEAD)
    written = in_advance(_sparing(steps.write), map(_sparing(steps.segment), read), ahead=1)
    with closing(read), closing(written):
        yield from written


def predict_items(
    config: Config,
    chosen: Sequence[Item],
    display: Display,
    *,
    seen: Step = lambda scan: scan,
) -> list[Path]:
    """Predict items and return the files written, one label map a scan.

    Args:
        config: An inference configuration.
        chosen: What to predict.
        display: Where to show progress.
        seen: Called with each scan when ``pred``, and ``probs`` on request, are there; returns
            what is to be written.

    Raises:
        PartialError: Some scans failed; the others are written. Or the network failed at all.
        DataError: Every scan failed.
    """
    steps = steps_of(config)
    watched = steps._replace(segment=lambda scan: seen(steps.segment(scan)))
    display.begin("predict", len(chosen))
    files: list[Path] = []
    problems: list[Problem] = []
    for done, scan in enumerate(outcomes(watched, chosen), 1):
        if isinstance(scan, DataError):
            problems += scan.problems
        else:
            files.append(scan["file"])
        display.advance(done, len(chosen), chosen[done - 1]["scan_id"])
    if problems:
        raise ending(problems, some=bool(files))
    return files


def ending(problems: Sequence[Problem], *, some: bool) -> MedsegError:
    """Return the error that a prediction ends with of which scans failed.

    Where logits are no numbers the data are not to blame: that is no DataError, even if all failed.

    Args:
        problems: Why they failed.
        some: Whether others are written.
    """
    network = any(problem.code == NONFINITE for problem in problems)
    return (PartialError if some or network else DataError)(*problems)


def _sparing(step: Step) -> Callable[[Item | DataError], Item | DataError]:
    """Return `step` as one that passes a faulty scan on as its error, so that the others go on."""

    def attempt(scan: Item | DataError) -> Item | DataError:
        if isinstance(scan, DataError):
            return scan
        try:
            return step(scan)
        except DataError as error:
            return error

    return attempt
