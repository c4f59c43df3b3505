"""What training minimises: modules called with what a network returns, and organ masks.

*Masks* are ``(B, K, H, W)``, 0 or 1, one channel an organ, and may overlap. Most losses take logits
``(B, classes, H, W)``. A network that takes masks in training returns something else, which its own
loss takes; see `medseg.models`.
"""

from medseg.losses.deep_supervision import deep_supervision
from medseg.losses.mask_classification import mask_classification
from medseg.losses.mask_dino_criterion import mask_dino
from medseg.losses.overlap import SMOOTH, dice, dice_bce, dice_ce, exclusive_classes

__all__ = [
    "SMOOTH",
    "deep_supervision",
    "dice",
    "dice_bce",
    "dice_ce",
    "exclusive_classes",
    "mask_classification",
    "mask_dino",
]
