"""Images of any size for networks that halve theirs several times."""

from torch import Tensor
from torch.nn import functional


def padded(images: Tensor, multiple_px: int) -> Tensor:
    """Return images with zeros at the right and the bottom, up to multiples of `multiple_px`.

    Args:
        images: ``(B, C, H, W)``; returned as they are where both sizes are multiples already.
        multiple_px: Of height and of width.
    """
    height, width = images.shape[-2:]
    return functional.pad(images, (0, -width % multiple_px, 0, -height % multiple_px))


def widened(images: Tensor, least_px: int) -> Tensor:
    """Return images ``(B, C, H, W)`` with zeros at the right, up to a width of `least_px`.

    Networks that normalise the deepest maps of each image by themselves need two pixels of them.
    """
    lacking = least_px - images.shape[-1]
    # The larger one of `lacking` and 0 without a branch, which a trace would not keep.
    return functional.pad(images, (0, (lacking + abs(lacking)) // 2))
