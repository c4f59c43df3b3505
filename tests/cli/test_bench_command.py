"""``medseg bench`` prints what it measured, and says what is below reach or differs."""

import json

import pytest

from medseg.bench import short
from medseg.bench.measure import Timed, Work
from medseg.cli import main


class Quick:
    """A module whose works take the times they say."""

    @staticmethod
    def works(_folder, *, ratio):
        ours, theirs = lambda: Timed("a", 1.0, 1.0), lambda: Timed("a", ratio, ratio)
        return [Work(f"{ratio:g} times", "a slate", 2.0, ours, theirs, lambda *_: "equal")]


class Wrong:
    """A module whose sides differ."""

    @staticmethod
    def works(_folder):
        def same(ours, theirs):
            raise AssertionError(f"{ours} is not {theirs}")

        return [Work("wrong", "a slate", 2.0, lambda: 1, lambda: 2, same)]


@pytest.fixture
def subjects(monkeypatch):
    table = {
        "fast": short.Subject("what is fast", "Quick", {"ratio": 3.0}),
        "slow": short.Subject("what is slow", "Quick", {"ratio": 1.5}),
        "wrong": short.Subject("what differs", "Wrong", {}),
    }
    monkeypatch.setattr(short, "SUBJECTS", table)
    monkeypatch.setattr(short, "import_module", {"Quick": Quick, "Wrong": Wrong}.get)


def test_list_names_the_works(subjects, capsys):
    assert main(["bench", "--list"]) == 0
    assert capsys.readouterr().out.splitlines()[1] == "slow   what is slow"
    assert main(["bench", "--list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["works"]["fast"] == "what is fast"


def test_what_is_below_reach_is_told_and_no_error(subjects, capsys):
    assert main(["bench", "slow", "fast", "slow", "-q", "--rounds", "1"]) == 0
    printed = capsys.readouterr()
    head, slow, fast, last = printed.out.splitlines()
    assert head.startswith("work")
    assert (slow.split()[0], slow.endswith("below reach")) == ("1.5", True)
    assert (fast.split()[0], fast.endswith("below reach")) == ("3", False)
    assert last == "1 of 2 below reach"
    assert printed.err == ""


def test_progress_names_what_is_done(subjects, capsys):
    assert main(["bench", "fast", "--rounds", "1"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "bench: 1 steps"
    assert printed[1].endswith("fast")
    assert printed[-1] == "none below reach"


def test_results_that_differ_end_with_6_and_the_others_are_told(subjects, capsys):
    assert main(["bench", "-q", "--rounds", "1"]) == 6
    printed = capsys.readouterr()
    assert printed.out.splitlines()[-1] == "1 of 2 below reach"
    assert printed.err == (
        "error[E-BENCH]: wrong, against a slate: 1 is not 2 (expected the same).\n"
    )


def test_nothing_but_a_difference_prints_no_table(subjects, capsys):
    assert main(["bench", "wrong", "-q"]) == 6
    assert capsys.readouterr().out == ""


def test_json_holds_rows_machine_and_problems(subjects, capsys, tmp_path):
    out = tmp_path / "bench.json"
    assert main(["bench", "--json", "--rounds", "1", "-o", str(out)]) == 6
    report = json.loads(capsys.readouterr().out)
    assert [row["ratio"] for row in report["rows"]] == [3.0, 1.5]
    assert report["below_reach"] == ["1.5 times"]
    assert [problem["code"] for problem in report["problems"]] == ["E-BENCH"]
    assert (report["rounds"], report["threads"], report["form"]) == (1, 1, "short")
    assert json.loads(out.read_text()) == report


def test_every_unknown_work_is_told_with_the_nearest(subjects, capsys):
    assert main(["bench", "fats", "xyz"]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert "has no work 'fats'. Fix: did you mean fast?" in first
    assert "has no work 'xyz'. Fix: see medseg bench --list." in second
