"""The twins of LGG and of the cell pictures: laid out truly, sound, repeatable, and lifelike."""

import csv
import hashlib
import re

import numpy as np
import pytest
from PIL import Image

from medseg.data.check import inspect
from medseg.data.manifest import read_manifest
from medseg.data.phantom import TWINS, is_phantom, write_phantom
from medseg.data.phantom.brain import draw_head, render
from medseg.data.phantom.culture import OVERLAP
from medseg.data.splits import make_splits
from medseg.errors import UsageError
from medseg.io.pictures import read_mask, read_picture, read_picture_header


def digest(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    folder = tmp_path_factory.mktemp("twins")
    return {
        "lgg": write_phantom(folder / "lgg", like="lgg", tiny=True, patients=7),
        "cells": write_phantom(folder / "cells", like="cells", tiny=True, pairs=6),
    }


@pytest.fixture(scope="module")
def head():
    """Every third slice of a patient at full size."""
    rng = np.random.default_rng(4)
    return list(render(draw_head(rng), rng, slices=8, side_px=256))


@pytest.fixture(scope="module")
def dishes(tmp_path_factory):
    """Three pairs at full size."""
    return write_phantom(tmp_path_factory.mktemp("dishes"), like="cells", pairs=3)


@pytest.mark.parametrize("like", ["lgg", "cells"])
def test_a_twin_is_sound_down_to_its_pixels(roots, like):
    findings = inspect(roots[like], read_manifest(like))
    assert findings.problems == ()
    assert len(findings.scans) == {"lgg": 7, "cells": 6}[like]
    assert all(scan.rle is not None for scan in findings.scans)
    make_splits(findings.scans, folds=3).verify(findings.scans)


def test_there_is_a_twin_of_every_manifest(repository):
    shipped = {path.stem for path in (repository / "data_manifests").glob("*.yaml")}
    assert set(TWINS) == shipped


def test_patients_are_laid_out_as_kaggle_does(roots):
    inside = roots["lgg"] / "kaggle_3m"
    folders = sorted(path for path in inside.iterdir() if path.is_dir())
    assert len(folders) == 7
    for folder in folders:
        assert re.fullmatch(r"TCGA_PH_\d{4}_(19|20)\d\d[01]\d[0-2]\d", folder.name)
        names = {f"{folder.name}_{n}{kind}.tif" for n in range(1, 11) for kind in ("", "_mask")}
        assert {path.name for path in folder.iterdir()} == names
    with (inside / "data.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["Patient"] for row in rows] == [folder.name[:12] for folder in folders]
    assert len(rows[0]) == 18


def test_flair_stands_in_for_a_sequence_that_was_not_taken(roots):
    folders = sorted((roots["lgg"] / "kaggle_3m").glob("TCGA*"))
    same = []
    for folder in folders:
        pixels = read_picture(folder / f"{folder.name}_5.tif")
        same.append([bool((pixels[..., c] == pixels[..., 1]).all()) for c in (0, 2)])
    assert same == [[False, False]] * 5 + [[True, False]] + [[False, False]]


def test_a_head_has_full_size_and_empty_slices(head):
    assert head[0].pixels.shape == (256, 256, 3)
    shown = [bool(each.mask.any()) for each in head]
    assert not shown[0]
    assert not shown[-1]
    first = shown.index(True)
    assert all(shown[first : first + sum(shown)])  # in one piece
    area = np.mean([each.mask.mean() for each in head])
    assert 0.003 < area < 0.03  # 0.01 in the data set


def test_the_glioma_is_bright_in_flair_alone(head):
    slice_ = max(head, key=lambda each: each.mask.sum())
    y, x = np.nonzero(slice_.mask)
    middle = slice(y.min(), y.max()), slice(255 - x.max(), 255 - x.min())  # the other half
    tones = slice_.pixels.astype(float)
    mirror = np.median(tones[middle].reshape(-1, 3), axis=0)
    inside = np.median(tones[slice_.mask], axis=0)
    assert inside[1] > 1.2 * mirror[1]
    assert inside[0] < mirror[0]
    assert inside[2] < mirror[2]


def test_air_is_dark_and_fat_is_bright(head):
    middle = head[4].pixels
    assert middle[:12].max() < 40
    row = middle[128, :, 0].astype(int)
    skin = row[: int(np.argmax(row > 100)) + 5]
    assert skin.max() > 120  # before the skull, which is dark


def test_pairs_are_grey_pictures_of_512_pixels(dishes):
    for n in (1, 2, 3):
        folder = dishes / f"pair_0{n}"
        assert {p.name for p in folder.iterdir()} == {f"cells_0{n}.png", f"cells_0{n}_mask.png"}
        assert read_picture_header(folder / f"cells_0{n}.png") == (512, 512, 8, 1)
        channels = read_picture_header(folder / f"cells_0{n}_mask.png").channels
        assert channels == (3 if n == 3 else 1)  # one mask is stored as RGB
        assert 0.2 < read_mask(folder / f"cells_0{n}_mask.png", threshold=128).mean() < 0.75


def test_masks_are_grey_where_cells_overlap_and_along_rims(dishes):
    grey = np.concatenate(
        [np.array(Image.open(p).convert("L")) for p in dishes.rglob("*_mask.png")]
    )
    overlap = (grey == OVERLAP).mean()
    assert 0.002 < overlap < 0.08
    others = ~np.isin(grey, (0, OVERLAP, 255))
    assert 0.002 < others.mean() < 0.05


def test_brightness_alone_does_not_tell_cells_from_ground(dishes):
    for n in (1, 2, 3):
        folder = dishes / f"pair_0{n}"
        tones = read_picture(folder / f"cells_0{n}.png")[..., 0]
        mask = read_mask(folder / f"cells_0{n}_mask.png", threshold=128)
        found = [tones > tone for tone in range(40, 200, 8)]
        dice = [2 * (each & mask).sum() / (each.sum() + mask.sum()) for each in found]
        assert max(dice) < 0.87


@pytest.mark.parametrize(
    ("like", "counts"),
    [
        pytest.param("lgg", {"patients": 7}, id="lgg"),
        pytest.param("cells", {"pairs": 6}, id="cells"),
    ],
)
def test_one_seed_gives_the_same_bytes_and_another_others(tmp_path, roots, like, counts):
    again = write_phantom(tmp_path / "again", like=like, tiny=True, **counts)
    assert digest(again) == digest(roots[like])
    other = write_phantom(tmp_path / "other", like=like, tiny=True, seed=1, **counts)
    shared = set(digest(other).values()) & set(digest(again).values())
    marks = {"PHANTOM.txt"}
    blank = {v for k, v in digest(again).items() if k.endswith("_mask.tif") or k in marks}
    assert shared <= blank  # empty masks are all alike


def test_more_patients_leave_the_first_pairs_alone(tmp_path, roots):
    fewer = write_phantom(tmp_path, like="cells", tiny=True, pairs=2)
    all_of_them = digest(roots["cells"])
    assert all(all_of_them[name] == value for name, value in digest(fewer).items())


def test_a_twin_says_what_it_is(roots, tmp_path):
    assert is_phantom(roots["cells"])
    assert is_phantom(roots["lgg"])
    assert is_phantom(roots["lgg"] / "kaggle_3m")
    assert not is_phantom(tmp_path)


def test_a_folder_that_holds_pairs_is_left_alone(tmp_path):
    (tmp_path / "pair_02").mkdir()
    with pytest.raises(UsageError, match=r"E-EXISTS.*pair_02: already there"):
        write_phantom(tmp_path, like="cells", tiny=True, pairs=2)
    assert [path.name for path in tmp_path.iterdir()] == ["pair_02"]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        pytest.param({"like": "lggg"}, r"lggg: has no phantom .*uwmgi, lgg, cells", id="unknown"),
        pytest.param({"like": "lgg", "days": 2}, r"days: 2, .*none .*patients", id="no days"),
        pytest.param({"like": "cells", "pairs": 0}, r"pairs: 0 .*1 to 9999", id="no pair"),
    ],
)
def test_what_cannot_be_made_is_refused(tmp_path, wanted, message):
    with pytest.raises(UsageError, match="E-PHANTOM.*" + message):
        write_phantom(tmp_path, **wanted)
