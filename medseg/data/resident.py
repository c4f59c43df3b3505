"""The voxels of a training fold on the device, where a batch is an index and a gather."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from medseg.data.entry import Prepared
from medseg.data.samples import Samples


class ResidentVoxels:
    """All voxels of some scans, one scan after the other, whatever their sizes.

    Args:
        scans: Prepared scans with labels.
        roi_px: Rows and columns of a sample.
        device: Where the voxels are to lie.

    Raises:
        torch.OutOfMemoryError: They do not fit.
    """

    def __init__(
        self, scans: Sequence[Prepared], *, roi_px: tuple[int, int], device: torch.device
    ) -> None:
        self._sizes = np.array([scan.grid.shape[::-1] for scan in scans], np.int64)
        self._channels = scans[0].image_channels
        ends = self._sizes.prod(1).cumsum()
        self._firsts = np.concatenate([[0], ends[:-1]])
        voxels = int(ends[-1])
        self.image = torch.empty(voxels * self._channels, dtype=torch.float16, device=device)
        self.bits = torch.empty(voxels, dtype=torch.uint8, device=device)
        for scan, first, end in zip(scans, self._firsts, ends, strict=True):
            # A copy: torch takes no read-only array. No more than one scan is held by the host.
            image = torch.from_numpy(np.array(scan.image).reshape(-1))
            self.image[first * self._channels : end * self._channels] = image
            self.bits[first:end] = torch.from_numpy(np.array(scan.masks).reshape(-1))
        self._width = roi_px[1]
        self._rows = torch.arange(roi_px[0], device=device)

    @staticmethod
    def bytes_of(scans: Sequence[Prepared]) -> int:
        """Return how much memory the voxels of some scans take."""
        voxels = sum(int(np.prod(scan.grid.shape, dtype=np.int64)) for scan in scans)
        channels = max((scan.image_channels for scan in scans), default=1)
        return voxels * (channels * torch.float16.itemsize + torch.uint8.itemsize)

    def gather(self, samples: Samples) -> tuple[Tensor, Tensor]:
        """Return images ``(B, neighbours * channels, H, W)`` float16 and masks ``(B, H, W)``.

        An organ is a bit of the masks. The device is neither waited for nor asked anything.
        """
        rows, columns = self._sizes[samples.scan, 1:].T
        firsts, area = self._firsts[samples.scan], rows * columns
        corner = samples.top * columns + samples.left
        # Slices of an image are as many areas apart as it has channels; those of masks are not.
        planes = samples.slices[:, :, None] * self._channels + np.arange(self._channels)
        starts = (firsts * self._channels + corner)[:, None] + planes.reshape(
            len(columns), -1
        ) * area[:, None]
        of_masks = firsts + corner + samples.k * area
        sent = torch.from_numpy(np.column_stack([starts, of_masks, columns]))
        if self.image.is_cuda:
            sent = sent.pin_memory()
        sent = sent.to(self.image.device, non_blocking=True)
        # Where each row of each channel begins, (B, neighbours * channels + 1, H).
        begins = sent[:, :-1, None] + sent[:, -1:, None] * self._rows
        image = self.image.unfold(0, self._width, 1)[begins[:, :-1]]
        bits = self.bits.unfold(0, self._width, 1)[begins[:, -1]]
        return image, bits


def free_bytes(device: torch.device) -> int | None:
    """Return how much of a CUDA device's memory can still be had; None for any other device."""
    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    # What torch has reserved and does not use is to be had as well.
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
