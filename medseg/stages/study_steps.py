"""What is done with one study beyond its masks: find, check, remember, measure, draw."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from medseg.bundle import Config
from medseg.data.hashes import source_hash
from medseg.data.manifest import read_manifest
from medseg.data.ranges import unusual
from medseg.data.sources import Item
from medseg.data.studies import found
from medseg.engine.warned import Warned, warned
from medseg.errors import DataError, Problem
from medseg.io.output_names import OutputNames, output_names
from medseg.report.figures import save
from medseg.report.study import as_rows, organs_found, preview, remarks
from medseg.scan import Series
from medseg.stages.engines import Machines, needs_of, paths_of
from medseg.stages.predict import Steps, outcomes, steps_of
from medseg.stages.study_record import Records, Row
from medseg.transforms import ReadVolumed, grid_of
from medseg.transforms.export import require_source

_PREVIEW_DPI = 100


class StudySteps:
    """Steps around those of a configuration; a study that is done already passes untouched.

    Args:
        config: An inference configuration.
        records: Of the folder that is written to.
        bids: Whether files are named as BIDS derivatives.
        previews: Whether each study is drawn.
    """

    def __init__(self, config: Config, records: Records, *, bids: bool, previews: bool) -> None:
        self.met = Warned(records.warnings)
        self.config, self.records = config, records
        self.bids, self.previews = bids, previews
        self.labels = read_manifest(config["manifest"]).labels
        self.read_image = ReadVolumed("image")

    @cached_property
    def steps(self) -> Steps:
        """What the configuration names; the network is loaded when the first study needs it."""
        return steps_of(self.config)

    def outcomes(
        self, items: Sequence[Item], machines: Machines | None = None
    ) -> Iterator[Item | DataError]:
        """Yield what became of each study: an item with its record in ``row``, or its fault.

        Args:
            items: The studies.
            machines: Where to do them, one at a time each; None does them here, three at a time.
        """
        if machines is None:
            return outcomes(Steps(self.read, self.segment, self.write), items)
        images = [item["image"] for item in items]
        model = Path(self.config["checkpoint"])
        machines.require([model, *paths_of(images)], written=Path(self.config["output_dir"]))
        needs = needs_of(self.config["device"], images)
        return machines.spread(self.whole, items, needs=needs, lost=_lost)

    def whole(self, item: Item) -> Item | DataError:
        """Do all steps of one study, in a worker of its own: it keeps the network, and warnings."""
        self.records = self.records._replace(warnings=self.met)
        with warned(self.met):
            (outcome,) = outcomes(Steps(self.read, self.segment, self.write), [item])
        return outcome

    def names(self, item: Item) -> OutputNames:
        """Return where the files of a study go."""
        return output_names(Path(self.config["output_dir"]), item["scan_id"], bids=self.bids)

    def planned(self, item: Item) -> list[Path]:
        """Return the files that will be written of a study."""
        names, organs, config = self.names(item), self.labels.names, self.config
        masks, probs = (
            organs if config.get(flag) else () for flag in ("per_organ", "probabilities")
        )
        files = names.planned(config["formats"], masks=masks, probs=probs)
        return [*files, names.preview] if self.previews else files

    def read(self, item: Item) -> Item:
        """Find, check, read and prepare a study; add its record where it is done already."""
        item = found(item)
        source = item["image"]
        require_source({**item, "source": source}, self.config["formats"])
        digest = source_hash(source)
        if row := self.records.finished(self.names(item), digest):
            return {**item, "row": row}
        scan: Item = self.read_image(item)
        measured = scan["image"]
        modality = source.modality if isinstance(source, Series) else ""
        warnings: list[Problem] = list(scan.get("warnings", ()))
        warnings += _fit(scan, self.config, modality=modality)
        return {**self.steps.read(scan), "measured": measured, "told": warnings, "digest": digest}

    def segment(self, scan: Item) -> Item:
        """Segment a study that was read."""
        return scan if "row" in scan else self.steps.segment(scan)

    def write(self, scan: Item) -> Item:
        """Write the files of a study and its record before and after; send what is DICOM."""
        names = self.names(scan)
        row = scan.get("row") or self._written(scan, names)
        if (peer := scan.get("peer")) and row.get("sent_to") != peer.name:
            peer.store([names.folder / name for name in row["files"] if name.endswith(".dcm")])
            row = self.records.sent(names, row, peer.name)
        return {"row": row, "new": "row" not in scan}

    def _written(self, scan: Item, names: OutputNames) -> Row:
        row = self.records.begin(scan["scan_id"], names, scan["digest"])
        written = self.steps.write(scan)
        masks = np.asarray(written["pred"], bool)
        row |= self._measured(scan, masks)
        files = list(written["files"])
        if self.previews:
            figure = preview(scan["measured"], masks, self.labels, title=scan["scan_id"])
            save(figure, names.preview, dpi=_PREVIEW_DPI)
            files.append(names.preview)
        return self.records.end(names, row, files)

    def _measured(self, scan: Item, masks: Any) -> Row:  # noqa: ANN401 - masks (C, I, J, K)
        grid, scan_id = scan["native"], scan["scan_id"]
        organs = organs_found(masks, np.asarray(scan["measured"]), grid, self.labels)
        told = [*scan["told"], *remarks(masks, self.labels, scan_id=scan_id)]
        return {
            "status": "ok" if masks.any() else "empty",
            "grid": {
                "shape": list(grid.shape),
                "spacing_mm": list(grid.spacing_mm),
                "axis_codes": "".join(grid.axis_codes),
                "affine_ras_mm": grid.affine_ras_mm.tolist(),
            },
            "organs": as_rows(organs),
            "checks": [problem.as_dict() for problem in told],
        }


def _lost(item: Item, problem: Problem) -> DataError:
    return DataError(replace(problem, subject=item["scan_id"]))


def _fit(scan: Mapping[str, Any], config: Config, *, modality: str) -> list[Problem]:
    """Return how a scan is unlike what the model knows, as warnings.

    Raises:
        DataError: The model can make nothing of it.
    """
    scan_id, channels = scan["scan_id"], len(scan["image"])
    if channels != config["channels"]:
        found_, expected = f"has {channels} channels", f"{config['channels']}, as the model"
        raise DataError(Problem("E-CHANNELS", scan_id, found_, expected))
    problems = unusual(grid_of(scan["image"]), config["ranges"], scan_id=scan_id, modality=modality)
    if errors := [problem for problem in problems if problem.level == "error"]:
        raise DataError(*errors)
    return problems
