"""The viewer in a real browser: what is on the page, and that it is where it says."""

import io
import re
import threading
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image
from predicted_folder import MISSED, predicted

from medseg.data import read_manifest
from medseg.geometry import lpi_grid
from medseg.io.nifti import write_image, write_label_map
from medseg.report.viewer_cases import find_cases
from medseg.report.viewer_server import bound, routes

MANIFEST = read_manifest("uwmgi")
PATIENCE_MS = 60_000


@contextmanager
def served(folder, **folders):
    """Serve the viewer of a folder of predictions; give its URL."""
    cases = find_cases(folder, MANIFEST, **folders)
    with bound(routes(cases, MANIFEST.labels, title="phantom"), port=0, token="token") as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/token/"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def url(tiny_phantom, tmp_path_factory):
    folder = tmp_path_factory.mktemp("predictions")
    predicted(folder, tiny_phantom)
    known = {"images": tiny_phantom, "reference": tiny_phantom}
    with served(folder, **known, scores=folder / "metrics.csv") as address:
        yield address


@pytest.fixture
def visit(page):
    """A function that opens a viewer; what it asks for elsewhere or complains of is a fault."""
    faults = []
    page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)

    # A machine without a graphics card draws every pixel itself.
    page.set_viewport_size({"width": 1100, "height": 640})

    def go(address):
        def requested(request):
            if not request.url.startswith((address, "data:", "blob:")):
                faults.append(request.url)

        page.on("request", requested)
        page.goto(address)
        settled(page)
        return page

    yield go
    assert faults == []


def settled(page):
    page.wait_for_selector('body[data-state="shown"]', timeout=PATIENCE_MS)
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def picture(page):
    """Return what the stage shows, ``(H, W, 3)``."""
    image = Image.open(io.BytesIO(page.locator("#stage").screenshot())).convert("RGB")
    return np.asarray(image).astype(int)


def tiles(page):
    """Return the boxes (left, top, right, bottom) of the planes by name, and of 3D."""
    found = page.evaluate(
        """() => {
        const boxes = medseg.scene().planes.screenSlices.map(({ axCorSag, leftTopWidthHeight }) => {
          const [left, top, wide, tall] = leftTopWidthHeight;
          return [["axial", "coronal", "sagittal"][axCorSag],
                  [Math.min(left, left + wide), top, Math.max(left, left + wide), top + tall]];
        });
        const { offsetLeft: x, offsetTop: y, offsetWidth: w, offsetHeight: h } =
          document.getElementById("solid-box");
        return [...boxes, ["solid", [x, y, x + w, y + h]]];
      }"""
    )
    return {name: [round(edge) for edge in box] for name, box in found}


def within(image, box):
    left, top, right, bottom = box
    return image[top:bottom, left:right]


def names(page):
    return page.locator("#cases .name").all_inner_texts()


def size(box):
    left, top, right, bottom = box
    return right - left, bottom - top


def press(page, key):
    page.keyboard.press(key)
    settled(page)


def coloured(part):
    """Return where a picture is coloured: organs are, scans are not."""
    return (part.max(axis=2) - part.min(axis=2)) > 60


def test_scan_and_organs_are_shown_with_their_names_and_scores(visit, url):
    page = visit(url)
    page.keep("viewer-all")
    image, boxes = picture(page), tiles(page)
    assert set(boxes) == {"axial", "coronal", "sagittal", "solid"}
    for box in boxes.values():
        assert within(image, box).std() > 20
        assert coloured(within(image, box)).mean() > 0.01

    rows = page.locator("#organs li")
    shown = [name.lower() for name in rows.locator(".name").all_inner_texts()]
    assert shown == ["large bowel", "small bowel", "stomach"]
    for text in rows.locator(".scores").all_inner_texts():
        assert re.search(r"Dice 0\.\d{3}\s+HD95 \d+\.\d mm", text)

    unnamed = page.evaluate(
        """[...document.querySelectorAll("button, input, select, canvas:not([aria-hidden])")]
        .filter((e) => !(e.ariaLabel || e.textContent).trim()).map((e) => e.outerHTML)"""
    )
    assert unnamed == []

    assert not page.get_by_role("dialog").is_visible()
    page.keyboard.press("?")
    assert "next case" in page.get_by_role("dialog").inner_text()
    page.keep("viewer-keys")
    page.keyboard.press("Escape")
    assert not page.get_by_role("dialog").is_visible()


def test_cases_are_listed_worst_first_and_gone_through(visit, url):
    page = visit(url)
    scores = [float(text) for text in page.locator("#cases .score").all_inner_texts()]
    assert scores == sorted(scores)
    assert len(scores) == 6
    order = names(page)
    assert order[-1] == "case711_day0"
    assert order.index(MISSED) > 0
    assert page.locator("#case").inner_text() == order[0]
    assert page.locator("#cases [aria-current] .name").inner_text() == order[0]

    first = picture(page)
    press(page, "n")
    assert page.locator("#case").inner_text() == order[1]
    assert (first != picture(page)).mean() > 0.05
    press(page, "ArrowLeft")
    assert page.locator("#case").inner_text() == order[0]
    np.testing.assert_array_equal(picture(page), first)
    page.locator("#cases button", has_text=MISSED).click()
    settled(page)
    assert page.locator("#case").inner_text() == MISSED
    assert "missed" in page.locator("#organ-large_bowel").inner_text()
    page.keep("viewer-missed")

    page.get_by_label("Order of the cases").select_option("large_bowel")
    assert names(page)[0] == MISSED
    assert page.locator("#cases .faults").first.inner_text() == "large bowel missed"
    assert page.locator("#case").inner_text() == MISSED
    page.get_by_label("Order of the cases").select_option("name")
    assert names(page)[0] == "case711_day0"


def test_organs_are_toggled_and_faded(visit, url):
    page = visit(url)
    before, boxes = picture(page), tiles(page)
    for key, button in (("p", "Prediction"), ("t", "Truth")):
        press(page, key)
        off = picture(page)
        for box in boxes.values():
            assert (within(before, box) != within(off, box)).mean() > 0.002
        assert page.get_by_role("button", name=button).get_attribute("aria-pressed") == "false"
        page.get_by_role("button", name=button).click()
        settled(page)
        np.testing.assert_array_equal(picture(page), before)

    press(page, "3")
    without = picture(page)
    changed = (before != without).any(axis=2)
    assert changed.mean() > 0.005
    # What changed was tinted as the stomach is: more blue than red.
    tint = (before[changed] - without[changed]).mean(axis=0)
    assert tint[2] > tint[0] + 10
    assert page.locator("#organ-stomach .organ").get_attribute("aria-pressed") == "false"
    page.locator("#organ-stomach .organ").click()
    settled(page)
    np.testing.assert_array_equal(picture(page), before)

    colour = MANIFEST.labels.organs[1].colour

    def pure():
        """Return how many pixels show the small bowel's colour and nothing of the scan."""
        return (np.abs(within(picture(page), boxes["axial"]) - colour).sum(axis=2) < 12).sum()

    press(page, "t")
    half = pure()
    slider = page.get_by_label("Opacity of the small bowel")
    slider.focus()
    press(page, "End")
    full = pure()
    assert full > 500
    assert half < full / 5
    press(page, "Home")
    assert pure() == 0

    press(page, "p")
    axial = within(picture(page), boxes["axial"])
    crosshair = np.abs(axial - [224, 192, 90]).sum(axis=2) < 160
    assert (coloured(axial) & ~crosshair).mean() < 0.005


def test_views_and_slices_are_changed_and_reset(visit, url):
    page = visit(url)
    first, began = picture(page), place(page)
    press(page, "ArrowUp")
    up = place(page)
    np.testing.assert_allclose(up["mm"] - began["mm"], [0, 0, 3.0], atol=0.011)
    assert up["voxel"] == [*began["voxel"][:2], began["voxel"][2] - 1]
    assert (picture(page) != first).mean() > 0.01
    page.get_by_role("button", name="Reset view").click()
    settled(page)
    np.testing.assert_array_equal(picture(page), first)

    for key, plane, axis in (("a", "axial", 2), ("c", "coronal", 1), ("s", "sagittal", 0)):
        press(page, key)
        assert set(tiles(page)) - {"solid"} == {plane}
        assert page.locator('#views [aria-pressed="true"]').inner_text().lower() == plane
        before = place(page)["mm"]
        press(page, "ArrowDown")
        moved = place(page)["mm"] - before
        assert moved[axis] < -1
        np.testing.assert_allclose(np.delete(moved, axis), 0, atol=0.011)
    press(page, "d")
    page.keep("viewer-3d")
    assert coloured(picture(page)).mean() > 0.02
    press(page, "r")
    press(page, "m")
    np.testing.assert_array_equal(picture(page), first)


def test_planes_share_one_scale_and_a_click_moves_the_crosshair(visit, url):
    page = visit(url)
    page.set_viewport_size({"width": 1300, "height": 560})
    settled(page)
    boxes = tiles(page)
    # Every plane at one scale: 80 x 1.5 mm from side to side and from front to back, 60 mm high.
    assert size(boxes["axial"])[0] == pytest.approx(size(boxes["axial"])[1], abs=1)
    for plane in ("coronal", "sagittal"):
        wide, tall = size(boxes[plane])
        assert wide == pytest.approx(2 * tall, abs=2)
        assert wide == pytest.approx(size(boxes["axial"])[0], abs=1)
    assert boxes["coronal"][3] <= picture(page).shape[0]

    left, top, right, bottom = boxes["axial"]
    stage = page.locator("#stage").bounding_box()
    page.mouse.click(stage["x"] + left + 0.75 * (right - left), stage["y"] + (top + bottom) / 2)
    settled(page)
    shape = page.evaluate("Array.from(medseg.scene().image.hdr.dims).slice(1, 4)")
    i, j, _ = place(page)["voxel"]
    assert i == pytest.approx(0.75 * shape[0], abs=1)
    assert j == pytest.approx(0.5 * shape[1], abs=1)


def place(page):
    """Return what the page says of the crosshair."""
    mm = re.findall(r"-?\d+\.\d+", page.locator("#mm").inner_text())
    voxel = re.findall(r"\d+", page.locator("#voxel").inner_text())
    value = re.search(r"value (\S+)", page.locator("#value").inner_text())
    return {
        "mm": np.array([float(n) for n in mm]),
        "voxel": [int(n) for n in voxel],
        "value": float(value[1]),
    }


LPI = lpi_grid((40, 32, 20), (1.5, 2.0, 3.0)).boxed((-30, 12, 7), (40, 32, 20))
LANDMARK = (34, 8, 5)  # of LPI: towards the patient's left, front and head


@pytest.mark.parametrize(
    "codes",
    [
        pytest.param(("L", "P", "I"), id="as slices are stacked"),
        pytest.param(("A", "S", "R"), id="axes changed about"),
    ],
)
def test_a_landmark_is_where_the_grid_says(visit, tmp_path, codes):
    grid = LPI.reoriented(codes)
    at_mm = LPI.to_ras_mm(LANDMARK)
    voxel = np.rint(np.linalg.solve(grid.affine_ras_mm, [*at_mm, 1])[:3]).astype(int)
    around = tuple(slice(n - 3, n + 4) for n in voxel)
    image = np.full(grid.shape, 100, np.int16)
    label_map = np.zeros(grid.shape, np.uint8)
    image[around], label_map[around] = 900, MANIFEST.labels.organs[2].code
    image[tuple(voxel)] = 1000
    (tmp_path / "images").mkdir()
    write_image(tmp_path / "images" / "mark.nii.gz", image, grid)
    write_label_map(tmp_path / "mark.nii.gz", label_map, grid, MANIFEST.labels)
    with served(tmp_path, images=tmp_path / "images") as url:
        page = visit(url)
        page.evaluate("(mm) => medseg.goTo(mm)", list(LPI.to_ras_mm([0, 0, 0])))
        assert (place(page)["value"], page.locator("#under").inner_text()) == (
            100,
            "prediction: none",
        )
        page.evaluate("(mm) => medseg.goTo(mm)", list(at_mm))
        settled(page)
        told = place(page)
        np.testing.assert_allclose(told["mm"], at_mm, atol=1e-2)
        assert (told["voxel"], told["value"]) == (list(voxel), 1000)
        assert page.locator("#under").inner_text() == "prediction: stomach"

        # Left of the patient is at the right of the picture; front and head are at the top, and
        # the front of a sagittal slice is at the left.
        i, j, k = ((n + 0.5) / size for n, size in zip(LANDMARK, LPI.shape, strict=True))
        expected = {"axial": (i, j), "coronal": (i, k), "sagittal": (j, k)}
        page.keep(f"viewer-landmark-{''.join(codes)}")
        tinted = picture(page)
        press(page, "p")
        plain = picture(page)
        for plane, where in expected.items():
            box = tiles(page)[plane]
            blue = within(tinted, box)[..., 2] - within(tinted, box)[..., 0] > 40
            bright = within(plain, box).min(axis=2) > 230
            np.testing.assert_allclose(middle(blue), where, atol=0.02)
            np.testing.assert_allclose(middle(bright), where, atol=0.02)


def middle(there):
    """Return the middle of pixels as shares of a picture's width and height."""
    rows, columns = np.nonzero(there)
    assert rows.size > 50
    height, width = there.shape
    return [(columns.mean() + 0.5) / width, (rows.mean() + 0.5) / height]


def test_what_is_missing_is_told_and_the_rest_is_shown(visit, tiny_phantom, tmp_path):
    predicted(tmp_path, tiny_phantom)
    (tmp_path / "metrics.csv").unlink()
    with served(tmp_path) as url:
        page = visit(url)
        assert page.get_by_role("button", name="Truth").is_disabled()
        assert "No truth" in page.locator("#reasons").inner_text()
        assert "No scan" in page.locator("#reasons").inner_text()
        assert names(page)[0] == "case711_day0"
        assert coloured(within(picture(page), tiles(page)["axial"])).mean() > 0.01
        page.keep("viewer-no-scan")


def test_a_scan_that_cannot_be_read_is_told_and_not_shown(page, tmp_path):
    (tmp_path / "images").mkdir()
    for name in ("a", "b"):
        label_map = np.full(LPI.shape, 3, np.uint8)
        write_label_map(tmp_path / f"{name}.nii.gz", label_map, LPI, MANIFEST.labels)
        write_image(tmp_path / "images" / f"{name}.nii.gz", label_map, LPI)
    broken = tmp_path / "images" / "b.nii.gz"
    broken.write_bytes(broken.read_bytes()[:200])
    with served(tmp_path, images=tmp_path / "images") as url:
        page.goto(url)
        settled(page)
        page.keyboard.press("n")
        page.wait_for_selector('body[data-state="failed"]', timeout=PATIENCE_MS)
        assert "b.nii.gz" in page.locator("#notice").inner_text()
        assert page.locator("#mm").inner_text() == ""
        assert picture(page)[5:-150, 5:-5].std() < 1
        page.keyboard.press("b")
        settled(page)
        assert picture(page).std() > 20


def test_a_mask_of_another_grid_is_told(page, tmp_path):
    (tmp_path / "images").mkdir()
    small = LPI.boxed((0, 0, 0), (9, 8, 7))
    write_image(tmp_path / "images" / "mark.nii.gz", np.ones(small.shape, np.uint8), small)
    write_label_map(tmp_path / "mark.nii.gz", np.zeros(LPI.shape, np.uint8), LPI, MANIFEST.labels)
    with served(tmp_path, images=tmp_path / "images") as url:
        page.goto(url)
        settled(page)
        assert "mark, pred: " in page.locator("#reasons").inner_text()
        assert page.get_by_role("button", name="Prediction").is_disabled()
