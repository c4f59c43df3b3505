"""What goes to a device arrives as it was."""

import numpy as np
import torch

from medseg.transforms.sending import sent


def test_arrays_arrive_with_type_shape_and_values():
    arrays = (
        np.arange(3, dtype=np.float32),
        np.array([[-1], [2**62]], np.int64),
        np.arange(12, dtype=np.float64).reshape(3, 4).T,
        np.zeros((0, 2), np.float32),
    )
    tensors = sent(torch.device("cpu"), *arrays)
    for array, tensor in zip(arrays, tensors, strict=True):
        assert str(tensor.dtype) == f"torch.{array.dtype}"
        np.testing.assert_array_equal(tensor.numpy(), array)
