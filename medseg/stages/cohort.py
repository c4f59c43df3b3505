"""Cohort: many studies with one model, each read, segmented, written and told of as it finishes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from medseg.bundle import Config
from medseg.data.manifest import read_manifest
from medseg.data.studies import studies
from medseg.data.study_list import Study
from medseg.engine.warned import warned
from medseg.errors import DataError, Problem
from medseg.io.images import AS_IT_IS, Reading
from medseg.io.remote_work import owned
from medseg.report.studies import write_studies
from medseg.stages.display import Display
from medseg.stages.engines import Machines
from medseg.stages.predict import ending
from medseg.stages.room import require_room
from medseg.stages.study_record import Records, Row, made_with, origin, predicting
from medseg.stages.study_steps import StudySteps


class Asked(NamedTuple):
    """What else is asked for.

    Attributes:
        bids: Name files as BIDS derivatives.
        previews: Draw each study.
        overwrite: Replace files of other models, settings or images.
        reading: What is allowed of files that are not sound.
        extras: What every item carries to the writers: ``algorithm`` and ``clean``.
        key: A text that tells one de-identification from another; empty for none.
        machines: Where studies are predicted; None does it here.
    """

    bids: bool = False
    previews: bool = True
    overwrite: bool = False
    reading: Reading = AS_IT_IS
    extras: Mapping[str, Any] = MappingProxyType({})
    key: str = ""
    machines: Machines | None = None


def predict_cohort(
    config: Config, sources: Sequence[Study], display: Display, asked: Asked
) -> list[Row]:
    """Predict studies and return their records: those made now and those that were there.

    Leaves the files of each study, ``studies.csv`` and ``report.html``.

    Args:
        config: An inference configuration, its ``output_dir`` among it.
        sources: What to predict.
        display: Where to show progress.
        asked: What else is asked for.

    Raises:
        UsageError: A file would be overwritten that is no earlier prediction of the same model.
        PartialError: Some studies failed; the others are written. Or the network failed at all.
        DataError: Every study failed.
        ResourceError: Another process predicts into the folder (E-LOCKED): its studies may be the
            same, and ``studies.csv`` tells of those of one command.
    """
    config = {**config, "postprocessing": {**config["postprocessing"], "bids": asked.bids}}
    with warned() as warnings, owned(Path(config["output_dir"])):
        records = _records(config, asked)._replace(warnings=warnings)
        return _predicted(config, sources, display, asked, records=records)


def _records(config: Config, asked: Asked) -> Records:
    settings = {"reading": list(asked.reading), "previews": asked.previews, "key": asked.key}
    told = {"model": origin(config), "made_by": predicting(config)}
    return Records(made_with(config, settings), overwrite=asked.overwrite, **told)


def _predicted(
    config: Config, sources: Sequence[Study], display: Display, asked: Asked, *, records: Records
) -> list[Row]:
    chosen, problems = studies(sources, manifest=config["manifest"])
    items = [{**item, **asked.extras, "reading": asked.reading} for item in chosen]
    work = StudySteps(config, records, bids=asked.bids, previews=asked.previews)
    planned = [(item, work.names(item), work.planned(item)) for item in items]
    require_room(planned, [each.image for each in sources], Path(config["output_dir"]), records)
    # A path may hold what no text can.
    rows: list[Row] = [failed(each.as_dict()["subject"], [each]) for each in problems]
    display.begin("predict", len(items))
    outcomes = work.outcomes(items, asked.machines)
    for done, (item, outcome) in enumerate(zip(items, outcomes, strict=True), 1):
        if isinstance(outcome, DataError):
            problems += outcome.problems
            rows.append(failed(item["scan_id"], outcome.problems))
        else:
            rows.append(outcome["row"])
        as_before = not isinstance(outcome, DataError) and not outcome["new"]
        display.say(f"{told_of(rows[-1])}{' (as before)' * as_before}")
        display.advance(done, len(items), item["scan_id"])
    write_studies(Path(config["output_dir"]), rows, read_manifest(config["manifest"]).labels)
    if problems:
        raise ending(problems, some=any(row["status"] != "failed" for row in rows))
    return rows


def failed(scan_id: str, problems: Sequence[Problem]) -> Row:
    """Return the record of a study that could not be predicted; it is written nowhere."""
    codes = list(dict.fromkeys(problem.code for problem in problems))
    return {"scan_id": scan_id, "status": "failed", "codes": codes, "files": {}}


def told_of(row: Row) -> str:
    """Return the line that tells of a study."""
    if row["status"] == "failed":
        return f"{row['scan_id']}: failed, {', '.join(row['codes'])}"
    volumes = [f"{o['organ'].replace('_', ' ')} {o['volume_ml']:.0f} ml" for o in row["organs"]]
    remarks = [check["code"] for check in row["checks"]]
    return f"{row['scan_id']}: {', '.join([*volumes, *dict.fromkeys(remarks)])}"
