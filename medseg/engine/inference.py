"""From a prepared volume to the logits of every voxel, slice by slice.

A volume ``(B, 1, I, J, K)`` is read as its K slices. Each is given to a 2D network with its
neighbours as channels; a slice larger than the network's window is covered by overlapping windows
whose logits are averaged with Gaussian weights.
"""

from typing import Any

import torch
from ignite.engine import Engine
from monai.engines.utils import IterationEvents
from monai.inferers import Inferer, sliding_window_inference
from torch import Tensor, nn

from medseg.data import neighbour_stack
from medseg.engine.device import autocast
from medseg.errors import DivergedError, Problem


class VolumeInferer(Inferer):  # type: ignore[misc]
    """Run a 2D or 2.5D network over every slice of a volume and stitch the logits.

    Args:
        roi_px: The window, rows and columns. Smaller slices are padded to it and cropped back.
        neighbours: Slices the network sees at once, odd; 1 is plain 2D. Edges are clamped.
        stride: Distance between neighbouring channels, in slices.
        overlap: Share of a window that the next one covers too, in [0, 1).
        batch: Windows in one forward pass.
        amp: Compute in bfloat16 where the device has it; logits are float32 all the same.
    """

    def __init__(
        self,
        roi_px: tuple[int, int],
        *,
        neighbours: int = 1,
        stride: int = 1,
        overlap: float = 0.25,
        batch: int = 16,
        amp: bool = True,
    ) -> None:
        self.roi_px = tuple(roi_px)
        self.neighbours, self.stride = neighbours, stride
        self.overlap, self.batch, self.amp = overlap, batch, amp

    def __call__(
        self, inputs: Tensor, network: nn.Module, *_args: object, **_kwargs: object
    ) -> Tensor:
        """Return the logits ``(B, classes, I, J, K)`` of volumes ``(B, 1, I, J, K)``.

        Raises:
            DivergedError: The network returned a number that is not finite.
        """
        return torch.stack([self._volume(volume[0], network) for volume in inputs])

    @torch.no_grad()
    def _volume(self, volume: Tensor, network: nn.Module) -> Tensor:
        device = next(network.parameters()).device
        # Plain: a MetaTensor pays for its metadata in every operation of the network.
        slices = volume.as_subclass(Tensor).permute(2, 1, 0)  # (K, J, I): rows and columns last
        stitched: list[Tensor] = []
        for first in range(0, len(slices), self.batch):
            ks = torch.arange(first, min(first + self.batch, len(slices)))
            stack = neighbour_stack(slices, ks, self.neighbours, self.stride).to(device)
            with autocast(device, amp=self.amp):
                logits = self._windows(stack, network)
            stitched.append(logits.float())
        logits = torch.cat(stitched)  # (K, classes, J, I)
        if not torch.isfinite(logits).all():
            raise DivergedError(
                Problem(
                    "E-NONFINITE",
                    "network",
                    "its logits hold NaN or infinity",
                    "finite numbers",
                    "use an earlier checkpoint, or train again at a lower learning rate",
                )
            )
        return logits.permute(1, 3, 2, 0)

    def _windows(self, stack: Tensor, network: nn.Module) -> Tensor:
        if stack.shape[-2:] == self.roi_px:
            return network(stack)  # type: ignore[no-any-return]
        return sliding_window_inference(  # type: ignore[no-any-return]
            stack,
            roi_size=self.roi_px,
            sw_batch_size=self.batch,
            predictor=lambda windows: network(windows).float(),
            overlap=self.overlap,
            mode="gaussian",
        )


def scan_step(engine: Engine, item: dict[str, Any]) -> dict[str, Any]:
    """Run one whole scan through an evaluator: the ``iteration_update`` of MONAI's evaluators.

    MONAI's own step collates items into batches and takes them apart again, which a scan with its
    grid does not survive; here a step is one scan, and post-processing sees it unbatched.
    """
    output: dict[str, Any] = {key: item[key] for key in ("image", "label") if key in item}
    with engine.mode(engine.network):
        image = item["image"][None].to(engine.state.device)
        output["pred"] = engine.inferer(image, engine.network)[0]
    engine.state.output = output
    engine.fire_event(IterationEvents.FORWARD_COMPLETED)
    engine.fire_event(IterationEvents.MODEL_COMPLETED)
    return engine.state.output  # type: ignore[no-any-return]
