"""Headers of NRRD and MetaImage that make no sense, and voxels in a file of their own."""

import re

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - as everyone calls it
from hypothesis import given
from hypothesis import strategies as st
from itk_files import codes_of, edited, image, ramp, save

from medseg.errors import DataError
from medseg.geometry import axis_maps
from medseg.io.itk import read_itk

VECTORS, MATRIX = r"space directions: .*", r"TransformMatrix = .*"


@pytest.mark.parametrize(
    ("suffix", "old", "new", "code"),
    [
        pytest.param(".nrrd", "NRRD0004", "NRRX0004", "FORMAT", id="no NRRD"),
        pytest.param(".nrrd", "20 24 12", "20 24 12 2", "FORMAT", id="sizes unlike dimension"),
        pytest.param(".nrrd", "20 24 12", "20 24 twelve", "FORMAT", id="a size in words"),
        pytest.param(".nrrd", "20 24 12", "20 -24 12", "FORMAT", id="a negative size"),
        pytest.param(".nrrd", "20 24 12", "20 24 nan", "FORMAT", id="a size that is no number"),
        pytest.param(".nrrd", "encoding: raw", "encoding: ascii", "FORMAT", id="text"),
        pytest.param(".nrrd", "endian: little\n", "", "FORMAT", id="no byte order"),
        pytest.param(".nrrd", "type: short", "type: block", "DIM", id="blocks"),
        pytest.param(".nrrd", "type: short", "type: short\nbyte skip: 2", "FORMAT", id="skips"),
        pytest.param(".nrrd", "type: short", "type: short\ntype: float", "FORMAT", id="twice"),
        pytest.param(".nrrd", "type: short", "type short", "FORMAT", id="no field"),
        pytest.param(".nrrd", "space: [a-z-]*", "space: scanner-xyz", "NOFORM", id="a scanner's"),
        pytest.param(".nrrd", "space: [a-z-]*", "space dimension: 3", "NOFORM", id="no space"),
        pytest.param(".nrrd", "space origin: .*", "# no origin", "NOFORM", id="no origin"),
        pytest.param(".nrrd", "space origin: .*", "space origin: (1,2,inf)", "AFFINE", id="far"),
        pytest.param(".nrrd", VECTORS, "spacings: 1 1 1", "NOFORM", id="spacing alone"),
        pytest.param(".nrrd", VECTORS, "# none", "AFFINE", id="no spacing"),
        pytest.param(".nrrd", VECTORS, "space directions: (1,0,0) (0,1,0)", "FORMAT", id="two"),
        pytest.param(
            ".nrrd", VECTORS, "space directions: (1,0,0) (0,1,0) (0,0)", "FORMAT", id="flat"
        ),
        pytest.param(
            ".nrrd", VECTORS, "space directions: (1,0,0) (0,0,0) (0,0,1)", "AFFINE", id="zero"
        ),
        pytest.param(
            ".nrrd", VECTORS, "space directions: (1,0,0) (0,nan,0) (0,0,1)", "AFFINE", id="NaN"
        ),
        pytest.param(
            ".nrrd", VECTORS, "space directions: (1,0,0) (.1,1,0) (0,0,1)", "AFFINE", id="sheared"
        ),
        pytest.param(
            ".nrrd", "type: ", 'space units: "um" "um" "um"\ntype: ', "UNITS", id="micrometres"
        ),
        pytest.param(".mha", "ObjectType = Image", "Nothing = known", "FORMAT", id="no MetaImage"),
        pytest.param(".mha", "NDims = 3", "NDims = 4", "FORMAT", id="four axes, three sizes"),
        pytest.param(".mha", "BinaryData = True", "BinaryData = False", "FORMAT", id="as text"),
        pytest.param(".mha", "MET_SHORT", "MET_SHORT_ARRAY", "DIM", id="an array"),
        pytest.param(
            ".mha", "NDims", "ElementNumberOfChannels = 3\nNDims", "DIM", id="three channels"
        ),
        pytest.param(".mha", "NDims", "HeaderSize = -1\nNDims", "FORMAT", id="data at the end"),
        pytest.param(
            ".mha", "NDims", "ElementToIntensityFunctionSlope = 2\nNDims", "FORMAT", id="scaled"
        ),
        pytest.param(".mha", "NDims", "DistanceUnits = um\nNDims", "UNITS", id="um"),
        pytest.param(".mha", "BinaryDataByteOrderMSB.*\n", "", "FORMAT", id="order untold"),
        pytest.param(".mha", f"{MATRIX}\n", "", "NOFORM", id="no matrix"),
        pytest.param(".mha", "Offset.*\n", "", "NOFORM", id="no offset"),
        pytest.param(".mha", MATRIX, "TransformMatrix = 1 0 0 1", "FORMAT", id="a flat matrix"),
        pytest.param(
            ".mha", MATRIX, "TransformMatrix = 1 0 0 0 0 0 0 0 1", "AFFINE", id="a zero row"
        ),
        pytest.param(
            ".mha", MATRIX, "TransformMatrix = 2 0 0 0 1 0 0 0 1", "AFFINE", id="a long row"
        ),
        pytest.param(
            ".mha", MATRIX, "TransformMatrix = 1 0 0 .6 .8 0 0 0 1", "AFFINE", id="a lean row"
        ),
        pytest.param(".mha", "ElementSpacing = ", "ElementSpacing = -", "AFFINE", id="negative"),
        pytest.param(".mha", "Spacing = [0-9.]*", "Spacing = 0", "AFFINE", id="zero spacing"),
        pytest.param(".mha", "ElementSpacing.*\n", "", "AFFINE", id="no ElementSpacing"),
    ],
)
def test_a_header_that_makes_no_sense_is_refused(tmp_path, suffix, old, new, code):
    path = edited(tmp_path / f"a{suffix}", (old, new))
    assert codes_of(path) == {f"E-ITK-{code}"}


def test_several_volumes_in_one_file_are_refused(tmp_path):
    path = save(tmp_path / "a.mha", sitk.JoinSeries([image(), image()]))
    assert codes_of(path) == {"E-ITK-DIM"}


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_colours_are_refused(tmp_path, suffix):
    made = sitk.GetImageFromArray(np.zeros((4, 5, 6, 3), np.uint8), isVector=True)
    assert "E-ITK-DIM" in codes_of(save(tmp_path / f"a{suffix}", made))


def test_thousands_of_axes_are_not_listed(tmp_path):
    axes = "dimension: 5000\\1sizes: " + "1 " * 5000
    path = edited(tmp_path / "a.nrrd", (r"dimension: 3(\n[^$]*?)sizes: .*", axes))
    with pytest.raises(DataError, match="its sizes and its dimension do not agree") as caught:
        read_itk(path)
    assert len(str(caught.value)) < 1000


def test_all_that_is_wrong_is_told_at_once(tmp_path):
    changes = [
        ("MET_SHORT", "MET_OTHER"),
        ("Offset.*\n", ""),
        ("NDims", "DistanceUnits = m\nNDims"),
    ]
    assert codes_of(edited(tmp_path / "a.mha", *changes)) == {
        *("E-ITK-DIM", "E-ITK-NOFORM", "E-ITK-UNITS")
    }


def test_a_header_without_an_end_is_refused(tmp_path):
    path = edited(tmp_path / "a.nrrd", ("type: ", "# and so on\n" * 100_000 + "type: "))
    assert "E-ITK-FORMAT" in codes_of(path)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_no_text_of_a_header_gets_into_a_message(tmp_path, suffix):
    path = save(tmp_path / f"a{suffix}")
    head, mark, voxels = path.read_bytes().partition(
        b"\n\n" if suffix == ".nrrd" else b"ElementDataFile"
    )
    words = rb"(?<=[:=] )[^\n]+"
    path.write_bytes(re.sub(words, b"Canary^Jane", head) + mark + voxels)
    with pytest.raises(DataError, match="E-ITK-FORMAT") as caught:
        read_itk(path)
    assert "Canary" not in str(caught.value)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound")
    return {s: save(folder / f"a{s}").read_bytes() for s in (".nrrd", ".mha")}, folder


@given(st.sampled_from([".nrrd", ".mha"]), st.integers(0, 420), st.binary(min_size=1, max_size=3))
def test_whatever_a_header_holds_the_file_is_read_or_refused(sound, suffix, at, written):
    contents, folder = sound
    content = bytearray(contents[suffix])
    content[at : at + len(written)] = written
    path = folder / f"changed{suffix}"
    path.write_bytes(content)
    try:
        read = read_itk(path, assume_ras=True)
    except DataError:
        return
    assert np.isfinite(read.voxels).all()
    assert axis_maps(read.grid, read.grid)  # a box of voxels


# Voxels in a file of their own


@pytest.mark.parametrize(
    ("name", "code"),
    [
        pytest.param("../away.raw", "E-ITK-DETACHED", id="out of the folder"),
        pytest.param("/etc/hostname", "E-ITK-DETACHED", id="anywhere"),
        pytest.param("sub/a.raw", "E-ITK-DETACHED", id="further in"),
        pytest.param("..", "E-ITK-DETACHED", id="the folder above"),
        pytest.param("LIST", "E-ITK-DETACHED", id="a list"),
        pytest.param("a\0b.raw", "E-ITK-DETACHED", id="no name of a file"),
        pytest.param("a%03d.raw 1 12 1", "E-ITK-DETACHED", id="a pattern"),
        pytest.param("link.raw", "E-ITK-DETACHED", id="a link out of the folder"),
        pytest.param("missing.raw", "E-IO", id="missing"),
    ],
)
@pytest.mark.parametrize("suffix", [".nhdr", ".mhd"])
def test_voxels_are_looked_for_beside_their_header_only(tmp_path, suffix, name, code):
    folder = tmp_path / "in"
    folder.mkdir()
    path = edited(folder / f"a{suffix}", ("a\\.raw", name))
    (folder / "a.raw").rename(tmp_path / "away.raw")
    (folder / "link.raw").symlink_to(tmp_path / "away.raw")
    assert codes_of(path) == {code}


@pytest.mark.parametrize("suffix", [".nhdr", ".mhd"])
def test_the_folder_may_be_named_by_a_dot(tmp_path, suffix):
    path = edited(tmp_path / f"a{suffix}", ("a\\.raw", "./a.raw"))
    assert np.array_equal(read_itk(path).voxels, ramp())


@pytest.mark.parametrize("suffix", [".nhdr", ".mhd"])
def test_a_file_of_voxels_cut_short_is_refused(tmp_path, suffix):
    path = save(tmp_path / f"a{suffix}")
    (tmp_path / "a.raw").write_bytes((tmp_path / "a.raw").read_bytes()[:-2])
    assert codes_of(path) == {"E-ITK-TRUNC"}


def test_a_folder_under_the_name_of_an_image_is_no_file(tmp_path):
    (tmp_path / "a.mha").mkdir()
    assert codes_of(tmp_path / "a.mha") == {"E-IO"}
