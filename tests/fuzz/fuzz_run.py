"""Fuzz the parsers, guided by what each input reaches of their code; write down what was found.

::

    python tests/fuzz/fuzz_run.py --seconds 600 --runs 1000000 [TARGET ...]

Each target runs in a process of its own, until it has done the runs and not longer than the
seconds. libFuzzer ends it at the first exception that is not medseg's own, at an input that takes
longer than 10 seconds, or at memory beyond 2 GiB; the input is kept and told. Needs the extra
``fuzz``.
"""

import argparse
import json
import logging
import os
import re
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

import click

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(Path(__file__).parent), str(TESTS)]

RESULTS = TESTS.parent / "docs" / "results" / "fuzzing.json"
GUIDED = ("rle", "file names", "manifests", "bundle JSON", "PNG", "NIfTI")
LONGEST_BYTES, SLOWEST_S, MEMORY_MB = 8192, 10, 2048
# numba compiles these from bytecode, which must be their own.
COMPILED = (
    *("medseg.io.rle_kernels", "medseg.io.png_filters", "medseg.kernel"),
    *("medseg.data.packing", "medseg.data.entry", "medseg.data.widening"),
    *("medseg.metrics.surface_kernels", "medseg.transforms.intensity_kernels"),
    *("medseg.transforms.interpolate", "medseg.transforms.slice_kernels"),
    "medseg.transforms.blocks",
)


def main(words: Sequence[str] | None = None) -> int:
    """Fuzz the targets asked for, write the results, and return how many broke the law."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("targets", nargs="*", default=list(GUIDED))
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    asked, rest = parser.parse_known_args(words)
    if asked.inside:
        fuzz(asked.targets[0], rest)
    import importlib.metadata

    rows = [fuzzed(name, runs=asked.runs, seconds=asked.seconds) for name in asked.targets]
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    kept = json.loads(asked.out.read_text())["targets"] if asked.out.exists() else {}
    told = {
        "atheris": importlib.metadata.version("atheris"),
        "python": sys.version.split()[0],
        "limits": {"input_bytes": LONGEST_BYTES, "seconds": SLOWEST_S, "memory_mb": MEMORY_MB},
        "targets": {**kept, **{row.pop("target"): row for row in rows}},
    }
    asked.out.write_text(json.dumps(told, indent=1) + "\n")
    return sum(bool(row["crash"]) for row in rows)


def fuzzed(name: str, *, runs: int, seconds: int) -> dict[str, Any]:
    """Fuzz one target in a process of its own; return what libFuzzer says at the end."""
    begun = time.monotonic()
    memory = Path("/dev/shm")
    home = Path(mkdtemp(prefix="medseg-fuzz-", dir=memory if memory.is_dir() else None))
    folder = home / "found"
    folder.mkdir()
    command = [sys.executable, __file__, "--inside", name]
    command += [f"-runs={runs}", f"-max_total_time={seconds}", f"-artifact_prefix={folder}/"]
    command += [f"-max_len={LONGEST_BYTES}", f"-timeout={SLOWEST_S}", f"-rss_limit_mb={MEMORY_MB}"]
    command += ["-print_final_stats=1", "-verbosity=1", "-seed=1", "-len_control=20"]
    # The files of a target go beside what is found, and away with it: libFuzzer leaves them.
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env={**os.environ, "TMPDIR": str(home)},
    )
    said = done.stderr + done.stdout
    covered = [(int(cov), int(ft)) for cov, ft in re.findall(r" cov: (\d+) ft: (\d+)", said)]
    counted = re.search(r"stat::number_of_executed_units:\s*(\d+)", said)
    memory = re.search(r"stat::peak_rss_mb:\s*(\d+)", said)
    spent = time.monotonic() - begun
    n = int(counted[1]) if counted else 0
    inputs = [path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()]
    rmtree(home)
    crash = ""
    if done.returncode or inputs:
        crash = f"{said[-3000:]}\ninput: {inputs[0] if inputs else b''!r}"
        click.echo(crash)
    row = {"target": name, "runs": n, "seconds": round(spent), "runs_per_s": round(n / spent)}
    edges, features = covered[-1] if covered else (0, 0)
    row |= {"edges": edges, "features": features, "crash": crash}
    row |= {"peak_memory_mb": int(memory[1]) if memory else 0}
    click.echo(json.dumps({key: value for key, value in row.items() if key != "crash"}))
    return row


def fuzz(name: str, options: Sequence[str]) -> None:
    """Fuzz one target in this process, which libFuzzer ends."""
    import atheris

    with atheris.instrument_imports(include=["medseg", "yaml"], exclude=list(COMPILED)):
        from fuzz_targets import TARGETS, folder, require_lawful

        target = TARGETS[name]
        for seed in target.seeds():
            require_lawful(target, seed)  # imports and compiles what waits for the first input
    logging.disable()
    warnings.simplefilter("ignore")
    corpus = folder() / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(target.seeds()):
        (corpus / f"{number}").write_bytes(seed)
    words = folder() / "words"
    escaped = ("".join(f"\\x{byte:02x}" for byte in word) for word in target.words)
    words.write_text("".join(f'"{word}"\n' for word in escaped if len(word) <= 4 * 64))
    arguments = [sys.argv[0], *options, f"-dict={words}", str(corpus)]

    def run(data: bytes) -> None:
        require_lawful(target, data)

    atheris.Setup(arguments, run)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
