"""Networks, one paper a file; each published size is a small function with the same arguments.

``forward`` takes images ``(B, C, H, W)`` of any height and width and returns logits
``(B, K, H, W)``.
"""

from medseg.models.segformer import (
    SegFormer,
    segformer_b0,
    segformer_b1,
    segformer_b2,
    segformer_b3,
    segformer_b4,
    segformer_b5,
)

__all__ = [
    "SegFormer",
    "segformer_b0",
    "segformer_b1",
    "segformer_b2",
    "segformer_b3",
    "segformer_b4",
    "segformer_b5",
]
