"""What the configuration names beside MONAI's own parts."""

from .kaggle import AppendRowsd, MasksFromRowsd, ScaleForegroundd, StackSlicesd, datalist
from .network import SegFormerB0

__all__ = [
    "AppendRowsd",
    "MasksFromRowsd",
    "ScaleForegroundd",
    "SegFormerB0",
    "StackSlicesd",
    "datalist",
]
