"""Logits go back to the scan's own grid and become masks there."""

import numpy as np
import pytest
import torch

from medseg.errors import UsageError
from medseg.geometry import lpi_grid
from medseg.io.nifti import read_label_map
from medseg.labels import LabelSet, Organ
from medseg.transforms import (
    BackToGridd,
    Discreted,
    KeepProbsd,
    grid_of,
    on_grid,
    postprocessing,
)

NATIVE = lpi_grid((6, 5, 2), (1.5, 1.5, 3.0))
PREPARED = NATIVE.boxed((1, -1, 0), (4, 7, 2))
LABELS = LabelSet(
    (Organ("liver", 1, (9, 0, 0), "1", "Liver"), Organ("spleen", 2, (0, 9, 0), "2", "Spleen")),
    ("spleen", "liver"),
)


def item_with(logits, prepared=PREPARED, native=NATIVE):
    image = on_grid(torch.zeros(1, *prepared.shape), prepared)
    return {"image": image, "native": native, "pred": logits, "scan_id": "case1_day0"}


def voxels(*values):
    """Return logits (C, n, 1, 1): one list a channel."""
    return torch.tensor(values).view(len(values), -1, 1, 1)


# Discrete


def test_overlapping_organs_each_decide_for_themselves():
    logits = voxels([-1.0, 0.1, 5.0, 0.0], [3.0, -0.1, 2.0, -9.0])
    masks = Discreted(label_mode="overlapping")({"pred": logits})["pred"]
    assert masks.dtype == torch.uint8
    assert masks.flatten(1).tolist() == [[0, 1, 1, 0], [1, 0, 1, 0]]


def test_of_exclusive_organs_the_largest_logit_wins_and_the_lower_channel_ties():
    logits = voxels([0.0, 1.0, 2.0, 1.0], [1.0, 0.0, 2.0, 3.0], [0.5, 9.0, 2.0, 3.0])
    masks = Discreted(label_mode="exclusive")({"pred": logits})["pred"]
    assert masks.flatten(1).tolist() == [[1, 0, 0, 1], [0, 1, 0, 0]]


def test_exclusive_masks_equal_argmax():
    logits = torch.randn(5, 7, 6, 4, generator=torch.Generator().manual_seed(0))
    masks = Discreted(label_mode="exclusive")({"pred": logits})["pred"]
    winner = logits.argmax(0)
    assert torch.equal(masks, torch.stack([winner == c for c in range(1, 5)]).byte())


def test_overlapping_masks_are_probabilities_above_one_half():
    logits = torch.randn(3, 7, 6, 4, generator=torch.Generator().manual_seed(0))
    masks = Discreted(label_mode="overlapping")({"pred": logits})["pred"]
    assert torch.equal(masks, (logits.sigmoid() > 0.5).byte())


@pytest.mark.parametrize("mode", [pytest.param(m, id=m) for m in ("overlapping", "exclusive")])
def test_a_sure_background_gives_no_organ(mode):
    logits = torch.full((3, 4, 4, 2), -5.0)
    logits[0] = 5.0 if mode == "exclusive" else -5.0
    assert not Discreted(label_mode=mode)({"pred": logits})["pred"].any()


def test_the_grid_stays_with_the_masks():
    logits = on_grid(torch.zeros(2, *NATIVE.shape), NATIVE)
    assert grid_of(Discreted(label_mode="overlapping")({"pred": logits})["pred"]) is not None


def test_an_unknown_label_mode_is_refused():
    with pytest.raises(UsageError, match=r"label_mode: is 'sofmax' \(expected overlapping or"):
        postprocessing("sofmax")


# The way back


def test_going_back_over_a_crop_and_padding_is_exact():
    logits = torch.randn(2, *PREPARED.shape, generator=torch.Generator().manual_seed(0))
    back = BackToGridd("pred", fill=-7.0)(item_with(logits))["pred"]
    assert back.shape == (2, *NATIVE.shape)
    assert torch.equal(back[:, 1:5].as_tensor(), logits[:, :, 1:6])
    assert (back[:, 0] == -7).all()
    assert (back[:, 5] == -7).all()
    np.testing.assert_array_equal(back.affine.numpy(), NATIVE.affine_ras_mm)


def test_a_fill_for_each_channel_repeats_its_last():
    back = BackToGridd("pred", fill=(4.0, -3.0))(item_with(torch.zeros(3, *PREPARED.shape)))
    assert back["pred"][:, 0, 0, 0].tolist() == [4, -3, -3]


def test_outside_the_crop_no_organ_is_found():
    for mode, channels in (("overlapping", 2), ("exclusive", 3)):
        logits = torch.full((channels, *PREPARED.shape), 1.0)
        logits[0] = 2.0
        masks = postprocessing(mode)(item_with(logits))["pred"]
        assert masks.shape == (2, *NATIVE.shape)
        assert not masks[:, 0].any()
        assert not masks[:, 5].any()
        assert bool(masks[0, 1:5].all()) == (mode == "overlapping")


def test_the_decision_falls_on_the_native_grid():
    # Prepared voxels of 2 mm, native ones of 1 mm, one row: logits -1 and 3 at 0 and 2 mm.
    prepared = lpi_grid((2, 1, 1), (2.0, 1.0, 1.0))
    native = prepared.resampled((1.0, 1.0, 1.0))
    item = item_with(voxels([-1.0, 3.0]), prepared, native)
    back = BackToGridd("pred")(item)["pred"]
    assert back.flatten().tolist() == [-1, 0, 2, 3]
    assert postprocessing("overlapping")(item)["pred"].flatten().tolist() == [0, 0, 1, 1]


def test_half_precision_logits_come_back():
    logits = torch.randn(2, *PREPARED.shape).half()
    back = BackToGridd("pred")(item_with(logits))["pred"]
    assert back.dtype == torch.float16
    assert torch.isfinite(back).all()


# Probabilities and files


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        pytest.param("overlapping", [[0.5], [0.75]], id="sigmoid of each"),
        pytest.param("exclusive", [[0.75]], id="softmax without background"),
    ],
)
def test_probabilities_worked_by_hand(mode, expected):
    # sigmoid(ln 3) = 3 / 4, and so is softmax(0, ln 3).
    logits = voxels([0.0], [float(np.log(3))])
    probs = KeepProbsd(label_mode=mode)({"pred": logits})["probs"]
    torch.testing.assert_close(probs.flatten(1), torch.tensor(expected))


def test_probabilities_outside_the_crop_are_zero():
    chain = postprocessing("exclusive", probabilities=True)
    item = chain(item_with(torch.zeros(3, *PREPARED.shape)))
    assert item["probs"].shape == (2, *NATIVE.shape)
    assert item["probs"][:, 0].max() < 1e-30
    assert item["probs"][0, 2, 0, 0].item() == pytest.approx(1 / 3)


def test_files_are_written_on_the_native_grid(tmp_path):
    logits = torch.full((2, *PREPARED.shape), -1.0)
    logits[:, 2, 3, 1] = 1.0
    chain = postprocessing("overlapping", labels=LABELS, output_dir=tmp_path, per_organ=True)
    item = chain(item_with(logits))
    label_map, grid = read_label_map(item["file"])
    # Both organs claim the voxel, and the spleen has priority.
    assert np.argwhere(label_map).tolist() == [[3, 2, 1]]
    assert label_map[3, 2, 1] == 2
    assert grid.shape == NATIVE.shape
    np.testing.assert_allclose(grid.affine_ras_mm, NATIVE.affine_ras_mm)
    assert (tmp_path / "case1_day0_liver.nii.gz").exists()


def test_files_need_names():
    with pytest.raises(UsageError, match="an output folder, but no labels"):
        postprocessing("overlapping", output_dir="out")
