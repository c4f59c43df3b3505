"""Predict and train for long, and measure what grows: a script.

    python tests/faults/soak.py FOLDER [--studies 200] [--epochs 50] [--out FILE]

Images are small, so that a leak of one of them is more than the noise: an image or a validation
volume takes 0.3 MiB or more. The slope is that of least squares over the second half, when what is
kept for good has been made. Besides memory it counts what processes leak: descriptors, threads,
child processes, and files, in the folder for temporary ones and where results go.
"""

import argparse
import gc
import getpass
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from smallest_training import NETWORK, run_in, trained

from medseg.cli import display, main
from medseg.data.phantom import write_phantom
from medseg.geometry import Grid
from medseg.io.nifti import write_image
from medseg.stages import train as training
from medseg.stages.watch import keep

MIB = 1 << 20
GRID = Grid((64, 64, 20), np.diag([5.0, 5.0, 4.0, 1.0]))


class Samples(list):
    """What this process holds, at one moment after the other."""

    def take(self):
        gc.collect()
        own = psutil.Process()
        facts = {"rss": own.memory_info().rss / MIB, "descriptors": own.num_fds()}
        self.append({**facts, "threads": own.num_threads(), "children": len(own.children())})

    def figures(self):
        """Return the slope of the memory in the second half, and what else is more at the end."""
        later = self[len(self) // 2 :]
        memory = [each["rss"] for each in later]
        return {
            "samples": len(self),
            "MiB at the middle": round(memory[0], 1),
            "MiB at the end": round(memory[-1], 1),
            "MiB more a step": round(float(np.polyfit(range(len(memory)), memory, 1)[0]), 4),
            **{
                f"more {name}": later[-1][name] - later[0][name]
                for name in ("descriptors", "threads", "children")
            },
        }


def predictions(folder, run, studies):
    """Predict images one after the other in one command; return the figures."""
    images, samples = folder / "images", Samples()
    images.mkdir()
    draw = np.random.default_rng(0)
    for number in range(studies):
        voxels = draw.random(GRID.shape, np.float32)
        write_image(images / f"study{number:03}.nii", voxels, GRID)

    class Sampling(display.Quiet):
        def advance(self, _done, _total, _note=""):
            samples.take()

    display.Quiet = Sampling
    words = ["--set", "ranges={}", "--device", "cpu", "--no-preview", "-q"]
    inputs = [str(path) for path in sorted(images.iterdir())]
    began_s = time.monotonic()
    code = main(["predict", str(run), *inputs, *words, "-o", str(folder / "out")])
    if code:
        sys.exit(f"predict ended with {code}")
    seconds = time.monotonic() - began_s
    found = sorted(path.name for path in (folder / "out").iterdir())
    strange = [name for name in found if name.startswith(".") or name.endswith(".lock")]
    expected = 2 * studies + len({"studies.csv", "report.html"})
    tables = sum(name.startswith("labels_") for name in found)
    files = {"files too many": len(found) - expected - tables, "left over": strange}
    return {**samples.figures(), **files, "seconds": round(seconds, 1)}


def epochs(folder, number):
    """Train for so many epochs in one command; return the figures, and the run's folder."""
    data = write_phantom(folder / "data", patients=3, days=1, tiny=True)
    samples = Samples()

    def kept(run, sizes, rows):
        keep(run, sizes, rows)
        samples.take()

    training.keep = kept
    began_s = time.monotonic()
    wide = ("--set", "roi_px=[96, 96]", "--set", "spacing_mm=[3.0, 3.0, 3.0]")
    wide += ("--set", "patience=1000")
    if code := trained(data, folder / "runs", "-q", *wide, epochs=number):
        sys.exit(f"the training ended with {code}")
    seconds = time.monotonic() - began_s
    run = run_in(folder / "runs")
    strange = [path.name for path in run.rglob("*") if path.name[0] == "." or "lock" in path.name]
    told = {**samples.figures(), "left over": strange, "seconds": round(seconds, 1)}
    return told, run


def soak(folder, *, studies, n_epochs):
    """Return the figures of both."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tmp").mkdir()
    tempfile.tempdir = os.environ["TMPDIR"] = str(folder / "tmp")
    of_epochs, run = epochs(folder, n_epochs)
    of_studies = predictions(folder, run, studies)
    # Torch keeps what it compiles for a user there, one folder for all processes.
    kept = f"torchinductor_{getpass.getuser()}"
    left = sorted(path.name for path in (folder / "tmp").iterdir() if path.name != kept)
    parameters = 9 * NETWORK["out_channels"] + NETWORK["out_channels"]
    told = {"epochs": of_epochs, "studies": of_studies, "temporary files left": left}
    return {**told, "parameters": parameters}


if __name__ == "__main__":
    asked = argparse.ArgumentParser()
    asked.add_argument("folder", type=Path)
    asked.add_argument("--studies", type=int, default=200)
    asked.add_argument("--epochs", type=int, default=50)
    asked.add_argument("--out", type=Path)
    given = asked.parse_args()
    figures = soak(given.folder.resolve(), studies=given.studies, n_epochs=given.epochs)
    text = json.dumps(figures, indent=1) + "\n"
    if given.out:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(text)
    sys.stdout.write(text)
