"""Change medseg's code, one small change at a time, and count what the tests notice: a script.

    python tests/mutation/mutate.py FOLDER [GROUP ...] [--sample N] [--seed S] [--out FILE]

mutmut makes the changes and runs the tests, in a copy of the project under FOLDER. It passes over
functions with a decorator, among which are every property and every loop over pixels; in the copy
those decorators are written as calls, and the loops of the changed modules are not compiled. With
--sample so many mutants of a group are drawn, the same for the same seed. --out keeps counts and
survivors by group, beside those of other groups.
"""

import argparse
import ast
import json
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
METRICS = "agreement batchwise calibration comparison competition hausdorff overlap pairing repeats"
METRICS += " scores slicewise statistics summary surface surface_kernels"

# Minutes each where loops are not compiled, or thousands of studies.
LONG = (
    "test_surface.py::test_two_voxels_at_the_far_corners_of_a_large_array",
    "test_comparison.py::test_equal_runs_are_called_different_in_about_one_study_of_twenty",
)


class Group(NamedTuple):
    """Modules that are judged together, and the tests that are asked, the quick ones about them."""

    modules: list[str]
    tests: list[str]


GROUPS = {
    "geometry": Group(
        ["medseg/geometry.py"],
        ["tests/test_geometry.py", "tests/transforms/test_regrid.py"],
    ),
    "rle": Group(
        ["medseg/io/rle.py", "medseg/io/rle_kernels.py"],
        ["tests/io/test_rle.py"],
    ),
    "metrics": Group(
        [f"medseg/metrics/{name}.py" for name in METRICS.split()],
        ["tests/metrics", *(f"--deselect=tests/metrics/{test}" for test in LONG)],
    ),
    "reconstruct": Group(
        ["medseg/transforms/reconstruct.py"],
        ["tests/transforms/test_reconstruct.py", "tests/io/test_image_sources.py"],
    ),
}
KILLED = {"1": "killed", "3": "killed", "36": "timeout", "-24": "timeout", "-9": "timeout"}
KILLED |= {"24": "timeout", "152": "timeout", "255": "timeout", "-11": "crash"}
SURVIVED = {"0": "survived", "5": "no test", "33": "no test"}
CALLED = {"property", "kernel"}
# Compiled, whole numbers have 64 bits, whatever the array that they are read from.
INTERPRETED = """

def interpreted(loop):
    import numpy as np

    def wide(value):
        read_only = isinstance(value, np.ndarray) and not value.flags.writeable
        return value.astype(np.int64) if read_only and value.dtype == np.uint8 else value

    return lambda *values: loop(*map(wide, values))
"""


def undecorated(source):
    """Return a module whose properties and kernels are made by a call below their function."""
    lines = source.splitlines()
    for node in [*ast.walk(ast.parse(source))]:
        if isinstance(node, ast.FunctionDef) and len(node.decorator_list) == 1:
            name = ast.unparse(node.decorator_list[0])
            if name in CALLED:
                lines[node.decorator_list[0].lineno - 1] = ""
                indent = " " * node.col_offset
                lines[node.end_lineno - 1] += f"\n{indent}{node.name} = {name}({node.name})"
    called = "from medseg.kernel import kernel"
    return "\n".join(lines).replace(called, f"{called[:-6]}interpreted as kernel") + "\n"


def copied(folder, group):
    """Make a copy of the project that mutmut can work in."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    names = [name for name in listed.split("\0") if (ROOT / name).is_file()]
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    for name in group.modules:
        text = (folder / name).read_text("utf-8")
        (folder / name).write_text(undecorated(text), "utf-8")
    with (folder / "medseg/kernel.py").open("a", encoding="utf-8") as stream:
        stream.write(INTERPRETED)
    tops = sorted({name.split("/")[0] for name in names} - {"medseg", "tests", "pyproject.toml"})
    settings = {
        "source_paths": ["medseg"],
        "only_mutate": group.modules,
        "also_copy": tops,
        "pytest_add_cli_args_test_selection": group.tests,
        "pytest_add_cli_args": ["-p", "no:cacheprovider"],
        "track_dependencies": False,
        "timeout_constant": 5.0,
    }
    told = "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items())
    with (folder / "pyproject.toml").open("a", encoding="utf-8") as stream:
        stream.write(f"\n[tool.mutmut]\n{told}")


def mutmut(folder, *arguments, check=True):
    """Run a command of mutmut in a copy."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "mutmut", *arguments],
        cwd=folder,
        env=environment,
        check=check,
        stdout=subprocess.DEVNULL,
    )


def results(folder):
    """Return the exit status of the tests by mutant, None where they were not run."""
    found = {}
    for path in sorted((folder / "mutants").rglob("*.py.meta")):
        found |= json.loads(path.read_text("utf-8"))["exit_code_by_key"]
    return found


def judged(folder, group, *, sample, seed):
    """Return the counts and the survivors of a group."""
    if not folder.exists():
        copied(folder, group)
    chosen = []
    if sample:
        # No mutant has this name: mutmut makes them all, and says so.
        mutmut(folder, "run", "--max-children", "1", "nothing", check=False)
        made = sorted(results(folder))
        if len(made) > sample:
            chosen = sorted(random.Random(seed).sample(made, sample))
    mutmut(folder, "run", "--max-children", "1", *chosen)
    codes = results(folder)
    run = {name: str(code) for name, code in codes.items() if code is not None}
    names = KILLED | SURVIVED
    counts = Counter(names.get(code, "suspicious") for code in run.values())
    killed = sum(code in KILLED for code in run.values())
    return {
        "modules": len(group.modules),
        "mutants": len(codes),
        "tried": len(run),
        "seed": seed if chosen else None,
        "killed": killed,
        "share": round(killed / len(run), 4),
        "how": dict(sorted(counts.items())),
        "survivors": sorted(name for name, code in run.items() if code not in KILLED),
    }


def main():
    """Judge the groups that are asked for, all without any."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("groups", nargs="*", choices=[*GROUPS, []])
    parser.add_argument("--sample", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    for name in options.groups or GROUPS:
        row = judged(
            options.folder.resolve() / name, GROUPS[name], sample=options.sample, seed=options.seed
        )
        sys.stdout.write(json.dumps({name: row}) + "\n")
        if options.out:
            told = json.loads(options.out.read_text("utf-8")) if options.out.is_file() else {}
            told |= {"mutmut": version("mutmut"), name: row}
            options.out.write_text(json.dumps(told, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
