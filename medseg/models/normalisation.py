"""Batch normalisation of maps of a single pixel, and by the images of several processes."""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from medseg import ranks


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


def synchronise(network: nn.Module) -> None:
    """Let all batch normalisation of a network be by the images of all ranks, from now on.

    They may be of different number. Parameters and statistics keep their names. What torch has for
    this works on CUDA devices alone.
    """
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.forward = partial(_over_ranks, module)  # type: ignore[method-assign]


def _over_ranks(norm: _BatchNorm, maps: Tensor) -> Tensor:
    """Return maps ``(B, C, ...)``, normalised by the means and variances over all ranks."""
    if not norm.training and norm.running_mean is not None:
        return type(norm).forward(norm, maps)
    sides, channels = [0, *range(2, maps.ndim)], maps.shape[1]
    shape = (1, channels) + (1,) * (maps.ndim - 2)
    # Sums of squares are exact enough for numbers about 0: those about the mean so far nearly are.
    about = maps.new_zeros(channels) if norm.running_mean is None else norm.running_mean.clone()
    own = maps.float() - about.float().view(shape)
    count = own.new_full((1,), maps.numel() // channels)
    sums = ranks.summed(torch.cat([own.sum(sides), own.square().sum(sides), count]).double())
    mean, square, every = sums[:channels] / sums[-1], sums[channels:-1] / sums[-1], sums[-1]
    variance = square - mean.square()
    _keep(norm, about + mean.detach(), (variance * every / (every - 1)).detach())
    scale = (variance + norm.eps).rsqrt().float().view(shape)
    normal = (own - mean.float().view(shape)) * scale
    if norm.affine:
        normal = normal * norm.weight.view(shape) + norm.bias.view(shape)
    return normal.to(maps.dtype)


def _keep(norm: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    """Take the statistics of a batch into those that serve later."""
    if norm.running_mean is None or norm.running_var is None or norm.num_batches_tracked is None:
        return
    norm.num_batches_tracked.add_(1)
    share = 1 / norm.num_batches_tracked if norm.momentum is None else norm.momentum
    with torch.no_grad():
        norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), share)
        norm.running_var.lerp_(variance.to(norm.running_var.dtype), share)
