"""Tables of run-length rows as a side of a comparison: the data set's own, or one sent in."""

import pytest
from mask_folders import LABELS, MANIFEST, codes, decoded, organ_of

from medseg.cli import main
from medseg.data.readers import read_scans
from medseg.errors import DataError, UsageError
from medseg.io.nifti import write_mask
from medseg.stages.evaluate import Options, evaluate


def unchanged(_rows):
    """Leave the rows as they are."""


@pytest.fixture
def tables(kaggle):
    """Return the data set's root, and a function that writes its rows, changed, as a table."""
    kaggle.add("case1_day0").add("case2_day0").save()
    rows = [list(row) for row in kaggle.rows]

    def table(change, *, header="id,class,predicted"):
        changed = [list(row) for row in rows]
        change(changed)
        path = kaggle.root.parent / "submission.csv"
        path.write_text("\n".join([header, *(",".join(row) for row in changed)]) + "\n")
        return path

    return kaggle.root, table


def test_a_row_that_is_no_run_length_fails_its_scan_and_names_the_row(tables):
    root, table = tables
    broken = table(lambda rows: rows[2].__setitem__(2, "2 three"))
    done = evaluate(broken, root, MANIFEST)
    assert codes(done.problems) == [("E-RLE", "case1_day0_slice_0001 stomach")]
    assert "'three'" in done.problems[0].found
    assert (organ_of(done).n_ok, organ_of(done).n_missed) == (1, 1)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        pytest.param(lambda rows: rows.pop(0), ("E-NOROW", "case1_day0"), id="a slice lacks a row"),
        pytest.param(
            lambda rows: rows.append(["case1_day0_slice_0099", "stomach", ""]),
            ("E-ORPHAN", "case1_day0"),
            id="a slice that is none",
        ),
        pytest.param(
            lambda rows: rows[2].__setitem__(2, "380 9"),
            ("E-RLE-OOB", "case1_day0_slice_0001 stomach"),
            id="a run beyond the slice",
        ),
    ],
)
def test_rows_that_do_not_fit_the_slices_fail_their_scan(tables, change, problem):
    root, table = tables
    done = evaluate(table(change), root, MANIFEST)
    assert codes(done.problems) == [problem]
    assert organ_of(done).n_missed == 1


@pytest.mark.parametrize(
    ("change", "match"),
    [
        pytest.param(
            lambda rows: rows.append([rows[2][0], "stomach", "9 9"]),
            r"E-DUPROW.*case1_day0_slice_0001 stomach: another mask",
            id="two masks of one organ",
        ),
        pytest.param(
            lambda rows: rows[0].__setitem__(1, "colon"), "E-CLASS.*'colon'", id="unknown organ"
        ),
        pytest.param(
            lambda rows: rows[0].__setitem__(0, "case1"), "E-ORPHAN.*name no slice", id="no slice"
        ),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(tables, change, match):
    root, table = tables
    with pytest.raises(DataError, match=match):
        evaluate(table(change), root, MANIFEST)


def test_a_row_that_stands_twice_is_one(tables, caplog):
    root, table = tables
    done = evaluate(table(lambda rows: rows.append(rows[2])), root, MANIFEST)
    assert organ_of(done).found["dice"] == 1.0
    assert "W-DUPROW" in caplog.text


def test_rows_of_scans_that_the_data_set_has_not(tables):
    root, table = tables

    def invent(rows):
        rows += [["case9_day9_slice_0001", organ, ""] for organ in LABELS.names]

    done = evaluate(table(invent), root, MANIFEST)
    assert codes(done.problems) == [("W-SURPLUS", "case9_day9")]
    # As the reference, they are scans that cannot be scored.
    done = evaluate(root, table(invent), MANIFEST)
    assert codes(done.problems) == [("W-MISSING", "case9_day9"), ("E-ORPHAN", "case9_day9")]
    assert done.summary.n_scans == 2


def test_a_table_alone_does_not_say_where_its_pixels_are(tables):
    root, table = tables
    path = table(unchanged)
    with pytest.raises(UsageError, match=r"E-DATA.*--data"):
        evaluate(path, path, MANIFEST)
    done = evaluate(path, path, MANIFEST, options=Options(data=root))
    assert organ_of(done).found["dice"] == 1.0


def test_another_table_is_refused(tables):
    root, table = tables
    path = table(unchanged, header="id,class,mask")
    with pytest.raises(DataError, match=r"E-CSV.*id,class,mask"):
        evaluate(path, root, MANIFEST)


# --- The command ------------------------------------------------------------------------------


def ended(*words):
    return main(["evaluate", *map(str, words), "--workers", "1"])


def test_the_command_ends_with_2_for_a_table_without_data(tables, capsys):
    root, table = tables
    path = table(unchanged)
    assert ended(path, path) == 2
    assert "Fix: give the folder of the data set with --data" in capsys.readouterr().err
    assert ended(path, path, "--data", root) == 0
    assert ended(path, root) == 0


# --- In any mix -------------------------------------------------------------------------------


def test_each_form_of_the_same_masks_scores_one_against_each_other(tiny_phantom, tmp_path):
    masks, run, sent = tmp_path / "masks", tmp_path / "run", tmp_path / "sent.csv"
    for folder in (masks, run / "predictions"):
        folder.mkdir(parents=True)
        for scan in read_scans(tiny_phantom, MANIFEST):
            for organ in LABELS.names:
                path = folder / f"{scan.scan_id}_{organ}.nii.gz"
                write_mask(path, decoded(scan, organ), scan.grid)
    (run / "config.json").write_text("{}")
    table = tiny_phantom / "train.csv"
    sent.write_text(table.read_text().replace("segmentation", "predicted", 1))
    sides = [masks, run, sent, table, tiny_phantom]
    seen = set()
    for pred, ref in [*((side, masks) for side in sides), *((sent, side) for side in sides)]:
        done = evaluate(pred, ref, MANIFEST, options=Options(data=tiny_phantom))
        assert {s.dice for s in done.scores if s.status == "ok"} == {1.0}, (pred, ref)
        assert done.problems == ()
        seen.add(tuple((*s[:3], *(f"{number:.5g}" for number in s[3:])) for s in done.scores))
    assert len(seen) == 1  # overlaps, volumes and order are the same from everywhere


def test_a_scan_that_the_manifest_leaves_out_is_left_out_of_tables_too(kaggle):
    bad = next(iter(MANIFEST.excluded))
    root = kaggle.add("case1_day0").add(bad).save()
    for pred, ref in ((root / "train.csv", root), (root, root / "train.csv")):
        done = evaluate(pred, ref, MANIFEST, options=Options(data=root))
        assert {score.scan_id for score in done.scores} == {"case1_day0"}
        assert done.problems == ()
