"""From a prepared scan to masks: a 2D network over batches of slices, decided slab by slab.

Each slice is given to the network with its neighbours as channels; a slice larger than the
network's window is covered by overlapping windows whose logits are averaged with Gaussian weights.
The logits of one batch go back to the scan's own grid and become masks before the next batch is
computed: only masks ever cover the whole scan.
"""

from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import torch
from ignite.engine import Engine
from monai.data import MetaTensor
from monai.engines.utils import IterationEvents
from monai.inferers import Inferer, sliding_window_inference
from torch import Tensor, nn

from medseg.data import neighbour_stack
from medseg.engine.device import autocast, keep_freed_memory
from medseg.errors import DivergedError, Problem, UsageError
from medseg.geometry import Grid
from medseg.transforms import Cleaning, Decided, decided, grid_of
from medseg.transforms.postprocess import LabelMode

# On a CPU more at once gain nothing and cost memory.
CPU_BATCH = 4

# Columns are the last axis of a slice (C, H, W), rows the one before.
_FLIPS = {"x": (-1,), "y": (-2,), "xy": (-2, -1)}


@dataclass(eq=False)
class VolumeInferer(Inferer):  # type: ignore[misc]
    """Segment a prepared scan with a 2D or 2.5D network.

    Args:
        roi_px: The window, rows and columns. Smaller slices are padded to it and cropped back.
        label_mode: ``overlapping``, one logit an organ, or ``exclusive``, background first.
        neighbours: Slices the network sees at once, odd; 1 is plain 2D. Edges are clamped.
        stride: Distance between neighbouring slices, in slices.
        overlap: Share of a window that the next one covers too, in [0, 1).
        batch: Images in one forward pass, flipped copies among them; on a CPU at most `CPU_BATCH`.
        flips: Mirrored copies whose logits are averaged with the slice's own: any of ``x``
            (columns), ``y`` (rows) and ``xy``. Only for a network that was trained with them.
        amp: Compute in bfloat16 where the device has it; logits are float32 all the same.
        probabilities: Also return the probabilities.
        cleaning: Thresholds of the masks, and what is done to them on the grid wanted; None
            leaves them.
    """

    roi_px: tuple[int, int]
    _: KW_ONLY
    label_mode: LabelMode
    neighbours: int = 1
    stride: int = 1
    overlap: float = 0.25
    batch: int = 32
    flips: Sequence[str] = ()
    amp: bool = True
    probabilities: bool = False
    cleaning: Cleaning | None = None

    def __post_init__(self) -> None:
        self.roi_px = (self.roi_px[0], self.roi_px[1])
        if unknown := [flip for flip in self.flips if flip not in _FLIPS]:
            raise UsageError(Problem("E-CONFIG", "flips", f"{unknown}", f"any of {[*_FLIPS]}"))

    def __call__(
        self, image: MetaTensor, network: nn.Module, *, native: Grid | None = None
    ) -> Decided:
        """Return masks, and on request probabilities, on the CPU.

        Args:
            image: A prepared scan ``(C, I, J, K)``, on any device.
            network: In eval mode, on the device to compute on.
            native: The grid wanted, such as the scan's own; None is that of `image`.

        Raises:
            DivergedError: The network returned a number that is not finite.
        """
        device = next(network.parameters()).device
        if device.type == "cpu":
            keep_freed_memory()
        grid = grid_of(image)
        # Plain: a MetaTensor pays for its metadata in every operation.
        slices = image.as_subclass(Tensor).permute(3, 0, 2, 1).to(device)  # (K, C, J, I)
        # Around the whole scan, as a network's weights are cast anew in each of these.
        with autocast(device, amp=self.amp):
            masks, probs = decided(
                self.logits(slices, network),
                grid,
                native or grid,
                label_mode=self.label_mode,
                probabilities=self.probabilities,
                thresholds=self.cleaning.thresholds if self.cleaning else (),
            )
        masks = masks.cpu()
        if self.cleaning:
            masks = self.cleaning(masks, native or grid)
        return Decided(masks, None if probs is None else probs.cpu())

    @torch.inference_mode()
    def logits(self, slices: Tensor, network: nn.Module) -> Iterator[Tensor]:
        """Yield the logits ``(n, classes, J, I)`` float32 of slices ``(K, C, J, I)``, n at a time.

        Raises:
            DivergedError: One was not finite; after the last slab, as only then a device is asked.
        """
        finite = torch.ones((), dtype=torch.bool, device=slices.device)
        step = self._at_once(slices.device)
        for first in range(0, len(slices), step):
            ks = range(first, min(first + step, len(slices)))
            stack = neighbour_stack(slices, ks, self.neighbours, self.stride).float()
            logits = self._windows(stack, network)
            finite &= torch.isfinite(torch.stack(torch.aminmax(logits))).all()
            yield logits
        if not finite:
            raise DivergedError(
                Problem(
                    "E-NONFINITE",
                    "network",
                    "the network's logits hold NaN or infinity",
                    "finite numbers",
                    "use an earlier checkpoint, or train again at a lower learning rate",
                )
            )

    def _at_once(self, device: torch.device) -> int:
        """Return how many slices, or windows, one forward pass takes beside their copies."""
        batch = min(self.batch, CPU_BATCH) if device.type == "cpu" else self.batch
        return max(1, batch // (1 + len(self.flips)))

    def _windows(self, stack: Tensor, network: nn.Module) -> Tensor:
        if stack.shape[-2:] == self.roi_px:
            return self._forward(stack, network)
        logits: Tensor = sliding_window_inference(
            stack,
            roi_size=self.roi_px,
            sw_batch_size=self._at_once(stack.device),
            predictor=self._forward,
            overlap=self.overlap,
            mode="gaussian",
            network=network,
        )
        return logits

    def _forward(self, images: Tensor, network: nn.Module) -> Tensor:
        """Return the logits of images ``(B, C, H, W)``, averaged over the flips."""
        if not self.flips:
            logits: Tensor = network(images)
            return logits.float()
        dims = [_FLIPS[flip] for flip in self.flips]
        together: Tensor = network(torch.cat([images, *(images.flip(each) for each in dims)]))
        own, *mirrored = together.float().chunk(1 + len(dims))
        for each, logits in zip(dims, mirrored, strict=True):
            own = own + logits.flip(each)
        return own / (1 + len(dims))


def scan_step(engine: Engine, item: dict[str, Any]) -> dict[str, Any]:
    """Run one whole scan through an evaluator: the ``iteration_update`` of MONAI's evaluators.

    ``pred`` becomes masks ``(organs, I, J, K)``, on the grid of ``label`` where the item has one to
    compare with, else on the scan's own; ``probs`` likewise, where the inferer gives them. MONAI's
    own step collates items into batches and takes them apart again, which a scan with its grid does
    not survive.
    """
    native = None if "label" in item else item["native"]
    with engine.mode(engine.network):
        pred, probs = engine.inferer(item["image"], engine.network, native=native)
    output: dict[str, Any] = {key: item[key] for key in ("image", "label") if key in item}
    engine.state.output = output | {"pred": pred} | ({} if probs is None else {"probs": probs})
    engine.fire_event(IterationEvents.FORWARD_COMPLETED)
    engine.fire_event(IterationEvents.MODEL_COMPLETED)
    return engine.state.output  # type: ignore[no-any-return]
