"""Check: tell everything that is wrong with a data set, and what it holds."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from medseg.data.check import Findings, Summary, inspect, summarise
from medseg.data.manifest import Manifest, read_manifest
from medseg.io.atomic import replacing
from medseg.stages.display import Display


class Report(NamedTuple):
    """What was checked, what it holds, and what is wrong with it."""

    manifest: Manifest
    root: Path
    findings: Findings
    summary: Summary

    def as_dict(self) -> dict[str, Any]:
        """Return the report for ``--json`` and report files."""
        return {
            "manifest": self.manifest.name,
            "data": str(self.root),
            "excluded": dict(self.manifest.excluded),
            "errors": len(self.findings.errors),
            "warnings": len(self.findings.warnings),
            "scans_found": self.findings.n_found,
            "summary": self.summary.as_dict(),
            "problems": [problem.as_dict() for problem in self.findings.problems],
        }

    def write(self, path: Path) -> None:
        """Write the report as JSON.

        Raises:
            ResourceError: The disk is full, or the file cannot be written.
        """
        with replacing(path) as stream:
            stream.write((json.dumps(self.as_dict(), indent=1) + "\n").encode())


def check(
    root: Path, manifest: str, display: Display, *, exclude: str | None = "", pixels: bool = True
) -> Report:
    """Check the data set at `root` against a manifest; the faults of the data are in the report.

    Args:
        root: The folder of the data set.
        manifest: The manifest's name or path.
        display: Shows how far the check is.
        exclude: The list of known bad scans to leave out, None for no list; the manifest's own
            choice when empty.
        pixels: Decode every slice; else check names, headers and labels only.
    """
    facts = read_manifest(manifest)
    if exclude != "":
        facts = facts.excluding(exclude)
    begun = False

    def advance(done: int, total: int) -> None:
        nonlocal begun
        if not begun:
            display.begin("check", total)
            begun = True
        display.advance(done, total)

    findings = inspect(root, facts, pixels=pixels, progress=advance)
    return Report(facts, root, findings, summarise(findings.scans, facts))
