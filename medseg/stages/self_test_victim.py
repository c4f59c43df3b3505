"""A training of the self-test that dies by SIGKILL; started as a process of its own."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from medseg.runs import Run
from medseg.stages.self_test_ground import KILLED_AFTER, Ground
from medseg.stages.self_test_training import KILLED, trained
from medseg.stages.watch import TOLD

_write = Run.write


def write_and_die(run: Run, name: str, content: Any) -> None:  # noqa: ANN401 - any JSON
    """Write into a run's folder, and die when that told of some epochs."""
    _write(run, name, content)
    if name == TOLD and len(content["epochs"]) == KILLED_AFTER:
        os.kill(os.getpid(), signal.SIGKILL)


def main(folder: Path) -> None:
    """Train in a folder of the self-test until death; this process has no other end."""
    Run.write = write_and_die  # type: ignore[method-assign,assignment]
    trained(Ground(folder), KILLED)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
