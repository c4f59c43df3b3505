"""A model that takes bright voxels for stomach, on small images, in place of a network."""

import json

import numpy as np

from medseg.data import read_manifest
from medseg.data.study_list import Study
from medseg.geometry import Grid
from medseg.io.nifti import write_image
from medseg.stages.cohort import Asked, predict_cohort
from medseg.stages.display import Silent
from medseg.stages.predict import Steps
from medseg.transforms import SaveMasks
from medseg.transforms.preprocess import KeepGridd

LABELS = read_manifest("uwmgi").labels
# A voxel of a tenth of a millilitre; the grid is no LPI one.
GRID = Grid((10, 12, 6), np.diag([5.0, 5.0, 4.0, 1.0]))


def image(path, *, bright=3):
    """An image of 1 with a bar of 100 along I, `bright` voxels long, beginning at (2, 5, 3)."""
    voxels = np.ones(GRID.shape, np.float32)
    voxels[2 : 2 + bright, 5, 3] = 100
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, voxels, GRID)
    return path


class Bench:
    """A folder with a model that takes bright voxels for stomach, and what it was asked to do."""

    def __init__(self, folder):
        self.folder, self.segmented, self.faults = folder, [], {}
        self.weights = folder / "weights.pt"
        self.weights.write_bytes(b"weights")
        self.config = {
            "manifest": "uwmgi",
            "output_dir": str(folder / "out"),
            "checkpoint": str(self.weights),
            "formats": ["nifti"],
            "channels": 1,
            "ranges": {},
            "postprocessing": {},
        }

    def steps_of(self, config):
        save = SaveMasks(
            config["output_dir"],
            labels=LABELS,
            formats=config["formats"],
            bids=config["postprocessing"]["bids"],
        )
        return Steps(KeepGridd("image"), self.segment, save)

    def segment(self, scan):
        self.segmented.append(scan["scan_id"])
        if fault := self.faults.get(scan["scan_id"]):
            raise fault
        bright = np.asarray(scan["image"])[0] > 50
        nothing = np.zeros_like(bright)
        return {**scan, "image": None, "pred": np.stack([nothing, nothing, bright]), "probs": None}

    @property
    def out(self):
        return self.folder / "out"

    def predict(self, *paths, display=None, **asked):
        config = {**self.config, **asked.pop("config", {})}
        how = Asked(previews=asked.pop("previews", False), **asked)
        self.segmented.clear()
        return predict_cohort(config, [Study(path) for path in paths], display or Silent(), how)

    def record(self, name):
        return json.loads((self.out / f"{name}.json").read_text())
