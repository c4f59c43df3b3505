"""Training and inference: what MONAI's engines are given, checkpoints, tracking, provenance."""

from typing import TYPE_CHECKING

from medseg.lazy import loader

if TYPE_CHECKING:
    from medseg.engine.averaging import WeightAverage, averaged
    from medseg.engine.checkpoints import TrainingCheckpoints, load_network
    from medseg.engine.costs import cost_of, forward_pace, step_pace
    from medseg.engine.ensemble import Ensemble
    from medseg.engine.inference import VolumeInferer, scan_step
    from medseg.engine.parameters import parameter_groups
    from medseg.engine.schedules import warmup_cosine, warmup_poly
    from medseg.engine.steering import EarlyStop, GradientClipping, LearningRates
    from medseg.engine.training import AugmentedBatch, ScanDice, StepInferer

_HOMES = {
    "AugmentedBatch": "training",
    "Ensemble": "ensemble",
    "EarlyStop": "steering",
    "GradientClipping": "steering",
    "LearningRates": "steering",
    "ScanDice": "training",
    "StepInferer": "training",
    "TrainingCheckpoints": "checkpoints",
    "VolumeInferer": "inference",
    "WeightAverage": "averaging",
    "averaged": "averaging",
    "cost_of": "costs",
    "forward_pace": "costs",
    "load_network": "checkpoints",
    "parameter_groups": "parameters",
    "scan_step": "inference",
    "step_pace": "costs",
    "warmup_cosine": "schedules",
    "warmup_poly": "schedules",
}

__all__ = [
    "AugmentedBatch",
    "EarlyStop",
    "Ensemble",
    "GradientClipping",
    "LearningRates",
    "ScanDice",
    "StepInferer",
    "TrainingCheckpoints",
    "VolumeInferer",
    "WeightAverage",
    "averaged",
    "cost_of",
    "forward_pace",
    "load_network",
    "parameter_groups",
    "scan_step",
    "step_pace",
    "warmup_cosine",
    "warmup_poly",
]

__getattr__ = loader(__name__, _HOMES)
