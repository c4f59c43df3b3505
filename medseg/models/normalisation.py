"""Batch normalisation of maps that pooling has shrunk to a single pixel."""

from torch import Tensor, nn
from torch.nn import functional


class PooledNorm(nn.BatchNorm2d):
    """Batch normalisation that can also train on a batch of one image.

    Maps of one pixel have one value a channel for each image, and one value alone has no spread to
    normalise by. Then, as in eval mode, the running statistics serve, and stay as they are: the
    last batch of an epoch, which may hold one image, neither stops training nor counts.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Return maps ``(B, C, H, W)``, normalised by channel."""
        counts = self.training and maps.numel() > maps.shape[1]
        if counts and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        return functional.batch_norm(
            maps,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            counts,
            0.1 if self.momentum is None else self.momentum,
            self.eps,
        )
