"""Contenders: what a comparison was asked for, as scores by name, and the runs behind them."""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from medseg.bundle import differences
from medseg.data.splits import read_splits
from medseg.errors import Problem, UsageError
from medseg.metrics.scores import OrganScore
from medseg.report.scores import read_csv
from medseg.runs import Run, folds_of, open_run

SCORES = ("metrics.csv", "scores.csv")

# What may differ between the folds of one model.
_OF_A_FOLD = {"fold", "output_dir", "split_file", "store_dir", "device", "resume"}


class Contender(NamedTuple):
    """One of the compared: a run, the folds of one model, or a file of scores.

    Attributes:
        names: What it may be called, from short to unmistakable.
        files: Where its scores are.
        runs: Whose scores these are; none of a file.
        problems: What was left out, as warnings.
    """

    names: tuple[str, ...]
    files: tuple[Path, ...]
    runs: tuple[Run, ...] = ()
    problems: tuple[Problem, ...] = ()

    @property
    def scores(self) -> list[OrganScore]:
        """The scores of all files together."""
        return [score for file in self.files for score in read_csv(file)]


def find_contenders(paths: Sequence[Path]) -> dict[str, Contender]:
    """Return what the paths name, by the shortest names that tell them apart.

    Args:
        paths: Each a run's folder, the folder of folds, an experiment's, or a file of scores; an
            experiment stands for its newest finished run and the other folds of the same model.

    Raises:
        UsageError: A path holds no scores, or two hold the same (E-RUN).
    """
    found = [_contender(path) for path in paths]
    for a, b in combinations(found, 2):
        if {f.resolve() for f in a.files} & {f.resolve() for f in b.files}:
            same = "is compared with itself" if a.files == b.files else "is in both"
            raise UsageError(Problem("E-RUN", a.names[-1], same, "different runs"))
    levels = list(zip(*(contender.names for contender in found), strict=True))
    level = next((names for names in levels if len(set(names)) == len(names)), levels[-1])
    return dict(zip(level, found, strict=True))


def _contender(path: Path) -> Contender:
    if path.is_file():
        return Contender((path.stem, *_names(path)), (path,))
    scores = next((path / name for name in SCORES if (path / name).is_file()), None)
    if (path / "config.json").is_file():
        runs = [open_run(path)] if scores else []
    elif scores:
        runs = [run for run in folds_of(path) if (run.folder / "metrics.csv").is_file()]
        if not runs:
            return Contender((path.name, *_names(path)), (scores,))
    else:
        return _experiment(path)
    if not runs:
        fix = "run its stage evaluate first"
        raise UsageError(Problem("E-RUN", str(path), "has no metrics.csv", fix=fix))
    return _of(runs, (path.resolve().parent.name, *_names(path)))


def _experiment(folder: Path) -> Contender:
    """Return the newest finished run of an experiment with the other folds of the same model."""
    finished = _finished(folder)
    if not finished:
        expected, fix = "a run with metrics.csv", "finish a run, or name another"
        raise UsageError(Problem("E-RUN", str(folder), "holds no finished run", expected, fix))
    newest, *older = finished
    runs = [newest]
    others: list[Run] = []
    for run in older:
        if newest.parent is None and run.config["fold"] in {r.config["fold"] for r in runs}:
            continue
        (runs if _one_model(newest, run) else others).append(run)
    name, problems = folder.resolve().name, []
    if others and newest.parent is None:
        names = ", ".join(sorted(run.name for run in others))
        left_out = f"folds with other settings or another split are left out: {names}"
        problems.append(Problem("W-RUN", name, left_out, level="warning"))
    return _of(runs, (name, *_names(folder)), problems)


def _names(path: Path) -> tuple[str, str, str]:
    """Return the last two and three parts of a path, and all of it."""
    parts = path.resolve().parts
    return "/".join(parts[-2:]), "/".join(parts[-3:]), str(path)


def _of(runs: Sequence[Run], names: tuple[str, ...], problems: Sequence[Problem] = ()) -> Contender:
    ordered = tuple(sorted(runs, key=lambda run: str(run.config["fold"])))
    files = tuple(run.folder / "metrics.csv" for run in ordered)
    return Contender(names, files, ordered, tuple(problems))


def _finished(experiment: Path) -> list[Run]:
    """Return the runs with scores, newest first."""
    folders = sorted((path.parent for path in experiment.glob("*/config.json")), reverse=True)
    return [open_run(folder) for folder in folders if (folder / "metrics.csv").is_file()]


def _one_model(newest: Run, run: Run) -> bool:
    """Whether two runs are folds of one model: below one parent, or alike in all but the fold."""
    if newest.parent is not None:
        return run.parent == newest.parent
    alike = not differences(newest.config, run.config, ignore=_OF_A_FOLD)
    return alike and _split(newest) == _split(run)


def _split(run: Run) -> str | None:
    return read_splits(run.splits).sha256 if run.splits.exists() else None
