import csv
import hashlib

import numpy as np
import pytest
from PIL import Image
from real_ranges import (
    REAL,
    REAL_EMPTY_SHARE,
    REAL_EXTREME_MM2,
    REAL_MEAN_MM2,
    REAL_OVERLAP_SHARE,
)

from medseg.data.manifest import read_manifest
from medseg.data.phantom import twin, write_phantom
from medseg.data.phantom.smooth_noise import SmoothNoise
from medseg.data.phantom.tubes import Tube, along, cut
from medseg.data.readers import read_scans
from medseg.data.statistics import organ_statistics, scan_statistics
from medseg.errors import UsageError
from medseg.io.png import read_header, read_slice
from medseg.io.rle import decode_slices

COMMON, WIDE, COARSE = (266, 266, 144, 1.5), (360, 310, 144, 1.5), (276, 276, 80, 1.63)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two whole patients on two days: all kinds of scans there are."""
    return write_phantom(tmp_path_factory.mktemp("phantom"), patients=2, days=2, seed=3)


@pytest.fixture(scope="module")
def scans(root):
    return read_scans(root, read_manifest("uwmgi"))


def kind(scan):
    return (*scan.size_px, len(scan.slice_files), scan.spacing_mm[0])


def masks(scan, organ):
    return decode_slices(scan.rle[organ], scan.size_px[::-1])


def digest(folder):
    """Return the content of every file below a folder by its relative path."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_sizes_of_the_real_scans_are_there_and_change_between_days(scans):
    kinds = [kind(scan) for scan in scans]
    assert sorted(kinds) == sorted([COMMON, WIDE, COARSE, COMMON])
    assert kinds[0] != kinds[1]
    assert [scan.case_id for scan in scans][::2] == [scan.case_id for scan in scans][1::2]


def test_files_and_rows_are_laid_out_as_kaggle_does(root, scans):
    assert sorted(path.name for path in root.iterdir()) == ["PHANTOM.txt", "train", "train.csv"]
    wide = next(scan for scan in scans if kind(scan) == WIDE)
    folder = root / "train" / wide.case_id / wide.scan_id / "scans"
    assert wide.slice_files[87] == folder / "slice_0088_360_310_1.50_1.50.png"
    with (root / "train.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["id", "class", "segmentation"]
    assert len(rows) == 1 + 3 * (3 * 144 + 80)
    first = scans[0].scan_id
    assert rows[1:4] == [
        [f"{first}_slice_0001", organ, ""] for organ in ("large_bowel", "small_bowel", "stomach")
    ]


def test_slices_are_16_bit_and_every_scan_has_its_own_scale(scans):
    for scan in scans:
        header = read_header(scan.slice_files[70])
        assert (header.width_px, header.height_px, header.bits) == (*scan.size_px, 16)
        with Image.open(scan.slice_files[70]) as picture:
            assert picture.mode == "I;16"
    highest = sorted(max(read_slice(f).max() for f in scan.slice_files[::12]) for scan in scans)
    assert highest[0] < 800
    assert highest[-1] > 11000


def test_organs_lie_and_measure_as_in_real_scans(scans):
    for row in organ_statistics(scan for scan in scans if len(scan.slice_files) == 144):
        for name, (low, high) in REAL[row.organ].items():
            assert low <= getattr(row, name) <= high, (row, name)
        low, high = REAL_MEAN_MM2[row.organ]
        assert low <= row.mean_mm2 <= high, row
        low, high = REAL_EXTREME_MM2[row.organ]
        assert low <= row.min_mm2 <= row.max_mm2 <= high, row


def test_organs_are_in_one_piece_from_head_to_feet(scans):
    assert {row.gaps for row in organ_statistics(scans)} == {0}


def test_as_many_slices_are_empty_and_overlapping_as_in_real_scans(scans):
    whole = [row for row in scan_statistics(scans) if row.slices == 144]
    for row in whole:
        low, high = REAL_EMPTY_SHARE
        assert low <= row.empty / row.slices <= high
        low, high = REAL_OVERLAP_SHARE
        assert low <= row.overlapping / (row.slices - row.empty) <= high
        assert 0 < row.max_overlap_px <= 659
    # 28 % over 22 real scans, 35 % over the 13 that were measured anew
    pooled = sum(row.overlapping for row in whole) / sum(row.slices - row.empty for row in whole)
    assert 0.2 < pooled < 0.4


def test_the_stomach_lies_left_and_above_the_bowels(scans):
    for scan in scans:
        slices, _, columns = {}, {}, {}
        for organ in scan.rle:
            k, _, i = np.nonzero(masks(scan, organ))
            slices[organ], columns[organ] = k.mean(), i.mean()
        # Columns grow to the patient's left, slices to the feet.
        assert columns["stomach"] > scan.size_px[0] / 2
        assert slices["stomach"] < min(slices["large_bowel"], slices["small_bowel"])


def test_lungs_are_at_the_head_and_the_liver_is_on_the_right(scans):
    scan = next(scan for scan in scans if kind(scan) == COMMON)
    chest = read_slice(scan.slice_files[8]).astype(float)
    k, rows, _ = np.nonzero(masks(scan, "stomach"))
    belly = read_slice(scan.slice_files[int(k.mean())]).astype(float)
    middle = int(rows.mean())
    right = slice(middle - 10, middle + 10), slice(133 - 45, 133 - 25)
    fat = np.percentile(belly, 98)
    assert np.median(chest[right]) < 0.15 * fat  # air
    assert 0.2 * fat < np.median(belly[right]) < 0.6 * fat  # solid, grey
    assert belly[right].std() < 0.25 * belly[right].mean()  # and even


def test_air_holds_the_magnitude_of_complex_noise(scans):
    air = np.concatenate([read_slice(f)[:12, :40].ravel() for f in scans[0].slice_files]) + 0.0
    # A Rayleigh distribution has mean / deviation = sqrt(pi / (4 - pi)).
    assert air.mean() / air.std() == pytest.approx(1.913, abs=0.06)


def test_fat_is_bright_and_gas_is_dark(scans):
    scan = scans[0]
    large = masks(scan, "large_bowel")
    values = [
        read_slice(scan.slice_files[k])[large[k]] / np.percentile(read_slice(f), 99)
        for k, f in enumerate(scan.slice_files)
        if large[k].any()
    ]
    tones = np.concatenate(values)
    assert np.percentile(tones, 2) < 0.08
    assert 0.1 < np.median(tones) < 0.5


def test_days_share_the_anatomy_and_deform_it(tiny_phantom):
    scans = read_scans(tiny_phantom, read_manifest("uwmgi"))
    scans = [scan for scan in scans if scan.size_px == (80, 80)]
    assert [scan.case_id for scan in scans][::2] == [scan.case_id for scan in scans][1::2]

    def dice(one, two):
        """Mean over the organs."""
        pairs = [(masks(one, organ), masks(two, organ)) for organ in one.rle]
        return np.mean([2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in pairs])

    same = [dice(scans[0], scans[1]), dice(scans[2], scans[3])]
    other = [dice(one, two) for one in scans[:2] for two in scans[2:]]
    assert np.mean(same) > np.mean(other) + 0.05
    assert 0.5 < min(same) < max(same) < 0.97


@pytest.mark.parametrize("workers", [pytest.param(1, id="alone"), pytest.param(3, id="three")])
def test_one_seed_gives_the_same_bytes_whoever_works(tmp_path, tiny_phantom, monkeypatch, workers):
    monkeypatch.setattr(twin, "_workers", lambda: workers)
    again = write_phantom(tmp_path, patients=3, days=2, tiny=True)
    assert digest(again) == digest(tiny_phantom)


def test_another_seed_gives_other_patients(tmp_path):
    one, two = (write_phantom(tmp_path / str(n), patients=1, tiny=True, seed=n) for n in (1, 2))
    assert not set(digest(one / "train").values()) & set(digest(two / "train").values())


def test_a_doll_is_small_and_has_every_organ(tiny_phantom):
    scans = read_scans(tiny_phantom, read_manifest("uwmgi"))
    assert len(scans) == 6
    assert max(max(scan.size_px) for scan in scans) <= 96
    assert all(row.slices >= 4 and row.gaps == 0 for row in organ_statistics(scans))


def test_every_scan_done_is_told(tmp_path):
    told = []
    write_phantom(tmp_path, patients=1, days=3, tiny=True, progress=lambda *n: told.append(n))
    assert told == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        pytest.param({"patients": 0}, r"E-PHANTOM.*patients: 0 .*1 to 900", id="no patient"),
        pytest.param({"days": 27}, r"E-PHANTOM.*days: 27 .*1 to 26", id="too many days"),
        pytest.param({"seed": -1}, r"E-PHANTOM.*seed: -1", id="negative seed"),
    ],
)
def test_numbers_out_of_range_are_refused(tmp_path, wanted, message):
    with pytest.raises(UsageError, match=message):
        write_phantom(tmp_path, **wanted)


def test_a_folder_that_holds_a_data_set_is_left_alone(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train.csv").write_text("id,class,segmentation\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"E-EXISTS(.|\n)*E-EXISTS"):
        write_phantom(tmp_path, tiny=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["train", "train.csv"]


def test_what_an_interrupted_call_left_is_cleared(tmp_path):
    def stop(done, _):
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_phantom(tmp_path, patients=2, days=1, tiny=True, progress=stop)
    assert not (tmp_path / "train").exists()
    write_phantom(tmp_path, patients=1, days=1, tiny=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["PHANTOM.txt", "train", "train.csv"]


def test_smooth_noise_is_the_same_number_however_it_is_asked_for():
    noise = SmoothNoise(np.random.default_rng(5), cell_mm=(8, 6, 9), cells=16, deviation=2.0)
    x, y = np.arange(-200, 200, 1.5, np.float32), np.arange(-150, 170, 1.5, np.float32)
    plane = noise.plane(x, y, 33.0)
    points = np.stack(np.meshgrid(x[:9], y[40:43], [33.0]), axis=-1).reshape(-1, 3)
    np.testing.assert_allclose(noise.at(points), plane[40:43, :9].ravel(), atol=1e-5)
    np.testing.assert_array_equal(noise.plane(x[30:50], y[7:19], 33.0), plane[7:19, 30:50])
    assert plane.std() == pytest.approx(2.0, rel=0.15)


def test_a_straight_tube_is_cut_to_a_disc():
    points = np.array([(3.0, -2.0, z) for z in range(0, 61, 2)])
    flat = np.zeros(len(points))
    tube = Tube(points, flat + 10, flat, flat, flat)
    axis = np.arange(-30, 31, dtype=np.float32)
    disc = cut(tube, axis, axis, 30.0)
    inside = disc.field_mm < 0
    # 317 points of a unit grid lie within a radius of 10, 12 of them on the circle itself.
    assert inside.sum() == 305
    rows, columns = np.nonzero(inside)
    assert axis[disc.box[1]][columns].mean() == pytest.approx(3.0)
    assert axis[disc.box[0]][rows].mean() == pytest.approx(-2.0)
    assert disc.field_mm.min() == pytest.approx(-10.0)


@pytest.mark.parametrize(
    ("z_mm", "shift_mm"),
    [pytest.param(90.0, 0, id="below its end"), pytest.param(30.0, 200, id="beside the picture")],
)
def test_a_slice_may_miss_a_tube(z_mm, shift_mm):
    points = np.array([(shift_mm, 0.0, z) for z in range(0, 61, 2)], float)
    flat = np.zeros(len(points))
    axis = np.arange(-30, 31, dtype=np.float32)
    assert cut(Tube(points, flat + 10, flat, flat, flat), axis, axis, z_mm) is None


def test_a_line_is_sampled_evenly_from_end_to_end():
    line = along(np.array([(0, 0, 0, 5), (30, 0, 0, 7), (60, 0, 0, 5)], float), step_mm=2.0)
    assert len(line) == 30
    np.testing.assert_allclose(line[[0, -1]], [(0, 0, 0, 5), (60, 0, 0, 5)])
    assert line[:, 3].max() <= 7
