"""Splits: which patients train, which validate, which test.

Patients, never slices, are parted into groups that hold about equally many scans and slices of
each organ. Fold *f* tests on group *f* and validates on the next one; with fewer than three groups
there is no validation side. A split is written to a JSON file with the hash of every scan, so that
it can be cited, and checked against the data it is used on.

Faults: E-SPLIT (nothing to train or test on, or the file does not fit the data), E-LEAK (a
patient or a picture on two sides), E-FOLD (no such fold).

`random_slice_split` is the wrong way, which many papers go: it is here to be measured, and no
training takes it.
"""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medseg.data.hashes import scan_hash, slice_hashes, twins
from medseg.errors import DataError, Problem, UsageError
from medseg.io.atomic import replacing
from medseg.io.rle import is_empty
from medseg.scan import Scan, case_id_of

RULE = (
    "patients in groups, greedily balanced by scans and slices of each organ, "
    "largest patients first, ties by SHA-256 of seed and patient; "
    "fold f tests on group f and validates on group f + 1"
)


Groups = tuple[tuple[str, ...], ...]


class Fold(NamedTuple):
    """The scan ids on each side of one fold, in natural order."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


class SliceSplit(NamedTuple):
    """Slices on two sides, as scan id and slice number, whatever patient they are of.

    Attributes:
        train: Slices to learn from.
        test: The others.
    """

    train: frozenset[tuple[str, int]]
    test: frozenset[tuple[str, int]]

    @property
    def torn(self) -> frozenset[str]:
        """The patients with slices on both sides: what leaks."""
        train, test = ({case_id_of(scan_id) for scan_id, _ in side} for side in self)
        return frozenset(train & test)

    @property
    def n_beside(self) -> int:
        """Test slices with a training slice directly above or below, which looks the same."""
        return sum(
            (scan_id, n - 1) in self.train or (scan_id, n + 1) in self.train
            for scan_id, n in self.test
        )


class ScanFacts(BaseModel):
    """What a split knows of a scan: patient, hash of its content, slices that show each organ."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    patient: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    organ_slices: dict[str, int]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    # `schema` would hide a method of pydantic's.
    version: Annotated[Literal[1], Field(alias="schema")]
    manifest: str
    rule: str
    seed: int
    groups: list[list[str]]
    scans: dict[str, ScanFacts]
    sha256: str


@dataclass(frozen=True)
class Splits:
    """Groups of patients and the scans they own.

    Attributes:
        groups: Patients by group, in natural order.
        scans: What is known of each scan, by id.
        seed: The seed the groups were drawn with.
        manifest: The name of the data set, or empty.
        rule: How the groups were made, in words.
    """

    groups: Groups
    scans: Mapping[str, ScanFacts]
    seed: int = 0
    manifest: str = ""
    rule: str = RULE

    @property
    def sha256(self) -> str:
        """The hash of everything in the split: what a paper cites."""
        return hashlib.sha256(_json(self._facts()).encode()).hexdigest()

    def fold(self, index: int) -> Fold:
        """Return the sides of fold `index`, counted from 0.

        Raises:
            UsageError: There is no such fold.
            DataError: A side that must not be empty is, or an organ is absent from training.
        """
        count = len(self.groups)
        if not 0 <= index < count:
            raise UsageError(Problem("E-FOLD", f"fold {index}", "does not exist", f"0-{count - 1}"))
        test = set(self.groups[index])
        validation = set(self.groups[(index + 1) % count]) if count >= 3 else set()
        patients = {patient for group in self.groups for patient in group}
        fold = Fold(
            *(self._scans_of(side) for side in (patients - test - validation, validation, test))
        )
        faults = list(self._faults(index, fold))
        if faults:
            raise DataError(*faults)
        return fold

    def verify(self, scans: Sequence[Scan]) -> None:
        """Prove that the split fits the data and that no patient or picture is on two sides.

        Reads every slice file.

        Raises:
            DataError: E-LEAK or E-SPLIT; all faults are told.
        """
        hashes = {scan.scan_id: slice_hashes(scan) for scan in scans}
        faults = [*_shared_patients(self.groups), *self._misfits(scans, hashes)]
        group_of = {p: index for index, group in enumerate(self.groups) for p in group}
        for pair in twins(scans, hashes):
            a, b = pair.first, pair.second
            if group_of.get(a.case_id) != group_of.get(b.case_id):
                faults.append(
                    Problem(
                        "E-LEAK",
                        f"{a.scan_id}, {b.scan_id}",
                        f"{pair.slices} slices are the same picture, such as "
                        f"{pair.files[0].name}, in two groups of the split",
                        "each picture in one group",
                        "remove the copy, or give both scans one patient",
                    )
                )
        if faults:
            raise DataError(*faults)

    @property
    def text(self) -> str:
        """The JSON text of the split; equal splits give equal text."""
        return _json({**self._facts(), "sha256": self.sha256})

    def write(self, path: Path) -> None:
        """Write the split as JSON, atomically."""
        with replacing(path) as stream:
            stream.write(self.text.encode())

    def _facts(self) -> dict[str, Any]:
        return {
            "schema": 1,
            "manifest": self.manifest,
            "rule": self.rule,
            "seed": self.seed,
            "groups": [list(group) for group in self.groups],
            "scans": {scan_id: facts.model_dump() for scan_id, facts in self.scans.items()},
        }

    def _scans_of(self, patients: set[str]) -> tuple[str, ...]:
        chosen = [scan for scan, facts in self.scans.items() if facts.patient in patients]
        return tuple(sorted(chosen, key=_natural))

    def _faults(self, index: int, fold: Fold) -> Iterable[Problem]:
        subject = f"fold {index}"
        sides = {"training": fold.train, "test": fold.test}
        if len(self.groups) >= 3:
            sides["validation"] = fold.validation
        for side, scans in sides.items():
            if not scans:
                yield Problem("E-SPLIT", subject, f"{side} side is empty", "at least one scan")
        organs = {organ for facts in self.scans.values() for organ in facts.organ_slices}
        for organ in sorted(organs):
            if not any(self.scans[scan].organ_slices.get(organ) for scan in fold.train):
                yield Problem(
                    "E-SPLIT",
                    subject,
                    f"no slice of the training side shows {organ}",
                    "every organ in training",
                    "use another seed, fewer folds or more patients",
                )

    def _misfits(
        self, scans: Sequence[Scan], hashes: Mapping[str, Sequence[str]]
    ) -> Iterable[Problem]:
        """Compare the scans with those the split was made of."""
        grouped = {patient for group in self.groups for patient in group}
        for scan in scans:
            known, name = self.scans.get(scan.scan_id), scan.scan_id
            if known is None or known.patient != scan.case_id or scan.case_id not in grouped:
                yield Problem("E-SPLIT", name, "is in no group of the split", fix=_AGAIN)
            elif known.sha256 != scan_hash(scan, slices=hashes[name]):
                yield Problem("E-SPLIT", name, "changed since the split was made", fix=_AGAIN)
        for name in sorted(set(self.scans) - {scan.scan_id for scan in scans}, key=_natural):
            yield Problem("E-SPLIT", name, "is in the split and not in the data", fix=_AGAIN)


_AGAIN = "restore the data, or make a new split"


def make_splits(
    scans: Sequence[Scan], *, folds: int = 5, seed: int = 0, manifest: str = ""
) -> Splits:
    """Part the patients of labelled scans into groups, as many as `folds` or as there are patients.

    The same scans and seed give the same groups on any machine.

    Raises:
        DataError: There are no labelled scans, or one patient only.
    """
    scans = [scan for scan in scans if scan.rle is not None]
    loads: dict[str, Counter[str]] = defaultdict(Counter)
    for scan in scans:
        loads[scan.case_id].update({"scans": 1, **_organ_slices(scan)})
    if len(loads) < 2 or folds < 2:
        found = f"labelled scans: {len(scans)}, patients: {len(loads)}, folds: {folds}"
        expected = "labelled scans of at least 2 patients, and 2 folds"
        raise DataError(Problem("E-SPLIT", manifest or "split", found, expected))
    groups = _balanced(loads, min(folds, len(loads)), seed)
    facts = {
        scan.scan_id: ScanFacts(
            patient=scan.case_id, sha256=scan_hash(scan), organ_slices=_organ_slices(scan)
        )
        for scan in sorted(scans, key=lambda scan: _natural(scan.scan_id))
    }
    return Splits(groups, facts, seed, manifest)


def random_slice_split(
    scans: Sequence[Scan], *, test_share: float = 0.2, seed: int = 0
) -> SliceSplit:
    """Draw slices for the test side, whatever scan or patient they are of: this leaks.

    For measuring what such a split is worth, see `medseg.stages.leak`. The same scans and seed give
    the same slices on any machine.
    """
    slices = [(scan.scan_id, number) for scan in scans for number in scan.slice_numbers]
    drawn = sorted(slices, key=lambda each: _lot(seed, f"{each[0]}:{each[1]}"))
    count = round(test_share * len(drawn))
    return SliceSplit(frozenset(drawn[count:]), frozenset(drawn[:count]))


def read_splits(path: Path) -> Splits:
    """Return a split from its JSON file.

    Raises:
        DataError: The file cannot be read, is no split, was changed, or puts a patient on two
            sides.
    """
    try:
        told = _File.model_validate_json(path.read_bytes())
    except OSError as error:
        found = f"cannot be read: {error.strerror or type(error).__name__}"
        raise DataError(Problem("E-SPLIT", str(path), found)) from error
    except ValidationError as error:
        row = error.errors()[0]
        found = f"{'.'.join(map(str, row['loc'])) or 'file'}: {row['msg']}"
        raise DataError(
            Problem("E-SPLIT", str(path), found, "a split that medseg wrote", "make it again")
        ) from error
    groups: Groups = tuple(tuple(group) for group in told.groups)
    splits = Splits(groups, told.scans, told.seed, told.manifest, told.rule)
    faults = _shared_patients(groups)
    if splits.sha256 != told.sha256:
        found = "content does not have the hash it names, so it was changed"
        faults.append(Problem("E-SPLIT", str(path), found, told.sha256, "make it again"))
    if faults:
        raise DataError(*faults)
    return splits


def _balanced(loads: Mapping[str, Counter[str]], count: int, seed: int) -> Groups:
    """Give each patient, largest first, to the group that it overloads least."""
    total: Counter[str] = sum(loads.values(), Counter())
    groups: list[list[str]] = [[] for _ in range(count)]
    held: list[Counter[str]] = [Counter() for _ in range(count)]
    for patient in sorted(loads, key=lambda p: (-loads[p]["scans"], _lot(seed, p))):
        load = loads[patient]

        def overload(group: int, load: Counter[str] = load) -> float:
            # What adding the patient adds to the sum of squared shares; an empty group adds least.
            return sum(
                (2 * held[group][key] + n) * n / total[key] ** 2 for key, n in load.items() if n
            )

        best = min(range(count), key=lambda group: (overload(group), group))
        groups[best].append(patient)
        held[best].update(load)
    return tuple(tuple(sorted(group, key=_natural)) for group in groups)


def _lot(seed: int, name: str) -> bytes:
    # Unlike a generator's stream, a hash is the same in every version of every library.
    return hashlib.sha256(f"{seed}:{name}".encode()).digest()


def _organ_slices(scan: Scan) -> dict[str, int]:
    """Return how many slices show each organ; every organ of the scan's labels is named."""
    rows = scan.rle or {}
    return {organ: sum(not is_empty(row) for row in texts) for organ, texts in rows.items()}


def _shared_patients(groups: Sequence[Sequence[str]]) -> list[Problem]:
    counts = Counter(patient for group in groups for patient in group)
    return [
        Problem("E-LEAK", patient, f"patient is in {n} groups of the split", "one group")
        for patient, n in sorted(counts.items())
        if n > 1
    ]


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts case2 before case10."""
    # Raised digits are no decimals, and of thousands of digits Python makes no number.
    text = "".join(c if c.isdecimal() else f" {c} " for c in name)
    return [
        (int(word), "") if word.isdecimal() and len(word) < 19 else (0, word)
        for word in text.split()
    ]


def _json(facts: Mapping[str, Any]) -> str:
    return json.dumps(facts, indent=1, sort_keys=True) + "\n"
