"""Lists of studies: what they may hold, and that every fault of one is told."""

from pathlib import Path

import pytest

from medseg.data.study_list import Study, read_study_list
from medseg.errors import DataError


def written(folder, name, text):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param(
            "list.csv", "image,name,series\nmr/7,case7_day0,\n/mr/12,,401\n", id="a table"
        ),
        pytest.param(
            "list.csv",
            "\ufeffname,series,image\r\ncase7_day0,,mr/7\r\n,401,/mr/12\r\n",
            id="a table as spreadsheets write it",
        ),
        pytest.param(
            "list.json",
            '[{"image": "mr/7", "name": "case7_day0"}, {"image": "/mr/12", "series": 401}]',
            id="JSON",
        ),
    ],
)
def test_paths_count_from_the_list(tmp_path, name, text):
    assert read_study_list(written(tmp_path, name, text)) == [
        Study(tmp_path / "mr/7", "case7_day0", None),
        Study(Path("/mr/12"), None, "401"),
    ]


def test_json_may_hold_bare_paths(tmp_path):
    path = written(tmp_path, "list.json", '["a.nii.gz", "b"]')
    assert [study.image.name for study in read_study_list(path)] == ["a.nii.gz", "b"]


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        pytest.param("l.csv", "", "lists no study", id="empty"),
        pytest.param("l.csv", "path\na\n", "line 2: has path, and only image", id="column"),
        pytest.param("l.csv", "image\na,b\n", "line 2: has more than the header", id="cells"),
        pytest.param("l.csv", "image,name\n,x\n", "line 2: has no image", id="no image"),
        pytest.param("l.csv", "image,name\na,../x\n", "its name has more than", id="traversal"),
        pytest.param("l.csv", "image,name\na,..\n", "its name has more than", id="dots"),
        pytest.param("l.csv", "image\n" + "x" * (1 << 25), "is no CSV: field la", id="long field"),
        pytest.param("l.csv", "imgae\na\n", r"Fix: did you mean 'image'\?", id="misspelt"),
        pytest.param("l.json", "{", r"l\.json:1:2: is no JSON: expecting", id="no JSON"),
        pytest.param(
            "l.json",
            '[{"image": "a"},\n {"image": "b", "image": "c"}]',
            r":2:17: .*twice",
            id="twice",
        ),
        pytest.param("l.json", '{"image": "a"}', "is no list", id="no list"),
        pytest.param("l.json", "[[]]", "entry 1: image is no text", id="no text"),
        pytest.param("l.json", "[" * 100_000, "is no JSON", id="a deep one"),
    ],
)
def test_faults_are_told_with_their_place(tmp_path, name, text, told):
    with pytest.raises(DataError, match=told):
        read_study_list(written(tmp_path, name, text))


def test_every_fault_is_told_at_once(tmp_path):
    path = written(tmp_path, "l.csv", "image,name\n,a\nb,c d\n")
    with pytest.raises(DataError, match=r"line 2(?s:.)*line 3"):
        read_study_list(path)


def test_what_is_no_text_is_refused(tmp_path):
    (tmp_path / "l.csv").write_bytes(b"image\n\xff\xfe\n")
    with pytest.raises(DataError, match="no text in UTF-8"):
        read_study_list(tmp_path / "l.csv")
