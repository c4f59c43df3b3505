"""``python -m medseg.cli.launched``: a process of those that ``medseg run --nproc`` starts.

It ends with 0 when the command as a whole has an exit code: the agent would start it again else.
"""

import ctypes
import os
import signal
import sys
from pathlib import Path

# prctl.h
_PR_SET_PDEATHSIG = 1


def main() -> int:
    """Run the command line, unless it has ended already."""
    outcome = Path(os.environ["MEDSEG_OUTCOME"])
    if sys.platform == "linux":
        # A launcher that is killed can tell nobody.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if outcome.exists():
        return 0
    from medseg.cli import main as command_line

    sys.argv[0] = "medseg"
    code = command_line()
    return 0 if outcome.exists() else code


if __name__ == "__main__":
    sys.exit(main())
