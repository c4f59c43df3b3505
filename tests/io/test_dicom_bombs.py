"""Small files that claim or unpack to a lot: refused before the memory is taken."""

import subprocess
import sys
import tracemalloc
import zlib

import pytest
from dicom_frames import multi_frame
from dicom_series import codes_of, ramp, save, slices
from pydicom.uid import DeflatedExplicitVRLittleEndian

from medseg.errors import DataError
from medseg.io import dicom_headers
from medseg.io.dicom_series import find_series

# Linux counts kB. What getrusage tells of a child begins with the memory of its parent.
PEAK = """
import re, sys
from pathlib import Path
from medseg.errors import DataError
from medseg.io.dicom_pixels import read_series
from medseg.io.dicom_series import find_series
try:
    read_series(*find_series(Path(sys.argv[1])))
except DataError as error:
    status = Path("/proc/self/status").read_text()
    print(error.problems[0].code, int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) // 1024)
"""


def peak_of(path):
    """Return the code that a process of its own refuses a file with, and its memory in MB."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK, path], capture_output=True, text=True, check=True
    )
    code, peak_mb = done.stdout.split()
    return code, int(peak_mb)


def deflated(path, n_zeros_mib):
    """Write a deflated slice with so many MiB of zeros after its elements."""
    (dataset,) = slices(ramp((20, 24, 1)))
    save(dataset, path, transfer_syntax=DeflatedExplicitVRLittleEndian)
    content = path.read_bytes()
    (length,) = (int.from_bytes(content[140:144], "little"),)
    meta, packed = content[: 144 + length], content[144 + length :]
    header = zlib.decompress(packed, -zlib.MAX_WBITS)
    # Private data in front of the pixels: (0029,1010) OB of the announced length.
    n_bytes = n_zeros_mib << 20
    element = b"\x29\x00\x10\x10OB\0\0" + n_bytes.to_bytes(4, "little")
    at = header.index(b"\xe0\x7f\x10\x00OW")
    squeeze = zlib.compressobj(1, wbits=-zlib.MAX_WBITS)
    parts = [squeeze.compress(header[:at] + element)]
    parts += [squeeze.compress(bytes(1 << 20)) for _ in range(n_zeros_mib)]
    parts += [squeeze.compress(header[at:]), squeeze.flush()]
    path.write_bytes(meta + b"".join(parts))
    return path


def test_a_deflate_bomb_is_refused_in_little_memory(tmp_path):
    path = deflated(tmp_path / "bomb.dcm", 600)
    assert path.stat().st_size < 4 << 20
    code, peak_mb = peak_of(path)
    assert code == "E-TOO-LARGE"
    assert peak_mb < 300


@pytest.mark.parametrize(
    ("element", "claimed_at"),
    [
        pytest.param(b"\x02\x00\x01\x00OB\0\0", 8, id="the file meta information"),
        pytest.param(b"\x28\x00\x30\x00UN\0\0", 8, id="an element that is asked for"),
    ],
)
def test_an_element_that_claims_four_gigabytes_takes_what_there_is(tmp_path, element, claimed_at):
    (dataset,) = slices(ramp((20, 24, 1)))
    content = bytearray(save(dataset, tmp_path / "a.dcm").read_bytes())
    if element[:1] == b"\x28":  # Pixel Spacing, in a form whose length has 32 bits
        at = content.index(b"\x28\x00\x30\x00DS")
        content[at + 4 : at + 8] = b"UN\0\0" + bytes(4)
    at = content.index(element)
    content[at + claimed_at : at + claimed_at + 4] = b"\xf0\xff\xff\xff"
    (tmp_path / "a.dcm").write_bytes(content)
    tracemalloc.start()
    try:
        assert codes_of(tmp_path) == {"E-DCM-TRUNC"}
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


def test_what_inflates_to_little_is_read(tmp_path):
    (series,) = find_series(deflated(tmp_path / "small.dcm", 1))
    assert series.grid.shape == (20, 24, 1)


def test_the_limit_of_inflation_is_where_it_is_said_to_be(tmp_path, monkeypatch):
    path = deflated(tmp_path / "a.dcm", 2)
    monkeypatch.setattr(dicom_headers, "MAX_INFLATED_BYTES", 2 << 20)
    with pytest.raises(DataError, match=r"E-TOO-LARGE.*a\.dcm: \d+ bytes inflate to more than 2 M"):
        find_series(path)
    monkeypatch.setattr(dicom_headers, "MAX_INFLATED_BYTES", 3 << 20)
    assert find_series(path)


def test_a_deflated_file_cut_short_is_refused(tmp_path):
    path = deflated(tmp_path / "a.dcm", 0)
    path.write_bytes(path.read_bytes()[:-40])
    assert codes_of(path) == {"E-DCM-TRUNC"}


def test_a_thousand_million_frames_are_refused_in_little_memory(tmp_path):
    dataset = multi_frame()
    dataset.NumberOfFrames = 1_000_000_000
    code, peak_mb = peak_of(save(dataset, tmp_path / "bomb.dcm"))
    assert code == "E-TOO-LARGE"
    assert peak_mb < 300


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param({"Rows": 65535, "Columns": 65535}, id="a slice of 65535 pixels a side"),
        pytest.param({"Columns": 9000}, id="a side beyond the limit"),
        pytest.param({"Rows": 8192, "Columns": 8192, "NumberOfFrames": 17}, id="4.5 GiB"),
        pytest.param({"NumberOfFrames": 8193}, id="more frames than any scan has"),
    ],
)
def test_sizes_beyond_the_limits_are_refused(tmp_path, claims):
    (dataset,) = slices(ramp((20, 24, 1)), **claims)
    for keyword, value in claims.items():
        setattr(dataset, keyword, value)
    assert codes_of(save(dataset, tmp_path / "a.dcm")) == {"E-TOO-LARGE"}


def test_many_slices_may_together_be_too_large(tmp_path, monkeypatch):
    for k, dataset in enumerate(slices()):
        save(dataset, tmp_path / f"{k}.dcm")
    monkeypatch.setattr("medseg.io.dicom_series.MAX_BYTES", 20 * 24 * 12 * 4 - 1)
    assert codes_of(tmp_path) == {"E-TOO-LARGE"}
