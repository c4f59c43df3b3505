"""Values of DICOM series: every transfer syntax, sign, spare bits, rescaling."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813 - as everyone calls it
from dicom_frames import multi_frame
from dicom_series import SHAPE, codes_of, ramp, save, slices, write_series
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import uid
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.pixels.utils import compress
from validators import said

from medseg.errors import DataError
from medseg.io.dicom_codestream import size_of
from medseg.io.dicom_pixels import read_series
from medseg.io.dicom_series import find_series
from medseg.io.images import read_source


def values_of(source, **options):
    (series,) = find_series(source, **options)
    return read_series(series).voxels


def test_a_series_is_read_as_an_image(tmp_path):
    write_series(tmp_path)
    (series,) = find_series(tmp_path)
    image = read_source(series)
    assert image.voxels.shape == SHAPE
    assert image.voxels.dtype == np.float32
    assert image.voxels.flags.f_contiguous
    assert image.frame.form_code == 1
    assert image.grid is series.grid
    assert np.array_equal(image.voxels, ramp() * np.float32(2) - 1024)


# --- Transfer syntaxes -------------------------------------------------------------------------

PLAIN = (
    pytest.param(uid.ImplicitVRLittleEndian, id="implicit"),
    pytest.param(uid.ExplicitVRLittleEndian, id="explicit"),
    pytest.param(uid.DeflatedExplicitVRLittleEndian, id="deflated"),
)
PACKED = (
    pytest.param(uid.RLELossless, id="RLE"),
    pytest.param(uid.JPEGLSLossless, id="JPEG-LS"),
)


@pytest.mark.parametrize("syntax", [*PLAIN, *PACKED])
def test_every_syntax_gives_the_same_values(tmp_path, syntax):
    datasets = slices(ramp((20, 24, 3)))
    for k, dataset in enumerate(datasets):
        if syntax.is_encapsulated:
            save(dataset, tmp_path / f"{k}.dcm")
            compress(dataset, syntax, generate_instance_uid=False)
        save(dataset, tmp_path / f"{k}.dcm", transfer_syntax=syntax)
    assert np.array_equal(values_of(tmp_path), ramp((20, 24, 3)) * 2.0 - 1024)


@pytest.mark.parametrize(
    "option",
    [
        pytest.param("--jpeg", id="lossless JPEG"),
        pytest.param("--j2k", id="JPEG 2000"),
        pytest.param("--jpegls", id="JPEG-LS"),
        pytest.param("--rle", id="RLE"),
    ],
)
def test_what_gdcm_compresses_gives_the_same_values(tmp_path, option):
    for path in write_series(tmp_path / "plain", slices(ramp((20, 24, 2)))):
        (tmp_path / "packed").mkdir(exist_ok=True)
        said("gdcmconv", option, path, tmp_path / "packed" / path.name)
    assert np.array_equal(values_of(tmp_path / "packed"), ramp((20, 24, 2)) * 2.0 - 1024)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("MR_small_implicit.dcm", id="implicit"),
        pytest.param("MR_small_bigendian.dcm", id="big endian"),
        pytest.param("MR_small_padded.dcm", id="bytes after the pixels"),
        pytest.param("MR_small_RLE.dcm", id="RLE"),
        pytest.param("MR_small_jp2klossless.dcm", id="JPEG 2000"),
        pytest.param("MR_small_jpeg_ls_lossless.dcm", id="JPEG-LS"),
    ],
)
def test_a_real_slice_is_the_same_in_every_syntax(name):
    plain = values_of(pydicom_file("MR_small.dcm"))
    assert plain.shape == (64, 64, 1)
    assert np.array_equal(values_of(pydicom_file(name)), plain)
    stored = sitk.GetArrayFromImage(sitk.ReadImage(get_testdata_file("MR_small.dcm")))
    assert np.array_equal(plain, stored.T)


def pydicom_file(name):
    return Path(get_testdata_file(name))


@pytest.mark.parametrize("name", ["693_J2KI.dcm", "J2K_pixelrep_mismatch.dcm", "CT_small.dcm"])
def test_real_ct_equals_what_another_reader_makes_of_it(name):
    stored = sitk.GetArrayFromImage(sitk.ReadImage(get_testdata_file(name)))
    assert np.array_equal(values_of(pydicom_file(name)), stored.T)


def test_a_syntax_without_decoder_is_refused_with_what_to_install(tmp_path):
    path = write_series(tmp_path, slices(ramp((20, 24, 1))))[0]
    dataset = pydicom.dcmread(path)
    dataset.PixelData = pydicom.encaps.encapsulate([b"\xff\x4f\xff\x51"])
    dataset["PixelData"].is_undefined_length = True
    save(dataset, path, transfer_syntax=uid.HTJ2KLossless)
    with pytest.raises(DataError, match=r"E-DCM-TS.*pip install pylibjpeg"):
        find_series(tmp_path)


def test_a_film_is_no_still_image(tmp_path):
    path = write_series(tmp_path, slices(ramp((20, 24, 1))))[0]
    dataset = pydicom.dcmread(path)
    dataset.PixelData = pydicom.encaps.encapsulate([b"film"])
    dataset["PixelData"].is_undefined_length = True
    save(dataset, path, transfer_syntax=uid.MPEG2MPML)
    assert codes_of(tmp_path) == {"E-DCM-TS"}


# --- Stored numbers ----------------------------------------------------------------------------


def test_negative_numbers_are_read(tmp_path):
    stored = ramp((20, 24, 2)).astype(np.int32) - 480
    write_series(
        tmp_path,
        slices(stored, PixelRepresentation=1, BitsStored=16, HighBit=15, RescaleSlope=1),
    )
    assert np.array_equal(values_of(tmp_path), stored - 1024.0)


@pytest.mark.parametrize("signed", [0, 1])
def test_bits_beyond_the_stored_ones_are_dropped(tmp_path, signed):
    stored = ramp((20, 24, 2)).astype(np.int32) - 480 * signed
    garbage = np.where(np.arange(24)[None, :, None] % 2, 0xF000, 0x5000)
    write_series(tmp_path, slices((stored & 0xFFF) | garbage, PixelRepresentation=signed))
    assert np.array_equal(values_of(tmp_path), stored * 2.0 - 1024)


def test_eight_bits_are_read(tmp_path):
    datasets = slices(ramp((20, 24, 2)), BitsAllocated=8, BitsStored=8, HighBit=7)
    for k, dataset in enumerate(datasets):
        dataset.PixelData = (ramp((20, 24, 2))[:, :, k] % 256).T.astype(np.uint8).tobytes()
        dataset["PixelData"].VR = "OB"
    write_series(tmp_path, datasets)
    assert np.array_equal(values_of(tmp_path), (ramp((20, 24, 2)) % 256) * 2.0 - 1024)


def test_every_slice_is_rescaled_by_its_own_numbers(tmp_path):
    datasets = slices()
    for k, dataset in enumerate(datasets):
        dataset.RescaleSlope, dataset.RescaleIntercept = 1 + k / 4, -k - 0.5
    write_series(tmp_path, datasets)
    k = np.arange(SHAPE[2])
    assert np.array_equal(values_of(tmp_path), (ramp() * (1 + k / 4) - k - 0.5).astype(np.float32))


def test_without_rescaling_the_stored_numbers_are_the_values(tmp_path):
    datasets = slices(ramp((20, 24, 2)))
    for dataset in datasets:
        del dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType
    write_series(tmp_path, datasets)
    assert np.array_equal(values_of(tmp_path), ramp((20, 24, 2)))


def test_a_table_of_values_is_applied(tmp_path):
    datasets = slices(ramp((20, 24, 2)))
    for dataset in datasets:
        del dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType
        table = Dataset()
        table.LUTDescriptor = [4096, 0, 16]
        table.ModalityLUTType = "US"
        table.add_new("LUTData", "US", [int(v) for v in np.arange(4096) ** 2 % 60000])
        dataset.ModalityLUTSequence = [table]
    write_series(tmp_path, datasets)
    expected = ramp((20, 24, 2)).astype(np.int64) ** 2 % 60000
    assert np.array_equal(values_of(tmp_path), expected)


def test_how_to_show_an_image_does_not_change_its_values(tmp_path):
    shown = {"WindowCenter": 40, "WindowWidth": 10, "VOILUTFunction": "SIGMOID"}
    write_series(tmp_path, slices(PhotometricInterpretation="MONOCHROME1", **shown))
    (series,) = find_series(tmp_path)
    assert np.array_equal(read_series(series).voxels, ramp() * 2.0 - 1024)
    assert [warning.code for warning in read_series(series).warnings] == ["W-DCM-MONO1"]


@pytest.mark.parametrize(
    "elements",
    [
        pytest.param({"BitsAllocated": 12}, id="bits that fill no bytes"),
        pytest.param({"BitsStored": 17, "HighBit": 16}, id="more stored than allocated"),
        pytest.param({"HighBit": 15}, id="the highest are stored, not the lowest"),
    ],
)
def test_bits_that_cannot_be_are_refused(tmp_path, elements):
    write_series(tmp_path, slices(ramp((20, 24, 2)), **elements))
    assert codes_of(tmp_path) == {"E-DCM-PIXELS"}


def test_a_slope_that_leads_nowhere_is_refused(tmp_path):
    write_series(tmp_path, slices(ramp((20, 24, 2)), RescaleSlope=1e300))
    (series,) = find_series(tmp_path)
    with pytest.raises(DataError, match=r"E-DCM-PIXELS.*000\.dcm"):
        read_series(series)


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        pytest.param("RescaleSlope", None, id="no slope"),
        pytest.param("RescaleIntercept", None, id="no intercept"),
        pytest.param("RescaleSlope", [1, 2], id="two slopes"),
    ],
)
def test_half_a_rescaling_is_refused(tmp_path, keyword, value):
    datasets = slices(ramp((20, 24, 2)))
    setattr(datasets[1], keyword, value)
    write_series(tmp_path, datasets)
    (series,) = find_series(tmp_path)
    with pytest.raises(DataError, match=r"E-DCM-PIXELS.*001\.dcm: its numbers cannot be rescaled"):
        read_series(series)
    delattr(datasets[1], keyword)
    write_series(tmp_path, datasets)
    with pytest.raises(DataError, match="E-DCM-PIXELS"):
        read_series(series)


# --- Damage ------------------------------------------------------------------------------------


def compressed(folder, syntax=uid.JPEGLSLossless, count=2):
    datasets = slices(ramp((20, 24, count)))
    for k, dataset in enumerate(datasets):
        save(dataset, folder / f"{k}.dcm")
        compress(dataset, syntax, generate_instance_uid=False)
        save(dataset, folder / f"{k}.dcm", transfer_syntax=syntax)
    return folder


@pytest.mark.parametrize("syntax", PACKED)
def test_compressed_pixels_cut_short_are_refused_by_name(tmp_path, syntax):
    path = compressed(tmp_path, syntax) / "1.dcm"
    path.write_bytes(path.read_bytes()[:-150])
    (series,) = find_series(tmp_path)
    with pytest.raises(DataError, match=r"E-DCM-TRUNC.*1\.dcm: its pixels do not decode"):
        read_series(series)


@given(data=st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_bytes_are_read_or_refused_and_nothing_else(broken, data):
    """Flip, drop and repeat bytes of a header: nothing but our own errors may come of it."""
    content = bytearray(broken.read_bytes())
    sound = bytes(content)
    for _ in range(data.draw(st.integers(1, 4))):
        at, n = data.draw(st.integers(132, 2000)), data.draw(st.integers(1, 12))
        change = data.draw(st.sampled_from([b"", b"\xff" * n, content[at : at + n] * 2, b"\0" * n]))
        content[at : at + n] = change
    broken.write_bytes(content)
    try:
        (series,) = find_series(broken)
        assert read_series(series).voxels.shape == series.grid.shape
    except DataError as error:
        assert str(broken) in str(error)  # noqa: PT017 - either is right
    finally:
        broken.write_bytes(sound)


@pytest.fixture(params=[*PLAIN, pytest.param(None, id="multi-frame")])
def broken(request, tmp_path):
    """A sound file, to be broken: a slice in a transfer syntax, or many frames."""
    if request.param is None:
        return save(multi_frame(voxels=ramp((20, 24, 2))), tmp_path / "broken.dcm")
    (dataset,) = slices(ramp((20, 24, 1)))
    return save(dataset, tmp_path / "broken.dcm", transfer_syntax=request.param)


def test_a_file_that_changed_after_it_was_found_is_refused(tmp_path):
    paths = write_series(tmp_path)
    (series,) = find_series(tmp_path)
    save(slices(ramp((24, 20, 1)))[0], paths[3])
    paths[5].write_bytes(paths[5].read_bytes()[:-1])
    paths[7].unlink()
    with pytest.raises(DataError, match=r"003\.dcm") as caught:
        read_series(series)
    assert [problem.code for problem in caught.value.problems] == [
        "E-DCM-CHANGED",
        "E-DCM-TRUNC",
        "E-DCM-TRUNC",
    ]


def test_a_codestream_of_another_size_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    path = compressed(tmp_path) / "1.dcm"
    content = path.read_bytes()
    at = content.index(b"\xff\xf7")  # JPEG-LS: start of frame
    sides = (60000).to_bytes(2, "big") * 2
    path.write_bytes(content[: at + 5] + sides + content[at + 9 :])
    (series,) = find_series(tmp_path)
    with pytest.raises(DataError, match=r"E-TOO-LARGE.*1\.dcm: frame 1 claims 60000 x 60000 x 1"):
        read_series(series)


def test_more_run_lengths_than_pixels_are_refused(tmp_path):
    path = compressed(tmp_path, uid.RLELossless) / "1.dcm"
    dataset = pydicom.dcmread(path)
    frame = next(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1))
    dataset.PixelData = pydicom.encaps.encapsulate([frame + bytes([129, 0]) * 5000])
    dataset.save_as(path)
    (series,) = find_series(tmp_path)
    with pytest.raises(DataError, match=r"E-TOO-LARGE.*1\.dcm: frame 1 has \d+ bytes of run"):
        read_series(series)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        pytest.param("JPEG-lossy.dcm", (256, 1024, 1), id="JPEG, 12 bits"),
        pytest.param("SC_rgb_small_odd_jpeg.dcm", (3, 3, 3), id="JPEG"),
        pytest.param("SC_rgb_jpeg_gdcm.dcm", (100, 100, 3), id="lossless JPEG"),
        pytest.param("JPEG2000.dcm", (256, 1024, 1), id="JPEG 2000"),
        pytest.param("examples_jpeg2k.dcm", (640, 480, 3), id="JPEG 2000 of colours"),
        pytest.param("JPEGLSNearLossless_16.dcm", (10, 50, 1), id="JPEG-LS"),
        pytest.param("MR_small_RLE.dcm", None, id="run lengths"),
    ],
)
def test_the_size_that_a_frame_claims_is_read(name, size):
    dataset = pydicom.dcmread(get_testdata_file(name))
    frame = next(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1))
    assert size_of(frame) == size
    assert size is None or size[:2] == (dataset.Columns, dataset.Rows)
    # Damage leads to no answer, not to an endless search.
    assert size_of(frame[:5]) is None
    assert size_of(b"") is None
