"""Slices of cases: which slice, and what is drawn on it."""

import io

import numpy as np
import pytest
from PIL import Image
from reported_run import MANIFEST
from scored_runs import score

from medseg.report.cases import Case
from medseg.report.page import LARGEST_BYTES
from medseg.report.pictures import case_picture
from medseg.report.scene import Scene

LABELS = MANIFEST.labels
BLUE = np.array(LABELS.organs[2].colour)


def scene(truth=(), pred=()):
    """A body of 60 x 60 x 8 voxels of 2 mm; masks of the stomach are (first, last, slice)."""
    image = np.full((60, 60, 8), 300.0, np.float32)
    image[0, 0] = 0.0
    masks = np.zeros((2, 3, 60, 60, 8), bool)
    for side, boxes in enumerate((truth, pred)):
        for first, last, k in boxes:
            masks[side, 2, first : last + 1, 20:40, k] = True
    return Scene(image, masks[0], masks[1], (2.0, 2.0, 3.0))


def drawn(shown, why="worst"):
    case = Case(score("case1_day0", "stomach", 0.5), why)
    return case_picture(shown, LABELS, case)


def pixels_of(picture):
    return np.asarray(Image.open(io.BytesIO(picture.data))).astype(int)


@pytest.mark.parametrize(
    ("why", "place"),
    [
        pytest.param("best", "slice 3 of 8", id="the best where the reference is largest"),
        pytest.param("median", "slice 3 of 8", id="so is the median"),
        pytest.param("worst", "slice 6 of 8", id="the worst where most is wrong"),
        pytest.param("failure", "slice 6 of 8", id="so is a failure"),
    ],
)
def test_the_slice_that_tells_most_is_shown(why, place):
    # Slice 3 is right but for one row; in slice 6 nothing is.
    shown = scene(truth=[(10, 40, 2), (10, 20, 5)], pred=[(10, 39, 2), (30, 45, 5)])
    assert place in drawn(shown, why).alt


def test_the_picture_says_what_it_shows():
    alt = drawn(scene(truth=[(10, 40, 2)])).alt
    assert alt.startswith("stomach of case1_day0, slice 3 of 8: reference and prediction outlined")


def test_the_reference_is_dashed_in_white_and_the_prediction_solid_in_colour():
    def rim(truth, pred):
        """Return the colours along the lower edge, which both outlines share, inside its ends."""
        pixels = pixels_of(drawn(scene(truth, pred)))
        height, width = pixels.shape[:2]
        row = round(40 / 60 * height)
        return pixels[row - 1 : row + 2, round(0.3 * width) : round(0.5 * width)]

    white = (rim([(10, 40, 2)], []).min(axis=-1) > 200).any(axis=0)
    changes = np.count_nonzero(np.diff(white.astype(int)))
    assert changes > 10
    blue = (np.abs(rim([], [(10, 40, 2)]) - BLUE).max(axis=-1) < 60).any(axis=0)
    assert blue.all()


def test_a_scan_without_a_prediction_shows_the_reference_alone():
    whole = scene(truth=[(10, 40, 2)])
    assert "slice 3 of 8" in drawn(whole._replace(pred=None)).alt


def test_an_organ_that_is_nowhere_is_shown_in_the_middle():
    assert "slice 5 of 8" in drawn(scene()).alt


def test_noise_is_packed_until_it_fits():
    noise = np.random.default_rng(0).normal(300, 100, (266, 266, 2)).astype(np.float32)
    masks = np.zeros((3, 266, 266, 2), bool)
    picture = drawn(Scene(noise, masks, masks, (1.5, 1.5, 3.0)))
    assert len(picture.data) <= LARGEST_BYTES
    assert pixels_of(picture).shape[:2] == (picture.height_px, picture.width_px)
