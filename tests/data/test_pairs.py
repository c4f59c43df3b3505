"""From folders with a picture and a mask to scans of one slice."""

import numpy as np
import pytest
from PIL import Image

from medseg.data.check import inspect
from medseg.data.manifest import read_manifest
from medseg.data.pairs import survey
from medseg.data.splits import make_splits
from medseg.io.pictures import write_picture
from medseg.io.rle import decode
from medseg.io.voxels import read_voxels

CELLS = read_manifest("cells")
MASK = np.zeros((4, 6), np.uint8)
MASK[1, 2:5] = 255


def picture(seed, shape=(4, 6)):
    return np.random.default_rng(seed).integers(20, 200, shape).astype(np.uint8)


@pytest.fixture
def root(tmp_path):
    for n in (1, 2, 10):
        folder = tmp_path / f"pair {n}"
        folder.mkdir()
        write_picture(folder / "em.png", picture(n))
        write_picture(folder / "em_MASK.tif", MASK)
    return tmp_path


def codes(root, **options):
    return sorted(problem.code for problem in survey(root, CELLS, **options).problems)


def test_a_pair_is_a_scan_of_one_slice(root):
    findings = survey(root, CELLS)
    assert findings.problems == ()
    assert [scan.scan_id for scan in findings.scans] == ["pair 1", "pair 2", "pair 10"]
    scan = findings.scans[0]
    assert scan.case_id == scan.scan_id
    assert (scan.size_px, scan.channels, scan.slice_numbers) == ((6, 4), 1, (1,))
    assert scan.grid.shape == (6, 4, 1)
    assert scan.grid.axis_codes == ("L", "P", "I")
    assert scan.rle == {"cell": ("9 3",)}  # row 1, columns 2 to 4, of 6 columns
    np.testing.assert_array_equal(read_voxels(scan)[0, 0], picture(1))


def test_overlaps_are_mask_and_smoothed_rims_are_halved(root):
    grey = MASK.copy()
    grey[1] = [0, 127, 128, 192, 255, 0]
    write_picture(root / "pair 1/em_MASK.tif", grey)
    assert survey(root, CELLS).scans[0].rle == {"cell": ("9 3",)}


def test_a_binary_mask_is_promised_where_no_threshold_is_given(root):
    facts = CELLS.model_dump(by_alias=True)
    facts["layout"]["mask_threshold"] = None
    binary = type(CELLS).model_validate(facts)
    assert survey(root, binary).problems == ()
    write_picture(root / "pair 1/em_MASK.tif", MASK // 2)
    (problem,) = survey(root, binary).problems
    assert problem.code == "E-LABEL"
    assert "grey values where a binary mask is promised" in problem.found


def test_a_mask_may_be_stored_as_rgb(root):
    write_picture(root / "pair 1/em_MASK.tif", np.repeat(MASK[..., None], 3, 2))
    findings = survey(root, CELLS)
    assert findings.scans[0].rle == findings.scans[1].rle
    assert findings.problems == ()


def test_names_are_free_but_for_the_mask(root):
    folder = root / "pair 2"
    (folder / "em.png").rename(folder / "Slide #4 (left).PNG")
    (folder / "em_MASK.tif").rename(folder / "labels.tif")
    (folder / "notes.txt").touch()
    (folder / ".DS_Store").touch()
    (root / "read me.txt").touch()
    assert codes(root) == []


def test_one_pairs_folder_is_a_root_too(root):
    (scan,) = survey(root / "pair 2", CELLS).scans
    assert scan == survey(root, CELLS).scans[1]


def test_pictures_without_any_mask_are_to_be_predicted_on(root):
    for path in root.rglob("*MASK*"):
        path.unlink()
    findings = survey(root, CELLS)
    assert findings.problems == ()
    assert [scan.rle for scan in findings.scans] == [None] * 3


def test_masks_that_are_not_asked_for_may_be_broken(root):
    (root / "pair 1/em_MASK.tif").write_bytes(b"")
    (root / "pair 2/em_MASK.tif").unlink()
    findings = survey(root, CELLS, labelled=False)
    assert findings.problems == ()
    assert [scan.rle for scan in findings.scans] == [None] * 3


def saved(path, pixels, mode=None):
    made = Image.fromarray(pixels)
    (made.convert(mode) if mode else made).save(path)


FAULTS = [
    pytest.param(lambda p: (p / "em.png").write_bytes((p / "em.png").read_bytes()[:-30]),
                 "E-PNG", ["em.png"], False, id="1: cut"),
    pytest.param(lambda p: (p / "em.png").write_bytes(b""), "E-EMPTY", ["0 bytes"], False, id="3"),
    pytest.param(lambda p: saved(p / "extra.jpg", MASK), "E-FORMAT",
                 ["extra.jpg", "is JPG"], True, id="4: JPEG"),
    pytest.param(lambda p: saved(p / "em.png", picture(1, (4, 6, 3))), "E-CHANNELS",
                 ["3 channels", "1: grey"], False, id="6: RGB"),
    pytest.param(lambda p: saved(p / "em.png", picture(1), "P"), "E-MODE", ["palette"], False,
                 id="6: palette"),
    pytest.param(lambda p: p.rename(p.with_name("pair+2")), "E-NAME", ["pair+2"], False, id="8"),
    pytest.param(lambda p: write_picture(p / "em_MASK.tif", MASK.T.copy()), "E-SIZE",
                 ["4 wide and 6 high", "turned"], False, id="9"),
    pytest.param(lambda p: (p / "em_MASK.tif").unlink(), "W-UNLABELLED", ["pair 2"], False,
                 id="28: no mask"),
    pytest.param(lambda p: (p / "em.png").unlink(), "E-PAIR", ["0 pictures and 1 masks"], False,
                 id="28: no picture"),
    pytest.param(lambda p: saved(p / "other.png", picture(3)), "E-PAIR",
                 ["2 pictures and 1 masks", "em.png, other.png, em_MASK.tif"], False, id="two"),
    pytest.param(lambda p: saved(p / "label.png", MASK), "E-PAIR", ["1 pictures and 2 masks"],
                 False, id="two masks"),
    pytest.param(lambda p: saved(p / "em_MASK.tif", np.minimum(MASK, 90)), "E-LABEL",
                 ["highest grey value is 90"], False, id="31: too dark"),
    pytest.param(lambda p: saved(p / "em_MASK.tif", picture(1, (4, 6, 3))), "E-LABEL",
                 ["red, green and blue differ"], False, id="31: colours"),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "code", "words", "last"), FAULTS)
def test_a_fault_is_told_once_and_alone(root, fault, code, words, last):
    fault(root / "pair 2")
    findings = inspect(root, CELLS)
    (problem,) = findings.problems
    assert problem.code.startswith(code)
    assert all(word in str(problem) for word in words), str(problem)
    assert [scan.scan_id for scan in findings.scans] == (
        ["pair 1", "pair 2", "pair 10"] if last else ["pair 1", "pair 10"]
    )


@pytest.mark.parametrize(
    ("name", "code"), [pytest.param("", "E-EMPTY", id="empty"), pytest.param("no", "E-IO", id="no")]
)
def test_a_root_that_is_none_is_refused(tmp_path, name, code):
    assert codes(tmp_path / name) == [code]


def test_known_bad_pairs_are_left_out(root):
    bad = {"ours": {"who": "us", "why": "blurred", "scans": ["pair 10"]}}
    facts = CELLS.model_dump(by_alias=True) | {"known_bad": bad, "exclude": "ours"}
    findings = survey(root, type(CELLS).model_validate(facts))
    assert [problem.code for problem in findings.problems] == ["W-EXCLUDED"]
    assert len(findings.scans) == 2


def test_pixels_show_flat_pictures_and_copies(root):
    write_picture(root / "pair 1/em.png", np.full((4, 6), 9, np.uint8))
    write_picture(root / "pair 10/em.png", picture(2))
    flat, leak = inspect(root, CELLS).problems
    assert (flat.code, flat.subject) == ("W-CONST", "pair 1")
    assert (leak.code, leak.subject) == ("E-LEAK", "pair 2, pair 10")


def test_real_pairs_are_parted_by_pair(shared_data):
    findings = inspect(shared_data / "membranes", CELLS)
    assert findings.problems == ()
    scans = findings.scans
    assert len(scans) == 20
    with Image.open(shared_data / "membranes/pair_03/mask.png") as mask:
        inside = np.array(mask) == 255
    np.testing.assert_array_equal(decode(scans[3].rle["cell"][0], (512, 512)), inside)
    fold = make_splits(scans, folds=5).fold(0)
    assert len(fold.test) == 4  # 80/20
    assert not set(fold.test) & {*fold.train, *fold.validation}
