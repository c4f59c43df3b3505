"""Training and inference: what MONAI's engines are given, checkpoints, tracking, provenance."""

from typing import TYPE_CHECKING

from medseg.lazy import loader

if TYPE_CHECKING:
    from medseg.engine.checkpoints import TrainingCheckpoints, load_network
    from medseg.engine.costs import cost_of, forward_pace, step_pace
    from medseg.engine.inference import VolumeInferer, scan_step
    from medseg.engine.schedules import warmup_cosine
    from medseg.engine.training import AugmentedBatch, ScanDice, StepInferer

_HOMES = {
    "AugmentedBatch": "training",
    "ScanDice": "training",
    "StepInferer": "training",
    "TrainingCheckpoints": "checkpoints",
    "VolumeInferer": "inference",
    "cost_of": "costs",
    "forward_pace": "costs",
    "load_network": "checkpoints",
    "scan_step": "inference",
    "step_pace": "costs",
    "warmup_cosine": "schedules",
}

__all__ = [
    "AugmentedBatch",
    "ScanDice",
    "StepInferer",
    "TrainingCheckpoints",
    "VolumeInferer",
    "cost_of",
    "forward_pace",
    "load_network",
    "scan_step",
    "step_pace",
    "warmup_cosine",
]

__getattr__ = loader(__name__, _HOMES)
