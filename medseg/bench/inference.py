"""A whole scan through a network: from a prepared volume to labels on the same grid."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from medseg.bench.measure import Side, Timed, Work, require
from medseg.bench.peers import Peer
from medseg.bench.volumes import draw
from medseg.engine import VolumeInferer
from medseg.engine.inference import CPU_BATCH
from medseg.geometry import lpi_grid
from medseg.models import segformer_b0
from medseg.transforms import moved, on_grid

_SIDE_PX = 288
_ORGANS = 3
_SMALLER_PX = 224  # windows of MONAI's side as shipped: two along each axis of a slice
_PLANNED_PX = 256  # what nnU-Net plans for slices of 266 x 266 pixels; tiles half of that apart
_TRAINED_PX = 160
_MATCHED, _SHIPPED = 0.999, 0.95  # shares of voxels that have to agree

Labels = NDArray[np.uint8]


class Scan(NamedTuple):
    """A prepared scan and a network for it.

    Attributes:
        image: A MetaTensor ``(1, I, J, K)`` on the CPU.
        network: In eval mode, on the device to compute on.
    """

    image: Any
    network: nn.Module


def works(
    folder: Path,
    *,
    slices: int = 144,
    steps: int = 60,
    device: str = "cpu",
    nnunet: Peer | None = None,
) -> list[Work]:
    """Return the works of labelling one scan of 288 x 288 pixels with a SegFormer-b0.

    All sides have the same array and weights. What is *matched* computes alike: one window a
    slice, nothing mirrored and, on a CPU, float32. What is *as shipped* does as its users do.

    Args:
        folder: Where the volume and the weights are written for a peer.
        slices: Slices of the scan.
        steps: Of training before, so that labels mean something.
        device: What computes.
        nnunet: The script ``benchmarks/peers/nnunet.py``, running; without it nnU-Net is left out.
    """
    image, target = _prepared(slices)
    network = _trained(image, target, steps).to(device).eval()
    scan = Scan(image, network)
    on_cpu = torch.device(device).type == "cpu"
    shipped = partial(_work, ours=_ours(scan, amp=True), limit=_SHIPPED)
    plain = partial(_work, ours=_ours(scan, amp=False))
    smaller = _by_monai(scan, _SMALLER_PX, overlap=0.5, mode="gaussian")
    against = f"MONAI SliceInferer as shipped: windows of {_SMALLER_PX}, overlap 0.5, Gaussian"
    found = [
        plain(
            "labels of a scan, matched",
            "MONAI SliceInferer",
            reach=0.98,
            theirs=_by_monai(scan, _SIDE_PX, overlap=0.25, mode="constant"),
            limit=_MATCHED,
        ),
        plain(
            "labels of a scan, float32",
            against,
            reach=2 if on_cpu else 5,
            theirs=smaller,
            limit=_SHIPPED,
        ),
        shipped("labels of a scan, as shipped", against, reach=2 if on_cpu else 5, theirs=smaller),
    ]
    if nnunet is None:
        return found
    call = _written(folder, scan, nnunet, device)
    as_planned = partial(call, patch_px=_PLANNED_PX, shipped=True)
    against = f"nnU-Net as shipped: tiles of {_PLANNED_PX}, half steps, Gaussian, mirrored"
    # On a GPU nnU-Net computes in half precision whatever it is asked.
    matched = plain if on_cpu else partial(shipped, limit=_MATCHED)
    return [
        *found,
        matched(
            "labels of a scan, matched",
            "nnU-Net",
            reach=0.98,
            theirs=partial(call, patch_px=_SIDE_PX, shipped=False),
            limit=_MATCHED,
        ),
        plain("labels of a scan, float32", against, reach=5, theirs=as_planned, limit=_SHIPPED),
        shipped("labels of a scan, as shipped", against, reach=5, theirs=as_planned),
    ]


def _work(name: str, against: str, *, reach: float, ours: Side, theirs: Side, limit: float) -> Work:
    def same(own: Tensor, other: Labels) -> str:
        labels = np.zeros(own.shape[1:], np.uint8)
        for organ, mask in enumerate(own.numpy(), 1):
            labels[mask > 0] = organ
        labels = labels.T
        equal = labels == other
        found = np.maximum(labels, other) > 0
        share, inside = float(equal.mean()), float(equal[found].mean()) if found.any() else 1.0
        require(share >= limit, f"{share:.2%} of the voxels agree, {inside:.2%} of organs")
        return f"{share:.2%} of the voxels agree, {inside:.2%} of those in an organ"

    return Work(name, against, reach, ours, theirs, same)


def _ours(scan: Scan, *, amp: bool) -> Side:
    infer = VolumeInferer((_SIDE_PX, _SIDE_PX), label_mode="exclusive", amp=amp)
    return lambda: infer(scan.image, scan.network).masks


def _by_monai(scan: Scan, window_px: int, *, overlap: float, mode: str) -> Side:
    from monai.inferers import SliceInferer

    device = next(scan.network.parameters()).device
    infer = SliceInferer(
        roi_size=(window_px, window_px),
        sw_batch_size=CPU_BATCH if device.type == "cpu" else 32,
        overlap=overlap,
        mode=mode,
        spatial_dim=0,
    )
    # As it likes it best: slice after slice.
    volume = _slices_first(scan.image)[None, None]

    def labels() -> Labels:
        with torch.no_grad():
            logits: Tensor = infer(volume.to(device), scan.network)
        found: Labels = logits[0].argmax(0).byte().cpu().numpy()
        return found

    return labels


def _written(folder: Path, scan: Scan, nnunet: Peer, device: str) -> Callable[..., Timed]:
    """Write what nnU-Net's side needs and return how to call it."""
    weights, volume, result = (folder / name for name in ("weights.pt", "volume.npy", "labels.npy"))
    torch.save(scan.network.state_dict(), weights)
    np.save(volume, _slices_first(scan.image).numpy())

    def call(*, patch_px: int, shipped: bool) -> Timed:
        answer = nnunet.call(
            weights=str(weights),
            volume=str(volume),
            result=str(result),
            patch_px=patch_px,
            shipped=shipped,
            device=device,
        )
        return answer._replace(output=np.load(result))

    return call


def _slices_first(image: Any) -> Tensor:  # noqa: ANN401
    """Return a prepared image ``(1, I, J, K)`` as ``(K, J, I)``."""
    slices: Tensor = image.as_subclass(Tensor)[0].permute(2, 1, 0)
    return slices.contiguous()


def _prepared(slices: int) -> tuple[Any, Tensor]:
    """Return the image ``(1, I, J, K)`` of a drawn scan and its labels ``(K, J, I)``."""
    phantom = draw(slices)
    native = lpi_grid(phantom.image.shape, (1.5, 1.5, 3.0))
    margin = (_SIDE_PX - phantom.image.shape[0]) // 2
    grid = native.boxed((-margin, -margin, 0), (_SIDE_PX, _SIDE_PX, slices))
    image = moved(on_grid(torch.from_numpy(phantom.image)[None], native), grid, mode="linear")
    codes = torch.arange(1, _ORGANS + 1, dtype=torch.uint8).view(-1, 1, 1, 1)
    labels = (torch.from_numpy(phantom.masks) * codes).amax(0, keepdim=True)
    return image, _slices_first(moved(on_grid(labels, native), grid, mode="nearest"))


def _trained(image: Any, labels: Tensor, steps: int) -> nn.Module:  # noqa: ANN401
    """Return a network that has seen parts of slices with organs for a few steps."""
    slices = _slices_first(image)
    shown = torch.nonzero(labels.flatten(1).any(1)).flatten().tolist()
    rng = np.random.default_rng(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = segformer_b0(in_channels=1, out_channels=1 + _ORGANS, drop_path=0.0)
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
        for _ in range(steps):
            ks = rng.choice(shown, 4)
            row, column = rng.integers(0, _SIDE_PX - _TRAINED_PX, 2)
            part = (ks, slice(row, row + _TRAINED_PX), slice(column, column + _TRAINED_PX))
            loss = cross_entropy(network(slices[part][:, None]), labels[part].long())
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return network
