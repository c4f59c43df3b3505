"""How well two ways of measuring one thing agree: Bland and Altman, Lancet 327 (1986) 307."""

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple


class Agreement(NamedTuple):
    """The differences of two measurements; NaN where there are too few to tell.

    Attributes:
        bias: Their mean; of one difference itself, of none NaN.
        low: Lower limit of agreement, bias less 1.96 standard deviations; NaN below two.
        high: Upper limit.
        n: How many differences.
    """

    bias: float
    low: float
    high: float
    n: int


def limits_of_agreement(differences: Sequence[float]) -> Agreement:
    """Return bias and 95 % limits: between them lie 19 in 20 differences that scatter normally.

    Measurements of one patient on several days count as if they were of several patients.
    """
    if not differences:
        return Agreement(math.nan, math.nan, math.nan, 0)
    bias = statistics.fmean(differences)
    within = 1.96 * statistics.stdev(differences) if len(differences) > 1 else math.nan
    return Agreement(bias, bias - within, bias + within, len(differences))
