"""Manifests: the facts of a published data set, as its page and its files tell them.

A manifest is a YAML file in ``data_manifests/`` (its README shows the schema) or anywhere a user
keeps one. It holds no pixels and no code: it says where the data come from, how they lie on disk,
what the labels mean, and which scans are known to be bad according to whom.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from medseg.errors import Problem, UsageError
from medseg.io import strict_yaml
from medseg.labels import LabelSet, Organ
from medseg.resources import located

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]
Byte = Annotated[int, Field(ge=0, le=255)]
Text = Annotated[str, Field(min_length=1)]
Millimetres = Annotated[float, Field(gt=0, le=20, strict=False)]

# What the files of a layout do not tell, so that the manifest has to.
_NEEDED = {"uwmgi": {"spacing_z_mm"}, "lgg": {"spacing_mm"}, "pairs": {"spacing_mm"}}
# Pictures tell none, and NIfTI does: there it is the usual one, for whoever makes a bundle.
_OPTIONAL = {"volumes": {"spacing_mm"}, "table": {"spacing_mm"}}


class _Facts(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Source(_Facts):
    """Where the data come from."""

    url: Text
    about: Text


class Licence(_Facts):
    """What may be done with the data, and how sure that is."""

    name: Text
    note: str = ""


class Citation(_Facts):
    """What to cite."""

    text: Text
    doi: str = ""


class Layout(_Facts):
    """How the files lie: the reader that knows, and its patterns for people to read.

    Where masks are pictures, grey values from `mask_threshold` on belong to the organ; None takes
    pictures of two values only.
    """

    reader: Literal["uwmgi", "lgg", "pairs", "volumes", "table"]
    images: Text
    labels: str = ""
    mask_threshold: Byte | None = None


class Label(_Facts):
    """One organ, as `medseg.labels.Organ`."""

    name: Name
    code: Annotated[int, Field(ge=1, le=255)]
    colour: Annotated[list[Byte], Field(min_length=3, max_length=3)]
    snomed: Annotated[str, Field(pattern=r"^(\d{6,18})?$")] = ""
    meaning: Text


class KnownBad(_Facts):
    """Scans that somebody leaves out, who that is, and why."""

    who: Text
    why: Text
    scans: list[Text]


class SplitRule(_Facts):
    """How the data set is parted for training and evaluation."""

    by: Literal["patient"]
    folds: Annotated[int, Field(ge=1)] = 5
    balance: Text


class Manifest(_Facts):
    """The facts of a data set."""

    name: Name
    title: Text
    source: Source
    licence: Licence
    citation: Citation
    layout: Layout
    modality: Annotated[str, Field(pattern=r"^[A-Z]{2,3}$")] | None = None
    channels: Annotated[list[Name], Field(min_length=1)] = ["intensity"]
    axis_codes: tuple[Literal["L"], Literal["P"], Literal["I", "S"]] | None = Field(
        None, strict=False
    )
    spacing_z_mm: Millimetres | None = None
    spacing_mm: tuple[Millimetres, Millimetres, Millimetres] | None = Field(None, strict=False)
    spacing_known: bool = True
    size_px: Annotated[list[int], Field(min_length=2, max_length=2)] | None = None
    label_facts: Annotated[list[Label], Field(alias="labels", min_length=1)]
    priority: list[Name]
    known_bad: dict[Name, KnownBad] = {}
    exclude: Name | None = None
    split: SplitRule

    @field_validator("label_facts")
    @classmethod
    def _distinct(cls, facts: list[Label]) -> list[Label]:
        if len({fact.name for fact in facts}) < len(facts):
            raise ValueError("two labels share a name")
        if len({fact.code for fact in facts}) < len(facts):
            raise ValueError("two labels share a code")
        return facts

    @field_validator("priority")
    @classmethod
    def _complete(cls, priority: list[str], info: ValidationInfo) -> list[str]:
        names = [fact.name for fact in info.data.get("label_facts", ())]
        if names and sorted(priority) != sorted(names):
            raise ValueError(f"must name each label once: {', '.join(names)}")
        return priority

    @field_validator("exclude")
    @classmethod
    def _known(cls, exclude: str | None, info: ValidationInfo) -> str | None:
        lists = info.data.get("known_bad", {})
        if exclude is not None and exclude not in lists:
            raise ValueError(f"must name a list of known_bad: {', '.join(lists) or 'none'}")
        return exclude

    @model_validator(mode="after")
    def _placed(self) -> "Manifest":
        told = {n for n in ("spacing_mm", "spacing_z_mm") if getattr(self, n) is not None}
        needed = _NEEDED.get(self.layout.reader, set())
        may = needed | _OPTIONAL.get(self.layout.reader, set())
        if not needed <= told <= may:
            what = " and ".join(sorted(may))
            raise ValueError(f"spacing of layout {self.layout.reader!r} must be given by {what}")
        if needed and self.axis_codes is None:
            raise ValueError("axis_codes are needed for layouts of slices")
        return self

    @property
    def labels(self) -> LabelSet:
        """The organs in channel order."""
        organs = tuple(
            Organ(
                fact.name,
                fact.code,
                (fact.colour[0], fact.colour[1], fact.colour[2]),
                fact.snomed,
                fact.meaning,
            )
            for fact in self.label_facts
        )
        return LabelSet(organs, tuple(self.priority))

    @property
    def scale_note(self) -> str:
        """What to know of millimetres that are none; empty where the spacing is known."""
        if self.spacing_known:
            return ""
        edges = " x ".join(f"{side_mm:g}" for side_mm in self.spacing_mm or ())
        return (
            f"The files tell no spacing: a voxel is taken as {edges} mm, so distances and volumes "
            "count voxels, not millimetres."
        )

    @property
    def excluded(self) -> Mapping[str, str]:
        """The scans left out by default, and who leaves them out and why; may be empty."""
        if self.exclude is None:
            return {}
        bad = self.known_bad[self.exclude]
        return dict.fromkeys(bad.scans, f"left out by {bad.who}: {bad.why}")

    def excluding(self, known_bad: str | None) -> "Manifest":
        """Return the manifest with another list of bad scans in force; None keeps every scan.

        Raises:
            UsageError: There is no such list.
        """
        if known_bad is not None and known_bad not in self.known_bad:
            raise UsageError(
                Problem("E-EXCLUDE", self.name, f"no list {known_bad!r}", ", ".join(self.known_bad))
            )
        return self.model_copy(update={"exclude": known_bad})


def read_manifest(name_or_path: str | Path) -> Manifest:
    """Return the manifest of a path, or of a name that is shipped with medseg.

    Raises:
        UsageError: There is no such file or name, or the content breaks the schema; every fault is
            told with its line and column.
    """
    return strict_yaml.read_model(located("data_manifests", name_or_path), Manifest)
