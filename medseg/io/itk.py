"""SimpleITK: bias-field correction."""

import numpy as np
import SimpleITK as sitk  # noqa: N813 - as everyone calls it
from numpy.typing import NDArray

from medseg.geometry import Spacing

# Of N4ITK's own program: a quarter of the voxels along each axis, as the field is smooth.
_SHRINK = 4
_ITERATIONS = (50, 50, 30, 20)


def n4_corrected(image: NDArray[np.float32], spacing_mm: Spacing) -> NDArray[np.float32]:
    """Return an image ``(I, J, K)`` without its slowly varying shading.

    The field is estimated on fewer voxels, above Otsu's threshold, and divided out at full
    resolution. A constant image is returned as it is.

    Args:
        image: Values from 0.
        spacing_mm: Of the voxels.

    References:
        Tustison et al. (2010), N4ITK: improved N3 bias correction.
    """
    if image.min() == image.max():
        return image
    whole = sitk.GetImageFromArray(image.T)
    whole.SetSpacing([float(side_mm) for side_mm in spacing_mm])
    small = sitk.Shrink(whole, [min(_SHRINK, side) for side in image.shape])
    body = sitk.OtsuThreshold(small, 0, 1, 200)
    corrector = sitk.N4BiasFieldCorrectionImageFilter()
    corrector.SetMaximumNumberOfIterations(_ITERATIONS)
    corrector.Execute(small, body)
    field = sitk.Exp(corrector.GetLogBiasFieldAsImage(whole))
    corrected: NDArray[np.float32] = sitk.GetArrayFromImage(whole / field)
    return corrected.T
