"""No patient and no picture is on two sides, and every side has what it needs."""

import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.data.hashes import scan_hash, slice_hashes, twins
from medseg.data.manifest import read_manifest
from medseg.data.readers import read_scans
from medseg.data.splits import (
    ScanFacts,
    SliceSplit,
    Splits,
    make_splits,
    random_slice_split,
    read_splits,
)
from medseg.errors import DataError, UsageError
from medseg.scan import Scan

UWMGI = read_manifest("uwmgi")


@pytest.fixture
def scans(kaggle):
    """Six patients, the first three with two days."""
    for case in range(1, 7):
        kaggle.add(f"case{case}_day0", numbers=range(1, 4))
    for case in range(1, 4):
        kaggle.add(f"case{case}_day9", numbers=range(1, 4))
    for row in kaggle.rows:
        row[2] = "1 3"
    return read_scans(kaggle.save(), UWMGI)


def bare(case, *, day=0, stomach=1, bowel=1):
    """Return a scan without files that shows organs on so many slices."""
    count = max(stomach, bowel, 1)
    rows = {
        "stomach": tuple("1 1" if n < stomach else "" for n in range(count)),
        "bowel": tuple("1 1" if n < bowel else "" for n in range(count)),
    }
    return Scan(f"case{case}_day{day}", (), (), (8, 8), (1.5, 1.5, 3.0), rle=rows)


def test_each_fold_tests_on_one_group_and_validates_on_the_next(scans):
    splits = make_splits(scans, folds=5, seed=3)
    tested = []
    for index in range(5):
        fold = splits.fold(index)
        sides = [set(side) for side in fold]
        assert set.union(*sides) == {scan.scan_id for scan in scans}
        assert sum(map(len, sides)) == len(scans)
        patients = [{name.split("_")[0] for name in side} for side in sides]
        assert not (patients[0] & patients[1] | patients[1] & patients[2])
        assert not patients[0] & patients[2]
        assert fold.validation == splits.fold((index + 1) % 5).test
        tested += fold.test
    assert sorted(tested) == sorted(scan.scan_id for scan in scans)


def test_scans_of_a_fold_come_in_natural_order():
    splits = make_splits([bare(case, day=day) for case in (10, 9, 2) for day in (11, 3)], folds=3)
    both = [name for index in range(3) for name in splits.fold(index).test]
    assert both.index("case9_day3") == both.index("case9_day11") - 1
    merged = make_splits([bare(case) for case in (10, 9, 2, 1)], folds=2)
    assert all(list(group) == sorted(group, key=lambda p: int(p[4:])) for group in merged.groups)


@pytest.mark.parametrize(
    ("patients", "groups", "validation"),
    [
        pytest.param(2, 2, 0, id="two patients leave none to validate on"),
        pytest.param(3, 3, 1, id="three patients"),
        pytest.param(9, 5, 2, id="more patients than folds"),
    ],
)
def test_there_are_no_more_groups_than_patients(patients, groups, validation):
    splits = make_splits([bare(case) for case in range(patients)], folds=5)
    assert len(splits.groups) == groups
    sizes = [len(splits.fold(index).validation) for index in range(groups)]
    assert max(sizes) == validation


def test_groups_are_balanced_by_organ():
    """Four patients show the stomach and four do not; two groups get two of each."""
    scans = [bare(case, stomach=40 * (case % 2), bowel=40) for case in range(8)]
    for seed in range(10):
        splits = make_splits(scans, folds=2, seed=seed)
        odd = [sum(int(patient[4:]) % 2 for patient in group) for group in splits.groups]
        assert odd == [2, 2]


@given(
    st.lists(st.tuples(st.integers(1, 4), st.integers(0, 9), st.integers(0, 9)), min_size=2),
    st.integers(2, 7),
    st.integers(0, 99),
)
@settings(deadline=None)
def test_any_patients_are_parted_once_and_no_group_is_empty(patients, folds, seed):
    scans = [
        bare(case, day=day, stomach=stomach, bowel=bowel)
        for case, (days, stomach, bowel) in enumerate(patients)
        for day in range(days)
    ]
    splits = make_splits(scans, folds=folds, seed=seed)
    counts = Counter(patient for group in splits.groups for patient in group)
    assert counts == Counter({scan.case_id: 1 for scan in scans})
    assert len(splits.groups) == min(folds, len(patients))
    assert all(splits.groups)


def test_the_seed_decides_and_the_order_of_scans_does_not():
    scans = [bare(case) for case in range(20)]
    assert make_splits(scans, seed=1) == make_splits(scans[::-1], seed=1)
    assert make_splits(scans, seed=1).groups != make_splits(scans, seed=2).groups


def test_the_groups_of_a_seed_never_change():
    splits = make_splits([bare(case) for case in range(6)], folds=3, seed=0)
    assert splits.groups == GROUPS_OF_SEED_0


# `printf 0:case3 | sha256sum` begins with 0f, then follow case2 16, case1 31, case0 91, case5 a8
# and case4 be; equal patients go to groups 0, 1, 2, 0, 1, 2.
GROUPS_OF_SEED_0 = (("case0", "case3"), ("case2", "case5"), ("case1", "case4"))


def test_a_split_file_is_the_same_every_time(scans, tmp_path):
    splits = make_splits(scans, seed=1, manifest="uwmgi")
    splits.write(tmp_path / "a/splits.json")
    make_splits(scans, seed=1, manifest="uwmgi").write(tmp_path / "b.json")
    text = (tmp_path / "b.json").read_bytes()
    assert (tmp_path / "a/splits.json").read_bytes() == text
    assert read_splits(tmp_path / "b.json") == splits
    told = json.loads(text)
    assert (told["schema"], told["seed"], told["manifest"]) == (1, 1, "uwmgi")
    assert told["sha256"] == splits.sha256
    assert told["scans"]["case1_day9"]["organ_slices"]["stomach"] == 3
    splits.verify(scans)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"groups": [["case1"], ["case1", "case2"]]}, "E-LEAK.*case1.*2 groups",
                     id="a patient in two groups"),
        pytest.param({"seed": 7}, "E-SPLIT.*was changed", id="edited"),
        pytest.param({"schema": 2}, "E-SPLIT.*schema", id="another version"),
        pytest.param({"extra": 2}, "E-SPLIT.*extra", id="an unknown key"),
        pytest.param({"groups": None}, "E-SPLIT.*groups", id="no groups"),
    ],
)  # fmt: skip
def test_a_split_file_that_was_changed_is_refused(scans, tmp_path, change, message):
    path = tmp_path / "splits.json"
    make_splits(scans).write(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(DataError, match=message) as caught:
        read_splits(path)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "E-SPLIT.*JSON", id="empty"),
        pytest.param(b"[]", "E-SPLIT.*file", id="a list"),
        pytest.param(None, "E-SPLIT.*No such file", id="missing"),
    ],
)
def test_what_is_no_split_file_is_refused(tmp_path, content, message):
    path = tmp_path / "splits.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_splits(path)


def test_one_picture_on_two_sides_is_a_leak(kaggle):
    kaggle.add("case1_day0", seed=5).add("case2_day0", seed=5).add("case3_day0")
    scans = read_scans(kaggle.save(), UWMGI)
    with pytest.raises(DataError, match=r"E-LEAK.*case1_day0, case2_day0.*6 slices") as caught:
        make_splits(scans).verify(scans)
    assert caught.value.exit_code == 3


def test_two_days_with_one_picture_are_no_leak(kaggle):
    kaggle.add("case1_day0", seed=5).add("case1_day1", seed=5).add("case2_day0")
    scans = read_scans(kaggle.save(), UWMGI)
    splits = make_splits(scans)
    splits.verify(scans)
    assert len(splits.groups) == 2


def test_a_supplied_split_with_a_patient_twice_is_a_leak(scans):
    splits = make_splits(scans)
    torn = Splits((*splits.groups, ("case1",)), splits.scans)
    with pytest.raises(DataError, match=r"E-LEAK.*case1.*2 groups"):
        torn.verify(scans)


def test_a_split_must_fit_the_data(scans, kaggle):
    splits = make_splits(scans)
    with pytest.raises(DataError, match=r"E-SPLIT.*case6_day0.*not in the data"):
        splits.verify(scans[:-1])
    with pytest.raises(DataError, match=r"E-SPLIT.*case3_day9.*in no group"):
        make_splits([s for s in scans if s.scan_id != "case3_day9"]).verify(scans)
    kaggle.row("case1_day0", 1, "stomach")[2] = "1 4"
    with pytest.raises(DataError, match=r"E-SPLIT.*case1_day0.*changed since"):
        splits.verify(read_scans(kaggle.save(), UWMGI))


@pytest.mark.parametrize(
    "scans",
    [
        pytest.param([], id="no scans"),
        pytest.param([bare(1), bare(1, day=2)], id="one patient"),
        pytest.param([Scan("case1_day0", (), (), (8, 8), (1, 1, 3))] * 2, id="no labels"),
    ],
)
def test_too_little_to_split_is_refused(scans):
    with pytest.raises(DataError, match=r"E-SPLIT.*at least 2 patients"):
        make_splits(scans)


def test_one_fold_is_none():
    with pytest.raises(DataError, match="folds: 1"):
        make_splits([bare(1), bare(2)], folds=1)


def test_an_organ_that_training_never_sees_is_refused():
    """Only one patient shows the stomach: wherever it is not in training, there is nothing."""
    splits = make_splits([bare(case, stomach=int(case == 4)) for case in range(5)])
    home = next(index for index, group in enumerate(splits.groups) if "case4" in group)
    for index in range(5):
        if index in (home, (home - 1) % 5):  # where case4 is tested, and where it validates
            with pytest.raises(DataError, match="no slice of the training side shows stomach"):
                splits.fold(index)
        else:
            assert "case4_day0" in splits.fold(index).train


def test_an_empty_side_is_refused(scans):
    known = make_splits(scans)
    with pytest.raises(DataError, match=r"E-SPLIT.*test side is empty"):
        Splits(((), *known.groups), known.scans).fold(0)


@pytest.mark.parametrize("index", [pytest.param(-1, id="negative"), pytest.param(5, id="beyond")])
def test_a_fold_that_is_not_there_is_refused(scans, index):
    with pytest.raises(UsageError, match="0-4"):
        make_splits(scans).fold(index)


def test_hashes_follow_the_content_not_the_place(kaggle, tmp_path):
    (scan,) = read_scans(kaggle.add("case1_day0").save(), UWMGI)
    before = scan_hash(scan)
    assert len(slice_hashes(scan)) == 6
    assert scan_hash(scan, slices=slice_hashes(scan)) == before
    moved = kaggle.root.rename(tmp_path / "elsewhere")
    (again,) = read_scans(moved, UWMGI)
    assert scan_hash(again) == before
    file = again.slice_files[2]
    file.write_bytes(again.slice_files[3].read_bytes())
    assert scan_hash(again) != before


def test_a_file_that_vanished_is_named(kaggle):
    (scan,) = read_scans(kaggle.add("case1_day0").save(), UWMGI)
    scan.slice_files[2].unlink()
    with pytest.raises(DataError, match=r"E-IO.*slice_0003.*No such file"):
        slice_hashes(scan)


def test_no_scans_have_no_twins():
    assert twins([], {}) == []


# --- Slices at random, which leaks --------------------------------------------------------------


def numbered(case, *, day=0, slices=20):
    """Return a scan without files of so many slices."""
    return Scan(
        f"case{case}_day{day}", (), tuple(range(1, slices + 1)), (8, 8), (1.5, 1.5, 3.0), rle={}
    )


def test_random_slices_put_every_patient_on_both_sides():
    scans = [numbered(case, day=day) for case in range(4) for day in (0, 9)]
    split = random_slice_split(scans, test_share=0.25, seed=2)
    assert len(split.test) == 40
    assert len(split.train) == 120
    assert not split.train & split.test
    assert split.torn == {"case0", "case1", "case2", "case3"}
    assert split.n_beside > 30


def test_patients_of_the_honest_split_are_never_on_both_sides():
    splits = make_splits([bare(case, day=day) for case in range(9) for day in (0, 9)], folds=3)
    for index in range(3):
        fold = splits.fold(index)
        sides = [frozenset((scan_id, 1) for scan_id in side) for side in (fold.train, fold.test)]
        assert SliceSplit(*sides).torn == frozenset()
        assert SliceSplit(*sides).n_beside == 0


def test_a_patient_whose_days_are_on_two_sides_is_torn_too():
    split = SliceSplit(frozenset({("case1_day0", 4)}), frozenset({("case1_day9", 5)}))
    assert split.torn == {"case1"}
    assert split.n_beside == 0  # the slice below belongs to another scan


def test_slices_beside_are_directly_above_or_below():
    train = frozenset({("a", 1), ("a", 5)})
    split = SliceSplit(train, frozenset({("a", 2), ("a", 3), ("a", 4), ("a", 7)}))
    assert split.n_beside == 2


def test_the_slices_of_a_seed_never_change():
    scans = [numbered(1, slices=3), numbered(2, slices=2)]
    split = random_slice_split(scans, test_share=0.4)
    # Of `printf 0:case1_day0:1 | sha256sum` and the other four, these two are the smallest.
    assert split.test == TEST_SLICES_OF_SEED_0
    assert random_slice_split(scans[::-1], test_share=0.4) == split
    assert random_slice_split(scans, test_share=0.4, seed=1) != split


TEST_SLICES_OF_SEED_0 = {("case1_day0", 1), ("case1_day0", 3)}


def test_names_with_any_digits_are_sorted():
    long = "case" + "9" * 5000
    facts = ScanFacts(patient="p", sha256="0" * 64, organ_slices={})
    scans = dict.fromkeys((long, "case\u00b2", "case10", "case2"), facts)
    splits = Splits((("q",), ("p",)), {**scans, "other": facts.model_copy(update={"patient": "q"})})
    assert splits.fold(1).test == (long, "case\u00b2", "case2", "case10")
