"""The main job from nothing: how long it takes, and the Dice of patients it has never seen.

Runs ``medseg run uwmgi_segformer`` in an empty folder, so phantom, preparation, training,
prediction and scores, then its preparation once more. Beside it ``main_job.json`` keeps the last
result.

    python benchmarks/main_job.py [--write]
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import psutil

RESULT = Path(__file__).with_suffix(".json")
BUNDLE = "uwmgi_segformer"


@click.command()
@click.option("--write", is_flag=True, help=f"Keep the result in {RESULT.name}.")
def main(*, write: bool) -> None:
    """Run the main job in an empty folder and tell its time and its scores."""
    with tempfile.TemporaryDirectory() as folder:
        whole_s = timed(folder)
        (summary,) = Path(folder).glob(f"runs/{BUNDLE}_demo/*/summary.json")
        organs = json.loads(summary.read_text())["organs"]
        again_s = timed(folder, "--stage", "prepare")
    result = {
        "main_job_s": round(whole_s, 1),
        "dice": {organ["organ"]: round(organ["penalised"]["dice"], 3) for organ in organs},
        "held_out_scans": organs[0]["n"],
        "second_prepare_with_imports_s": round(again_s, 1),
        "load": round(psutil.getloadavg()[0], 1),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
    }
    click.echo(json.dumps(result, indent=1))
    if write:
        RESULT.write_text(json.dumps(result, indent=1) + "\n")
    if whole_s >= 300 or min(result["dice"].values()) < 0.75:
        sys.exit("the main job missed its figures: 300 s, Dice 0.75 for each organ")


def timed(folder: str, *words: str) -> float:
    """Return the seconds that ``medseg run`` takes in `folder`."""
    command = [sys.executable, "-m", "medseg", "run", BUNDLE, *words]
    began = time.monotonic()
    subprocess.run(command, cwd=folder, check=True)
    return time.monotonic() - began


if __name__ == "__main__":
    main()
