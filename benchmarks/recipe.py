"""The whole recipe of ``uwmgi_segformer`` on a phantom of the real set's size, by the clock.

Writes 274 scans (the published set has 274 scans, 38,496 slices), prepares them, and trains with
the bundle's own settings. On a GPU this is what the bundle promises; on CPUs give few --epochs and
--patients, and the time of 100 epochs is worked out from them.

    python benchmarks/recipe.py [--network b4] [--epochs 100] [--patients 137] [--write]
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

from medseg.bench.record import record, write_record
from medseg.data.phantom import write_phantom

RESULT = Path(__file__).with_suffix(".json")
BUNDLE = "uwmgi_segformer"
EPOCHS = 100


@click.command()
@click.option("--network", default="b4", show_default=True, help="b0 to b5.")
@click.option("--epochs", default=EPOCHS, show_default=True)
@click.option("--patients", default=137, show_default=True, help="With two scans each.")
@click.option("--set", "settings", multiple=True, help="As for medseg run.")
@click.option("--tiny", is_flag=True, help="Dolls in place of bodies, to try the script.")
@click.option("--write", is_flag=True, help=f"Keep the result in {RESULT.name}.")
def main(
    network: str, epochs: int, patients: int, settings: tuple[str, ...], *, tiny: bool, write: bool
) -> None:
    """Write the phantom, prepare, train, and tell how long each took."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seconds = {}
        began = time.monotonic()
        write_phantom(folder / "data", patients=patients, days=2, tiny=tiny)
        seconds["phantom"] = time.monotonic() - began
        given = [f"epochs={epochs}", f"network_def::_target_=medseg.models.segformer_{network}"]
        # Early stopping would end the recipe before its epochs; here its whole length is measured.
        given += [f"patience={epochs}", *settings]
        words = [word for setting in given for word in ("--set", setting)]
        for stage in ("prepare", "train"):
            began = time.monotonic()
            command = [sys.executable, "-m", "medseg", "run", BUNDLE, "--data", "data"]
            subprocess.run([*command, "--stage", stage, *words], cwd=folder, check=True)
            seconds[stage] = time.monotonic() - began
        facts = {
            "network": f"segformer_{network}",
            "epochs": epochs,
            "scans": 2 * patients,
            "slices": len(list(folder.glob("data/train/**/slice_*.png"))),
            "seconds": {stage: round(value, 1) for stage, value in seconds.items()},
            "minutes_for_100_epochs": round(seconds["train"] / epochs * EPOCHS / 60, 1),
        }
    click.echo(json.dumps(facts, indent=1))
    if write:
        write_record(RESULT, record([], **facts))


if __name__ == "__main__":
    main()
