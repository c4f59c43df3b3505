"""Keep how the slow tests went: a script.

    python tests/slow_results.py REPORT FILE

REPORT is what pytest wrote with ``--junitxml``. FILE gets a row for each file of tests: how many
there were, how many passed and were skipped, and their seconds.
"""

import json
import sys
from pathlib import Path
from xml.etree import ElementTree


def results(report):
    """Return the rows of a report, by file of tests."""
    rows = {}
    for case in ElementTree.parse(report).iter("testcase"):
        name = f"{case.get('classname').replace('.', '/')}.py"
        row = rows.setdefault(name, {"tests": 0, "passed": 0, "skipped": 0, "seconds": 0.0})
        ended = {child.tag for child in case} & {"failure", "error", "skipped"}
        row["tests"] += 1
        row["passed"] += not ended
        row["skipped"] += ended == {"skipped"}
        row["seconds"] = round(row["seconds"] + float(case.get("time")), 1)
    return dict(sorted(rows.items()))


if __name__ == "__main__":
    told = json.dumps(results(sys.argv[1]), indent=1)
    Path(sys.argv[2]).write_text(f"{told}\n", "utf-8")
