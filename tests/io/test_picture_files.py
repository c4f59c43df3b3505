"""Pictures and masks come back exactly, or not at all."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from medseg.errors import DataError
from medseg.io.pictures import read_mask, read_picture, read_picture_header, write_picture

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (7, 5), np.uint8)
WIDE = RNG.integers(0, 65536, (7, 5), np.uint16)
RGB = RNG.integers(0, 256, (7, 5, 3), np.uint8)
PACKINGS = ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits")


def saved(pixels, kind="TIFF", **options):
    file = io.BytesIO()
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    picture.save(file, kind, **options)
    return file.getvalue()


def tiff(width=2, height=2, *, pixels=b"\1\2\3\4", following=0, **tags):
    """Return a TIFF written by hand, high byte first; tags are given by number as t258=8."""
    defaults = {256: width, 257: height, 258: 8, 262: 1, 277: 1, 279: len(pixels)}
    facts = defaults | {int(name[1:]): value for name, value in tags.items()}
    count = len(facts) + 1
    facts[273] = 8 + 2 + 12 * count + 4
    table = b"".join(struct.pack(">HHII", tag, 4, 1, facts[tag]) for tag in sorted(facts))
    return (
        struct.pack(">2sHIH", b"MM", 42, 8, count) + table + struct.pack(">I", following) + pixels
    )


def written(folder, data, name="picture.tif"):
    path = folder / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("name", "data", "pixels"),
    [
        *(
            pytest.param("a.tif", saved(pixels, compression=kind), pixels, id=f"{what} {kind}")
            for what, pixels in (("grey", GREY), ("16 bits", WIDE), ("RGB", RGB))
            for kind in PACKINGS
        ),
        pytest.param("a.tiff", tiff(), np.array([[1, 2], [3, 4]], np.uint8), id="by hand"),
        pytest.param("A.PNG", saved(GREY, "PNG"), GREY, id="grey PNG"),
        pytest.param("a.png", saved(WIDE, "PNG"), WIDE, id="16-bit PNG"),
        pytest.param("a.png", saved(RGB, "PNG"), RGB, id="RGB PNG"),
        pytest.param(
            "a.png", saved(Image.fromarray(GREY > 99), "PNG"), (GREY > 99) * np.uint8(255),
            id="1-bit PNG",
        ),
        pytest.param(
            "a.tif", saved(Image.fromarray(GREY > 99)), (GREY > 99) * np.uint8(255),
            id="1-bit TIFF",
        ),
    ],
)  # fmt: skip
def test_what_was_saved_is_read(tmp_path, name, data, pixels):
    path = written(tmp_path, data, name)
    read = read_picture(path)
    assert read.dtype == pixels.dtype
    np.testing.assert_array_equal(read, pixels if pixels.ndim == 3 else pixels[..., None])
    header = read_picture_header(path)
    assert header[:2] == read.shape[1::-1]
    assert header.channels == read.shape[2]
    assert (header.bits == 16) == (read.dtype == np.uint16)


def test_big_endian_16_bits_are_numbers(tmp_path):
    data = tiff(1, 2, pixels=bytes([1, 0, 0, 7]), t258=16)
    read = read_picture(written(tmp_path, data))
    assert read.dtype == np.dtype(np.uint16)
    assert read.ravel().tolist() == [256, 7]


@pytest.mark.parametrize("kind", PACKINGS)
def test_a_tiff_that_lost_its_end_is_never_half_a_picture(tmp_path, kind):
    data = saved(GREY, compression=kind)
    for size in range(len(data)):
        path = written(tmp_path, data[:size])
        with pytest.raises(DataError, match=r"E-(EMPTY|FORMAT|TIFF-TRUNC)"):
            read_picture(path)
        if size > 8:
            with pytest.raises(DataError, match=r"E-TIFF-TRUNC.*bytes"):
                read_picture_header(path)


@pytest.mark.parametrize("pixels", [pytest.param(GREY, id="grey"), pytest.param(RGB, id="RGB")])
def test_a_png_that_lost_its_end_is_never_half_a_picture(tmp_path, pixels):
    data = saved(pixels, "PNG")
    for size in range(len(data)):
        with pytest.raises(DataError, match=r"E-(EMPTY|PNG-TRUNC|PNG-CRC)"):
            read_picture(written(tmp_path, data[:size], "a.png"))


def pages():
    return saved(GREY, save_all=True, append_images=[Image.fromarray(GREY)])


REFUSED = [
    pytest.param("a.tif", b"", r"E-EMPTY.*0 bytes", id="no bytes"),
    pytest.param("a.tif", b"II*\0abc", r"E-EMPTY.*no header", id="no header"),
    pytest.param("a.tif", saved(GREY, "PNG"), r"E-FORMAT.*is PNG .*TIFF", id="PNG as tif"),
    pytest.param("a.tif", saved(GREY, "JPEG"), r"E-FORMAT.*JPEG; lossy", id="JPEG as tif"),
    pytest.param("a.png", saved(GREY), r"E-FORMAT.*is TIFF .*PNG", id="TIFF as png"),
    pytest.param("a.jpg", saved(GREY, "JPEG"), r"E-FORMAT.*'.jpg'", id="JPEG"),
    pytest.param("a.tif", pages(), r"E-MODE.*several pages", id="pages"),
    pytest.param("a.tif", saved(GREY.astype(np.float32)), r"E-MODE.*floating", id="float"),
    pytest.param("a.tif", saved(GREY.astype(np.int32)), r"E-MODE.*signed", id="signed"),
    pytest.param(
        "a.tif", saved(Image.fromarray(RGB).convert("P")), r"E-MODE.*palette", id="palette"
    ),
    pytest.param(
        "a.tif", saved(Image.fromarray(RGB).convert("CMYK")), r"E-MODE.*CMYK", id="CMYK"
    ),
    pytest.param(
        "a.tif", saved(Image.fromarray(RGB).convert("RGBA")), r"E-MODE.*4 channels", id="alpha"
    ),
    pytest.param("a.tif", tiff(t262=0), r"E-MODE.*white as 0", id="inverted"),
    pytest.param("a.tif", tiff(t274=6), r"E-MODE.*turned", id="turned"),
    pytest.param("a.tif", tiff(t258=4), r"E-MODE.*4 bits", id="4 bits"),
    pytest.param("a.tif", tiff(t258=16, t262=2, t277=3), r"E-MODE.*16 bits", id="16-bit RGB"),
    pytest.param("a.tif", tiff(following=8), r"E-MODE.*several pages", id="page loop"),
    pytest.param("a.tif", tiff(20000, 9000), r"E-TOO-LARGE.*20000 x 9000", id="bomb"),
    pytest.param("a.tif", tiff(0), r"E-TOO-LARGE.*0 x 2", id="no width"),
    pytest.param("a.tif", tiff(3, 3), r"E-TIFF-TRUNC.*do not decode", id="too few pixels"),
    pytest.param(
        "a.tif", struct.pack("<2sHIH", b"II", 42, 8, 999) + bytes(20), r"E-FORMAT.*999 tags",
        id="endless table",
    ),
    pytest.param(
        "a.tif",
        struct.pack(">2sHIH", b"MM", 42, 8, 2)
        + struct.pack(">HHIIHHIII", 256, 4, 1, 1 << 28, 256, 4, 1, 2, 0),
        r"E-FORMAT.*tag 256 stands twice",
        id="two widths",
    ),
    pytest.param(
        "a.tif", struct.pack("<2sHIHHHIII", b"II", 42, 8, 1, 273, 4, 2**32 - 1, 8, 0),
        r"E-FORMAT.*4294967295 values in tag 273.*up to 786432", id="endless tag",
    ),
    pytest.param(
        "a.tif", struct.pack("<2sHIHI", b"II", 42, 8, 0, 0), r"E-FORMAT.*without size",
        id="empty table",
    ),
    pytest.param(
        "a.png", saved(Image.fromarray(RGB).convert("RGBA"), "PNG"), r"E-MODE.*RGBA",
        id="PNG with alpha",
    ),
    pytest.param(
        "a.png", saved(Image.fromarray(RGB).convert("P"), "PNG"), r"E-MODE.*palette",
        id="PNG palette",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "data", "message"), REFUSED)
def test_what_is_no_plain_picture_is_refused(tmp_path, name, data, message):
    with pytest.raises(DataError, match=message):
        read_picture(written(tmp_path, data, name))


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_a_folder_or_nothing_under_the_name_is_told(tmp_path, suffix):
    (tmp_path / f"a.{suffix}").mkdir()
    with pytest.raises(DataError, match=r"E-IO.*directory"):
        read_picture(tmp_path / f"a.{suffix}")
    with pytest.raises(DataError, match=r"E-IO.*No such file"):
        read_picture_header(tmp_path / f"b.{suffix}")


MASK = np.array([[0, 1], [1, 0]], bool)


@pytest.mark.parametrize(
    "pixels",
    [
        pytest.param(MASK * np.uint8(255), id="255"),
        pytest.param(MASK * np.uint8(1), id="1"),
        pytest.param(MASK * np.uint16(65535), id="16 bits"),
        pytest.param(np.stack([MASK * np.uint8(255)] * 3, 2), id="RGB"),
    ],
)
def test_a_binary_mask_is_read(tmp_path, pixels):
    path = written(tmp_path, saved(pixels, "PNG"), "mask.png")
    assert read_mask(path).dtype == bool
    np.testing.assert_array_equal(read_mask(path), MASK)


@pytest.mark.parametrize("value", [pytest.param(0, id="nothing"), pytest.param(255, id="all")])
def test_a_mask_of_one_value_is_a_mask(tmp_path, value):
    path = written(tmp_path, saved(np.full((2, 3), value, np.uint8)))
    assert (read_mask(path) == bool(value)).all()
    assert (read_mask(path, threshold=128) == bool(value)).all()


def test_a_threshold_keeps_grey_values_from_it_on(tmp_path):
    path = written(tmp_path, saved(np.array([[0, 127, 128, 255]], np.uint8)))
    assert read_mask(path, threshold=128).tolist() == [[False, False, True, True]]
    assert read_mask(path, threshold=127).tolist() == [[False, True, True, True]]


@pytest.mark.parametrize(
    ("pixels", "threshold", "message"),
    [
        pytest.param(
            [[0, 128, 255]], None, r"grey values .*0, 128, 255.*mask_threshold", id="grey"
        ),
        pytest.param([[0, 1, 255]], None, r"promised: 0, 1, 255", id="two labels"),
        pytest.param([[0, 7, 7]], None, r"promised: 0, 7", id="another label"),
        pytest.param([[0, 1, 1]], 128, r"highest grey value is 1 .*from 128 on", id="too dark"),
        pytest.param(
            [[[0, 0, 0], [255, 255, 0]]], 128, r"row 0, column 1: \(255, 255, 0\)", id="coloured"
        ),
    ],
)
def test_what_is_no_mask_is_refused(tmp_path, pixels, threshold, message):
    path = written(tmp_path, saved(np.array(pixels, np.uint8)))
    with pytest.raises(DataError, match="E-LABEL.*" + message):
        read_mask(path, threshold=threshold)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize("pixels", [pytest.param(GREY, id="grey"), pytest.param(RGB, id="RGB")])
def test_what_is_written_is_read(tmp_path, name, pixels):
    write_picture(tmp_path / name, pixels)
    np.testing.assert_array_equal(read_picture(tmp_path / name).squeeze(), pixels)


def test_real_pictures(shared_data):
    folder = shared_data / "lgg/kaggle_3m/TCGA_CS_4941_19960909"
    assert read_picture_header(folder / "TCGA_CS_4941_19960909_12.tif") == (256, 256, 8, 3)
    with Image.open(folder / "TCGA_CS_4941_19960909_12.tif") as picture:
        expected = np.array(picture)
    np.testing.assert_array_equal(read_picture(folder / "TCGA_CS_4941_19960909_12.tif"), expected)
    assert read_mask(folder / "TCGA_CS_4941_19960909_12_mask.tif").sum() == 2646
    assert read_mask(shared_data / "membranes/pair_00/mask.png").mean() == pytest.approx(
        0.78069, abs=1e-4
    )
