"""``medseg plan``: what it tells of a cohort, and in which units."""

import json

import pytest

from medseg.cli import main

COSTS = {
    "slices": 100,
    "raw_bytes": 10e6,
    "store_bytes": 40e6,
    "result_bytes": 1e6,
    "decode_s": 0.2,
    "prepare_s": 0.3,
    "step_s": 0.05,
    "predict_s": 4.0,
    "write_s": 0.5,
    "metrics_s": 0.1,
    "gradient_bytes": 16e6,
    "begin_s": {},
    "list_s": {},
    "contention": {},
}


@pytest.fixture
def costs(tmp_path):
    """A file of costs of which the results are easy to work out."""
    path = tmp_path / "costs.json"
    path.write_text(json.dumps({"commit": "x", "costs": COSTS}))
    return ["--costs", str(path)]


def test_a_table_tells_times_limits_and_what_the_storage_holds(costs, capsys):
    assert main(["plan", *costs, "--scans", "7200", "--devices", "1", "--disk", "0.05"]) == 0
    head, row, sizes = capsys.readouterr().out.splitlines()
    assert head.split() == ["scans", "devices", "prepare", "train", "predict", "evaluate"]
    # 7,200 x 50 MB at 50 MB/s, x 100 slices x 50 ms, x 5 s, x 100 ms.
    expected = "7,200 1 2 h storage 10 h processors 10 h processors 12 min processors"
    assert row.split() == expected.split()
    assert sizes == "7,200 scans: scans 72 GB, store 288 GB, results 7.2 GB"


def test_devices_that_are_no_cores_compute_beside_them(costs, capsys):
    words = ["plan", *costs, "--scans", "80", "--devices", "8", "--json"]
    assert main([*words, "--device-speed", "100", "--cores", "2"]) == 0
    told = json.loads(capsys.readouterr().out)
    (found,) = told["estimates"]
    predict = next(stage for stage in found["stages"] if stage["stage"] == "predict")
    assert predict["parts"]["devices"] == pytest.approx(10 * 4 / 100)
    assert predict["parts"]["processors"] == pytest.approx(5 * 1.0)
    assert (found["scans"], found["devices"], predict["limit"]) == (80, 8, "processors")
    assert told["storage_bytes"]["80"] == {"scans": 8e8, "store": 3.2e9, "results": 8e7}


def test_without_anything_said_it_goes_by_what_was_measured(capsys):
    assert main(["plan"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[1:13]] == [
        [scans, devices]
        for devices in ("1", "8", "512")
        for scans in ("10", "1,000", "100,000", "10,000,000")
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("{}", "holds no costs", id="another object"),
        pytest.param("[1]", "holds no costs", id="no object"),
        pytest.param("{", "holds no costs", id="no JSON"),
    ],
)
def test_a_file_without_costs_ends_with_3(tmp_path, capsys, text, told):
    path = tmp_path / "other.json"
    path.write_text(text)
    assert main(["plan", "--costs", str(path)]) == 3
    assert f"error[E-COSTS]: {path}: {told}" in capsys.readouterr().err
