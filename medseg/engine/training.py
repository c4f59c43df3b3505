"""What MONAI's SupervisedTrainer is given: the step's inferer, its batch, and the key metric."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from ignite.engine import Engine
from ignite.metrics import Metric
from monai.inferers import Inferer
from torch import Tensor, nn

from medseg import ranks
from medseg.engine.compiling import MODES, Forward, compiled, warn_uncompiled
from medseg.engine.device import autocast, keep_freed_memory
from medseg.engine.parallel import ScanShare, Scores, distributed
from medseg.errors import Problem, UsageError
from medseg.models.normalisation import synchronise

Augment = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


class StepInferer(Inferer):  # type: ignore[misc]
    """The forward pass of a training step, in bfloat16 where the device has it.

    MONAI's own ``amp`` knows CUDA only; this serves every device, and bfloat16 needs no scaler.
    A network that takes masks in training, see `medseg.models`, is given those of the batch. Where
    several processes train together it is computed on each, see `medseg.engine.parallel`.

    Args:
        amp: Compute in bfloat16 where the device multiplies in it.
        compile: A mode of `torch.compile`, such as ``default`` or ``reduce-overhead`` (CUDA
            graphs), for the first network that is called; False computes it as it is. A network
            that takes masks is computed as it is, and one warning says so.

    Raises:
        UsageError: `compile` is no mode.
    """

    def __init__(self, *, amp: bool = True, compile: str | bool = False) -> None:
        if compile is not False and compile not in MODES:
            expected = f"false or one of {', '.join(MODES)}"
            raise UsageError(Problem("E-CONFIG", "compile", f"is {compile!r}", expected))
        self.amp = amp
        self._mode = compile
        self._forward: Forward | None = None

    def __call__(
        self, inputs: Tensor, network: nn.Module, masks: Tensor | None = None, **_kwargs: object
    ) -> Any:  # noqa: ANN401 - what the network's loss takes
        """Return what the network says of images ``(B, C, H, W)``: logits, or what its loss takes.

        Args:
            inputs: The images.
            network: In training mode.
            masks: The organs' masks ``(B, organs, H, W)``, for a network that takes them.
        """
        if inputs.device.type == "cpu":
            keep_freed_memory()
        with autocast(inputs.device, amp=self.amp):
            taken: tuple[Tensor, ...] = (inputs,)
            if masks is not None and getattr(network, "takes_masks", False):
                self._leave_uncompiled(network)
                taken = (inputs, masks)
            if self._forward is None and (self._mode or ranks.world() > 1):
                self._forward = self._made(network, taken)
            forward = network if self._forward is None else self._forward
            return forward(*taken)

    def _made(self, network: nn.Module, taken: tuple[Tensor, ...]) -> Forward:
        """Return what computes a step, made for those of the size of the first one."""
        several = ranks.world() > 1
        if several:
            synchronise(network)
        forward = compiled(network, taken[0], mode=str(self._mode)) if self._mode else network
        return distributed(network, forward, taken) if several else forward

    def _leave_uncompiled(self, network: nn.Module) -> None:
        if self._mode:
            # What it returns is not logits, and what is compiled is rehearsed with their sum.
            found = "takes masks in training, and is not compiled"
            warn_uncompiled(type(network).__name__, found, fix="set compile to false")
            self._mode = False


class AugmentedBatch:
    """Move a batch to the device and augment it there: the ``prepare_batch`` to a `StepInferer`.

    Args:
        augment: Called with images ``(B, C, H, W)``, masks ``(B, K, H, W)`` and one seed a sample.
    """

    def __init__(self, augment: Augment) -> None:
        self.augment = augment

    def __call__(
        self,
        batch: dict[str, Any],
        device: torch.device,
        non_blocking: bool = False,
        **_kwargs: object,
    ) -> tuple[Tensor, Tensor, tuple[Tensor], dict[str, Any]]:
        """Return the images and masks that the step trains on, and the masks for its inferer."""
        image = batch["image"].to(device, non_blocking=non_blocking)
        masks = batch["label"].to(device, non_blocking=non_blocking)
        image, masks = self.augment(image, masks, batch["draw"])
        return image, masks, (masks,), {}


class ScanDice(Metric):  # type: ignore[misc]
    """Mean 3D Dice over organs, each the mean over the scans that hold or predict the organ.

    Measured on the prepared grid, to choose checkpoints; `medseg evaluate` measures on the scan's
    own grid. A missed organ and a false positive count 0; a scan without the organ in truth and
    prediction says nothing and is left out; with no scan left the organ's Dice is 0.

    ``engine.state.metrics`` receives the mean under the metric's own name and each organ's Dice
    under ``val_dice_<organ>``.
    """

    def __init__(self, organs: Sequence[str]) -> None:
        self.organs = tuple(organs)
        super().__init__(output_transform=lambda output: (output["pred"], output["label"]))

    def reset(self) -> None:
        """Forget all scans."""
        self._scans: Scores = []

    def update(self, output: tuple[Tensor, Tensor]) -> None:
        """Add one scan: predicted and true masks ``(organs, I, J, K)``."""
        pred, truth = (torch.as_tensor(masks).bool().cpu().flatten(1) for masks in output)
        both = (pred & truth).sum(1).tolist()
        sizes = (pred.sum(1) + truth.sum(1)).tolist()
        pairs = zip(both, sizes, strict=True)
        self._scans.append(tuple(2 * shared / size if size else None for shared, size in pairs))

    def compute(self) -> float:
        """Return the mean over organs, in [0, 1]."""
        per_organ = self.per_organ()
        return sum(per_organ.values()) / len(per_organ)

    def per_organ(self) -> dict[str, float]:
        """Return the mean Dice of each organ."""
        dice = {}
        for number, organ in enumerate(self.organs):
            found = [scan[number] for scan in self._scans]
            known = [value for value in found if value is not None]
            dice[organ] = sum(known) / len(known) if known else 0.0
        return dice

    def completed(self, engine: Engine, name: str) -> None:
        """Write the mean and each organ's Dice into the engine's metrics, of all ranks' scans."""
        share = getattr(engine, "data_loader", None)
        if isinstance(share, ScanShare):
            self._scans = share.merged(self._scans)
        super().completed(engine, name)
        engine.state.metrics |= {f"val_dice_{o}": dice for o, dice in self.per_organ().items()}
