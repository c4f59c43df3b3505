"""Learning rates over the steps of a training, as factors of the optimiser's own rate."""

import math
from collections.abc import Callable


def warmup_cosine(*, steps: int, warmup: float = 0.1) -> Callable[[int], float]:
    """Return the factor at each step: a linear rise to 1, then half a cosine down to 0.

    A function of the step alone, so that a resumed training, also one with more epochs, continues
    on the curve of its present length.

    Args:
        steps: Optimiser steps of the whole training.
        warmup: Share of them in which the rate rises.
    """
    rise = max(1, round(steps * warmup))

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        done = min(1.0, (step - rise) / max(1, steps - rise))
        return (1 + math.cos(math.pi * done)) / 2

    return factor
