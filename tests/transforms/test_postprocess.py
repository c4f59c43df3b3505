"""Logits go back to the scan's own grid slab by slab and become masks there."""

from itertools import permutations, product

import numpy as np
import pytest
import torch

from medseg.errors import GeometryError, UsageError
from medseg.geometry import Grid, lpi_grid
from medseg.io.nifti import read_label_map
from medseg.labels import LabelSet, Organ
from medseg.transforms import SaveMasks, decided, regrid
from medseg.transforms.postprocess import logits_of, masks_of, probs_of

NATIVE = lpi_grid((6, 5, 2), (1.5, 1.5, 3.0))
PREPARED = NATIVE.boxed((1, -1, 0), (4, 7, 2))
LABELS = LabelSet(
    (Organ("liver", 1, (9, 0, 0), "1", "Liver"), Organ("spleen", 2, (0, 9, 0), "2", "Spleen")),
    ("spleen", "liver"),
)
MODES = [pytest.param(mode, id=mode) for mode in ("overlapping", "exclusive")]
ORIENTATIONS = [
    tuple(pair[sign] for pair, sign in zip(axes, signs, strict=True))
    for axes in permutations(("LR", "PA", "IS"))
    for signs in product((0, 1), repeat=3)
]


def random_logits(shape, channels=3):
    return torch.randn(channels, *shape, generator=torch.Generator().manual_seed(0))


def slabs_of(logits, size):
    """Cut logits (C, I, J, K) into slabs (n, C, J, I) of `size` slices, as a network gives them."""
    slices_first = logits.permute(3, 0, 2, 1).contiguous()
    return (slices_first[k : k + size] for k in range(0, len(slices_first), size))


def whole(logits, source, target, mode):
    """The way back of a whole volume, by NumPy but for the resampling."""
    fills = (-100.0, -100.0, -100.0) if mode == "overlapping" else (100.0, -100.0, -100.0)
    logits = logits.permute(3, 0, 2, 1).contiguous().permute(1, 3, 2, 0)
    back = np.concatenate(
        [
            regrid(channel[None], source, target, mode="linear", fill=fill).numpy()
            for channel, fill in zip(logits, fills, strict=True)
        ]
    )
    if mode == "overlapping":
        return back > 0
    return np.stack([back.argmax(0) == organ for organ in range(1, len(back))])


def voxels(*values):
    """Return logits (C, n): one list a channel."""
    return torch.tensor(values)


# Decisions


def test_overlapping_organs_each_decide_for_themselves():
    masks = masks_of(voxels([-1.0, 0.1, 5.0, 0.0], [3.0, -0.1, 2.0, -9.0]), "overlapping")
    assert masks.dtype == torch.uint8
    assert masks.tolist() == [[0, 1, 1, 0], [1, 0, 1, 0]]


def test_of_exclusive_organs_the_largest_logit_wins_and_the_lower_channel_ties():
    logits = voxels([0.0, 1.0, 2.0, 1.0], [1.0, 0.0, 2.0, 3.0], [0.5, 9.0, 2.0, 3.0])
    assert masks_of(logits, "exclusive").tolist() == [[1, 0, 0, 1], [0, 1, 0, 0]]


def test_exclusive_masks_equal_argmax():
    logits = random_logits((7, 6, 4), channels=5)
    winner = logits.argmax(0)
    expected = torch.stack([winner == channel for channel in range(1, 5)]).byte()
    assert torch.equal(masks_of(logits, "exclusive"), expected)


def test_overlapping_masks_are_probabilities_above_one_half():
    logits = random_logits((7, 6, 4))
    assert torch.equal(masks_of(logits, "overlapping"), (logits.sigmoid() > 0.5).byte())


@pytest.mark.parametrize("mode", MODES)
def test_a_sure_background_gives_no_organ(mode):
    logits = torch.full((3, 4, 4, 2), -5.0)
    logits[0] = 5.0 if mode == "exclusive" else -5.0
    assert not masks_of(logits, mode).any()


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        pytest.param("overlapping", [[0.5], [0.75]], id="sigmoid of each"),
        pytest.param("exclusive", [[0.75]], id="softmax without background"),
    ],
)
def test_probabilities_worked_by_hand(mode, expected):
    # sigmoid(ln 3) = 3 / 4, and so is softmax(0, ln 3).
    probs = probs_of(voxels([0.0], [float(np.log(3))]), mode)
    torch.testing.assert_close(probs, torch.tensor(expected))


def test_probabilities_are_float32():
    assert probs_of(random_logits((2, 2, 2)).half(), "overlapping").dtype == torch.float32


def test_overlapping_organs_are_where_they_are_above_their_thresholds():
    logits = random_logits((7, 6, 4))
    found = masks_of(logits, "overlapping", (0.3, None, 0.8))
    limits = torch.tensor([0.3, 0.5, 0.8]).view(3, 1, 1, 1)
    assert torch.equal(found, (logits.sigmoid() > limits).byte())


def test_a_threshold_of_an_exclusive_organ_weighs_it_against_the_background_alone():
    # Logits of 1, 2 and 3 are probabilities against 0 of 0.73, 0.88 and 0.95.
    logits = voxels([0.0, 0.0, 0.0, 0.0], [1.0, 2.0, 2.0, -1.0], [-9.0, -9.0, 3.0, -0.5])
    assert masks_of(logits, "exclusive").tolist() == [[1, 1, 0, 0], [0, 0, 1, 0]]
    # The higher one takes the first voxel away, the lower one adds the last.
    assert masks_of(logits, "exclusive", (0.8, 0.3)).tolist() == [[0, 1, 0, 0], [0, 0, 1, 1]]
    # Where another organ is likelier, a threshold changes nothing, and leaves nothing to it.
    assert masks_of(logits, "exclusive", (0.1, 0.99)).tolist() == [[1, 1, 0, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("one", [pytest.param(None, id="none"), pytest.param(0.5, id="one half")])
def test_the_usual_threshold_changes_no_bit(mode, one):
    logits = random_logits((9, 8, 5), channels=4).round(decimals=1)  # many are equal
    thresholds = (one,) * (4 if mode == "overlapping" else 3)
    assert torch.equal(masks_of(logits, mode, thresholds), masks_of(logits, mode))


@pytest.mark.parametrize("mode", MODES)
def test_a_lower_threshold_takes_nothing_away_and_moves_no_other_organ(mode):
    logits = random_logits((9, 8, 5), channels=4)
    rest = (None,) * (3 if mode == "overlapping" else 2)
    before = masks_of(logits, mode)
    for lower, higher in ((0.2, 0.4), (0.4, 0.6), (0.6, 0.9)):
        more, fewer = (masks_of(logits, mode, (t, *rest)) for t in (lower, higher))
        assert (more[0] >= fewer[0]).all()
        assert more[0].sum() > fewer[0].sum()
        assert torch.equal(more[1:], before[1:])


def test_one_exclusive_organ_is_where_its_probability_is_above_the_threshold():
    logits = random_logits((9, 8, 5), channels=2)
    found = masks_of(logits, "exclusive", (0.7,))
    assert torch.equal(found, (logits.softmax(0)[1:] > 0.7).byte())


@pytest.mark.parametrize("mode", MODES)
def test_probabilities_tell_the_masks_of_other_thresholds(mode):
    logits = 3 * random_logits((9, 8, 5), channels=4)
    thresholds = (0.3, None, 0.7, 0.6)[: 4 if mode == "overlapping" else 3]
    found = masks_of(logits_of(probs_of(logits, mode), mode), mode, thresholds)
    assert torch.equal(found, masks_of(logits, mode, thresholds))


@pytest.mark.parametrize("mode", MODES)
def test_sure_probabilities_tell_masks_too(mode):
    probs = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    assert torch.equal(masks_of(logits_of(probs, mode), mode, (0.9, 0.1)), probs.byte())


@pytest.mark.parametrize("mode", MODES)
def test_thresholds_count_slab_by_slab(mode):
    logits = random_logits(PREPARED.shape)
    organs = 3 if mode == "overlapping" else 2
    given = {"label_mode": mode, "thresholds": (0.3, None, 0.6)[:organs]}
    masks = decided(slabs_of(logits, 1), PREPARED, NATIVE, **given).masks
    expected = masks_of(logits, mode, given["thresholds"])
    assert torch.equal(masks[:, 1:5], expected[:, :, 1:6])
    assert not torch.equal(expected, masks_of(logits, mode))


def test_an_unknown_label_mode_is_refused():
    with pytest.raises(UsageError, match=r"label_mode: is 'sofmax' \(expected overlapping or"):
        decided([torch.zeros(2, 3, 5, 6)], NATIVE, NATIVE, label_mode="sofmax")


# The way back


def test_going_back_over_a_crop_and_padding_is_exact():
    logits = random_logits(PREPARED.shape)
    masks, probs = decided(slabs_of(logits, 1), PREPARED, NATIVE, label_mode="overlapping")
    assert probs is None
    assert masks.shape == (3, *NATIVE.shape)
    assert masks.dtype == torch.uint8
    assert torch.equal(masks[:, 1:5], (logits[:, :, 1:6] > 0).byte())


@pytest.mark.parametrize("mode", MODES)
def test_outside_the_crop_no_organ_is_found(mode):
    logits = torch.full((3, *PREPARED.shape), 1.0)
    logits[0] = 2.0
    masks, probs = decided(
        slabs_of(logits, 2), PREPARED, NATIVE, label_mode=mode, probabilities=True
    )
    assert not masks[:, [0, 5]].any()
    assert not probs[:, [0, 5]].any()
    assert bool(masks[0, 1:5].all()) == (mode == "overlapping")
    assert (probs[:, 1:5] > 0).all()


def test_the_decision_falls_on_the_native_grid():
    # Prepared voxels of 2 mm, native ones of 1 mm, one row: logits -1 and 3 at 0 and 2 mm.
    prepared = lpi_grid((2, 1, 1), (2.0, 1.0, 1.0))
    native = prepared.resampled((1.0, 1.0, 1.0))
    logits = torch.tensor([-1.0, 3.0]).view(1, 2, 1, 1)
    masks, probs = decided(
        slabs_of(logits, 1), prepared, native, label_mode="overlapping", probabilities=True
    )
    assert masks.flatten().tolist() == [0, 0, 1, 1]
    torch.testing.assert_close(probs.flatten(), torch.tensor([-1.0, 0.0, 2.0, 3.0]).sigmoid())


def test_a_slice_between_two_slabs_is_made_of_both():
    # Prepared slices 6 mm apart, native ones 3 mm: logits -1, 3 and -3 at 0, 6 and 12 mm.
    prepared = lpi_grid((1, 1, 3), (1.0, 1.0, 6.0))
    native = Grid((1, 1, 5), lpi_grid((1, 1, 5), (1.0, 1.0, 3.0)).affine_ras_mm)
    logits = torch.tensor([-1.0, 3.0, -3.0]).view(1, 1, 1, 3)
    _, probs = decided(
        slabs_of(logits, 1), prepared, native, label_mode="overlapping", probabilities=True
    )
    expected = torch.tensor([-1.0, 1.0, 3.0, 0.0, -3.0]).sigmoid()
    torch.testing.assert_close(probs.flatten(), expected)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("codes", [pytest.param(c, id="".join(c)) for c in ORIENTATIONS])
def test_slabs_equal_the_whole_in_every_orientation(codes, mode):
    prepared = lpi_grid((7, 6, 5), (1.5, 1.5, 3.0))
    box = prepared.boxed((-1, 2, 0), (9, 3, 5)).reoriented(codes)
    native = box.resampled(tuple(1.63 if s == 1.5 else s for s in box.spacing_mm))
    logits = random_logits(prepared.shape)
    masks = decided(slabs_of(logits, 2), prepared, native, label_mode=mode).masks
    np.testing.assert_array_equal(masks, whole(logits, prepared, native, mode))


@pytest.mark.parametrize("size", [pytest.param(n, id=f"slabs of {n}") for n in range(1, 13)])
@pytest.mark.parametrize(
    "native_mm",
    [
        pytest.param(3.0, id="slices as they are"),
        pytest.param(2.1, id="finer slices"),
        pytest.param(1.0, id="thrice as many"),
        pytest.param(7.3, id="coarser slices"),
        pytest.param(50.0, id="one slice"),
    ],
)
@pytest.mark.parametrize("flipped", [pytest.param(f, id="flip" if f else "") for f in (0, 1)])
def test_slabs_of_every_size_equal_the_whole(native_mm, size, flipped):
    prepared = lpi_grid((4, 5, 11), (1.5, 1.5, 3.0))
    native = prepared.resampled((1.5, 2.0, native_mm))
    native = native.reoriented(("L", "P", "S")) if flipped else native
    logits = random_logits(prepared.shape)
    masks = decided(slabs_of(logits, size), prepared, native, label_mode="exclusive").masks
    np.testing.assert_array_equal(masks, whole(logits, prepared, native, "exclusive"))


@pytest.mark.parametrize(
    ("start", "count"),
    [
        pytest.param(-2, 10, id="reaching out at both ends"),
        pytest.param(2, 2, id="a part"),
        pytest.param(2.4, 3, id="between slices"),
        pytest.param(-1.3, 20, id="between slices and out"),
        pytest.param(40, 3, id="elsewhere"),
    ],
)
def test_another_range_of_slices_than_the_prepared_one(start, count):
    prepared = lpi_grid((4, 5, 6), (1.5, 1.5, 3.0))
    native = prepared.boxed((0, 0, start), (4, 5, count))
    logits = random_logits(prepared.shape)
    for size in (1, 4, 6):
        masks = decided(slabs_of(logits, size), prepared, native, label_mode="exclusive").masks
        np.testing.assert_array_equal(masks, whole(logits, prepared, native, "exclusive"))


def test_a_scan_of_one_slice_goes_back_to_many():
    prepared = lpi_grid((4, 5, 1), (1.5, 1.5, 9.0))
    native = prepared.resampled((1.5, 1.5, 3.0))
    logits = random_logits(prepared.shape)
    masks = decided(slabs_of(logits, 8), prepared, native, label_mode="exclusive").masks
    assert native.shape == (4, 5, 3)
    assert torch.equal(masks, masks_of(logits, "exclusive").expand(-1, -1, -1, 3))


def test_slices_of_masks_lie_one_after_another_in_memory():
    masks = decided(
        slabs_of(random_logits(NATIVE.shape), 1), NATIVE, NATIVE, label_mode="exclusive"
    )
    assert masks.masks.permute(0, 3, 2, 1).is_contiguous()


def test_grids_that_are_not_parallel_are_refused():
    turned = np.diag([-1.5, -1.5, -3.0, 1.0])
    turned[0, 1] = 0.5
    with pytest.raises(GeometryError, match="axes are not parallel"):
        decided(
            slabs_of(random_logits(NATIVE.shape), 1),
            NATIVE,
            Grid(NATIVE.shape, turned),
            label_mode="exclusive",
        )


# Files


def test_files_are_written_on_the_native_grid(tmp_path):
    logits = torch.full((2, *PREPARED.shape), -1.0)
    logits[:, 2, 3, 1] = 1.0
    masks = decided(slabs_of(logits, 1), PREPARED, NATIVE, label_mode="overlapping").masks
    save = SaveMasks(tmp_path, labels=LABELS, per_organ=True)
    item = save({"pred": masks, "native": NATIVE, "scan_id": "case1_day0"})
    label_map, grid = read_label_map(item["file"])
    # Both organs claim the voxel, and the spleen has priority.
    assert np.argwhere(label_map).tolist() == [[3, 2, 1]]
    assert label_map[3, 2, 1] == 2
    assert grid.shape == NATIVE.shape
    np.testing.assert_allclose(grid.affine_ras_mm, NATIVE.affine_ras_mm)
    assert (tmp_path / "case1_day0_liver.nii.gz").exists()
