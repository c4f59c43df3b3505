"""Training and inference: what MONAI's engines are given, checkpoints, tracking, provenance."""

from typing import TYPE_CHECKING

from medseg.lazy import loader

if TYPE_CHECKING:
    from medseg.engine.checkpoints import TrainingCheckpoints, load_network
    from medseg.engine.inference import VolumeInferer, scan_step
    from medseg.engine.schedules import warmup_cosine
    from medseg.engine.training import AugmentedBatch, ScanDice, StepInferer

_HOMES = {
    "AugmentedBatch": "training",
    "ScanDice": "training",
    "StepInferer": "training",
    "TrainingCheckpoints": "checkpoints",
    "VolumeInferer": "inference",
    "load_network": "checkpoints",
    "scan_step": "inference",
    "warmup_cosine": "schedules",
}

__all__ = [
    "AugmentedBatch",
    "ScanDice",
    "StepInferer",
    "TrainingCheckpoints",
    "VolumeInferer",
    "load_network",
    "scan_step",
    "warmup_cosine",
]

__getattr__ = loader(__name__, _HOMES)
