"""Two hundred predictions and fifty epochs hold no more at their end than in their middle."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
# An image, its masks or a validation volume that stayed would be 0.3 MiB a study or an epoch.
MOST_MIB = 0.1


@pytest.mark.slow
def test_nothing_grows(tmp_path):
    out = Path(os.environ.get("MEDSEG_RESULTS", tmp_path)) / "soak.json"
    done = subprocess.run(
        [sys.executable, HERE / "soak.py", tmp_path / "soak", "--out", out.absolute()],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parent)},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(out.read_text())
    for part, samples in (("epochs", 50), ("studies", 200)):
        found = told[part]
        assert found["samples"] == samples
        assert found["MiB more a step"] < MOST_MIB, found
        assert found["more descriptors"] <= 0, found
        assert found["more threads"] <= 0, found
        assert found["more children"] <= 0, found
        assert found["left over"] == [], found
    assert told["studies"]["files too many"] == 0
    assert told["temporary files left"] == []
