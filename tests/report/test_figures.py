"""Pictures are judged by their pixels: where a millimetre lands, and in which colour."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from medseg.labels import LabelSet, Organ
from medseg.report.figures import LARGEST_BYTES, overlay, run_picture, save

ORANGE, BLUE = (230, 159, 0), (86, 180, 233)
LABELS = LabelSet(
    (Organ("large_bowel", 1, ORANGE, "", ""), Organ("stomach", 2, BLUE, "", "")),
    ("stomach", "large_bowel"),
)
ACROSS_MM, DOWN_MM = 2.0, 3.0


def grey(height=60, width=90):
    """A slice 180 mm wide and 180 mm high, dark at the left and bright at the right."""
    return np.tile(np.linspace(0, 200, width), (height, 1))


def box(rows, columns, *, channel=1):
    masks = np.zeros((2, 60, 90), bool)
    masks[channel, slice(*rows), slice(*columns)] = True
    return masks


def draw(figure):
    """Return the figure's pixels ``(rows, columns, 3)`` and a function from mm to its pixels."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3].astype(int)
    axes = figure.axes[0]

    def at(x_mm, y_mm):
        column, row = axes.transData.transform((x_mm, y_mm))
        return pixels[round(pixels.shape[0] - 1 - row), round(column)]

    return pixels, at


def shown(truth=None, pred=None, image=None):
    image = grey() if image is None else image
    return overlay(
        image, truth, pred, LABELS, spacing_mm=(ACROSS_MM, DOWN_MM), title="case1_day0, slice 7"
    )


def near(colour, expected):
    # A line of two pixels is mixed with its dark rim.
    return np.abs(np.asarray(colour) - expected).max() <= 60


def test_a_prediction_is_an_outline_in_its_colour_at_its_edge():
    _, at = draw(shown(pred=box((20, 40), (30, 60))))
    # Columns 30 to 59 of 2 mm reach from 60 to 120 mm, rows 20 to 39 of 3 mm from 60 to 120 mm.
    for edge in ((60, 90), (120, 90), (90, 60), (90, 120)):
        assert near(at(*edge), BLUE)
    inside, outside = at(90, 90), at(30, 90)
    assert np.ptp(inside) <= 2
    assert np.ptp(outside) <= 2


def test_a_reference_is_filled_translucently():
    bare, plain = draw(shown())[1], draw(shown(truth=box((20, 40), (30, 60))))[1]
    expected = 0.58 * bare(90, 90) + 0.42 * np.array(BLUE)
    assert np.abs(plain(90, 90) - expected).max() <= 3
    assert np.array_equal(plain(30, 90), bare(30, 90))


def test_the_organ_of_higher_priority_is_drawn_last():
    both = box((20, 40), (30, 60), channel=0) | box((20, 40), (30, 60), channel=1)
    _, at = draw(shown(pred=both))
    assert near(at(60, 90), BLUE)


def test_a_mask_at_the_rim_is_outlined_and_a_single_pixel_is_seen():
    pixels, at = draw(shown(pred=box((0, 60), (0, 90))))
    assert near(at(1, 90), BLUE) or near(at(0, 90), BLUE)
    pixels, _ = draw(shown(pred=box((30, 31), (45, 46))))
    assert (np.abs(pixels - BLUE).max(axis=-1) <= 40).sum() > 20


def test_the_scale_bar_is_fifty_millimetres_long():
    figure = shown(image=np.zeros((60, 90)))
    pixels, _ = draw(figure)
    (bar,) = (line for line in figure.axes[0].lines if line.get_gid() == "scale")
    row = round(pixels.shape[0] - 1 - figure.axes[0].transData.transform(bar.get_xydata())[0][1])
    white = (pixels[row] > 250).all(axis=-1).sum()
    mm_in_px = figure.axes[0].get_window_extent().width / 180
    assert white == pytest.approx(50 * mm_in_px, abs=2)
    assert "50 mm" in [text.get_text() for text in figure.axes[0].texts]


def test_a_small_picture_has_a_shorter_bar():
    figure = overlay(np.zeros((20, 36)), None, None, LABELS, spacing_mm=(1, 1), title="")
    assert "10 mm" in [text.get_text() for text in figure.axes[0].texts]


def test_a_millimetre_is_as_long_across_as_down():
    box_px = shown().axes[0].get_window_extent()
    assert box_px.width == pytest.approx(box_px.height, rel=1e-6)


def test_the_right_of_the_patient_is_marked_at_the_left():
    places = {text.get_text(): text.get_position()[0] for text in shown().axes[0].texts}
    assert places["R"] < 90 < places["L"]


@pytest.mark.parametrize(
    ("truth", "pred", "expected"),
    [
        pytest.param(True, True, ["reference (filled)", "prediction (line)"], id="both"),
        pytest.param(True, False, ["reference (filled)"], id="reference alone"),
        pytest.param(False, True, ["prediction (line)"], id="prediction alone"),
        pytest.param(False, False, [], id="neither"),
    ],
)
def test_the_legend_names_organs_and_what_is_drawn(truth, pred, expected):
    empty = np.zeros((2, 60, 90), bool)
    figure = shown(truth=empty if truth else None, pred=empty if pred else None)
    rows = [text.get_text() for text in figure.legends[0].get_texts()]
    assert rows == ["large bowel", "stomach", *expected]


def test_an_image_of_one_value_is_drawn():
    pixels, _ = draw(shown(image=np.full((60, 90), 7.0)))
    assert pixels.shape[2] == 3


def volume():
    """A body of 30 x 20 x 10 voxels with a bright head end and a bright right side."""
    image = np.full((30, 20, 10), 100.0)
    image[:4] = image[..., :2] = 200.0
    return image


def masks(*spans):
    made = np.zeros((2, 30, 20, 10), bool)
    for channel, i, j, k in spans:
        made[channel, i[0] : i[1], j[0] : j[1], k] = True
    return made


def planes(spacing_mm=(1.5, 2.0, 3.0), truth=None):
    return run_picture(volume(), truth, None, LABELS, spacing_mm=spacing_mm, title="case1_day0")


def test_a_run_picture_keeps_the_proportions_of_the_patient():
    figure = planes()
    sizes = [axes.get_window_extent() for axes in figure.axes]
    mm = [(30 * 1.5, 20 * 2.0), (30 * 1.5, 10 * 3.0), (20 * 2.0, 10 * 3.0)]
    scale = sizes[0].width / mm[0][0]
    for size, (width_mm, height_mm) in zip(sizes, mm, strict=True):
        assert size.width == pytest.approx(width_mm * scale, rel=1e-6)
        assert size.height == pytest.approx(height_mm * scale, rel=1e-6)
    assert [text.get_text() for text in figure.texts] == [
        *("axial", "coronal", "sagittal", "case1_day0")
    ]


def test_the_head_is_up_and_the_right_is_left():
    axial, coronal, _ = (axes.images[0].get_array() for axes in planes().axes)
    assert axial.shape == (20, 30)
    assert axial[:, :4].min() == 200
    assert axial[:, 4:].max() == 100
    assert coronal.shape == (10, 30)
    assert coronal[:2].min() == 200
    assert coronal[5, 10] == 100


def test_the_planes_go_through_the_organs():
    organ = masks((1, (12, 16), (3, 7), 8))
    figure = planes(truth=organ)
    assert all(axes.collections for axes in figure.axes)
    assert not any(axes.collections for axes in planes(truth=masks()).axes)


def test_dark_margins_are_cut_and_masks_never_are():
    image = np.zeros((100, 80, 4))
    image[40:60, 30:50] = 100.0
    truth = np.zeros((2, 100, 80, 4), bool)
    truth[0, 90:95, 40:45, 1] = True
    figure = run_picture(image, truth, None, LABELS, spacing_mm=(1, 1, 1), title="")
    # From 8 mm before voxel 40 to 8 mm behind voxel 94, which the mask adds to the body.
    assert figure.axes[0].images[0].get_array().shape == (20 + 16, 100 - 32)


def test_a_picture_of_noise_is_still_a_small_file(tmp_path):
    noise = np.random.default_rng(0).normal(size=(400, 400))
    figure = overlay(noise, None, None, LABELS, spacing_mm=(1, 1), title="noise")
    save(figure, tmp_path / "new" / "noise.png", dpi=200)
    saved = tmp_path / "new" / "noise.png"
    assert saved.stat().st_size < LARGEST_BYTES
    assert [path.name for path in saved.parent.iterdir()] == ["noise.png"]
    with Image.open(saved) as picture:
        picture.load()
        assert picture.format == "PNG"


def test_equal_pictures_are_equal_files(tmp_path):
    for name in ("a.png", "b.png"):
        save(shown(pred=box((20, 40), (30, 60))), tmp_path / name, dpi=60)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
