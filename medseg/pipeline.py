"""Pipelines: which bundles to run for one aim, how often, and what to set beside the outcome.

A pipeline is a YAML file in ``pipelines/`` (its README shows the schema) or anywhere a user keeps
one. It is data, not code, unless its user trusts it: bundles by name, values laid over theirs,
folds, seeds, and the figures that the source of the experiment gives. Every fault is told with its
line before anything runs.
"""

from collections.abc import Iterator
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from medseg.bundle import Bundle, Config, find_bundle
from medseg.bundle.trust import require_trust
from medseg.errors import Problem, UsageError
from medseg.io import strict_yaml
from medseg.resources import names, shipped

Text = Annotated[str, Field(min_length=1)]
Name = Annotated[str, Field(min_length=1, max_length=40, pattern=r"^[^\s/\\].*$")]
Number = Annotated[int, Field(ge=0)]
Folds = Literal["all"] | Annotated[list[Number], Field(min_length=1)]
Seeds = Annotated[list[Number], Field(min_length=1)]
Figure = Annotated[float, Field(strict=False)]

KIND = "pipeline"


class _Facts(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Source(_Facts):
    """Where the figures of an experiment come from.

    Attributes:
        citation: Whose they are; empty where nobody gave any.
        note: What has to be known to read them.
        counted: How its overlap is a mean: over ``slices``, an empty one that stays empty counting
            1, or over ``batches``, the pixels of a batch taken together.
    """

    citation: str = ""
    note: str = ""
    counted: Literal["slices", "batches"] = "slices"


class Figures(_Facts):
    """What the source gives of one run; what it does not give is None."""

    dice: Figure | None = None
    iou: Figure | None = None
    train_dice: Figure | None = None
    train_loss: Figure | None = None
    validation_loss: Figure | None = None


class Small(_Facts):
    """What ``--demo`` lays over a pipeline, or over one of its runs."""

    settings: dict[str, Any] = {}
    folds: Folds | None = None
    seeds: Seeds | None = None


class Entry(_Facts):
    """One of the things compared: a bundle with values of its own.

    Attributes:
        name: What tables call it.
        bundle: A bundle's name or folder.
        settings: Laid over the bundle's values, by id.
        folds: In place of the pipeline's.
        seeds: In place of the pipeline's.
        source: What the source gives for it.
        demo: Laid over it by ``--demo``.
    """

    name: Name
    bundle: Text
    settings: dict[str, Any] = {}
    folds: Folds | None = None
    seeds: Seeds | None = None
    source: Figures = Figures()
    demo: Small = Small()


class Pipeline(_Facts):
    """What to run for one aim.

    Attributes:
        title: What it is about, in a line.
        about: What is done, why, and what it can show.
        real: What can be reproduced with the real data set only, and what it takes.
        data: The manifest of the data set that all bundles are for.
        source: Where the figures beside ours come from.
        metric: What runs are compared by.
        settings: Laid over the values of every bundle.
        folds: Which groups of patients are held out in turn, or ``all``.
        seeds: Of the trainings. The patients are parted once, by `split_seed`.
        split_seed: See `seeds`.
        costs: Whether to measure what each network costs.
        ensemble: Keep one more group of patients out of all folds, and let the networks of all
            folds vote on it.
        runs: What is compared.
        demo: What makes all of it small.
    """

    title: Text
    about: Text
    real: Text
    data: Text
    source: Source = Source()
    metric: Literal["dice", "iou", "nsd", "hd95_mm", "assd_mm"] = "dice"
    settings: dict[str, Any] = {}
    folds: Folds = [0]
    seeds: Seeds = [0]
    split_seed: Number = 0
    costs: bool = False
    ensemble: bool = False
    runs: Annotated[list[Entry], Field(min_length=1)]
    demo: Small = Small()

    @field_validator("runs")
    @classmethod
    def _distinct(cls, runs: list[Entry], _info: ValidationInfo) -> list[Entry]:
        if len({run.name for run in runs}) < len(runs):
            raise ValueError("two runs share a name")
        return runs


class Part(NamedTuple):
    """One run of a pipeline before it knows how many folds there are.

    Attributes:
        entry: What it is a run of.
        bundle: Whose configuration it has.
        settings: Laid over that configuration, the last of them counting.
        folds: Which groups are held out in turn.
        seeds: Of the trainings.
        config: The configuration that comes of it.
    """

    entry: Entry
    bundle: Bundle
    settings: dict[str, Any]
    folds: Folds
    seeds: Seeds
    config: Config


def find_pipeline(target: str) -> Path | None:
    """Return the file of the pipeline that `target` names, None where it names a bundle.

    A path that ends in ``.yaml`` is a file's, or else the name of a shipped pipeline; a bare name
    is a bundle's where both have it.

    Raises:
        UsageError: It names a pipeline that is not there.
    """
    path = Path(target)
    if path.suffix in (".yaml", ".yml"):
        return path if path.is_file() else shipped("pipelines", path.stem)
    bundles, pipelines = names("bundles"), names("pipelines")
    if path.exists() or target in bundles:
        return None
    near = get_close_matches(target, [*bundles, *pipelines], n=1)
    is_pipelines = near and near[0] not in bundles
    return shipped("pipelines", target) if is_pipelines else None


def read_pipeline(path: Path) -> Pipeline:
    """Return the pipeline in a file.

    Raises:
        UsageError: The content breaks the schema; every fault is told with its line and column.
        UnsafeError: Its settings are neither data nor trusted; see `require_trust`.
    """
    require_trust(path)
    return strict_yaml.read_model(path, Pipeline)


def parts(pipeline: Pipeline, path: Path, *, demo: bool) -> list[Part]:
    """Return what a pipeline runs, each part with its bundle.

    Args:
        pipeline: The content of the file.
        path: The file, whose lines the faults tell.
        demo: Make it small.

    Raises:
        UsageError: Bundles are not there, or have no such setting, or are for other data; all are
            told.
    """
    marks = strict_yaml.read(path).marks
    found: list[Part] = []
    problems: list[Problem] = []
    for index, entry in enumerate(pipeline.runs):
        line, column = marks["runs", index]
        place = f"{path.name}:{line}:{column}"
        try:
            found.append(_part(pipeline, entry, demo=demo))
            problems += _misfits(pipeline, found[-1], place)
        except UsageError as error:
            problems += [replace(p, subject=f"{place}: {p.subject}") for p in error.problems]
    if problems:
        raise UsageError(*problems)
    return found


def _part(pipeline: Pipeline, entry: Entry, *, demo: bool) -> Part:
    layers = [pipeline.settings, entry.settings]
    folds, seeds = entry.folds or pipeline.folds, entry.seeds or pipeline.seeds
    for small in (pipeline.demo, entry.demo) if demo else ():
        layers.append(small.settings)
        folds, seeds = small.folds or folds, small.seeds or seeds
    settings = {key: value for layer in layers for key, value in layer.items()}
    bundle = find_bundle(entry.bundle)
    config = bundle.config("train", *["demo"] * demo, settings=settings)
    return Part(entry, bundle, settings, folds, seeds, config)


def _misfits(pipeline: Pipeline, part: Part, place: str) -> Iterator[Problem]:
    manifest = part.config["manifest"]
    if manifest != pipeline.data:
        found = f"bundle {part.bundle.name} is for the data set {manifest}"
        yield Problem("E-PIPELINE", place, found, pipeline.data, "name another bundle")
