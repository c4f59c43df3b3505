"""``python -m medseg``: the command line where no ``medseg`` script is on the path."""

import sys

from medseg.cli import main

if __name__ == "__main__":
    sys.exit(main())
