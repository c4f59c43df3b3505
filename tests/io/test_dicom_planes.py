"""Multi-frame files: where each frame lies, its own rescaling, and what is refused."""

from copy import deepcopy

import dicom_frames
import dicom_series
import highdicom
import numpy as np
import pydicom
import pytest
from dicom_frames import multi_frame
from dicom_series import OBLIQUE, SHAPE, codes_of, only, ramp, save, slices, uid
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.pixels.utils import compress
from pydicom.uid import EnhancedMRImageStorage, RLELossless

from medseg.errors import DataError
from medseg.io.dicom_pixels import read_series
from medseg.io.dicom_series import find_series

VALUES = ramp() * 2.0 - 1024


@pytest.fixture
def frames():
    """A sound multi-frame dataset, open to harm."""
    return multi_frame()


def test_frames_are_put_in_the_order_of_their_position(tmp_path, frames):
    path = save(frames, tmp_path / "case1.dcm")
    for source in (tmp_path, path):
        series = only(source)
        assert series.files == (path,)
        assert series.frames == tuple(range(SHAPE[2], 0, -1))
        assert np.array_equal(series.grid.affine_ras_mm, dicom_series.affine_ras_mm())
        image = read_series(series)
        assert np.array_equal(image.voxels, VALUES)
        assert image.voxels.flags.f_contiguous


@settings(max_examples=3)
@given(order=st.permutations(range(SHAPE[2])))
def test_the_order_in_the_file_does_not_matter(tmp_path_factory, order):
    path = tmp_path_factory.mktemp("shuffled") / "case1.dcm"
    dataset = multi_frame()
    dicom_frames.reorder(dataset, order)
    series = only(save(dataset, path))
    assert sorted(series.frames) == list(range(1, SHAPE[2] + 1))
    assert np.array_equal(read_series(series).voxels, VALUES)


def test_an_oblique_volume_lies_where_highdicom_puts_it(tmp_path):
    dataset = multi_frame(iop=OBLIQUE)
    dataset.SOPClassUID = EnhancedMRImageStorage
    path = save(dataset, tmp_path / "oblique.dcm")
    volume = highdicom.imread(path).get_volume()
    series = only(path)
    voxels = read_series(series).voxels
    for ijk in ((0, 0, 0), (19, 0, 0), (3, 23, 0), (7, 11, 11)):
        ras_mm = series.grid.to_ras_mm(ijk)
        there = volume.map_reference_to_indices(np.array([ras_mm * (-1, -1, 1)]))
        nearest = np.rint(there).astype(int)
        assert np.allclose(there, nearest, rtol=0, atol=1e-4)
        assert voxels[ijk] == volume.array[tuple(nearest[0])]


def test_every_frame_is_rescaled_by_its_own_numbers(tmp_path, frames):
    shared = frames.SharedFunctionalGroupsSequence[0]
    (rescaling,) = shared.PixelValueTransformationSequence
    del shared.PixelValueTransformationSequence
    for number, group in enumerate(frames.PerFrameFunctionalGroupsSequence):
        own = deepcopy(rescaling)
        own.RescaleSlope, own.RescaleIntercept = number + 1, -number
        group.PixelValueTransformationSequence = [own]
    number = np.arange(SHAPE[2])[::-1]  # the last slice is the first frame
    voxels = read_series(only(save(frames, tmp_path / "a.dcm"))).voxels
    assert np.array_equal(voxels, ramp() * (number + 1.0) - number)


def test_an_orientation_of_each_frame_is_read(tmp_path, frames):
    shared = frames.SharedFunctionalGroupsSequence[0]
    for group in frames.PerFrameFunctionalGroupsSequence:
        group.PlaneOrientationSequence = deepcopy(shared.PlaneOrientationSequence)
        group.PixelMeasuresSequence = deepcopy(shared.PixelMeasuresSequence)
    del shared.PlaneOrientationSequence, shared.PixelMeasuresSequence
    path = save(frames, tmp_path / "a.dcm")
    assert only(path).grid.shape == SHAPE
    frames.PerFrameFunctionalGroupsSequence[4].PlaneOrientationSequence[
        0
    ].ImageOrientationPatient = list(dicom_series.CORONAL)
    save(frames, path)
    with pytest.raises(DataError, match=r"E-DCM-MIXED.*orientation .*a\.dcm frame 5"):
        find_series(path)


def test_compressed_frames_are_read(tmp_path, frames):
    save(frames, tmp_path / "a.dcm")
    compress(frames, RLELossless, generate_instance_uid=False)
    path = save(frames, tmp_path / "a.dcm", transfer_syntax=RLELossless)
    assert np.array_equal(read_series(only(path)).voxels, VALUES)


def test_an_old_multi_frame_file_of_one_frame_is_a_slice(tmp_path):
    (dataset,) = slices(ramp((20, 24, 1)), NumberOfFrames=1)
    series = only(save(dataset, tmp_path / "a.dcm"))
    assert series.frames == ()
    assert read_series(series).voxels.shape == (20, 24, 1)


# --- Refused -----------------------------------------------------------------------------------


def test_a_missing_frame_is_told_with_its_neighbours(tmp_path, frames):
    dicom_frames.reorder(frames, [0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11])
    save(frames, tmp_path / "a.dcm")
    with pytest.raises(DataError, match=r"E-DCM-GAP.*frame 4 and a\.dcm frame 3 lie 6 mm apart"):
        find_series(tmp_path)


def test_several_echoes_are_refused(tmp_path, frames):
    dicom_frames.reorder(frames, [*range(12), *range(12)])
    save(frames, tmp_path / "a.dcm")
    with pytest.raises(DataError, match=r"E-DCM-DUP.*and so do 11 more.*echo"):
        find_series(tmp_path)


def test_several_stacks_are_refused(tmp_path, frames):
    for number, group in enumerate(frames.PerFrameFunctionalGroupsSequence):
        group.FrameContentSequence[0].StackID = str(number % 2)
    save(frames, tmp_path / "a.dcm")
    with pytest.raises(DataError, match=r"E-DCM-MIXED.*holds 2 stacks"):
        find_series(tmp_path)


def test_frames_without_a_position_are_refused_with_their_number(tmp_path, frames):
    for number in (3, 7):
        del frames.PerFrameFunctionalGroupsSequence[number].PlanePositionSequence
    save(frames, tmp_path / "a.dcm")
    with pytest.raises(DataError, match=r"no usable ImagePositionPatient in 2 frames, .* 4 "):
        find_series(tmp_path)


@pytest.mark.parametrize("kept", [0, 11])
def test_frames_that_are_not_described_are_refused(tmp_path, frames, kept):
    groups = list(frames.PerFrameFunctionalGroupsSequence)
    frames.PerFrameFunctionalGroupsSequence = groups[:kept]
    save(frames, tmp_path / "a.dcm")
    with pytest.raises(DataError, match=rf"E-DCM-TRUNC.*describes {kept} of 12 frames"):
        find_series(tmp_path)


def test_frames_cut_short_are_refused(tmp_path, frames):
    path = save(frames, tmp_path / "a.dcm")
    path.write_bytes(path.read_bytes()[:-5000])
    assert codes_of(path) == {"E-DCM-TRUNC"}


def test_several_multi_frame_files_of_one_series_are_refused_but_each_can_be_had(tmp_path, frames):
    path = save(frames, tmp_path / "a.dcm")
    frames.SOPInstanceUID = uid("second")
    save(frames, tmp_path / "b.dcm")
    with pytest.raises(DataError, match=r"E-DCM-MIXED.*2 files, of which some hold many frames"):
        find_series(tmp_path)
    assert only(path).scan_id == "a"


@pytest.mark.parametrize("claimed", ["1A", "0", "-4"])
def test_a_number_of_frames_that_cannot_be_is_refused(tmp_path, frames, claimed):
    path = save(frames, tmp_path / "a.dcm")
    content = path.read_bytes()
    assert content.count(b"\x08\x00IS\x02\x0012") == 1
    path.write_bytes(
        content.replace(b"\x08\x00IS\x02\x0012", b"\x08\x00IS\x02\x00" + claimed.encode().ljust(2))
    )
    assert codes_of(path) == {"E-DCM-TRUNC"}


def test_the_frames_of_another_file_are_not_taken(tmp_path, frames):
    path = save(frames, tmp_path / "a.dcm")
    series = only(path)
    dicom_frames.reorder(frames, range(11))
    save(frames, path)
    with pytest.raises(DataError, match="E-DCM-CHANGED"):
        read_series(series)


def test_a_frame_that_claims_another_size_is_refused_before_it_is_decoded(tmp_path):
    dataset = multi_frame()
    save(dataset, tmp_path / "a.dcm")
    compress(dataset, pydicom.uid.JPEGLSLossless, generate_instance_uid=False)
    path = save(dataset, tmp_path / "a.dcm", transfer_syntax=pydicom.uid.JPEGLSLossless)
    content = path.read_bytes()
    at = [n for n in range(len(content) - 1) if content[n : n + 2] == b"\xff\xf7"][6]
    path.write_bytes(content[: at + 5] + b"\xea\x60\xea\x60" + content[at + 9 :])
    with pytest.raises(DataError, match=r"E-TOO-LARGE.*frame 7 claims 60000 x 60000"):
        read_series(only(path))
