"""From segments that a network proposes to logits for every pixel."""

import torch
from torch import Tensor
from torch.nn import functional

from medseg.queries import MASK_STRIDE_PX


def semantic_logits(
    class_probs: Tensor, mask_logits: Tensor, size_px: tuple[int, int], *, overlapping: bool
) -> Tensor:
    """Return dense logits ``(B, K, H, W)``, finite, in float32 or better also under autocast.

    Each query gives a pixel the probability of its class times that of its mask. Exclusive classes
    get the sum over the queries, and the softmax of the logits is their share of it. Organs that
    may overlap compete with nothing, so a sum over many unsure queries would say nothing: they get
    what the surest query gives, and the sigmoid of the logits is that.

    Args:
        class_probs: ``(B, Q, K)``: the probability of each class, without "no object".
        mask_logits: ``(B, Q, h, w)``, h and w being those of the image by `MASK_STRIDE_PX`, rounded
            up.
        size_px: Height and width of the image.
        overlapping: Organs may share pixels.

    References:
        Cheng et al. (2021), Per-Pixel Classification is Not All You Need for Semantic Segmentation,
        NeurIPS, section 3.4: the sum.
    """
    height, width = size_px
    with torch.autocast(mask_logits.device.type, enabled=False):
        class_probs, mask_logits = _precise(class_probs), _precise(mask_logits)
        larger = functional.interpolate(
            mask_logits, scale_factor=float(MASK_STRIDE_PX), mode="bilinear"
        )
        shares = larger[..., :height, :width].sigmoid()
        limits = torch.finfo(shares.dtype)
        if not overlapping:
            scores = torch.einsum("bqk,bqhw->bkhw", class_probs, shares)
            return scores.clamp_min(limits.tiny).log()
        surest = [(probs[..., None, None] * shares).amax(1) for probs in class_probs.unbind(2)]
        return torch.stack(surest, 1).clamp(limits.tiny, 1 - limits.eps).logit()


def _precise(numbers: Tensor) -> Tensor:
    return numbers.to(torch.promote_types(numbers.dtype, torch.float32))
