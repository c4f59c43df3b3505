"""medseg: medical-image segmentation on MONAI, from slices to contours at the right place.

Importing this package loads nothing heavy; the parts load when they are named:

- ``medseg.data``: manifests, readers, splits, the phantom, the store of prepared scans
- ``medseg.transforms``: slices to volumes, preprocessing, augmentation, the way back
- ``medseg.models``, ``medseg.losses``, ``medseg.metrics``: networks and what judges them
- ``medseg.engine``: training, inference, checkpoints, tracking
- ``medseg.stages``: prepare, train, predict, evaluate
"""

import os

from medseg import monai_probes
from medseg.errors import MedsegError
from medseg.geometry import Grid
from medseg.labels import LabelSet, Organ
from medseg.scan import Scan

__version__ = "0.1.0"

__all__ = ["Grid", "LabelSet", "MedsegError", "Organ", "Scan", "__version__"]

# MONAI imports MLflow, which writes an installation id into the home folder and reports its use.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# It also imports what it may need one day; see there.
monai_probes.defer()
