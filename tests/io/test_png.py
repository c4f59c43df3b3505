"""Slices come back exactly, or not at all."""

import io
import struct
import subprocess
import sys
import time
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from medseg.errors import DataError
from medseg.io.png import read_header, read_slice, write_slice

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(kind, data=b""):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def header(width, height, bits=16, colour=0):
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))


def interlaced(width, height):
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 0, 0, 0, 1))


def png(*chunks):
    return SIGNATURE + b"".join(chunks)


def jpeg():
    file = io.BytesIO()
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(file, "JPEG")
    return file.getvalue()


def flipped(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


# Two rows of three pixels, filter 0 before each: 1 2 3 / 256 0 65535, high byte first.
ROWS = bytes([0, 0, 1, 0, 2, 0, 3, 0, 1, 0, 0, 0, 255, 255])
STREAM = zlib.compress(ROWS)
WHOLE = png(header(3, 2), chunk(b"IDAT", STREAM), chunk(b"IEND"))


def code_of(path, read=read_slice):
    with pytest.raises(DataError, match=path.name) as caught:
        read(path)
    (problem,) = caught.value.problems
    return problem.code, str(problem)


def test_a_file_written_by_hand_reads_as_numbers(tmp_path):
    path = tmp_path / "slice.png"
    path.write_bytes(WHOLE)
    pixels = read_slice(path)
    assert pixels.dtype == np.uint16
    assert pixels.tolist() == [[1, 2, 3], [256, 0, 65535]]
    assert read_header(path) == (3, 2, 16, "greyscale")


def pillows(data):
    with Image.open(io.BytesIO(data)) as picture:
        return np.array(picture, np.uint16)


@st.composite
def pictures(draw):
    """Draw a whole PNG: any size, depth, filters, bytes, packing and division into chunks."""
    bits = draw(st.sampled_from([8, 16]))
    width, height = draw(st.integers(1, 20)), draw(st.integers(1, 6))
    size = width * bits // 8
    # Small differences and large ones: both decide otherwise which neighbour is the closest.
    samples = st.binary(min_size=size, max_size=size) | st.lists(
        st.sampled_from([0, 1, 2, 254, 255]), min_size=size, max_size=size
    ).map(bytes)
    rows = [bytes([draw(st.integers(0, 4))]) + draw(samples) for _ in range(height)]
    packer = zlib.compressobj(draw(st.integers(0, 9)), wbits=draw(st.integers(9, 15)))
    stream = packer.compress(b"".join(rows)) + packer.flush()
    cut = draw(st.integers(0, len(stream)))
    return png(
        header(width, height, bits),
        chunk(b"IDAT", stream[:cut]),
        chunk(b"IDAT", stream[cut:]),
        chunk(b"IEND"),
    )


@given(pictures())
@settings(deadline=None, max_examples=300)
def test_any_picture_reads_as_pillow_reads_it(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "drawn.png"
    path.write_bytes(data)
    assert np.array_equal(read_slice(path), pillows(data))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("kind", [pytest.param(k, id=f"filter {k}") for k in range(5)])
def test_each_filter_reads_as_pillow_reads_it(tmp_path, kind, dtype):
    """Hundreds of columns of every value, with one filter in all rows, the first included."""
    rng = np.random.default_rng(kind)
    lines = rng.integers(0, 256, (40, 1 + 300 * np.dtype(dtype).itemsize)).astype(np.uint8)
    lines[:, 0] = kind
    stream = zlib.compress(lines.tobytes(), 1)
    bits = 8 * np.dtype(dtype).itemsize
    data = png(header(300, 40, bits), chunk(b"IDAT", stream), chunk(b"IEND"))
    path = tmp_path / "slice.png"
    path.write_bytes(data)
    assert np.array_equal(read_slice(path), pillows(data))


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="as it comes"),
        pytest.param({"optimize": True}, id="optimised"),
        pytest.param({"compress_level": 0}, id="stored"),
        pytest.param({"dpi": (96, 96)}, id="with a resolution"),
    ],
)
def test_what_pillow_writes_reads_back(tmp_path, options):
    j, i = np.mgrid[:90, :70]
    pixels = (3000 + 2900 * np.sin(i / 9) * np.cos(j / 7)).astype(np.uint16)
    Image.fromarray(pixels).save(tmp_path / "slice.png", **options)
    assert np.array_equal(read_slice(tmp_path / "slice.png"), pixels)


def test_bytes_after_the_last_row_are_ignored(tmp_path):
    path = tmp_path / "slice.png"
    for stream in (zlib.compress(ROWS + b"more"), STREAM + b"more", STREAM[:-4]):
        path.write_bytes(png(header(3, 2), chunk(b"IDAT", stream), chunk(b"IEND")))
        assert read_slice(path).tolist() == [[1, 2, 3], [256, 0, 65535]]


@pytest.mark.parametrize(
    "shape",
    [
        pytest.param((1, 1), id="one pixel"),
        pytest.param((310, 360), id="wider than high"),
        pytest.param((5, 1), id="one column"),
    ],
)
def test_every_grey_value_survives_the_round_trip(tmp_path, shape):
    pixels = np.random.default_rng(0).integers(0, 65536, shape).astype(np.uint16)
    write_slice(tmp_path / "slice.png", pixels)
    back = read_slice(tmp_path / "slice.png")
    assert np.array_equal(back, pixels)
    assert back.flags.writeable
    assert read_header(tmp_path / "slice.png")[:2] == (shape[1], shape[0])


def test_eight_bits_keep_their_values(tmp_path):
    Image.fromarray(np.array([[0, 7, 255]], np.uint8)).save(tmp_path / "slice.png")
    assert read_slice(tmp_path / "slice.png").tolist() == [[0, 7, 255]]
    assert read_header(tmp_path / "slice.png").bits == 8


def test_interlaced_slices_read_like_others(tmp_path):
    # Adam7 of one pixel is one pass of one pixel.
    rows = zlib.compress(bytes([0, 1, 2]))
    path = tmp_path / "slice.png"
    path.write_bytes(png(interlaced(1, 1), chunk(b"IDAT", rows), chunk(b"IEND")))
    assert read_slice(path).tolist() == [[258]]


IDAT = WHOLE.index(b"IDAT")


@pytest.mark.parametrize(
    ("data", "code", "text"),
    [
        pytest.param(b"", "E-EMPTY", "0 bytes", id="no bytes"),
        pytest.param(WHOLE[:5], "E-EMPTY", "5 bytes", id="half a signature"),
        pytest.param(WHOLE[:20], "E-EMPTY", "20 bytes, no header", id="half a header"),
        pytest.param(WHOLE[:33], "E-EMPTY", "no pixels", id="header only"),
        pytest.param(png(header(3, 2), chunk(b"IEND")), "E-EMPTY", "no pixels", id="no IDAT"),
        pytest.param(WHOLE[: IDAT + 9], "E-PNG-TRUNC", f"{IDAT + 9} bytes", id="cut in the pixels"),
        pytest.param(WHOLE[:-12], "E-PNG-CRC", "no end chunk", id="no IEND"),
        pytest.param(WHOLE[:-2], "E-PNG-CRC", "no end chunk", id="half an IEND"),
        pytest.param(flipped(WHOLE, IDAT + 6), "E-PNG-CRC", "chunk IDAT", id="flipped bit"),
        pytest.param(flipped(WHOLE, 17), "E-PNG-CRC", "chunk IHDR", id="flipped size"),
        pytest.param(
            png(header(3, 2), chunk(b"IDAT", zlib.compress(ROWS)[:4]), chunk(b"IEND")),
            "E-PNG-TRUNC",
            "do not decode",
            id="stream ends early in sound chunks",
        ),
        pytest.param(
            png(header(3, 2), chunk(b"IDAT", b"no zlib at all"), chunk(b"IEND")),
            "E-PNG-TRUNC",
            "do not decode",
            id="no zlib stream",
        ),
        pytest.param(
            png(header(3, 2), chunk(b"IDAT", zlib.compress(ROWS[:-1])), chunk(b"IEND")),
            "E-PNG-TRUNC",
            "do not decode: 13 of 14 bytes",
            id="a byte too few",
        ),
        pytest.param(
            png(header(3, 2), chunk(b"IDAT", flipped(STREAM, len(STREAM) - 1)), chunk(b"IEND")),
            "E-PNG-TRUNC",
            "do not decode",
            id="wrong checksum of the stream",
        ),
        pytest.param(
            png(header(3, 2), chunk(b"IDAT", zlib.compress(b"\5" + ROWS[1:])), chunk(b"IEND")),
            "E-PNG-TRUNC",
            "a filter that does not exist",
            id="no such filter in the first row",
        ),
        pytest.param(
            png(
                header(3, 2),
                chunk(b"IDAT", zlib.compress(ROWS[:7] + b"\xff" + ROWS[8:])),
                chunk(b"IEND"),
            ),
            "E-PNG-TRUNC",
            "a filter that does not exist",
            id="no such filter in the last row",
        ),
        pytest.param(
            png(
                header(3, 2),
                chunk(b"IDAT", STREAM[:9]),
                chunk(b"tEXt", b"a\0b"),
                chunk(b"IDAT", STREAM[9:]),
                chunk(b"IEND"),
            ),
            "E-PNG-TRUNC",
            "do not decode",
            id="other chunks amid the pixels",
        ),
        pytest.param(
            png(interlaced(4, 4), chunk(b"IDAT", zlib.compress(bytes(9))), chunk(b"IEND")),
            "E-PNG-TRUNC",
            "do not decode",
            id="interlaced and too short",
        ),
        pytest.param(
            png(header(3, 2), header(9000, 9000), chunk(b"IEND")),
            "E-FORMAT",
            "two header chunks",
            id="a second header",
        ),
        pytest.param(
            png(chunk(b"tEXt", bytes(13)), header(3, 2)), "E-FORMAT", "header", id="text first"
        ),
        pytest.param(jpeg(), "E-FORMAT", "is JPEG; lossy", id="JPEG"),
        pytest.param(b"GIF89a" + bytes(40), "E-FORMAT", "is GIF", id="GIF"),
        pytest.param(bytes(400), "E-FORMAT", "is not PNG", id="zeros"),
        pytest.param(png(header(3, 2, 8, 2)), "E-MODE", "8-bit RGB", id="RGB"),
        pytest.param(png(header(3, 2, 16, 6)), "E-MODE", "16-bit RGBA", id="RGBA"),
        pytest.param(png(header(3, 2, 8, 3)), "E-MODE", "palette", id="palette"),
        pytest.param(png(header(3, 2, 8, 4)), "E-MODE", "alpha", id="grey and alpha"),
        pytest.param(png(header(3, 2, 1)), "E-MODE", "1-bit greyscale", id="1 bit"),
        pytest.param(png(header(3, 2, 16, 5)), "E-MODE", "colour type 5", id="no such colour"),
        pytest.param(png(header(8193, 2)), "E-TOO-LARGE", "8193 x 2", id="too wide"),
        pytest.param(png(header(3, 0)), "E-TOO-LARGE", "3 x 0", id="no rows"),
    ],
)
def test_a_broken_file_says_how(tmp_path, data, code, text):
    path = tmp_path / "slice_0001.png"
    path.write_bytes(data)
    found, message = code_of(path)
    assert found == code
    assert text in message


def test_every_way_of_cutting_a_file_short_is_refused(tmp_path):
    path = tmp_path / "slice.png"
    for length in range(len(WHOLE)):
        path.write_bytes(WHOLE[:length])
        assert code_of(path)[0] in {"E-EMPTY", "E-PNG-TRUNC", "E-PNG-CRC"}


def test_every_flipped_byte_is_refused(tmp_path):
    path = tmp_path / "slice.png"
    for at in range(len(WHOLE)):
        path.write_bytes(flipped(WHOLE, at))
        with pytest.raises(DataError, match=r"slice\.png"):
            read_slice(path)


@pytest.mark.parametrize("read", [read_slice, read_header])
def test_what_is_no_file_is_refused(tmp_path, read):
    folder, dangling, loop, pipe = (tmp_path / f"{n}.png" for n in ("dir", "gone", "loop", "pipe"))
    folder.mkdir()
    dangling.symlink_to(tmp_path / "nowhere.png")
    loop.symlink_to(loop)
    subprocess.run(["mkfifo", str(pipe)], check=True)
    for path, text in ((folder, "directory"), (dangling, "No such"), (loop, "ink"), (pipe, "pipe")):
        code, message = code_of(path, read)
        assert code == "E-IO"
        assert text in message


def test_a_file_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    path = tmp_path / "slice.png"
    path.write_bytes(WHOLE)

    def refuse(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)  # root may read everything
    with pytest.raises(DataError, match=r"E-IO.*Permission denied"):
        read_slice(path)


def test_bombs_are_refused_before_they_go_off(tmp_path):
    """A huge picture, a huge file and a stream that swells: memory stays below 300 MB."""
    squeezed = zlib.compressobj(1)
    stream = b"".join(squeezed.compress(bytes(1 << 20)) for _ in range(400)) + squeezed.flush()
    (tmp_path / "wide.png").write_bytes(
        png(header(20000, 20000), chunk(b"IDAT", stream), chunk(b"IEND"))
    )
    (tmp_path / "swelling.png").write_bytes(
        png(header(8, 8), chunk(b"IDAT", stream), chunk(b"IEND"))
    )
    text = zlib.compress(bytes(50 << 20))
    (tmp_path / "text.png").write_bytes(
        png(
            header(3, 2),
            chunk(b"zTXt", b"Comment\0\0" + text),
            chunk(b"IDAT", zlib.compress(ROWS)),
            chunk(b"IEND"),
        )
    )
    with (tmp_path / "long.png").open("wb") as file:
        file.write(png(header(3, 2)))
        file.truncate(1 << 34)  # sparse: 16 GiB claimed, nothing stored
    script = f"""
import resource
from pathlib import Path
from medseg.errors import DataError
from medseg.io.png import read_slice
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for name in ("wide", "long", "text", "swelling"):
    try:
        print(name, read_slice(Path({str(tmp_path)!r}) / f"{{name}}.png").shape)
    except DataError as error:
        print(name, error.problems[0].code)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=True
    )
    wide, long, _text, swelling, grown_mib = done.stdout.split("\n")[:5]
    assert wide == "wide E-TOO-LARGE"
    assert long == "long E-TOO-LARGE"
    assert swelling == "swelling (8, 8)"  # the decoder stops at the last row
    assert int(grown_mib) < 300


def test_checks_cost_little_beside_decoding(tmp_path):
    """The walk over the chunks may not double the time: preparing lives on it."""
    pixels = np.random.default_rng(0).integers(0, 900, (266, 266)).astype(np.uint16)
    path = tmp_path / "slice.png"
    write_slice(path, pixels)

    def bare():
        with Image.open(path, formats=("PNG",)) as picture:
            return np.array(picture)

    def fastest_s(read):
        times = []
        for _ in range(30):
            begun = time.thread_time()
            read()
            times.append(time.thread_time() - begun)
        return min(times)

    assert fastest_s(lambda: read_slice(path)) < 1.5 * fastest_s(bare)


def test_real_slices_are_sixteen_bit(shared_data):
    (path,) = (shared_data / "uwmgi_slices/train/case85/case85_day0/scans").glob("*_0088_*.png")
    assert read_header(path) == (360, 310, 16, "greyscale")
    pixels = read_slice(path)
    assert pixels.shape == (310, 360)
    assert pixels.max() == 781


def test_every_real_slice_reads_as_pillow_reads_it(shared_data):
    grey = 0
    for path in sorted(shared_data.rglob("*.png")):
        with Image.open(path) as picture:
            if picture.mode in ("I;16", "L"):
                grey += 1
                assert np.array_equal(read_slice(path), np.array(picture)), path
    assert grey > 300
