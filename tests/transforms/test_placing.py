"""What goes to a device arrives as it was, and the right samples are worked on."""

import numpy as np
import pytest
import torch

from medseg.transforms.placing import in_threads, parts, sent


def test_a_processor_takes_one_sample_after_the_other():
    affected = np.array([True, False, True])
    assert parts(affected, torch.device("cpu")) == [slice(0, 1), slice(2, 3)]


def test_an_accelerator_takes_the_batch_if_it_takes_anything():
    assert parts(np.array([False, True]), torch.device("cuda")) == [slice(None)]
    assert parts(np.array([False, False]), torch.device("cuda")) == []


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


@pytest.mark.parametrize("threads", [pytest.param(1, id="one"), pytest.param(3, id="three")])
def test_all_numbers_are_worked_on_and_faults_are_heard(threads, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    done = []
    in_threads(done.append, range(7))
    assert sorted(done) == list(range(7))
    with pytest.raises(ZeroDivisionError, match="zero"):
        in_threads(lambda number: 1 // number, range(3))
