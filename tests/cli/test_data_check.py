"""Every fault of files, names and labels: its code, what it says, and exit code 3.

The numbers in the ids are the rows of the project's table of faults, groups A and B.
"""

import io
import json
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from medseg.cli import main
from medseg.io.png import write_slice

SCAN = "case2_day3"


@pytest.fixture
def checked(kaggle, capsys):
    """Run ``medseg data check --json`` on three scans after a test broke one of them."""
    for scan in ("case1_day0", SCAN, "case3_day0"):
        kaggle.add(scan)

    def check(*options):
        code = main(["data", "check", "--data", str(kaggle.save()), "--json", *options])
        return code, json.loads(capsys.readouterr().out)

    return check


def rewrite(kaggle, number, change):
    """Replace the bytes of one slice by a change of them."""
    path = kaggle.file(SCAN, number)
    path.write_bytes(change(path.read_bytes()))


def rename(kaggle, number, old, new):
    path = kaggle.file(SCAN, number)
    assert old in path.name
    path.rename(path.with_name(path.name.replace(old, new)))


def image(kaggle, number, mode, *, file_format="PNG"):
    file = io.BytesIO()
    Image.new(mode, (24, 16)).save(file, file_format)
    rewrite(kaggle, number, lambda _: file.getvalue())


def eight_bits(kaggle):
    image(kaggle, 3, "L")


def huge(kaggle):
    """A header that claims 20000 x 20000 pixels."""
    body = b"IHDR" + struct.pack(">IIBBBBB", 20000, 20000, 16, 0, 0, 0, 0)
    header = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    rewrite(kaggle, 3, lambda data: data[:8] + header + data[33:])


def transposed(kaggle):
    write_slice(kaggle.file(SCAN, 3), np.zeros((24, 16), np.uint16))


def other_size(kaggle):
    write_slice(kaggle.file(SCAN, 3), np.zeros((16, 25), np.uint16))


def second_size(kaggle):
    path = kaggle.file(SCAN, 3)
    write_slice(path, np.zeros((31, 36), np.uint16))
    path.rename(path.with_name("slice_0003_36_31_1.50_1.50.png"))


def twice(kaggle):
    path = kaggle.file(SCAN, 3)
    other = kaggle.file(SCAN, 4).read_bytes()
    path.with_name(path.name.replace("0003", "3")).write_bytes(other)


def replaced_by_folder(kaggle):
    path = kaggle.file(SCAN, 3)
    path.unlink()
    path.mkdir()


def replaced_by_link(kaggle, *, loop=False):
    path = kaggle.file(SCAN, 3)
    path.unlink()
    path.symlink_to(path if loop else path.with_name("nowhere.png"))


def no_text(kaggle):
    rename(kaggle, 3, ".png", "\udcff.png")  # a byte that is no UTF-8


def line_feed(kaggle):
    rename(kaggle, 3, "slice_0003", "slice\n0003")


def set_row(kaggle, number, text):
    kaggle.row(SCAN, number, "stomach")[2] = text


def same_scan(kaggle):
    for number in range(1, 7):
        kaggle.file(SCAN, number).write_bytes(kaggle.file("case1_day0", number).read_bytes())


FAULTS = [
    pytest.param(lambda k: rewrite(k, 3, lambda d: d[:60]), "E-PNG-TRUNC",
                 ["slice_0003_24_16", "60 bytes"], id="1: cut in the pixels"),
    pytest.param(lambda k: rewrite(k, 3, lambda d: d[:-12]), "E-PNG-CRC",
                 ["slice_0003_24_16", "IEND"], id="2: no end chunk"),
    pytest.param(lambda k: rewrite(k, 3, lambda d: d[:50] + b"?" + d[51:]), "E-PNG-CRC",
                 ["slice_0003_24_16", "IDAT"], id="2: wrong checksum"),
    pytest.param(lambda k: rewrite(k, 3, lambda _: b""), "E-EMPTY",
                 ["slice_0003_24_16", "0 bytes"], id="3: no bytes"),
    pytest.param(lambda k: rewrite(k, 3, lambda d: d[:33]), "E-EMPTY",
                 ["slice_0003_24_16", "no pixels"], id="3: header only"),
    pytest.param(lambda k: image(k, 3, "L", file_format="JPEG"), "E-FORMAT",
                 ["slice_0003_24_16", "is JPEG; lossy"], id="4: JPEG"),
    pytest.param(eight_bits, "E-BITDEPTH",
                 [SCAN, "slice_0003_24_16", "slice_0001_24_16"], id="5: 8 bits among 16"),
    pytest.param(lambda k: image(k, 3, "RGB"), "E-MODE", ["RGB", "export"], id="6: RGB"),
    pytest.param(lambda k: image(k, 3, "RGBA"), "E-MODE", ["RGBA", "export"], id="6: RGBA"),
    pytest.param(lambda k: image(k, 3, "P"), "E-MODE", ["palette", "export"], id="6: palette"),
    pytest.param(lambda k: image(k, 3, "1"), "E-MODE", ["1-bit", "export"], id="6: one bit"),
    pytest.param(huge, "E-TOO-LARGE", ["20000 x 20000"], id="7: bomb"),
    pytest.param(lambda k: rename(k, 3, "slice_", "image_"), "E-NAME",
                 ["image_0003", "slice_0001_266_266_1.50_1.50.png"], id="8: another name"),
    pytest.param(line_feed, "E-NAME", ["slice\\n0003"], id="8: line feed in the name"),
    pytest.param(transposed, "E-SIZE", ["16 wide and 24 high", "looks swapped"], id="9: swapped"),
    pytest.param(other_size, "E-SIZE", ["25 wide and 16 high"], id="9: another size"),
    *(
        pytest.param(lambda k, new=new: rename(k, 3, "1.50_1.50", f"{new}_1.50"), "E-SPACING",
                     ["slice_0003_24_16", "up to 10 mm"], id=f"10: spacing {new}")
        for new in ("0.00", "-1.50", "nan", "10.01", "1,50", "1.5e0", "inf")
    ),
    pytest.param(second_size, "E-MIXED", [SCAN, "36x31", "slices 3", "1-2, 4-6"], id="11: sizes"),
    pytest.param(lambda k: rename(k, 3, "1.50_1.50", "1.63_1.63"), "E-MIXED",
                 ["1.63x1.63", "slices 3"], id="11: spacings"),
    pytest.param(lambda k: k.file(SCAN, 3).unlink(), "E-GAP",
                 [SCAN, "slice 3 is missing between 2 (slice_0002", "4 (slice_0004"], id="12: gap"),
    pytest.param(lambda k: rename(k, 6, "0006", "0009"), "E-GAP",
                 ["slices 6-8 are missing between 5", "9 (slice_0009"], id="12: wide gap"),
    pytest.param(twice, "E-DUP", ["slice_3_24_16", "slice_0003_24_16"], id="13: number twice"),
    pytest.param(replaced_by_link, "E-IO", ["slice_0003_24_16", "No such"], id="18: dangling link"),
    pytest.param(lambda k: replaced_by_link(k, loop=True), "E-IO",
                 ["slice_0003_24_16"], id="18: link to itself"),
    pytest.param(replaced_by_folder, "E-IO", ["slice_0003_24_16", "directory"], id="18: folder"),
    pytest.param(no_text, "E-IO", ["\\udcff", "UTF-8"], id="18: name is no text"),
    pytest.param(same_scan, "E-LEAK", ["case1_day0", SCAN, "6 slices"], id="19: one scan twice"),
    pytest.param(lambda k: set_row(k, 2, "2 3 9"), "E-RLE",
                 ["train.csv:", f"{SCAN}_slice_0002 stomach", "3 numbers"], id="21: odd count"),
    pytest.param(lambda k: set_row(k, 2, "2 x"), "E-RLE", ["'x'"], id="21: no number"),
    pytest.param(lambda k: set_row(k, 2, "-2 3"), "E-RLE", ["'-2'"], id="21: negative"),
    pytest.param(lambda k: set_row(k, 2, "2 0"), "E-RLE", ["'2 0'"], id="21: no length"),
    pytest.param(lambda k: set_row(k, 2, "380 6"), "E-RLE-OOB",
                 ["ends at pixel 385", "384 = 16 x 24"], id="22: beyond the slice"),
    pytest.param(lambda k: set_row(k, 2, "9 3 2 3"), "E-RLE-OVERLAP",
                 [f"{SCAN}_slice_0002 stomach", "'2 3'"], id="23: unsorted"),
    pytest.param(lambda k: set_row(k, 2, "2 3 4 3"), "E-RLE-OVERLAP", ["'4 3'"], id="23: overlap"),
    pytest.param(lambda k: k.rows.append([f"{SCAN}_slice_0002", "stomach", "9 9"]), "E-DUPROW",
                 [f"{SCAN}_slice_0002 stomach", "line "], id="24: two masks"),
    pytest.param(lambda k: k.row(SCAN, 2, "stomach").__setitem__(1, "Stomach"), "E-CLASS",
                 ["'Stomach'", "did you mean stomach?"], id="26: another case"),
    pytest.param(lambda k: k.row(SCAN, 2, "stomach").__setitem__(1, "stomac"), "E-CLASS",
                 ["'stomac'", "did you mean stomach?"], id="26: misspelt"),
    pytest.param(lambda k: k.rows.append(["case2_day3_slice_0007", "stomach", ""]), "E-ORPHAN",
                 [SCAN, "1 slices without image: 7"], id="28: row without slice"),
    pytest.param(lambda k: k.rows.append(["case9_day0_slice_0001", "stomach", ""]), "E-ORPHAN",
                 ["case9_day0", "without images"], id="28: row without scan"),
]  # fmt: skip


@pytest.mark.parametrize(("breaks", "code", "texts"), FAULTS)
def test_a_fault_is_named_and_ends_with_three(kaggle, checked, breaks, code, texts):
    breaks(kaggle)
    exit_code, report = checked()
    assert exit_code == 3
    told = [
        " ".join((row["subject"], row["found"], row["expected"], row["fix"]))
        for row in report["problems"]
        if row["code"] == code and row["level"] == "error"
    ]
    assert any(all(text in row for text in texts) for row in told), report["problems"]
    # The other scans go on.
    assert report["scans_found"] == 3
    assert report["summary"]["scans"] >= (3 if code == "E-LEAK" else 2)


WARNINGS = [
    pytest.param(lambda k: [image(k, n, "L") for n in range(1, 7)], "W-8BIT",
                 ["all slices have 8 bits"], id="6: the whole scan has 8 bits"),
    pytest.param(lambda k: k.file(SCAN, 3).with_name("slice_3_24_16_1.50_1.50.png").write_bytes(
                 k.file(SCAN, 3).read_bytes()), "W-DUP", ["is a copy of"], id="13: a copy"),
    pytest.param(lambda k: write_slice(k.file(SCAN, 3), np.zeros((16, 24), np.uint16)),
                 "W-CONST", ["1 slices", "constant", ": 3"], id="16: flat slice"),
    pytest.param(lambda k: k.add("case4_day0", numbers=[1, 2]), "W-SHORT",
                 ["case4_day0", "2"], id="17: two slices"),
    pytest.param(lambda k: k.rows.append(list(k.rows[0])), "W-DUPROW",
                 ["same row as line 2"], id="24: a row twice"),
    pytest.param(lambda k: k.add("case4_day0").rows.__delitem__(slice(-18, None)), "W-NOROW",
                 ["case4_day0", "6 of 6 slices"], id="28: images without rows"),
    pytest.param(lambda k: k.add("case7_day0"), "W-EXCLUDED",
                 ["case7_day0", "participants"], id="30: known bad scan"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "code", "texts"), WARNINGS)
def test_a_warning_is_told_and_ends_with_zero(kaggle, checked, changes, code, texts):
    changes(kaggle)
    exit_code, report = checked()
    assert exit_code == 0
    told = [
        f"{row['subject']} {row['found']}"
        for row in report["problems"]
        if row["code"] == code and row["level"] == "warning"
    ]
    assert any(all(text in row for text in texts) for row in told), report["problems"]
    assert report["errors"] == 0


def test_14_slices_out_of_order_are_told_with_numbers(kaggle, checked):
    kaggle.add("case4_day0", numbers=range(1, 30))
    first, second = kaggle.file("case4_day0", 7), kaggle.file("case4_day0", 20)
    bytes_7, bytes_20 = first.read_bytes(), second.read_bytes()
    first.write_bytes(bytes_20)
    second.write_bytes(bytes_7)
    code, report = checked()
    (problem,) = report["problems"]
    assert (code, problem["code"]) == (0, "W-ORDER")
    assert "7" in problem["found"]
    assert "20" in problem["found"]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda text: "\ufeff" + text, id="27: byte-order mark"),
        pytest.param(lambda text: text.replace("\n", "\r\n"), id="27: Windows line ends"),
        pytest.param(lambda text: text.replace(",\r\n", ",nan\r\n"), id="25: NaN"),
    ],
)
def test_harmless_tables_pass(kaggle, capsys, change):
    table = kaggle.add("case1_day0").save() / "train.csv"
    table.write_bytes(change(table.read_text(encoding="utf-8")).encode())
    assert main(["data", "check", "--data", str(kaggle.root), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)["summary"]
    assert summary["organ_slices"] == {"large_bowel": 0, "small_bowel": 0, "stomach": 6}


@pytest.mark.parametrize(
    ("header", "found"),
    [
        pytest.param("id;class;segmentation", "id;class;segmentation", id="27: semicolons"),
        pytest.param("id,class", "id,class", id="27: missing column"),
        pytest.param('"id,class,segmentation"', "id,class,segmentation", id="27: quoted by Excel"),
    ],
)
def test_another_table_is_refused_with_its_header(kaggle, capsys, header, found):
    table = kaggle.add("case1_day0").save() / "train.csv"
    table.write_text(header + "\n", encoding="utf-8")
    assert main(["data", "check", "--data", str(kaggle.root)]) == 3
    told = capsys.readouterr().out
    assert "error[E-CSV]" in told
    assert f"header is {found!r}" in told


def test_25_and_29_absences_and_overlaps_are_counted(kaggle, checked):
    for row in kaggle.rows:
        row[2] = ""
    kaggle.row(SCAN, 1, "stomach")[2] = "1 5"
    kaggle.row(SCAN, 1, "small_bowel")[2] = "4 5"
    code, report = checked()
    assert code == 0
    assert report["summary"]["empty_slices"] == 17
    assert report["summary"]["overlap_px"] == {"small_bowel & stomach": 2}


def test_30_the_list_of_bad_scans_can_be_chosen_and_is_recorded(kaggle, checked):
    kaggle.add("case7_day0").add("case9_day27")
    scans = {}
    for name in ("participants", "organisers", "none"):
        _, report = checked("--exclude", name)
        scans[name] = report["summary"]["scans"]
        assert ("case7_day0" in report["excluded"]) == (name != "none")
    assert scans == {"participants": 4, "organisers": 3, "none": 5}


def test_an_unknown_list_of_bad_scans_is_a_usage_error(checked):
    code, report = checked("--exclude", "me")
    assert (code, report["problems"][0]["code"]) == (2, "E-EXCLUDE")


def test_all_faults_are_told_at_once_in_text_and_in_the_report(kaggle, capsys, tmp_path):
    for case in range(1, 71):
        kaggle.add(f"case{case}_day1", numbers=range(1, 4))
        kaggle.file(f"case{case}_day1", 2).write_bytes(b"")
    report = tmp_path / "out/report.json"
    code = main(["data", "check", "--data", str(kaggle.save()), "--report", str(report)])
    told = capsys.readouterr()
    assert code == 3
    assert told.out.count("error[E-EMPTY]") == 50
    assert "… and 20 more" in told.out
    assert "70 errors, 0 warnings: must not be used" in told.out
    assert told.err == ""
    written = json.loads(report.read_text())
    assert len(written["problems"]) == written["errors"] == 70


def test_a_report_that_cannot_be_written_ends_with_four(kaggle, capsys, tmp_path):
    kaggle.add("case1_day0")
    (tmp_path / "file").touch()
    report = str(tmp_path / "file/report.json")
    assert main(["data", "check", "--data", str(kaggle.save()), "--report", report]) == 4
    assert "E-IO" in capsys.readouterr().err


def test_a_quick_check_decodes_nothing(kaggle, capsys, monkeypatch):
    kaggle.add("case1_day0")
    monkeypatch.setattr("medseg.data.check.read_pixels", None)
    assert main(["data", "check", "--data", str(kaggle.save()), "--fast"]) == 0
    assert "0 errors, 0 warnings: sound" in capsys.readouterr().out


def test_an_unreadable_folder_is_named(kaggle, checked, monkeypatch):
    scandir = os.scandir

    def refuse(path):
        if SCAN in str(path):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr("medseg.data.slice_folder.os.scandir", refuse)  # root may read anything
    code, report = checked()
    assert code == 3
    assert report["problems"][0]["code"] == "E-IO"
    assert "Permission denied" in report["problems"][0]["found"]


def test_a_folder_without_scans_is_refused(tmp_path, capsys):
    assert main(["data", "check", "--data", str(tmp_path)]) == 3
    assert "error[E-EMPTY]" in capsys.readouterr().out
    assert main(["data", "check", "--data", str(tmp_path / "gone")]) == 2


def test_real_slices_name_their_gaps(shared_data, capsys):
    assert main(["data", "check", "uwmgi", "--data", str(shared_data / "uwmgi_slices")]) == 3
    told = capsys.readouterr().out
    assert "case101_day20: slices 86-89 are missing between 85 (slice_0085_266_266" in told
    assert "case101_day22: slices 124-129 are missing between 123 (slice_0123" in told
    assert told.count("E-GAP") == 4


def test_real_scans_pass(shared_data, capsys):
    assert main(["data", "check", "uwmgi", "--data", str(shared_data / "uwmgi_scan")]) == 0
    assert "360x310 px in 1 scan" in capsys.readouterr().out
