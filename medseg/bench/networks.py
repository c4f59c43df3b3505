"""SegFormer beside transformers' own: the same weights, the same images, one pass and one step.

A step is a forward pass, a loss and a backward pass; the optimiser is no part of the network. The
logits of the other side are enlarged to the images' size, as one has to before they are of use.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from medseg import models
from medseg.bench.measure import Work, require
from medseg.engine.device import amp_dtype

Size = Literal["b0", "b2"]

REACH = {"b0": 1.5, "b2": 2.1}
_CLASSES = 4
# By rounding: in float64 the gradients agree within 1e-9, and medseg's float32 is the nearer one.
_CLOSE_LOGITS, _CLOSE_GRADIENT = 1e-5, 2e-4
# In bfloat16, of untrained networks whose classes are nearly even.
_SAME_CLASS, _SAME_DIRECTION = 0.95, 0.98


def works(
    folder: Path,  # noqa: ARG001 - every subject takes one
    *,
    sizes: Sequence[Size] = ("b0", "b2"),
    batch: int = 4,
    side_px: int = 288,
    device: str = "cpu",
) -> list[Work]:
    """Return the works of each size: in float32, and with medseg in bfloat16 where that is fast.

    Args:
        folder: Nothing is written.
        sizes: Of SegFormer.
        batch: Images at once.
        side_px: Of the images.
        device: Where to compute.
    """
    to = torch.device(device)
    half = amp_dtype(to)
    # medseg's precision, and the other's
    precisions = [(torch.float32, torch.float32)]
    precisions += [(half, torch.float32), (half, half)] if half else []
    found = []
    for size in sizes:
        own, other = pair(size, to)
        images = torch.randn(batch, 3, side_px, side_px, device=to)
        classes = torch.randint(0, _CLASSES, (batch, side_px, side_px), device=to)
        for kind in ("forward", "training step"):
            for dtypes in precisions:
                given = (images, None if kind == "forward" else classes)
                sides = [
                    partial(_passed, network, *given, dtype=dtype, wait=_wait(to))
                    for network, dtype in zip((own, other), dtypes, strict=True)
                ]
                close = _close if dtypes[0] == torch.float32 else _alike
                found.append(
                    Work(
                        name=f"SegFormer-{size} {kind}, {batch} x {side_px}², {_name(dtypes[0])}",
                        against=f"transformers, {_name(dtypes[1])}",
                        reach=REACH[size],
                        ours=sides[0],
                        theirs=sides[1],
                        same=partial(close, training=kind != "forward"),
                    )
                )
    return found


def pair(size: str, device: torch.device) -> tuple[nn.Module, nn.Module]:
    """Return medseg's network and transformers' own with equal weights, without random layers."""
    torch.manual_seed(0)
    own = getattr(models, f"segformer_{size}")(out_channels=_CLASSES, drop_path=0.0)
    own.decode_head.dropout.p = 0.0
    return own.to(device), reference(own).to(device)


class Reference(nn.Module):
    """transformers' SegFormer with logits of the images' size.

    Args:
        model: A ``SegformerForSemanticSegmentation``.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(B, K, H, W)`` of images ``(B, C, H, W)``."""
        logits = self.model(pixel_values=images).logits.float()
        return functional.interpolate(
            logits, size=images.shape[-2:], mode="bilinear", align_corners=False
        )


def reference(own: Any) -> Reference:  # noqa: ANN401 - a SegFormer
    """Return transformers' network with a SegFormer's sizes, random layers and weights.

    How it attends is its own choice.
    """
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    stages, head = own.segformer["stages"], own.decode_head
    paths = [getattr(block.drop_path, "drop_prob", 0.0) for s in stages for block in s.blocks]
    config = SegformerConfig(
        num_channels=stages[0].patch_embeddings.proj.in_channels,
        num_labels=head.classifier.out_channels,
        hidden_sizes=[stage.layer_norm.normalized_shape[0] for stage in stages],
        depths=[len(stage.blocks) for stage in stages],
        decoder_hidden_size=head.classifier.in_channels,
        classifier_dropout_prob=head.dropout.p,
        drop_path_rate=paths[-1],
    )
    model = SegformerForSemanticSegmentation(config)
    model.load_state_dict(own.state_dict())
    return Reference(model)


def _passed(
    network: nn.Module,
    images: Tensor,
    classes: Tensor | None,
    *,
    dtype: torch.dtype,
    wait: Callable[[], None],
) -> list[Tensor]:
    """Return the logits and, where there are classes to learn, the gradients."""
    network.train(classes is not None)
    low = torch.autocast(images.device.type, dtype=dtype, enabled=dtype != torch.float32)
    if classes is None:
        with torch.inference_mode(), low:
            made = [network(images)]
    else:
        with low:
            logits = network(images)
        loss = functional.cross_entropy(logits.float(), classes)
        made = [logits.detach(), *torch.autograd.grad(loss, list(network.parameters()))]
    wait()
    return made


def _close(own: list[Tensor], other: list[Tensor], *, training: bool) -> str:
    apart = _relative(own[0], other[0])
    require(apart < _CLOSE_LOGITS, f"logits differ by {apart:.1e} of their size")
    if not training:
        return f"logits equal within {apart:.0e} of their size"
    gradients = _relative(_flat(own), _flat(other))
    require(gradients < _CLOSE_GRADIENT, f"gradients differ by {gradients:.1e} of their size")
    return f"logits equal within {apart:.0e}, gradients within {gradients:.0e} of their size"


def _alike(own: list[Tensor], other: list[Tensor], *, training: bool) -> str:
    alike = (own[0].max(1).indices == other[0].max(1).indices).float().mean().item()
    require(alike >= _SAME_CLASS, f"only {alike:.3f} of the pixels get the same class")
    if not training:
        return f"{alike:.1%} of the pixels get the same class"
    cosine = functional.cosine_similarity(_flat(own), _flat(other), dim=0).item()
    require(cosine >= _SAME_DIRECTION, f"the cosine of the gradients is {cosine:.3f}")
    return f"{alike:.1%} of the pixels get the same class, cosine of the gradients {cosine:.4f}"


def _flat(made: list[Tensor]) -> Tensor:
    return torch.cat([gradient.flatten() for gradient in made[1:]])


def _relative(own: Tensor, other: Tensor) -> float:
    return float((own - other).norm() / other.norm())


def _wait(device: torch.device) -> Callable[[], None]:
    return partial(torch.cuda.synchronize, device) if device.type == "cuda" else lambda: None


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
