"""Run-length rows: one-based, row by row, exact both ways."""

import csv
import re
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from medseg.errors import DataError, Problem
from medseg.io import rle

# Pixel numbers of a slice 3 high and 4 wide:   1  2  3  4
#                                               5  6  7  8
#                                               9 10 11 12
BY_HAND = np.array([[0, 1, 1, 0], [0, 0, 0, 1], [1, 1, 0, 0]], bool)
ROW = "2 2 8 3"  # 2, 3, then 8, 9, 10 across the row's end

masks = st.tuples(st.integers(1, 12), st.integers(1, 12)).flatmap(
    lambda shape: npst.arrays(bool, shape)
)


def test_a_mask_is_encoded_row_by_row():
    assert rle.encode(BY_HAND) == ROW


def test_a_row_is_decoded_row_by_row():
    assert rle.decode(ROW, (3, 4)).tolist() == BY_HAND.tolist()


def test_columns_first_would_be_another_mask():
    column_major = rle.decode(ROW, (4, 3)).T
    assert column_major.shape == BY_HAND.shape
    assert column_major.tolist() != BY_HAND.tolist()


def test_real_masks_are_connected_row_by_row_only(shared_data):
    """The page says columns first. Read so, organs fall to shreds."""
    with (shared_data / "uwmgi_scan/train.csv").open(newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["segmentation"] and "case16_" in r["id"]]
    whole = [rle.decode(row["segmentation"], (310, 360)) for row in rows]
    shreds = [rle.decode(row["segmentation"], (360, 310)).T for row in rows]

    def edges(masks):
        return sum(
            int((mask[1:] != mask[:-1]).sum() + (mask[:, 1:] != mask[:, :-1]).sum())
            for mask in masks
        )

    assert edges(shreds) > 3 * edges(whole)


@pytest.mark.parametrize(
    ("mask", "row"),
    [
        pytest.param(np.zeros((3, 4)), "", id="empty"),
        pytest.param(np.ones((3, 4)), "1 12", id="full"),
        pytest.param(np.eye(2), "1 1 4 1", id="corners"),
        pytest.param(np.ones((1, 1)), "1 1", id="one pixel"),
        pytest.param(np.array([[0, 255]], np.uint8), "2 1", id="any number but 0 is in"),
    ],
)
def test_small_masks(mask, row):
    assert rle.encode(mask) == row
    assert np.array_equal(rle.decode(row, mask.shape), mask.astype(bool))


@given(masks)
@settings(deadline=None)
def test_decoding_undoes_encoding(mask):
    assert np.array_equal(rle.decode(rle.encode(mask), mask.shape), mask)


@given(masks)
@settings(deadline=None)
def test_rows_ascend_and_never_touch(mask):
    numbers = [int(n) for n in rle.encode(mask).split()]
    ends = [start + length for start, length in zip(numbers[::2], numbers[1::2], strict=True)]
    assert all(start > end for start, end in zip(numbers[2::2], ends, strict=False))
    assert sum(numbers[1::2]) == mask.sum()


@given(st.lists(npst.arrays(bool, (5, 7)), min_size=1, max_size=6))
@settings(deadline=None)
def test_a_scan_decodes_like_its_slices(slices):
    rows = [rle.encode(mask) for mask in slices]
    assert np.array_equal(rle.decode_slices(rows, (5, 7)), np.stack(slices))


def spelled_out(row, shape):
    """Return the mask of a row as its format reads, run by run; None where it is none.

    Blanks are ASCII's, and so are digits; a field of blanks, or NaN, is no organ.
    """
    if row.strip().lower() in ("", "nan"):
        return np.zeros(shape, bool)
    tokens = re.split(r"[ \t\n\r\f\v]+", row.strip(" \t\n\r\f\v"))
    if len(tokens) % 2 or not all(re.fullmatch("[0-9]+", token) for token in tokens):
        return None
    mask = np.zeros(shape[0] * shape[1], bool)
    last = 0
    for start, length in zip(map(int, tokens[::2]), map(int, tokens[1::2]), strict=True):
        if start <= last or length < 1 or start + length - 1 > mask.size:
            return None
        last = start + length - 1
        mask[start - 1 : last] = True
    return mask.reshape(shape)


words = st.integers(0, 14).map(str) | st.sampled_from(
    ["007", "0", "-1", "1.5", "x", ",", "nan", "\u0663", "9" * 40, "0" * 40 + "7"]
)
blanks = st.sampled_from([" ", "  ", "\t", "\n", "\r\n", "\xa0", "\x1f", ""])
texts = st.lists(st.tuples(blanks, words), max_size=4).map(lambda ws: "".join(map("".join, ws)))
sound = npst.arrays(bool, (3, 4)).map(rle.encode)
pairs = st.tuples(st.integers(0, 13), st.integers(0, 13)).map(lambda pair: f"{pair[0]} {pair[1]}")


@given(st.lists(texts | sound | pairs, max_size=4))
@settings(deadline=None, max_examples=400)
def test_rows_are_masks_or_faults_as_the_format_reads(rows):
    expected = [spelled_out(row, (3, 4)) for row in rows]
    broken = [f"row {n}" for n, mask in enumerate(expected, 1) if mask is None]
    assert [problem.subject for problem in rle.problems(rows, (3, 4))] == broken
    if broken:
        with pytest.raises(DataError, match="E-RLE") as caught:
            rle.decode_slices(rows, (3, 4))
        assert [problem.subject for problem in caught.value.problems] == broken
    else:
        assert np.array_equal(rle.decode_slices(rows, (3, 4)), np.array(expected).reshape(-1, 3, 4))


def test_no_slices_give_no_masks():
    assert rle.decode_slices([], (3, 4)).shape == (0, 3, 4)


@pytest.mark.parametrize("text", ["", " ", "nan", "NaN"])
def test_absent_organs_are_empty(text):
    assert rle.is_empty(text)
    assert not rle.decode(text, (3, 4)).any()


@pytest.mark.parametrize(
    ("row", "pixels"),
    [
        pytest.param(ROW, 5, id="two runs"),
        pytest.param("7 1", 1, id="one pixel"),
        pytest.param("", 0, id="no organ"),
        pytest.param("nan", 0, id="a spreadsheet's"),
    ],
)
def test_the_area_is_the_sum_of_the_lengths(row, pixels):
    assert rle.area_px(row) == pixels


def test_a_mask_of_labels_is_encoded_as_one_organ():
    assert rle.encode(np.array([[0, 1, 2], [2, 0, 3]], np.uint8)) == "2 3 6 1"


def test_pixels_are_ones_whatever_reads_them():
    assert rle.decode_slices([ROW], (3, 4)).view(np.uint8).tolist() == [
        BY_HAND.astype(int).tolist()
    ]


def test_touching_runs_and_spare_blanks_are_no_fault():
    assert rle.decode(" 1 2  3 2 ", (3, 4)).sum() == 4


@pytest.mark.parametrize(
    ("row", "code", "text"),
    [
        pytest.param("2 2 8", "E-RLE", "3 numbers", id="odd count"),
        pytest.param("2 x", "E-RLE", "'x' is no whole number", id="a letter"),
        pytest.param("2 2.0", "E-RLE", "'2.0' is no whole number", id="a fraction"),
        pytest.param("-2 2", "E-RLE", "'-2' is no whole number", id="negative start"),
        pytest.param("2 -2", "E-RLE", "'-2' is no whole number", id="negative length"),
        pytest.param("1_0 2", "E-RLE", "is no whole number", id="underscore"),
        pytest.param("\u0663 2", "E-RLE", "is no whole number", id="digits of another script"),
        pytest.param("2,2", "E-RLE", "'2,2' is no whole number", id="a comma"),
        pytest.param("2\xa02", "E-RLE", "is no whole number", id="a blank of another script"),
        pytest.param("2 3:", "E-RLE", "is no whole number", id="what comes after nine"),
        pytest.param("2\x0e3", "E-RLE", "is no whole number", id="what comes after blanks"),
        pytest.param("2 0", "E-RLE", "'2 0'", id="zero length"),
        pytest.param("0 2", "E-RLE", "'0 2'", id="zero start"),
        pytest.param("12 2", "E-RLE-OOB", "ends at pixel 13 (expected at most 12 = 3 x 4)",
                     id="past the end"),
        pytest.param(f"{'9' * 5000} 1", "E-RLE-OOB", "at most 12", id="a huge number"),
        pytest.param("8 3 2 2", "E-RLE-OVERLAP", "'2 2' begins before pixel 11", id="unsorted"),
        pytest.param("2 3 4 2", "E-RLE-OVERLAP", "'4 2' begins before pixel 5", id="overlap"),
        pytest.param(f"8 3 {'0' * 40}2 2", "E-RLE-OVERLAP", "'2 2' begins", id="zeros in front"),
    ],
)  # fmt: skip
def test_a_broken_row_says_how(row, code, text):
    (problem,) = rle.problems(["", "2 2", row], (3, 4), subjects=["a", "b", "c"])
    assert (problem.code, problem.subject) == (code, "c")
    assert text in str(problem)
    with pytest.raises(DataError, match=code):
        rle.decode(row, (3, 4))


@pytest.mark.parametrize(
    ("row", "told"),
    [
        pytest.param("x" * 50, ("E-RLE", "row 1", f"'{'x' * 40}' is no whole number",
                                "start length ..."), id="a word"),
        pytest.param("5", ("E-RLE", "row 1", "1 numbers", "pairs of start and length"), id="odd"),
        pytest.param("0 2", ("E-RLE", "row 1", "run '0 2'", "start and length of at least 1"),
                     id="nothing"),
        pytest.param("12 2", ("E-RLE-OOB", "row 1", "run '12 2' ends at pixel 13",
                              "at most 12 = 3 x 4",
                              "check that the row belongs to a slice of this size"), id="beyond"),
        pytest.param("2 3 4 2", ("E-RLE-OVERLAP", "row 1", "run '4 2' begins before pixel 5",
                                 "ascending runs"), id="overlap"),
    ],
)  # fmt: skip
def test_a_broken_row_is_told_in_full(row, told):
    assert rle.problems([row], (3, 4)) == [Problem(*told)]


def test_broken_rows_of_a_scan_are_called_by_their_names():
    with pytest.raises(DataError, match=r"E-RLE\]: slice 2 b: 1 numbers") as caught:
        rle.decode_slices(["1 1", "5"], (3, 4), subjects=["slice 1 a", "slice 2 b"])
    assert len(caught.value.problems) == 1


def test_every_broken_row_is_told():
    with pytest.raises(DataError, match="E-RLE") as caught:
        rle.decode_slices(["1", "2 2", "13 1", "3 3 3 3"], (3, 4))
    told = [(problem.code, problem.subject) for problem in caught.value.problems]
    assert told == [("E-RLE", "row 1"), ("E-RLE-OOB", "row 3"), ("E-RLE-OVERLAP", "row 4")]


def test_all_real_rows_round_trip_to_the_letter(shared_data):
    sizes = {}
    for line in (shared_data / "uwmgi_labels/filenames.txt").read_text().split():
        scan, number, width, height = re.search(
            r"(case\d+_day\d+)/scans/slice_(\d+)_(\d+)_(\d+)", line
        ).groups()
        sizes[f"{scan}_slice_{number}"] = (int(height), int(width))
    by_scan = defaultdict(list)
    with (shared_data / "uwmgi_labels/train.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            by_scan[row["id"][:-5], row["class"]].append(row)
    rows = [row for group in by_scan.values() for row in group]
    assert len(rows) == 2610
    for group in by_scan.values():
        texts = [row["segmentation"] for row in group]
        decoded = rle.decode_slices(texts, sizes[group[0]["id"]])
        assert [rle.encode(mask) for mask in decoded] == texts
