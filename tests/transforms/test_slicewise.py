"""Slice by slice or as a batch: the same comes out, on any number of threads."""

import numpy as np
import pytest
import torch

from medseg.transforms import BatchAugment
from medseg.transforms.augment import changed_batch, draw
from medseg.transforms.slicewise import changed_slices, in_threads


def test_both_ways_agree_on_everything():
    j, i = np.mgrid[:61, :83]
    waves = [0.5 + 0.5 * np.sin(i / a) * np.cos(j / b) for a, b in ((9, 13), (17, 8), (21, 30))]
    image = torch.from_numpy(np.stack(waves).astype(np.float32)).expand(24, 3, 61, 83)
    masks = (image > 0.5).byte()
    limits = BatchAugment(
        elastic_px=8, gamma=0.4, bias=0.3, low_resolution=0.5, noise=0.1, chance=0.5
    )
    draws = draw(torch.arange(24), limits)
    one, other = changed_slices(image, masks, draws), changed_batch(image, masks, draws)
    torch.testing.assert_close(one[0], other[0], atol=2e-5, rtol=0)
    assert (one[1] != other[1]).float().mean() < 1e-4  # halfway between two pixels


@pytest.mark.parametrize("threads", [pytest.param(1, id="one"), pytest.param(3, id="three")])
def test_all_numbers_are_worked_on_and_faults_are_heard(threads, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    done = []
    in_threads(done.append, range(7))
    assert sorted(done) == list(range(7))
    with pytest.raises(ZeroDivisionError, match="zero"):
        in_threads(lambda number: 1 // number, range(3))
