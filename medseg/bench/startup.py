"""Starting up: commands of medseg that need torch, and MONAI imported, each in its own process."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from medseg.bench.measure import Timed, Work, require

_PEER = ("-m", "monai.bundle", "--help")


def works(folder: Path) -> list[Work]:
    """Return the works of starting up.

    Args:
        folder: The working directory of the processes, in which nothing is written.
    """

    def same_help(ours: str, theirs: str) -> str:
        require("INPUTS" in ours, f"medseg said {ours!r}")
        require("bundle" in theirs.lower(), f"MONAI said {theirs!r}")
        return "both tell their help"

    def same_devices(ours: str, theirs: str) -> str:
        devices = json.loads(ours)["devices"]
        require(devices, "torch was not asked for devices")
        require("bundle" in theirs.lower(), f"MONAI said {theirs!r}")
        return f"{len(devices)} devices by torch; MONAI tells its help"

    def same_version(ours: str, theirs: str) -> str:
        require(ours == theirs, f"MONAI {ours.strip()} and {theirs.strip()}")
        return f"MONAI {ours.strip()}"

    monai = "import monai; print(monai.__version__)"
    return [
        Work(
            name="medseg doctor --json, which needs torch",
            against="python -m monai.bundle --help",
            reach=3,
            ours=lambda: process("-m", "medseg", "doctor", "--json", folder=folder),
            theirs=lambda: process(*_PEER, folder=folder),
            same=same_devices,
        ),
        Work(
            name="medseg predict --help",
            against="python -m monai.bundle --help",
            reach=3,
            ours=lambda: process("-m", "medseg", "predict", "--help", folder=folder),
            theirs=lambda: process(*_PEER, folder=folder),
            same=same_help,
        ),
        Work(
            name="MONAI imported after medseg",
            against="MONAI alone",
            reach=1.5,
            ours=lambda: process("-c", f"import medseg; {monai}", folder=folder),
            theirs=lambda: process("-c", monai, folder=folder),
            same=same_version,
        ),
    ]


def process(*words: str, folder: Path) -> Timed:
    """Run Python with `words` in `folder`, and return what it wrote and how long it took.

    A warning of ``medseg doctor``, or a requirement it misses, is no reason not to measure it.
    """
    before, began = os.times(), time.perf_counter()
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, capture_output=True, text=True, check=False
    )
    wall_s, after = time.perf_counter() - began, os.times()
    own = (after.children_user + after.children_system) - (
        before.children_user + before.children_system
    )
    # Python Fire writes help to stderr where no terminal shows it.
    return Timed(done.stdout or done.stderr, wall_s, own)
