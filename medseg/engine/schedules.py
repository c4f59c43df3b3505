"""Learning rates over the steps of a training, as factors of each parameter group's own rate.

They are functions of the step alone, for torch's `LambdaLR`: a resumed training, also one with more
epochs, continues on the curve of its present length. torch's own schedules keep the length they
began with.
"""

import math
from collections.abc import Callable

Factor = Callable[[int], float]


def warmup_cosine(*, steps: int, warmup: float = 0.1, minimum: float = 0.0) -> Factor:
    """Return the factor at each step: a linear rise to 1, then half a cosine down to `minimum`.

    Args:
        steps: Optimiser steps of the whole training.
        warmup: Share of them in which the rate rises; 0 begins at the full rate.
        minimum: The factor after the last step.

    References:
        Loshchilov, Hutter (2017), SGDR: Stochastic Gradient Descent with Warm Restarts, ICLR.
    """
    return _risen(steps, warmup, minimum, lambda done: (1 + math.cos(math.pi * done)) / 2)


def warmup_poly(
    *, steps: int, warmup: float = 0.1, power: float = 0.9, minimum: float = 0.0
) -> Factor:
    """Return the factor at each step: a linear rise to 1, then down as a power of what is left.

    Args:
        steps: Optimiser steps of the whole training.
        warmup: Share of them in which the rate rises; 0 begins at the full rate.
        power: Of the share of steps that is left; 1 is a straight line.
        minimum: The factor after the last step.

    References:
        Chen et al. (2018), DeepLab, IEEE TPAMI: power 0.9, no warm-up. Xie et al. (2021),
        SegFormer: power 1, warm-up.
    """
    return _risen(steps, warmup, minimum, lambda done: (1 - done) ** power)


def _risen(steps: int, warmup: float, minimum: float, fall: Callable[[float], float]) -> Factor:
    """Return the factors of a rise and then of `fall`, from 1 to 0 over the share that is done."""
    rise = max(1, round(steps * warmup)) if warmup else 0

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        done = min(1.0, (step - rise) / max(1, steps - rise))
        return minimum + (1 - minimum) * fall(done)

    return factor
