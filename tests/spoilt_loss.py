"""A loss that is never a number."""


def nothing(pred, _target):
    """Return NaN, with a gradient that is none either."""
    return pred.sum() * float("nan")
