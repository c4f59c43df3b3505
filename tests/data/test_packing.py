"""A bit a mask: the same as shifting and adding whole arrays, whatever lies in memory."""

import numpy as np
import pytest

from medseg.data.packing import packed, parted


def added(masks):
    weights = 2 ** np.arange(len(masks)).reshape(-1, 1, 1, 1)
    return ((masks != 0) * weights).sum(0)


@pytest.mark.parametrize("channels", [pytest.param(n, id=f"{n} masks") for n in (1, 3, 8)])
def test_every_mask_has_its_bit(channels):
    masks = np.random.default_rng(channels).integers(0, 3, (channels, 4, 5, 6)).astype(np.uint8)
    bits = packed(masks)
    assert bits.dtype == np.uint8
    assert np.array_equal(bits, added(masks))


def test_a_crop_of_turned_masks_is_packed_as_it_is_seen():
    masks = np.random.default_rng(0).integers(0, 2, (3, 8, 9, 7)).astype(np.uint8)
    part = masks.transpose(0, 3, 2, 1)[:, 1:5, ::-1, 2:]
    assert np.array_equal(packed(part), added(part))


def test_empty_masks_set_nothing():
    assert not packed(np.zeros((3, 2, 2, 2), np.uint8)).any()


@pytest.mark.parametrize("channels", [pytest.param(n, id=f"{n} masks") for n in (1, 3, 8)])
def test_bits_give_their_masks_back(channels):
    masks = np.random.default_rng(channels).integers(0, 2, (channels, 4, 5, 6)).astype(np.uint8)
    assert np.array_equal(parted(packed(masks), channels), masks.swapaxes(0, 1))
    turned = packed(masks)[:, ::-1]
    assert np.array_equal(parted(turned, channels), masks.swapaxes(0, 1)[:, :, ::-1])


def test_no_slices_have_no_masks():
    assert parted(np.empty((0, 5, 6), np.uint8), 3).shape == (0, 3, 5, 6)
