"""Tasks: the single trainings of a pipeline, and which of them are done already.

A task is known by what decides its outcome: the bundle, its resolved settings, fold, seed, and the
split, which holds the content of every scan. Where files lie and what device computes does not
count. A run that has the key of a task is that task's, whatever the pipeline's file says by now.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from medseg.bundle import Bundle, Config
from medseg.data.splits import Splits
from medseg.errors import Problem, UsageError
from medseg.io.remote_work import brought
from medseg.pipeline import KIND, Entry, Folds, Part, Pipeline
from medseg.runs import Run, new_run, open_run
from medseg.stages.begin import Request, configured, started
from medseg.stages.display import Display
from medseg.stages.pipeline_measures import MEASURED

TASK = "task.json"
FILE = "pipeline.json"

_NOT_DECISIVE = {
    *("bundle_root", "dataset_dir", "output_dir", "store_dir", "split_file"),
    *("device", "resume"),
}


class Task(NamedTuple):
    """One training.

    Attributes:
        entry: What it is a run of.
        bundle: Whose configuration it has.
        config: The resolved configuration, with fold and seed.
        key: What the task is known by.
    """

    entry: Entry
    bundle: Bundle
    config: Config
    key: str

    @property
    def name(self) -> str:
        """What folders and MLflow call it, such as ``U_Net_seed1_fold0``."""
        plain = re.sub(r"\W+", "_", self.entry.name, flags=re.ASCII).strip("_")
        return f"{plain}_seed{self.config['seed']}_fold{self.config['fold']}"


def configs_of(parts: Sequence[Part], request: Request, display: Display) -> list[Config]:
    """Return the configuration of each part, before it has a fold and a seed.

    Raises:
        UsageError: A setting of the command line is in one of the bundles not there; all are told.
    """
    found: list[Config] = []
    problems: list[Problem] = []
    for part in parts:
        settings = {**part.settings, **request.settings}
        asked = replace(request, target=str(part.bundle.root), settings=settings, fold=0)
        try:
            found.append(configured(asked, display))
            # The phantom is told of once.
            data = Path(found[0]["dataset_dir"])
            request = replace(request, demo=request.demo or request.data is None, data=data)
        except UsageError as error:
            problems += error.problems
    if problems:
        raise UsageError(*dict.fromkeys(problems))
    return found


def tasks_of(
    parts: Sequence[Part],
    configs: Sequence[Config],
    splits: Splits,
    *,
    folds: Folds | None = None,
    seed: int | None = None,
) -> list[Task]:
    """Return the tasks: all entries with one seed before the next, so that a part is of use too.

    Args:
        parts: Of the pipeline.
        configs: One a part.
        splits: The one split of all.
        folds: In place of the pipeline's own.
        seed: Likewise.

    Raises:
        UsageError: There is no such fold.
        DataError: A fold has an empty side, or an organ is absent from its training.
    """
    count = len(splits.groups)
    wanted = [
        (repeat, fold, part, config)
        for part, config in zip(parts, configs, strict=True)
        for repeat in ((seed,) if seed is not None else part.seeds)
        for fold in _folds(folds or part.folds, count)
    ]
    for fold in sorted({fold for _, fold, *_ in wanted}):
        splits.fold(fold)
    seeds = list(dict.fromkeys(repeat for repeat, *_ in wanted))
    wanted.sort(key=lambda one: seeds.index(one[0]))
    return [
        _task(part, {**config, "fold": fold, "seed": repeat, "folds": count}, splits)
        for repeat, fold, part, config in wanted
    ]


def runs_by_key(study: Run) -> dict[str, Run]:
    """Return the runs below a pipeline's parent by their task's key."""
    found: dict[str, Run] = {}
    brought(study.folder.parent, pattern=f"*/{TASK}")
    for file in study.folder.parent.glob(f"*/{TASK}"):
        told = json.loads(file.read_text())
        if told["study"] == study.name and (brought(file.parent) / "config.json").exists():
            found[told["key"]] = open_run(file.parent)
    return found


def done(run: Run) -> bool:
    """Whether nothing is left to do: the last thing that a task leaves is there."""
    return (run.folder / MEASURED).exists()


def begun(task: Task, before: Run | None, study: Run, splits: Splits) -> Run:
    """Return the run of a task: that which was interrupted, or a new one with the one split."""
    if before is not None:
        places = {key: task.config[key] for key in ("device", "store_dir", "dataset_dir")}
        return Run(before.folder, {**before.config, **places, "resume": True})
    run = started(new_run(study.folder.parent, task.config, kind=task.name), task.bundle)
    splits.write(run.splits)
    run.write(TASK, {"key": task.key, "study": study.name, "entry": task.entry.name})
    return run


def left(run: Run, stages: Sequence[str]) -> Iterator[str]:
    """Yield the stages that a run has still to do; one that was trained is not trained again."""
    trained = (run.folder / "weights.safetensors").exists()
    yield from (stage for stage in stages if not (trained and stage in ("prepare", "train")))


def _folds(folds: Folds, count: int) -> Sequence[int]:
    return range(count) if folds == "all" else list(dict.fromkeys(folds))


def _task(part: Part, config: Config, splits: Splits) -> Task:
    decisive = {key: value for key, value in config.items() if key not in _NOT_DECISIVE}
    told = {"bundle": part.bundle.name, "split": splits.sha256, "config": decisive}
    key = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
    return Task(part.entry, part.bundle, config, key)


def parent_of(path: Path, pipeline: Pipeline, tasks: Sequence[Task], request: Request) -> Run:
    """Return the parent of a pipeline's runs: the newest one to go on with, else a new one."""
    # A bundle may have the name of a pipeline: their runs must not be mixed.
    experiment = request.output / f"{path.stem}_pipeline{'_demo' if request.demo else ''}"
    seeds = dict.fromkeys(str(task.config["seed"]) for task in tasks)
    folds = dict.fromkeys(str(task.config["fold"]) for task in tasks)
    config = {
        "network_def": ", ".join(entry.name for entry in pipeline.runs),
        "manifest": pipeline.data,
        "seed": ",".join(seeds),
        "fold": ",".join(folds),
        "pipeline": path.stem,
        "dataset_dir": str(request.data),
    }
    brought(experiment, pattern=f"*/{FILE}")
    before = max((file.parent for file in experiment.glob(f"*/{FILE}")), default=None)
    if before and request.resume:
        parent = Run(brought(before), config)
    else:
        parent = new_run(experiment, config, kind=KIND)
    parent.write(FILE, pipeline.model_dump())
    return parent
