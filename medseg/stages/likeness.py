"""Likeness: whether two runs made the same, part by part, and what may have made them differ."""

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from medseg.engine.origin import WEIGHTS, tensors_hash
from medseg.engine.provenance import config_hash, sha256_of
from medseg.io.nifti import read_label_map
from medseg.runs import CLEANING, Run
from medseg.stages.watch import epochs_of

_TIMES = {"train/seconds", "train/slices_per_s"}
# What the same settings and data may give other bits with, and how a person calls it.
_KNOWN = {
    "medseg": "medseg",
    "python": "Python",
    "os": "the system",
    "device": "the device",
    "devices": "the machine",
    "threads": "the number of threads",
    "cuda": "CUDA",
}


class Part(NamedTuple):
    """What two runs made of one kind.

    Attributes:
        name: What it is.
        before: The hash of what the first made; None for nothing.
        now: The hash of what the second made.
        differing: The names of those that differ, where there are several of the kind.
    """

    name: str
    before: str | None
    now: str | None
    differing: tuple[str, ...] = ()

    @property
    def equal(self) -> bool:
        """Whether both made the same, or neither anything."""
        return self.before == self.now


class Reproduction(NamedTuple):
    """Two runs of the same settings, what each made, and why they may differ."""

    before: Run
    now: Run
    parts: list[Part]
    reasons: list[str]

    @property
    def equal(self) -> bool:
        """Whether both made the same."""
        return all(part.equal for part in self.parts)

    def as_dict(self) -> dict[str, Any]:
        """Return what ``--json`` tells."""
        rows = [{**part._asdict(), "equal": part.equal} for part in self.parts]
        found = {"equal": self.equal, "parts": rows, "reasons": self.reasons}
        return {"run": str(self.now.folder), "reproduces": str(self.before.folder), **found}


def parts(before: Run, now: Run) -> list[Part]:
    """Return what the first of two runs has made, beside what the second has.

    Times are left out of the history; of predictions voxels and grid count, not how the file is
    packed.
    """
    single = {"weights": _weights, "history": _history, "rules": _rules, "scores": _scores}
    rows = [Part(name, find(before), find(now)) for name, find in single.items()]
    old, new = _predictions(before), _predictions(now)
    differing = tuple(sorted(name for name in {*old, *new} if old.get(name) != new.get(name)))
    was, is_ = (config_hash(found) if found else None for found in (old, new))
    return [row for row in (*rows, Part("predictions", was, is_, differing)) if row.before]


def reasons(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return what may have made two runs of the same settings and data differ, in words.

    Args:
        before: The provenance of the first.
        now: That of the second.
    """
    rows = [_changed(word, before.get(name), now.get(name)) for name, word in _KNOWN.items()]
    for table in ("versions", "environment"):
        old, new = before.get(table) or {}, now.get(table) or {}
        rows += [_changed(name, old.get(name), new.get(name)) for name in sorted({*old, *new})]
    old, new = (told.get("git") or {} for told in (before, now))
    rows.append(_changed("the commit", old.get("commit"), new.get("commit")))
    for words, git in (("the run was made", old), ("this is", new)):
        rows.append(f"{words} with changes that were not committed" * bool(git.get("dirty")))
    rows.append(
        _changed("what was fallen back to", before.get("fall_backs"), now.get("fall_backs"))
    )
    if before.get("earlier"):
        rows.append(f"{len(before['earlier']) + 1} commands worked on the run")
    if any(str(told.get("device")).startswith("cuda") for told in (before, now)):
        rows.append("a GPU adds numbers in an order of its own")
    return [row for row in rows if row]


def _changed(word: str, old: object, new: object) -> str:
    """Return that something is not what it was; nothing where it is, or was not recorded."""
    if old == new or old is None:
        return ""
    return f"{word} was {_short(old)} and is {_short(new)}"


def _short(value: object) -> str:
    match value:
        case None | []:
            return "none"
        case list():
            return ", ".join(map(_short, value))
        case dict():
            return " ".join(str(each) for each in value.values() if each is not None)
    return str(value)


def _weights(run: Run) -> str | None:
    path = run.folder / WEIGHTS
    return tensors_hash(path) if path.exists() else None


def _history(run: Run) -> str | None:
    rows = [{k: v for k, v in row.items() if k not in _TIMES} for row in epochs_of(run)]
    return config_hash({"epochs": rows}) if rows else None


def _rules(run: Run) -> str | None:
    told = run.read(CLEANING)
    return config_hash(told["rules"]) if told else None


def _scores(run: Run) -> str | None:
    path = run.folder / "metrics.csv"
    return sha256_of(path) if path.exists() else None


def _predictions(run: Run) -> dict[str, str]:
    """Return the hash of voxels and grid of each label map, by the name of its file."""
    found = {}
    for path in sorted(run.predictions.glob("*.nii.gz")):
        voxels, grid = read_label_map(path)
        told = f"{grid.shape} {grid.affine_ras_mm.tolist()}\n".encode()
        found[path.name] = hashlib.sha256(told + voxels.tobytes(order="F")).hexdigest()
    return found
