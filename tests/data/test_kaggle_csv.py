"""The label table: what is read, what is refused, what is told."""

import pytest

from medseg.data.kaggle_csv import COLUMNS, SUBMITTED, read_labels

ORGANS = ("large_bowel", "small_bowel", "stomach")
HEADER = "id,class,segmentation\n"
GOOD = "case1_day0_slice_0001,stomach,2 3\n"


@pytest.fixture
def labels(tmp_path):
    """Read a table given as text or bytes."""

    def read(content):
        path = tmp_path / "train.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return read_labels(path, ORGANS)

    return read


def test_rows_lie_by_scan_slice_and_organ(labels):
    table = labels(HEADER + GOOD + "case1_day0_slice_0002,stomach,\n")
    assert table.problems == []
    assert table.scans == {
        "case1_day0": {(1, "stomach"): ("2 3", 2), (2, "stomach"): ("", 3)},
    }


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("\ufeff" + HEADER + GOOD, id="byte-order mark"),
        pytest.param((HEADER + GOOD).replace("\n", "\r\n"), id="Windows line ends"),
        pytest.param('"id","class","segmentation"\n"case1_day0_slice_0001","stomach","2 3"',
                     id="every field quoted"),
        pytest.param("class,segmentation,id\nstomach,2 3,case1_day0_slice_0001", id="other order"),
        pytest.param("n,id,class,segmentation\n0," + GOOD, id="one column more"),
        pytest.param(HEADER + "\n" + GOOD + "\n\n", id="blank lines"),
        pytest.param(HEADER + GOOD.replace("0001", "1"), id="unpadded number"),
    ],
)  # fmt: skip
def test_harmless_differences_are_read(labels, content):
    table = labels(content)
    assert table.problems == []
    assert table.scans["case1_day0"][1, "stomach"].rle == "2 3"


@pytest.mark.parametrize(
    ("content", "found"),
    [
        pytest.param("id,class\n", "id,class", id="missing column"),
        pytest.param("id;class;segmentation\n", "id;class;segmentation", id="semicolons"),
        pytest.param("id\tclass\tsegmentation\n", "id", id="tabs"),
        pytest.param('"id,class,segmentation"\n', "id,class,segmentation", id="quoted line"),
        pytest.param("id,class,predicted\n", "predicted", id="a submission"),
        pytest.param(GOOD, "case1_day0_slice_0001", id="no header"),
        pytest.param("id,id,class,segmentation\n", "id,id", id="column twice"),
        pytest.param("", "is empty", id="empty file"),
        pytest.param((HEADER + GOOD).encode("utf-16"), "not UTF-8", id="UTF-16"),
        pytest.param(HEADER + "case1_day0_slice_0001,stomach\n", "2 fields", id="short row"),
        pytest.param(HEADER + GOOD.strip() + ",x\n", "4 fields", id="long row"),
        pytest.param(HEADER + '"case1_day0', "unexpected end", id="open quote"),
    ],
)
def test_another_table_is_refused_with_what_was_found(labels, content, found):
    (problem,) = labels(content).problems
    assert problem.code == "E-CSV"
    assert found in str(problem)
    assert "id,class,segmentation" in problem.expected


SENT = "class,predicted,id\n" + "stomach,2 3,case1_day0_slice_0001\n"


def test_a_table_sent_in_is_read_where_it_is_expected(tmp_path):
    (tmp_path / "sent.csv").write_text(SENT)
    for forms in ((SUBMITTED,), (COLUMNS, SUBMITTED)):
        table = read_labels(tmp_path / "sent.csv", ORGANS, forms=forms)
        assert table.problems == []
        assert table.scans["case1_day0"][1, "stomach"].rle == "2 3"


def test_a_table_with_both_columns_of_masks_is_refused(tmp_path):
    (tmp_path / "both.csv").write_text("id,class,segmentation,predicted\n")
    (problem,) = read_labels(tmp_path / "both.csv", ORGANS, forms=(COLUMNS, SUBMITTED)).problems
    assert problem.code == "E-CSV"
    assert "segmentation,predicted" in problem.found


def test_a_bad_row_names_its_line_and_the_others_go_on(labels):
    table = labels(HEADER + GOOD + "x,y\n" + GOOD.replace("0001", "0002"))
    assert table.problems[0].subject.endswith("train.csv:3")
    assert len(table.scans["case1_day0"]) == 2


@pytest.mark.parametrize(
    ("name", "near"),
    [
        pytest.param("Stomach", "stomach", id="upper case"),
        pytest.param("stomache", "stomach", id="misspelt"),
        pytest.param("large bowel", "large_bowel", id="blank"),
        pytest.param(" small-bowel", "small_bowel", id="hyphen"),
    ],
)
def test_an_unknown_class_tells_the_nearest(labels, name, near):
    rows = f"case1_day0_slice_0001,{name},\ncase1_day0_slice_0002,{name},\n"
    (problem,) = labels(HEADER + rows).problems
    assert problem.code == "E-CLASS"
    assert problem.subject == "train.csv:2"
    assert "in 2 rows" in problem.found
    assert problem.fix == f"did you mean {near}?"


def test_a_class_like_no_other_gets_no_guess(labels):
    (problem,) = labels(HEADER + "case1_day0_slice_0001,liver,\n").problems
    assert (problem.code, problem.fix) == ("E-CLASS", "")


def test_the_same_row_twice_is_dropped(labels):
    table = labels(HEADER + GOOD + GOOD)
    (problem,) = table.problems
    assert (problem.code, problem.level) == ("W-DUPROW", "warning")
    assert "train.csv:3" in problem.subject
    assert "line 2" in problem.found


def test_two_masks_for_one_organ_are_refused(labels):
    (problem,) = labels(HEADER + GOOD + GOOD.replace("2 3", "4 5")).problems
    assert (problem.code, problem.level) == ("E-DUPROW", "error")
    assert "case1_day0_slice_0001 stomach" in problem.subject


def test_an_id_that_names_no_slice_is_told_once(labels):
    (problem,) = labels(HEADER + "case1,stomach,\ncase2,stomach,\n").problems
    assert problem.code == "E-ORPHAN"
    assert "2 ids" in problem.found
    assert "'case1'" in problem.found


def test_a_mask_longer_than_a_csv_field_used_to_be(labels):
    runs = " ".join(f"{n} 1" for n in range(1, 60001, 2))
    assert len(runs) > 131072
    assert labels(HEADER + GOOD.replace("2 3", runs)).problems == []


def test_a_missing_file_is_a_problem(tmp_path):
    (problem,) = read_labels(tmp_path / "train.csv", ORGANS).problems
    assert problem.code == "E-IO"


def test_a_number_of_more_digits_than_python_reads_names_no_slice(labels):
    table = labels(HEADER + GOOD.replace("0001", "1" * 5000))
    assert table.scans == {}
    (problem,) = table.problems
    assert problem.code == "E-ORPHAN"
    assert len(str(problem)) < 300
