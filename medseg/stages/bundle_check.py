"""Check bundles: all that MONAI, its model zoo and medseg ask of one, a line a check."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from medseg import resources
from medseg.bundle import Bundle, find_bundle
from medseg.bundle.checks import CHECKS, Outcome, outcomes
from medseg.bundle.examined import Examined
from medseg.data.phantom import TWINS, write_phantom
from medseg.stages.display import Display


class Checked(NamedTuple):
    """A bundle and how its checks ended."""

    bundle: Bundle
    outcomes: list[Outcome]

    @property
    def failed(self) -> list[Outcome]:
        """The checks that the bundle did not stand."""
        return [outcome for outcome in self.outcomes if outcome.state == "failed"]

    def as_dict(self) -> dict[str, Any]:
        """Return the result for ``--json``."""
        rows = [outcome._asdict() for outcome in self.outcomes]
        return {"name": self.bundle.name, "folder": str(self.bundle.root), "checks": rows}


def check_bundles(
    targets: Sequence[str], display: Display, *, data: Path | None = None, demo: bool = False
) -> list[Checked]:
    """Check bundles, and tell each check's outcome as it ends.

    Args:
        targets: Folders of bundles, or names of shipped ones; none stands for all that are shipped.
        display: Told a line a check.
        data: A folder of scans for checks that read some; None takes a small phantom of the data
            set where there is one.
        demo: Check each bundle with its demo's network, which is quicker.
    """
    found = [find_bundle(target) for target in targets or resources.names("bundles")]
    width = max(len(bundle.name) for bundle in found)
    checked = []
    with TemporaryDirectory() as place:
        for number, bundle in enumerate(found):
            folder = Path(place) / str(number)
            folder.mkdir()
            scans = data or _phantom(bundle, Path(place))
            done = Checked(bundle, [])
            for outcome in outcomes(Examined(bundle, folder, data=scans, demo=demo), CHECKS):
                display.say(f"{bundle.name:{width}}  {outcome}")
                done.outcomes.append(outcome)
            checked.append(done)
    return checked


def _phantom(bundle: Bundle, place: Path) -> Path | None:
    """Return a small phantom of the bundle's data set; None where there is none."""
    manifest = str(bundle.written("train").get("manifest"))
    if manifest not in TWINS:
        return None
    folder = place / manifest
    return folder if folder.exists() else write_phantom(folder, like=manifest, tiny=True)
