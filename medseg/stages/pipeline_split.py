"""Split: one for all runs of a pipeline, and the patients that none of them may see."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from medseg.bundle import Config
from medseg.data import Splits, make_splits, read_manifest, read_scans, read_splits
from medseg.pipeline import Pipeline
from medseg.runs import Run
from medseg.scan import Scan


class Parted(NamedTuple):
    """Who is on which side of each fold, and who is on none.

    Attributes:
        whole: All groups, those that are held out of all folds among them.
        splits: The groups of the folds.
        outside: The scans held out of all folds; none without an ensemble.
        scans: Of the data set.
    """

    whole: Splits
    splits: Splits
    outside: tuple[str, ...]
    scans: Sequence[Scan]


def part_patients(pipeline: Pipeline, config: Config) -> Parted:
    """Part the patients of the data set into the folds of the configuration.

    Where an ensemble is asked for there is one group more, the last, which is in no fold: the
    networks of all folds can vote on it, for none of them has seen it.

    Raises:
        DataError: The data set holds faults or too few patients.
    """
    scans = read_scans(Path(config["dataset_dir"]), read_manifest(config["manifest"]))
    folds = config["folds"] + pipeline.ensemble
    seed, manifest = pipeline.split_seed, config["manifest"]
    whole = make_splits(scans, folds=folds, seed=seed, manifest=manifest)
    if not pipeline.ensemble:
        return Parted(whole, whole, (), scans)
    *groups, last = whole.groups
    inside = {scan: facts for scan, facts in whole.scans.items() if facts.patient not in last}
    rule = f"{whole.rule}; group {len(groups)} is in no fold"
    splits = replace(whole, groups=tuple(groups), scans=inside, rule=rule)
    outside = tuple(scan for scan in whole.scans if scan not in inside)
    return Parted(whole, splits, outside, scans)


def keep_split(study: Run, parted: Parted) -> None:
    """Write the split beside the runs, after a proof that no patient or picture is in two groups.

    Raises:
        DataError: One is (E-LEAK).
    """
    known = read_splits(study.splits).sha256 if study.splits.exists() else None
    if known != parted.whole.sha256:
        parted.whole.verify(parted.scans)
        parted.whole.write(study.splits)
