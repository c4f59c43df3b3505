"""Leaks: whether what is compared was judged on scans that no model had learned from.

Validation scans count as learned from: the best checkpoint was chosen by them.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from medseg.data.splits import Splits, read_splits
from medseg.errors import DataError, Problem
from medseg.metrics.pairing import listed
from medseg.report.conclusions import counted
from medseg.stages.contenders import Contender


class Judged(NamedTuple):
    """What is known of the scans of one contender.

    Attributes:
        tested: The scans that it has scores of.
        learned: Those that any of its models trained or was chosen on.
        hashes: Of the content of each scan, as far as its splits tell.
        splits: Hashes of the splits; none where there is no split to be read.
    """

    tested: set[str]
    learned: set[str]
    hashes: Mapping[str, str]
    splits: set[str]


def check_leaks(contenders: Mapping[str, Contender]) -> list[Problem]:
    """Return what is worth knowing of the splits, as warnings.

    A scan that one contender was tested on and another learned from is in the scores of the first
    alone, or else that other is refused.

    Raises:
        DataError: A run has scores of scans that it learned from (E-LEAK), or a scan has another
            content in another run (E-PAIRS).
    """
    judged = {name: _judged(name, contender) for name, contender in contenders.items()}
    faults = list(_other_contents(judged))
    if faults:
        raise DataError(*faults)
    return list(_warnings(judged))


def _judged(name: str, contender: Contender) -> Judged:
    tested = {score.scan_id for score in contender.scores}
    learned: set[str] = set()
    hashes: dict[str, str] = {}
    splits: list[Splits] = []
    for run, file in zip(contender.runs, contender.files, strict=False):
        if not run.splits.exists():
            continue
        split = read_splits(run.splits)
        fold = split.fold(run.config["fold"])
        own = {*fold.train, *fold.validation}
        scored = {score.scan_id for score in Contender((), (file,)).scores}
        if seen := sorted(scored & own):
            found = (
                f"has scores of {counted(len(seen), 'scan')} that it learned from: {listed(seen)}"
            )
            fix = "compare scores of held-out scans only"
            raise DataError(Problem("E-LEAK", name, found, "scans of the test side", fix))
        learned |= own
        hashes |= {scan_id: facts.sha256 for scan_id, facts in split.scans.items()}
        splits.append(split)
    return Judged(tested, learned, hashes, {split.sha256 for split in splits})


def _other_contents(judged: Mapping[str, Judged]) -> Iterator[Problem]:
    (first, ours), *others = judged.items()
    for name, theirs in others:
        both = ours.tested & theirs.tested & ours.hashes.keys() & theirs.hashes.keys()
        differ = sorted(scan for scan in both if ours.hashes[scan] != theirs.hashes[scan])
        if differ:
            found = f"other slices than in {first} under a scan's name: {listed(differ)}"
            fix = "compare runs on one data set"
            yield Problem("E-PAIRS", name, found, "one content a scan", fix)


def _warnings(judged: Mapping[str, Judged]) -> Iterator[Problem]:
    for name, own in judged.items():
        if not own.splits:
            found = "does not tell what was trained on; a scan learned from would flatter it"
            yield Problem("W-SPLITS", name, found, level="warning")
        for other, theirs in judged.items():
            if seen := sorted((own.tested & theirs.learned) - theirs.tested):
                scans = counted(len(seen), "scan")
                found = f"tested on {scans} that {other} learned from, left out: {listed(seen)}"
                yield Problem("W-LEAK", name, found, level="warning")
    if len(set.union(*(own.splits for own in judged.values()))) > 1:
        found = "the splits differ, so the models learned from different patients"
        yield Problem("W-SPLITS", " and ".join(judged), found, level="warning")
