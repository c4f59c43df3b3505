"""NRRD and MetaImage as SimpleITK writes them, and what it would read without a word."""

from itertools import permutations, product

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - as everyone calls it
from itk_files import SHAPE, codes_of, edited, image, ramp, save

from medseg.data.hashes import source_hash
from medseg.errors import DataError
from medseg.io.images import Reading, files_of, read_source
from medseg.io.itk import read_itk

LANDMARKS = ((0, 0, 0), (19, 0, 0), (3, 23, 1), (5, 7, 11))
# Tilted about all three axes.
TILTED = np.linalg.qr(np.array([[0.9, 0.2, 0.1], [-0.1, 0.8, 0.3], [0.2, -0.3, 0.7]]))[0]
AXES = [
    np.diag(signs)[:, list(order)]
    for order in permutations(range(3))
    for signs in product((1.0, -1.0), repeat=3)
]


def assert_places(grid, made):
    for ijk in LANDMARKS:
        lps_mm = made.TransformIndexToPhysicalPoint(ijk)
        np.testing.assert_allclose(grid.to_ras_mm(ijk) * [-1, -1, 1], lps_mm, atol=1e-6)


# What is sound


@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr", ".mha", ".mhd"])
@pytest.mark.parametrize("packed", [pytest.param(False, id="raw"), pytest.param(True, id="packed")])
def test_voxels_and_places_are_those_of_simpleitk(tmp_path, suffix, packed):
    path = save(tmp_path / f"a{suffix}", image(directions=TILTED), packed=packed)
    read = read_source(path)
    assert np.array_equal(read.voxels, ramp())
    assert read.voxels.dtype == np.float32
    assert read.voxels.flags.f_contiguous
    assert read.voxels.flags.writeable
    assert read.grid.shape == SHAPE
    assert_places(read.grid, sitk.ReadImage(str(path)))
    assert (read.frame.form_code, read.warnings) == (1, ())
    assert len(files_of(path)) == (2 if suffix in (".nhdr", ".mhd") else 1)


@pytest.mark.parametrize("suffix", [".nhdr", ".mhd"])
def test_the_hash_of_an_image_tells_of_voxels_beside_its_header(tmp_path, suffix):
    before = source_hash(save(tmp_path / f"a{suffix}"))
    assert source_hash(save(tmp_path / f"a{suffix}", image(ramp() + 1))) != before


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
@pytest.mark.parametrize(
    "dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "f4", "f8"]
)
def test_every_real_type_gives_its_values(tmp_path, suffix, dtype):
    voxels = ramp() % 100 if dtype.endswith("int8") else ramp()
    path = save(tmp_path / f"a{suffix}", image(voxels.astype(dtype)))
    assert np.array_equal(read_itk(path).voxels, voxels)


@pytest.mark.parametrize(
    ("suffix", "old", "new"),
    [
        pytest.param(".nrrd", "endian: little", "endian: big", id="NRRD"),
        pytest.param(".mha", "OrderMSB = False", "OrderMSB = True", id="MetaImage"),
    ],
)
def test_either_byte_order_is_read(tmp_path, suffix, old, new):
    path = save(tmp_path / f"a{suffix}", image(ramp().byteswap()))
    path.write_bytes(path.read_bytes().replace(old.encode(), new.encode()))
    assert np.array_equal(read_itk(path).voxels, ramp())


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
@pytest.mark.parametrize("directions", AXES, ids=[f"axes {n}" for n in range(48)])
def test_each_of_the_48_orientations_keeps_each_voxel_at_its_place(tmp_path, suffix, directions):
    made = image(directions=directions)
    assert_places(read_itk(save(tmp_path / f"a{suffix}", made)).grid, made)


@pytest.mark.parametrize(
    "space",
    [
        *("left-posterior-superior", "right-anterior-superior", "left-anterior-superior"),
        *("LPS", "RAS", "LAS", "Left-Posterior-Superior"),
    ],
)
def test_every_space_of_a_patient_means_what_simpleitk_reads(tmp_path, space):
    path = edited(tmp_path / "a.nrrd", ("left-posterior-superior", space))
    read, theirs = read_itk(path), sitk.ReadImage(str(path))
    assert_places(read.grid, theirs)


@pytest.mark.parametrize(
    ("sizes", "vectors"),
    [
        pytest.param("1 20 24 12", r"none \1", id="first"),
        pytest.param("20 24 12 1", r"\1 none", id="last"),
    ],
)
def test_an_axis_of_one_outside_of_space_is_dropped(tmp_path, sizes, vectors):
    read = read_itk(
        edited(
            tmp_path / "a.nrrd",
            ("dimension: 3", "dimension: 4"),
            ("20 24 12", sizes),
            (r"space directions: (\(.*\))", f"space directions: {vectors}"),
            ("kinds: .*", "# of no kind"),
        )
    )
    assert np.array_equal(read.voxels, ramp())
    assert_places(read.grid, image())


def test_a_fourth_axis_of_one_is_dropped_from_a_metaimage(tmp_path):
    four = sitk.JoinSeries([image()])
    read = read_itk(save(tmp_path / "a.mha", four))
    assert np.array_equal(read.voxels, ramp())
    assert_places(read.grid, image())


def test_comments_and_pairs_of_the_writers_own_are_read_over(tmp_path):
    changes = ("type: ", "# type: double\nname:=Somebody\ncontent: a: b\ntype: ")
    assert read_itk(edited(tmp_path / "a.nrrd", changes)).grid.shape == SHAPE


# Cut short, damaged, too long


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
@pytest.mark.parametrize("packed", [pytest.param(False, id="raw"), pytest.param(True, id="packed")])
@pytest.mark.parametrize("kept", [0, 0.5, 0.99, -1])
def test_a_file_cut_short_is_refused(tmp_path, suffix, packed, kept):
    path = save(tmp_path / f"a{suffix}", packed=packed)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if kept >= 0 else kept])
    assert codes_of(path) == {"E-ITK-TRUNC"}


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
@pytest.mark.parametrize("at", [-1, -3, -400])
def test_a_flipped_bit_of_a_compressed_file_is_found(tmp_path, suffix, at):
    path = save(tmp_path / f"a{suffix}", packed=True)
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    assert codes_of(path) <= {"E-ITK-CRC", "E-ITK-SIZE", "E-ITK-TRUNC"}


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
@pytest.mark.parametrize("packed", [pytest.param(False, id="raw"), pytest.param(True, id="packed")])
@pytest.mark.parametrize(("old", "new"), [("24 12", "24 11"), ("24 12", "24 13")])
def test_a_header_with_another_size_than_the_voxels_is_refused(tmp_path, suffix, packed, old, new):
    path = edited(tmp_path / f"a{suffix}", (old, new), packed=packed)
    larger_raw = new == "24 13" and not packed
    assert codes_of(path) == {"E-ITK-TRUNC" if larger_raw else "E-ITK-SIZE"}


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
@pytest.mark.parametrize("packed", [pytest.param(False, id="raw"), pytest.param(True, id="packed")])
@pytest.mark.parametrize("size", ["9000 2 2", "3000 3000 1000", "400 500 600", "1 1e300 2"])
def test_a_bomb_is_refused_before_memory_is_taken(tmp_path, monkeypatch, suffix, packed, size):
    path = edited(tmp_path / f"a{suffix}", ("20 24 12", size), packed=packed)
    monkeypatch.delattr(np, "empty")
    monkeypatch.delattr(np, "fromfile")
    assert codes_of(path) == {"E-TOO-LARGE"}


# What may be allowed


def test_a_file_of_spacing_alone_is_read_where_its_axes_are_said(tmp_path):
    path = edited(
        tmp_path / "a.nrrd",
        ("space directions: .*", "spacings: 0.8 0.9 3"),
        ("space: .*\n", ""),
        ("space origin: .*", "# no origin"),
    )
    assert codes_of(path) == {"E-ITK-NOFORM"}
    read = read_source(path, Reading(assume_ras=True))
    np.testing.assert_allclose(read.grid.affine_ras_mm, np.diag([0.8, 0.9, 3.0, 1.0]))
    assert read.frame.form_code == 2


def test_a_space_of_no_patient_is_not_taken_for_one(tmp_path):
    path = edited(tmp_path / "a.nrrd", ("space: [a-z-]*", "space: scanner-xyz"))
    assert codes_of(path, assume_ras=True) == {"E-ITK-NOFORM"}


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_voxels_that_are_no_numbers_are_refused_or_replaced(tmp_path, suffix):
    voxels = ramp("f4") - 7
    voxels[1, 2, 3] = np.nan
    path = save(tmp_path / f"a{suffix}", image(voxels))
    with pytest.raises(DataError, match=r"E-ITK-NAN.*1 voxels .*first is \(1, 2, 3\)"):
        read_source(path)
    rescued = read_source(path, Reading(nan_to_min=True))
    assert rescued.voxels[1, 2, 3] == -7
    assert [problem.code for problem in rescued.warnings] == ["W-ITK-NAN"]
