"""Batches come out as they would sample by sample: the same distribution of outcomes.

Each change alone, and all of them together, are compared with the random transforms of MONAI, which
draw for one sample after the other, and where those draw something else, with the plain formula and
a generator for each sample. Seeds are fixed: a test that passes goes on passing.
"""

from math import radians

import monai.transforms as mt
import numpy as np
import pytest
import torch
from scipy import ndimage, stats

from medseg.transforms import BatchAugment

COUNT, SIDE = 500, 48
BOTH = ["image", "label"]
MODE = {"mode": ["bilinear", "nearest"], "padding_mode": "zeros"}
NOTHING = {
    **{"rotate_deg": 0, "translate": 0, "scale": 0, "flip": False},
    **{"brightness": 0, "contrast": 0, "chance": 0.5},
}


def phantom():
    """Return a slice from 0 to 1, alike in no direction, and the mask of an organ in it."""
    j, i = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    body = (i / 0.8) ** 2 + (j / 0.6) ** 2 < 1
    organ = (i - 0.3) ** 2 + (j + 0.15) ** 2 < 0.06
    image = body * (0.45 + 0.15 * np.sin(6 * i) * np.cos(4 * j) + 0.1 * i) + 0.3 * organ
    image = (image - image.min()) / (image.max() - image.min())
    return image[None].astype(np.float32), organ[None].astype(np.uint8)


IMAGE, MASK = phantom()


def outcomes(image, mask):
    """Return what is compared of a sample."""
    image = image.astype(float)
    j, i = np.nonzero(mask)
    return {
        "mean": image.mean(),
        "std": image.std(),
        "gradient energy": sum((np.diff(image, axis=axis) ** 2).sum() for axis in (0, 1)),
        "mask area": len(j),
        "mask row": j.mean() if len(j) else -1,
        "mask column": i.mean() if len(i) else -1,
    }


def of_batches(**limits):
    """Return outcomes of batches with these limits and no others."""
    augment = BatchAugment(**(NOTHING | limits))
    image = torch.from_numpy(IMAGE).expand(COUNT, -1, -1, -1)
    mask = torch.from_numpy(MASK).expand(COUNT, -1, -1, -1)
    made = augment(image, mask, torch.arange(COUNT))
    return [outcomes(*each) for each in zip(*(part[:, 0].numpy() for part in made), strict=True)]


def of_monai(*transforms):
    """Return outcomes of MONAI's random transforms, called for one sample after the other."""
    chain = mt.Compose(transforms).set_random_state(seed=1)
    item = {"image": torch.from_numpy(IMAGE), "label": torch.from_numpy(MASK)}
    made = (chain(item) for _ in range(COUNT))
    return [outcomes(*(np.asarray(each[key])[0] for key in BOTH)) for each in made]


def of_formula(formula):
    """Return outcomes of a function of the image and a generator, called for every other sample."""
    made = []
    for seed in range(10_000, 10_000 + COUNT):
        rng = np.random.default_rng(seed)
        made.append(outcomes(*formula(rng)) if rng.random() < 0.5 else outcomes(IMAGE[0], MASK[0]))
    return made


def assert_alike(ours, theirs):
    for name in ours[0]:
        # Rounding is no difference: what is nearly equal is to be a tie.
        one, other = (np.round([each[name] for each in side], 4) for side in (ours, theirs))
        found = stats.ks_2samp(one, other)
        assert found.pvalue > 0.001, f"{name}: {np.mean(one):.4g} and {np.mean(other):.4g}, {found}"


ALONE = {
    "rotation": (
        {"rotate_deg": 25},
        lambda: mt.RandAffined(BOTH, prob=1, rotate_range=radians(25), **MODE),
    ),
    "shift": (
        {"translate": 0.1},
        lambda: mt.RandAffined(BOTH, prob=1, translate_range=(0.1 * SIDE, 0.1 * SIDE), **MODE),
    ),
    "contrast": (
        {"contrast": 0.3},
        lambda: mt.RandScaleIntensityd("image", prob=1, factors=0.3),
    ),
    "brightness": (
        {"brightness": 0.2},
        lambda: mt.RandShiftIntensityd("image", prob=1, offsets=0.2),
    ),
    "gamma": (
        {"gamma": 0.5},
        lambda: mt.RandAdjustContrastd("image", prob=0.5, gamma=(0.5, 1.5)),
    ),
    "noise": (
        {"noise": 0.2},
        lambda: mt.RandGaussianNoised("image", prob=0.5, std=0.2),
    ),
    "low resolution": (
        {"low_resolution": 0.6},
        lambda: mt.RandSimulateLowResolutiond(
            "image",
            prob=0.5,
            downsample_mode="nearest-exact",
            upsample_mode="bilinear",
            zoom_range=(0.4, 1),
        ),
    ),
}


@pytest.mark.parametrize(
    ("limits", "peer"), [pytest.param(*row, id=name) for name, row in ALONE.items()]
)
def test_one_change_is_distributed_as_monais(limits, peer):
    assert_alike(of_batches(**limits), of_monai(peer()))


def test_flips_are_distributed_as_monais():
    flips = [mt.RandFlipd(BOTH, prob=0.5, spatial_axis=axis) for axis in (0, 1)]
    assert_alike(of_batches(flip=True), of_monai(*flips))


def test_all_of_monais_changes_together_are_distributed_alike():
    limits = {"flip": True}
    for own, _ in ALONE.values():
        limits |= own
    flips = [mt.RandFlipd(BOTH, prob=0.5, spatial_axis=axis) for axis in (0, 1)]
    moved = mt.RandAffined(
        BOTH,
        prob=1,
        rotate_range=radians(25),
        translate_range=(0.1 * SIDE, 0.1 * SIDE),
        **MODE,
    )
    order = ("gamma", "contrast", "brightness", "low resolution", "noise")
    shades = [ALONE[name][1]() for name in order]
    assert_alike(of_batches(**limits), of_monai(*flips, moved, *shades))


def test_magnifications_are_distributed_as_drawn_one_by_one():
    def zoom(rng):
        factor = 1 + 0.3 * (2 * rng.random() - 1)
        matrix = np.diag([1 / factor, 1 / factor])
        offset = (1 - 1 / factor) * (np.array([SIDE, SIDE]) - 1) / 2
        return tuple(
            ndimage.affine_transform(plane, matrix, offset, order=order, mode="grid-constant")
            for plane, order in ((IMAGE[0], 1), (MASK[0], 0))
        )

    made = [zoom(np.random.default_rng(seed)) for seed in range(10_000, 10_000 + COUNT)]
    assert_alike(of_batches(scale=0.3), [outcomes(*each) for each in made])


def test_bends_are_distributed_as_drawn_one_by_one():
    j, i = np.mgrid[:SIDE, :SIDE].astype(float)
    at = [(j + 0.5) / 32 + 1, (i + 0.5) / 32 + 1]

    def bent(rng):
        points = rng.uniform(0, 12) * rng.uniform(-1, 1, (2, 5, 5))
        x, y = (ndimage.map_coordinates(p, at, order=3, prefilter=False) for p in points)
        return tuple(
            ndimage.map_coordinates(plane, [j + y, i + x], order=order, mode="grid-constant")
            for plane, order in ((IMAGE[0], 1), (MASK[0], 0))
        )

    assert_alike(of_batches(elastic_px=12), of_formula(bent))


def test_bias_fields_are_distributed_as_drawn_one_by_one():
    j, i = np.mgrid[:SIDE, :SIDE]
    at = [(j + 0.5) / SIDE + 1, (i + 0.5) / SIDE + 1]

    def biased(rng):
        points = rng.uniform(0, 0.8) * rng.uniform(-1, 1, (4, 4))
        field = ndimage.map_coordinates(points, at, order=3, prefilter=False)
        return IMAGE[0] * np.exp(field), MASK[0]

    assert_alike(of_batches(bias=0.8), of_formula(biased))


def test_a_wrong_limit_would_be_noticed():
    theirs = of_monai(mt.RandAdjustContrastd("image", prob=0.5, gamma=(0.5, 1.5)))
    with pytest.raises(AssertionError, match="mean"):
        assert_alike(of_batches(gamma=0.15), theirs)
    with pytest.raises(AssertionError, match="mean"):
        assert_alike(of_batches(gamma=0.5, chance=0.2), theirs)
