"""From a prepared scan to masks: a 2D network over batches of slices, decided slab by slab.

Each slice is given to the network with its neighbours as channels; a slice larger than the
network's window is covered by overlapping windows whose logits are averaged with Gaussian weights.
The logits of one batch go back to the scan's own grid and become masks before the next batch is
computed: only masks ever cover the whole scan.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, field
from itertools import dropwhile
from typing import Any

import torch
from ignite.engine import Engine
from monai.data import MetaTensor
from monai.engines.utils import IterationEvents
from monai.inferers import Inferer, sliding_window_inference
from torch import Tensor, nn

from medseg.data import neighbour_stack
from medseg.engine.device import autocast, keep_freed_memory
from medseg.engine.memory import Portion, portions, require_free, within_memory
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
    _portion: Portion | None = field(default=None, init=False, repr=False)

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

        Where memory does not suffice, less is computed at once, from then on: with the same masks.

        Raises:
            DivergedError: The network returned a number that is not finite.
            ResourceError: Memory does not suffice for one slice.
        """
        device = next(network.parameters()).device
        if device.type == "cpu":
            keep_freed_memory()
        wanted = native or grid_of(image)
        organs = len(self.cleaning.organs) if self.cleaning else 1
        require_free(
            math.prod(wanted.shape) * organs * (1 + 4 * self.probabilities), subject="scan"
        )
        tried = portions(self._most(device), device)
        if self._portion is not None:
            tried = dropwhile(lambda portion: portion != self._portion, tried)
        (masks, probs), self._portion = within_memory(
            lambda portion: self._decided(image, network, wanted, portion),
            tried,
            device,
        )
        if self.cleaning:
            masks = self.cleaning(masks, wanted)
        return Decided(masks, probs)

    def _decided(
        self, image: MetaTensor, network: nn.Module, wanted: Grid, portion: Portion
    ) -> Decided:
        """Return masks on the grid wanted, on the CPU and before they are cleaned."""
        device = next(network.parameters()).device
        kept_on = torch.device("cpu") if portion.aside else device
        # Plain: a MetaTensor pays for its metadata in every operation.
        slices = image.as_subclass(Tensor).permute(3, 0, 2, 1).to(kept_on)  # (K, C, J, I)
        # Around the whole scan, as a network's weights are cast anew in each of these.
        with autocast(device, amp=self.amp):
            masks, probs = decided(
                self.logits(slices, network, at_once=portion.batch),
                grid_of(image),
                wanted,
                label_mode=self.label_mode,
                probabilities=self.probabilities,
                thresholds=self.cleaning.thresholds if self.cleaning else (),
            )
        return Decided(masks.cpu(), None if probs is None else probs.cpu())

    @torch.inference_mode()
    def logits(
        self, slices: Tensor, network: nn.Module, *, at_once: int | None = None
    ) -> Iterator[Tensor]:
        """Yield the logits ``(n, classes, J, I)`` float32 of slices ``(K, C, J, I)``, n at a time.

        They lie where the slices do, wherever the network is. `at_once` is the number of images in
        a forward pass; None is as many as are wanted.

        Raises:
            DivergedError: One was not finite; after the last slab, as only then a device is asked.
        """
        finite = torch.ones((), dtype=torch.bool, device=slices.device)
        device = next(network.parameters()).device
        step = self._beside_copies(self._most(device) if at_once is None else at_once)
        for first in range(0, len(slices), step):
            ks = range(first, min(first + step, len(slices)))
            stack = neighbour_stack(slices, ks, self.neighbours, self.stride)
            logits = self._windows(stack.float().to(device), network, step).to(slices.device)
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

    def _most(self, device: torch.device) -> int:
        """Return how many images one forward pass takes at most."""
        return min(self.batch, CPU_BATCH) if device.type == "cpu" else self.batch

    def _beside_copies(self, batch: int) -> int:
        """Return how many slices, or windows, there are in a batch beside their copies."""
        return max(1, batch // (1 + len(self.flips)))

    def _windows(self, stack: Tensor, network: nn.Module, at_once: int) -> Tensor:
        if stack.shape[-2:] == self.roi_px:
            return self._forward(stack, network)
        logits: Tensor = sliding_window_inference(
            stack,
            roi_size=self.roi_px,
            sw_batch_size=at_once,
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
